"""What `joint` decides where the right answer can be worked out, and that its plans hold in all kinds of scenarios."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from splitplace.errors import ContractError
from splitplace.placement import state_files, states
from splitplace.placement.joint.jobs import DeviceJobs
from splitplace.placement.joint.joint import Joint
from splitplace.placement.joint.residual import FORGET
from splitplace.placement.joint.search import PlanSearch
from splitplace.placement.joint.spread import SpreadSearch
from splitplace.placement.plan import plan
from splitplace.placement.registry import parse_policy
from splitplace.placement.room import Room
from splitplace.placement.simulator.bound import reward_bound
from splitplace.placement.simulator.demands import load_demand
from splitplace.placement.simulator.run import simulate
from splitplace.placement.simulator.shipped import load_fleet, load_scenario
from splitplace.records.action import Decide, Evict, Place, Wait

pytestmark = pytest.mark.base

LAYER, SEMANTIC = 0, 1


def planned(view, state=None):
    """The split of each task, and the device of each fragment, by task id; what breaks a rule is an error."""
    policy = Joint()
    actions, _ = plan(policy, view, state or policy.init(view), np.random.default_rng(0))
    splits = {a.task: a.split for a in actions if isinstance(a, Decide)}
    return splits, {(a.task, a.fragment): a.device for a in actions if isinstance(a, Place)}


@pytest.mark.parametrize(
    ("deadline_s", "split", "devices"),
    [(100.0, LAYER, 1), (12.0, SEMANTIC, 2), (5.5, SEMANTIC, 2)],
)
def test_as_accurate_as_the_deadline_allows(view, deadline_s, split, devices):
    """The chain takes 17 s on one device and is right more often; the tree takes 4 s on two."""
    now = replace(view(deadlines_s=(deadline_s,)), interval_s=1.0)
    splits, where = planned(now)
    assert splits == {100: split}
    assert len(where) == 2
    assert len(set(where.values())) == devices


def test_a_task_that_is_nearly_late_is_spared(view):
    """The chain would be done sooner beside it, and goes to a device three times as slow, which is idle."""
    now = view(deadlines_s=(9.0, 100.0), split=(SEMANTIC, -1), containers=((0, 2, 0), (0, 3, 0)))
    slower = replace(now.fragments, latency_s_FD=now.fragments.latency_s_FD * np.array([1.0, 3.0]))
    now = replace(now, fragments=slower, interval_s=1.0)
    splits, where = planned(now)
    assert splits == {101: LAYER}
    assert set(where.values()) == {1}
    in_no_hurry = replace(now, tasks=replace(now.tasks, deadline_s_T=np.array([90.0, 100.0])))
    assert set(planned(in_no_hurry)[1].values()) == {0}


def test_what_no_device_holds_is_spread(view):
    """60 and 30 bytes of a chain where each device has room for one of them."""
    now = view(memory_bytes=(60.0, 30.0), deadlines_s=(100.0,))
    splits, where = planned(now)
    assert splits == {100: LAYER}
    assert where == {(100, 0): 0, (100, 1): 1}


def test_without_room_or_devices_tasks_wait(view):
    """They are decided all the same."""
    for now in (view(memory_bytes=(5.0, 5.0), deadlines_s=(50.0,)), view(up=(False, False), deadlines_s=(50.0,))):
        actions, _ = plan(Joint(), now, Joint().init(now), np.random.default_rng(0))
        assert {type(action) for action in actions} == {Decide, Wait}


def test_nothing_is_decided_that_no_device_holds(view):
    """The only one with room for a chain is down: the tree it is, at once or with the next room."""
    now = view(memory_bytes=(100.0, 40.0), used_bytes=(0.0, 40.0), up=(False, True), deadlines_s=(100.0,))
    actions, _ = plan(Joint(), now, Joint().init(now), np.random.default_rng(0))
    assert [action.split for action in actions if isinstance(action, Decide)] == [SEMANTIC]


def spread_chain(now):
    """Where a task's chain would be done first, as `joint` has it, on devices that hold one fragment each."""
    policy = Joint()
    state = policy.init(now)
    jobs = DeviceJobs(now, policy.doubt(now, state))
    offer = PlanSearch(policy.worth, now, state, Room(now), jobs).offers.every((LAYER,))
    spread = SpreadSearch(now, 0, jobs, Room(now), offer, now.fragments.memory_bytes_FD[offer.fragments_F] <= 70.0)
    return spread.along(offer.shapes[0], offer.shapes[0].fragments)


@pytest.mark.parametrize(("grain", "took_s"), [(np.inf, 8 + 40 + 4.2 + 20), (1.0, 2 + 40 + 1.2 + 5)])
def test_fragments_that_overlap_take_turns(view, grain, took_s):
    """A chain of 40 and 20 s on two devices: 16 images, and each four go on as soon as they are done."""
    now = view(memory_bytes=(70.0, 70.0), deadlines_s=(90.0,))
    now = replace(now, grain=grain, tasks=replace(now.tasks, n_T=np.array([16])))
    found = spread_chain(now)
    assert found.took_s == pytest.approx(took_s) and len(found.parts) == 2


def test_what_goes_through_the_broker_goes_over_its_card(view):
    """Between the same two devices, 400 bytes at 50 a second in place of 100; nothing else of the task is slower."""
    now = view(memory_bytes=(70.0, 70.0), deadlines_s=(90.0,))
    now = replace(now, tasks=replace(now.tasks, n_T=np.array([16])), links=replace(now.links, broker_bytes_per_s=50.0))
    directly = spread_chain(now)
    relayed = spread_chain(replace(now, links=replace(now.links, relayed_DD=~np.eye(2, dtype=bool))))
    assert len(directly.parts) == len(relayed.parts) == 2
    assert relayed.took_s - directly.took_s == pytest.approx(400 / 50 - 400 / 100)


def test_who_cannot_be_placed_holds_up_nobody(view):
    """Twelve chains wait for the device that is down; the tree behind them goes to the other, which is idle."""
    tasks = 13
    now = view(
        memory_bytes=(100.0, 40.0), up=(False, True), deadlines_s=(50.0,) * 12 + (90.0,),
        split=(LAYER,) * 12 + (SEMANTIC,),
        containers=(*((t, f, -1) for t in range(12) for f in (0, 1)), (12, 2, -1), (12, 3, -1)),
    )  # fmt: skip
    actions, _ = plan(Joint(), now, Joint().init(now), np.random.default_rng(0))
    assert {action.task for action in actions if isinstance(action, Place)} == {100 + tasks - 1}


def test_links_that_carry_nothing_are_no_error(view):
    """A phone in a tunnel: decided all the same."""
    now = view(deadlines_s=(50.0,))
    still = replace(now, links=replace(now.links, down_bytes_per_s_D=np.zeros(2), up_bytes_per_s_D=np.zeros(2)))
    assert planned(still)[0].keys() == {100}


def test_weights_that_are_there_do_not_give_way_to_their_own_task(view):
    """The chain's tail is loaded and idle, a branch as well: the branch goes."""
    now = view(memory_bytes=(100.0,), used_bytes=(50.0,), deadlines_s=(100.0,), split=(LAYER,),
               containers=((0, 0, -1), (0, 1, -1)), resident=((1, 0), (2, 0)))  # fmt: skip
    actions, _ = plan(Joint(), now, Joint().init(now), np.random.default_rng(0))
    assert [action.fragment for action in actions if isinstance(action, Evict)] == [2]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_option_is_worth_more_than_the_most(data, view):
    """What a look may be saved by is never less than what the look would find."""
    devices = data.draw(st.integers(1, 4))
    memory = tuple(data.draw(st.sampled_from((30.0, 60.0, 100.0, 200.0))) for _ in range(devices))
    placed = data.draw(st.lists(st.integers(0, devices - 1), max_size=3))
    tasks = len(placed) + 1
    deadlines = tuple(data.draw(st.floats(2.0, 90.0)) for _ in range(tasks))
    now = view(
        memory_bytes=tuple(each + 200.0 for each in memory), used_bytes=(200.0,) * devices, deadlines_s=deadlines,
        split=(SEMANTIC,) * len(placed) + (-1,),
        containers=tuple((t, f, d) for t, d in enumerate(placed) for f in (2, 3)),
    )  # fmt: skip
    scale = np.array([data.draw(st.floats(0.3, 3.0)) for _ in range(devices)])
    links = np.array([data.draw(st.floats(5.0, 400.0)) for _ in range(devices)])
    card = data.draw(st.sampled_from((20.0, 100.0, np.inf)))
    n, grain = data.draw(st.sampled_from((4, 12, 50))), data.draw(st.sampled_from((np.inf, 1.0, 2.0)))
    now = replace(
        now, interval_s=1.0, grain=grain, tasks=replace(now.tasks, n_T=np.full(tasks, n)),
        fragments=replace(now.fragments, latency_s_FD=now.fragments.latency_s_FD * scale),
        links=replace(now.links, down_bytes_per_s_D=links, broker_bytes_per_s=card),
    )  # fmt: skip
    policy = Joint()
    off = np.array([data.draw(st.floats(-1.0, 1.0)) for _ in range(devices)])
    state = replace(policy.init(now), device_D=off, squares_D=np.abs(off), squares_times_D=np.ones(devices))
    search = PlanSearch(policy.worth, now, state, Room(now), DeviceJobs(now, policy.doubt(now, state)))
    offer = search.offers.every((LAYER, SEMANTIC))
    task = search.worth.to(tasks - 1, (LAYER, SEMANTIC))
    lost = search.jobs.lost_by_sending(task.sizes_SX)
    most_S = task.most(lost.total_S)
    left_A, cost_FA = search.room.account(offer.fragments_F, offer.devices_A)
    spread = SpreadSearch(now, tasks - 1, search.jobs, search.room, offer, cost_FA <= left_A)
    nowhere_SA = np.zeros((2, devices), bool)
    for at in range(len(offer.shapes)):
        fits_SA = cost_FA[2 * at : 2 * at + 2].sum(axis=0, keepdims=True) <= left_A
        if fits_SA.any():
            found = search._gathered(task, offer, np.array([at]), fits_SA, lost)
            assert found.value <= most_S[at] + 1e-9
        found = search._spread(task, offer, at, spread, nowhere_SA[at])
        if found is not None:
            least_s = np.array(spread.least_s([at], nowhere_SA))
            assert found.value <= most_S[at] + 1e-9
            assert found.value <= task.no_sooner(least_s, lost.total_S[[at]], np.array([at]))[0] + 1e-9


@pytest.mark.parametrize(("alpha", "device"), [(0.0, 0), (1.0, 1)])
def test_energy_is_worth_what_it_is_said_to_be(view, alpha, device):
    """The first device is a little quicker and draws ten times as much when it works."""
    now = view(deadlines_s=(90.0,), split=(LAYER,), containers=((0, 0, -1), (0, 1, -1)))
    power_w_D11 = now.devices.power_w_D11 + np.linspace(0.0, 900.0, 11) * np.array([[1.0], [0.0]])
    now = replace(
        now, devices=replace(now.devices, power_w_D11=power_w_D11),
        fragments=replace(now.fragments, latency_s_FD=now.fragments.latency_s_FD * np.array([1.0, 1.1])),
    )  # fmt: skip
    actions, _ = plan(Joint(alpha=alpha), now, Joint().init(now), np.random.default_rng(0))
    assert {action.device for action in actions if isinstance(action, Place)} == {device}


def test_weights_are_of_a_policy_of_ones_own(tmp_path, monkeypatch):
    """A function that answers it is a policy by its name; one without weights is as it ships."""
    (tmp_path / "own_weights.py").write_text(
        "from splitplace.placement.joint.joint import Joint\n\n\ndef thrifty():\n    return Joint(alpha=0.25, beta=0.1)"
    )
    monkeypatch.chdir(tmp_path)
    assert parse_policy("own_weights:thrifty").worth == replace(Joint().worth, alpha=0.25, beta=0.1)
    assert parse_policy("joint") == Joint()


def test_the_urgent_come_first(view):
    """Room for one tree only: it is the second task's, which has less time left."""
    now = replace(view(memory_bytes=(40.0,), deadlines_s=(90.0, 10.0), shares_fragments=False), interval_s=1.0)
    _, where = planned(now)
    assert {task for task, _ in where} == {101}


def test_the_card_is_left_to_those_who_need_it(view):
    """Its 10 bytes a second are taken for 20 s; the next plan comes in 5 s, and who has time waits for it."""
    policy = Joint()
    now = view(deadlines_s=(60.0, 300.0), split=(LAYER, -1), containers=((0, 0, 0), (0, 1, 0)))
    now = replace(now, interval_s=5.0, longest_s=300.0, links=replace(now.links, broker_bytes_per_s=10.0))
    actions, _ = plan(policy, now, policy.init(now), np.random.default_rng(0))
    assert {type(action) for action in actions if not isinstance(action, Decide)} == {Wait}
    idle = replace(now, links=replace(now.links, broker_bytes_per_s=1000.0))
    assert planned(idle)[1].keys() == {(101, 0), (101, 1)}
    seldom = replace(now, interval_s=50.0)  # the card would stand idle
    assert planned(seldom)[1].keys() == {(101, 0), (101, 1)}


def test_what_was_evaluated_too_well_is_seen_through(view, left):
    """Chains are right in half of the cases, not in 95 %: trees with 90 % are taken after some."""
    policy, now = Joint(), view(deadlines_s=(1000.0,))
    state, chosen = policy.init(now), list[int]()
    for _ in range(30):
        actions, state = plan(policy, now, state, np.random.default_rng(0))
        expected = state.under_way[100]
        chosen += [action.split for action in actions if isinstance(action, Decide)]
        right = 0.5 if expected.split == LAYER else 0.9
        ended = left((expected.split, 1000.0, expected.took_s, right, 0))
        _, state = plan(policy, view(finished=replace(ended, id_E=np.array([100]))), state, np.random.default_rng(0))
    assert chosen[0] == LAYER
    assert chosen[-10:] == [SEMANTIC] * 10


def test_devices_that_are_looked_at_by_interval_are_known(view, left):
    """Tasks are seen to end at starts of intervals only: a deadline between two is one at the first."""
    policy = Joint()
    state = policy.init(view())
    for start in range(1, 9):
        now = replace(view(deadlines_s=(400.0,), now_s=300.0 * start), interval_s=300.0)
        _, state = plan(policy, now, state, np.random.default_rng(0))
        ended = left((state.under_way[100].split, 400.0, 300.0, 0.9, 0))
        gone = replace(view(now_s=300.0 * start + 300, finished=replace(ended, id_E=np.array([100]))), interval_s=300.0)
        _, state = plan(policy, gone, state, np.random.default_rng(0))
    assert state.by_interval
    assert not state.split_S[LAYER] > 2.0  # 17 s expected, 300 seen


def test_a_plan_depends_on_nothing_but_the_view(view):
    """The same view, whatever was planned in between."""
    first, other = (view(deadlines_s=deadlines) for deadlines in ((30.0, 20.0), (5.0,)))
    before = planned(first)
    planned(other)
    assert planned(first) == before == planned(view(deadlines_s=(30.0, 20.0)))


def test_a_split_that_takes_longer_than_its_profiles_say_is_left(view, left):
    """Chains take ten times what they should, trees what they should; with a deadline of 60 s trees are taken soon."""
    policy, now = Joint(), view(deadlines_s=(60.0,))
    state, chosen = policy.init(now), list[int]()
    for _ in range(20):
        actions, state = plan(policy, now, state, np.random.default_rng(0))
        expected = state.under_way[100]
        chosen += [action.split for action in actions if isinstance(action, Decide)]
        took_s = expected.took_s * (10.0 if expected.split == LAYER else 1.0)
        gone = view(finished=replace(left((expected.split, 60.0, took_s, 0.9, 0)), id_E=np.array([100])))
        _, state = plan(policy, gone, state, np.random.default_rng(0))
        assert not state.under_way
    assert chosen[0] == LAYER
    assert chosen.count(SEMANTIC) >= 15


THREE = (1000.0,) * 3
"""Memory of devices that hold everything."""


def settled(view, left, state, took):
    """A task is placed on three equal devices and ends after a multiple of what was expected; where, and the state."""
    policy = Joint()
    _, state = plan(policy, view(memory_bytes=THREE, deadlines_s=(30.0,)), state, np.random.default_rng(0))
    expected = state.under_way[100]
    gone = left((expected.split, 30.0, expected.took_s * took(expected.devices), 0.9, 0))
    ended = view(memory_bytes=THREE, finished=replace(gone, id_E=np.array([100])))
    _, state = plan(policy, ended, state, np.random.default_rng(0))
    return expected.devices, state


def test_a_device_that_slows_is_left_within_a_few_tasks(view, left):
    """The first that is taken takes ten times as long from some task on, and what runs there and elsewhere with it."""
    state = Joint().init(view(memory_bytes=THREE))
    for _ in range(5):
        used, state = settled(view, left, state, lambda devices: 1.0)
    later = []
    for _ in range(20):
        devices, state = settled(view, left, state, lambda devices: 10.0 if used[0] in devices else 1.0)
        later.append(used[0] in devices)
    assert later[0] and not any(later[5:])


def test_what_is_known_of_a_device_that_is_left_is_forgotten(view, left):
    """By as much for each task elsewhere as if each device had had its share of it: so it is tried again one day."""
    used, state = settled(view, left, Joint().init(view(memory_bytes=THREE)), lambda devices: 1.0)
    slow_D = state.device_D.copy()
    slow_D[list(used)] = np.log(20.0)
    state, kept = replace(state, device_D=slow_D), 1.0
    for _ in range(100):
        devices, state = settled(view, left, state, lambda devices: 1.0)
        assert not set(used) & set(devices)
        kept *= FORGET ** (len(devices) / len(THREE))
    assert state.device_D[used[0]] == pytest.approx(np.log(20.0) * kept)


@pytest.mark.sim
def test_what_was_learned_is_kept(view, tmp_path):
    """A broker saves it and finds it again; it is for these devices, by their place."""
    policy, now = Joint(), view(deadlines_s=(60.0,))
    learned = replace(policy.init(now), split_S=np.array([1.0, 0.5]), device_D=np.array([0.0, 2.0]), squares=3.0)
    state_files.save(tmp_path, policy, learned, now, {"by": "a test"})
    found, names = states.from_folder(policy, tmp_path, now)
    assert names == ["joint"]
    np.testing.assert_array_equal([found.split_S, found.device_D], [learned.split_S, learned.device_D])
    assert (found.squares, found.noise) == (3.0, learned.noise)
    with pytest.raises(ContractError, match="another fleet"):
        states.from_folder(policy, tmp_path, view(memory_bytes=(100.0,) * 3))
    with pytest.raises(ContractError, match="has not the residuals"):
        policy.unpack(policy.pack(replace(learned, device_D=np.array([0.0, np.nan]))), now)


@pytest.mark.sim
@pytest.mark.parametrize("name", ["measured-50", "upstream-10", "tight", "mobile-50", "churn"])
def test_its_plans_hold(name):
    """Memory that is short, devices that come and go, fragments that are asked for one by one: no plan of it fails."""
    scenario = load_scenario(name)
    run = simulate(scenario, load_fleet(scenario.fleet), load_demand("measured"), parse_policy("joint"), 4, strict=True)
    assert run.metrics.tasks.arrived > 0


@pytest.mark.sim
@pytest.mark.parametrize(("name", "load"), [("measured-50", 0.9), ("unequal", 0.75), ("tight", 0.5)])
def test_no_reward_exceeds_the_bound(name, load):
    """Of the same tasks, which somebody who knew all could not beat."""
    scenario = load_scenario(name)
    workload = scenario.workload.model_copy(update={"load": load, "rate": None, "utilisation": None})
    scenario, fleet, demand = (
        scenario.model_copy(update={"workload": workload}),
        load_fleet(scenario.fleet),
        load_demand("measured"),
    )
    run = simulate(scenario, fleet, demand, parse_policy("joint"), 8, 101, strict=True)
    assert 0.3 < run.metrics.reward <= reward_bound(scenario, fleet, demand, 8, 101) + 1e-9
