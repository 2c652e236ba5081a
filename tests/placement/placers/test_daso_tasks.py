"""`daso-tasks` as a placer: what it answers, what it refuses, and that its state serves any fleet."""

import json
from dataclasses import replace

import numpy as np
import pytest

from splitplace.errors import SplitPlaceError
from splitplace.placement.deciders.epsilon_greedy import EpsilonGreedy
from splitplace.placement.deciders.fixed import Layer
from splitplace.placement.deciders.mab import Mab
from splitplace.placement.placers import daso_tasks
from splitplace.placement.placers.around import Around
from splitplace.placement.placers.daso_tasks import DasoTasks, TasksState
from splitplace.placement.placers.least_loaded import LeastLoaded, gathered_least_loaded, least_loaded
from splitplace.placement.plan import plan
from splitplace.placement.policy import Composed, PlacementRequest
from splitplace.placement.simulator.demands import load_demand
from splitplace.placement.simulator.run import simulate
from splitplace.placement.simulator.scenario import Scenario
from splitplace.placement.simulator.shipped import load_fleet, load_scenario
from splitplace.placement.state_files import Packed, save
from splitplace.placement.states import from_folder, shipped
from splitplace.placement.surrogates import completion, fluid
from splitplace.placement.surrogates.completion import PlanRecorder
from splitplace.placement.surrogates.problem import asked
from splitplace.records.action import Place, Wait

pytestmark = pytest.mark.base

CHAIN, BRANCHES = PlacementRequest(0, 0, (0, 1)), PlacementRequest(1, 1, (2, 3))


def adds_up(work: float, moved: float, others: float) -> TasksState:
    """A surrogate made by hand: a container takes about what it computes, moves and is held up by, so weighted."""
    weights = tuple(np.zeros_like(w) for w in completion.init(np.random.default_rng(0)))
    first, second, last = weights[0], weights[2], weights[4]
    first[0, 0], first[1, 0], first[7:, 0] = work, moved, others
    second[0, 0] = last[0, 0] = 1.0
    return TasksState(weights, 100.0, trained=True)


def devices_of(actions: list[object]) -> list[int]:
    """By fragment."""
    return [a.device for a in sorted((a for a in actions if isinstance(a, Place)), key=lambda a: a.fragment)]


def heavy(view, deadlines_s):
    """Bytes matter: an interval of 10 s, links of 100 bytes a second."""
    return replace(view(memory_bytes=(200.0,) * 3, deadlines_s=deadlines_s), interval_s=10.0)


def test_a_chain_is_gathered_where_bytes_are_dear(view):
    """Least-loaded puts the two links apart; moving costs more than sharing a device with a sibling."""
    now, rng = heavy(view, (50.0,)), np.random.default_rng(0)
    assert len(set(devices_of(LeastLoaded().place(None, now, [CHAIN], rng)))) == 2
    gathered = devices_of(DasoTasks().place(adds_up(1.0, 20.0, 0.1), now, [CHAIN], rng))
    assert len(set(gathered)) == 1


def test_branches_stay_apart(view):
    """They share nothing and would be in each other's way."""
    now, rng = heavy(view, (50.0, 50.0)), np.random.default_rng(0)
    assert len(set(devices_of(DasoTasks().place(adds_up(1.0, 1.0, 5.0), now, [BRANCHES], rng)))) == 2


def test_the_ascent_leaves_a_start_that_is_in_the_way(view):
    """Device 0 looks idle by its work but has a transfer under way; with the ascent, the chain goes elsewhere."""
    now = view(memory_bytes=(200.0,) * 2, deadlines_s=(90.0, 90.0), split=(-1, 1), containers=((1, 2, 0), (1, 3, 0)))
    now = replace(now, interval_s=10.0)
    state, rng = adds_up(1.0, 1.0, 5.0), np.random.default_rng(0)
    start = devices_of(DasoTasks(steps=0).place(state, now, [CHAIN], rng))
    assert 0 in start
    assert devices_of(DasoTasks().place(state, now, [CHAIN], rng)) == [1, 1]


def test_a_plan_is_deterministic_pure_and_draws_nothing(view):
    """Same view, same actions, whatever the generator; the state stays."""
    now = heavy(view, (50.0, 50.0))
    policy = Composed(Mab(), DasoTasks())
    states = policy.init(now)
    first, after = plan(policy, now, states, np.random.default_rng(1))
    again, _ = plan(policy, now, states, np.random.default_rng(2))
    assert [a for a in first if isinstance(a, Place)] == [a for a in again if isinstance(a, Place)]
    assert after.placer is states.placer


@pytest.mark.parametrize("devices", [1, 10, 1000])
@pytest.mark.sim
def test_one_state_places_on_any_fleet(view, devices, tmp_path):
    """Saved for two devices, read for one, ten and a thousand."""
    policy, rng = Composed(Mab(), DasoTasks()), np.random.default_rng(0)
    small = view()
    save(tmp_path, policy.placer, policy.placer.init(small), small, {"scenario": "test"})
    now = view(memory_bytes=(200.0,) * devices, deadlines_s=(50.0, 50.0))
    states, found = from_folder(policy, tmp_path, now)
    assert found == ["daso-tasks"]
    assert len(devices_of(policy.placer.place(states.placer, now, [CHAIN, BRANCHES], rng))) == 4


def test_no_task_and_no_room(view):
    """Nothing to do is no action; without room, or with every device down, everything waits."""
    placer, rng = DasoTasks(), np.random.default_rng(0)
    state = placer.init(view())
    assert placer.place(state, view(), [], rng) == []
    waits = [Wait(100, 0), Wait(100, 1)]
    assert placer.place(state, view(memory_bytes=(10.0,) * 3, deadlines_s=(9.0,)), [CHAIN], rng) == waits
    down = view(memory_bytes=(200.0,) * 3, up=(False,) * 3, deadlines_s=(9.0,))
    assert placer.place(state, down, [CHAIN], rng) == waits


def test_memory_holds_where_the_start_would_overrun_it(view):
    """Gathered, the chain needs 90 bytes; each device has 70."""
    now = replace(view(memory_bytes=(70.0, 70.0), deadlines_s=(50.0,)), interval_s=10.0)
    actions = DasoTasks().place(adds_up(1.0, 20.0, 0.1), now, [CHAIN], np.random.default_rng(0))
    assert sorted(devices_of(actions)) == [0, 1]


@pytest.mark.parametrize("request_", [CHAIN, BRANCHES], ids=["chain", "branches"])
def test_untrained_it_is_the_better_rule(view, request_):
    """A chain together, branches apart; and no weights are asked, for there are none that were learned."""
    now, rng = heavy(view, (50.0, 50.0)), np.random.default_rng(0)
    state = replace(DasoTasks().init(now), weights=())
    rule = gathered_least_loaded if request_ is CHAIN else least_loaded
    assert DasoTasks().place(state, now, [request_], rng) == rule(now, [request_])


def test_no_plan_is_worse_than_the_rule_by_physics(view):
    """Weights that know only what others do lead a chain apart, over links of 100 bytes a second."""
    now, rng = heavy(view, (50.0,)), np.random.default_rng(0)
    astray = adds_up(0.0, -1.0, 50.0)
    placer, rule = DasoTasks(), gathered_least_loaded(now, [CHAIN])
    climbed = placer._ascend(astray, now, [CHAIN], asked(now, [CHAIN]))
    assert fluid.worth(now, climbed, 0.5, 0.5) < fluid.worth(now, rule, 0.5, 0.5)
    assert placer.place(astray, now, [CHAIN], rng) == rule


def test_what_is_not_worth_more_than_before_does_not_become_so_on_disk(view):
    """A broker that saves random weights finds them to be no more when it comes back."""
    placer = DasoTasks()
    fresh = placer.init(view())
    for state in (fresh, replace(fresh, trained=True)):
        assert placer.unpack(placer.pack(state), view()).trained == state.trained


def test_more_containers_than_the_ascent_takes_go_by_the_rule(view, monkeypatch):
    """The surrogate is not asked: of five containers where four are the most."""
    now, rng = heavy(view, (50.0,) * 3), np.random.default_rng(0)
    requests = [CHAIN, BRANCHES, PlacementRequest(2, 0, (0,))]
    monkeypatch.setattr(daso_tasks, "MOST_CONTAINERS", 4)
    monkeypatch.setattr(daso_tasks, "contention", None)
    state = adds_up(1.0, 1.0, 1.0)
    actions = DasoTasks().place(state, now, requests, rng)
    assert actions in ([*gathered_least_loaded(now, requests)], [*least_loaded(now, requests)])
    with pytest.raises(TypeError):
        DasoTasks().place(state, now, requests[:2], rng)


@pytest.mark.parametrize(
    ("fleet", "changes", "found"),
    [
        ("azure50:40", {}, ["daso-tasks"]),
        ("azure10", {}, ["daso-tasks"]),
        ("azure50", {"constrain": {"memory": 0.9}}, ["mab", "daso-tasks"]),
        ("azure50", {"constrain": {"network": 0.5}}, []),
        ("azure50-fastnet", {}, []),
    ],
)
@pytest.mark.sim
def test_the_shipped_state_on_other_fleets(fleet, changes, found):
    """Of the same kinds it is used, and with other memory; over other links never."""
    scenario, seen = load_scenario("measured-50").model_dump(mode="json", exclude_none=True) | changes, []

    def first(view):
        states, names = shipped(Composed(Mab(), DasoTasks()), "measured-50", view)
        seen.append(names)
        return states

    simulate(
        Scenario.parse(json.dumps(scenario), "changed"), load_fleet(fleet), load_demand("measured"),
        Composed(Mab(), DasoTasks()), 1, states=first,
    )  # fmt: skip
    assert seen == [found]


@pytest.mark.parametrize("broken", ["shape", "missing", "nan"])
def test_a_state_that_is_none_is_refused(view, broken):
    """By what it lacks, not by a traceback."""
    placer = DasoTasks()
    packed = placer.pack(placer.init(view()))
    arrays = dict(packed.arrays)
    if broken == "missing":
        del arrays["w5"]
    else:
        arrays["w0"] = np.full_like(arrays["w0"], np.nan) if broken == "nan" else arrays["w0"][:3]
    with pytest.raises(SplitPlaceError, match="has not the weights of its surrogate"):
        placer.unpack(Packed(arrays, packed.facts), view())


@pytest.mark.sim
def test_plans_hold_what_came_of_them():
    """Times are from the plan on: a task seen in two plans has less left at the second; late ones are unknown."""
    recorder = PlanRecorder()
    policy = Composed(EpsilonGreedy(), Around())
    simulate(
        load_scenario("measured-50"), load_fleet("azure10"), load_demand("measured"), policy, 8, 1_400_000,
        watch=recorder,
    )  # fmt: skip
    plans = recorder.plans()
    assert len(plans.y) > 0
    assert (plans.y >= 0).all()
    assert np.isnan(plans.left[-1]).any()


@pytest.mark.sim
def test_the_shipped_state_knows_what_a_chain_on_one_device_saves():
    """A chain of the shipped demand, as least-loaded places it and gathered: gathered, it is done much sooner."""
    scenario, fleet, demand = load_scenario("measured-50"), load_fleet("azure50"), load_demand("measured")
    placer, expected_s = DasoTasks(), []

    def watch(view, actions):
        placed = [action for action in actions if isinstance(action, Place)]
        if not placed or expected_s:
            return
        state, task = shipped(Composed(Mab(), placer), scenario.name, view)[0].placer, placed[0].task
        assert state.trained
        gathered = [Place(a.task, a.fragment, placed[0].device) if a.task == task else a for a in placed]
        row = int(np.flatnonzero(view.tasks.id_T == task)[0])
        for plan_ in (placed, gathered):
            rows, left_s = placer.predict(state, view, plan_)
            expected_s.append(float(left_s[np.flatnonzero(rows == row)[0]]))

    simulate(scenario, fleet, demand, Composed(Layer(), LeastLoaded()), 5, 1_000_950, watch=watch)
    apart_s, together_s = expected_s
    assert together_s < 0.8 * apart_s
