"""DASO's features, projection, experience and learning."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitplace.errors import SplitPlaceError
from splitplace.placement.deciders.mab import Mab
from splitplace.placement.placers.daso import Daso
from splitplace.placement.placers.daso_slots import DasoSlots
from splitplace.placement.placers.daso_warm import DasoWarm
from splitplace.placement.placers.gobi import Gobi
from splitplace.placement.placers.least_loaded import LeastLoaded
from splitplace.placement.plan import plan
from splitplace.placement.policy import Composed, Frozen, Leaving, Placed, PlacementRequest
from splitplace.placement.room import Room
from splitplace.placement.surrogates import ascent, surrogate
from splitplace.placement.surrogates.features import STATE, Pooled, Slots, alike
from splitplace.placement.surrogates.problem import asked, carried_out
from splitplace.placement.surrogates.projection import project
from splitplace.records.action import Migrate, Place, Wait
from splitplace.records.view import NONE

pytestmark = pytest.mark.base

CHAIN, BRANCHES = PlacementRequest(0, 0, (0, 1)), PlacementRequest(1, 1, (2, 3))


def two_tasks(view, **changes):
    """A chain that runs on device 1, and a task of branches that is to be placed."""
    return view(
        deadlines_s=(50.0, 50.0),
        split=(0, -1),
        containers=((0, 0, 1), (0, 1, 1)),
        **({"memory_bytes": (200.0, 200.0)} | changes),
    )


def test_pooled_features_by_hand(view):
    """Device 1 holds the chain: (10 + 5) s of 100 s on its core, (50 + 25 + 25) x 4 of 10,000 bytes, 90 of 200."""
    now = two_tasks(view)
    problem = asked(now, [BRANCHES])
    p = np.zeros((4, 2))
    p[[0, 1], 1] = 1.0
    p[2:] = 0.5
    table = Pooled(flat=False).encode(now, problem, time_s=100.0).x(p)
    assert table.shape == (2, STATE + 6)
    assert table[1, STATE:] == pytest.approx([0.15, 0.04, 0.45, 0.02, 0.02, 0.1])
    assert table[0, STATE:] == pytest.approx([0.0, 0.0, 0.0, 0.02, 0.02, 0.1])


def test_gobi_does_not_see_the_decisions(view):
    """Its columns are the sums of DASO's over both decisions."""
    now = two_tasks(view)
    problem = asked(now, [BRANCHES])
    p = np.full((4, 2), 0.5)
    daso = Pooled(True, False).encode(now, problem, 100.0).x(p)
    gobi = Pooled(False, False).encode(now, problem, 100.0).x(p)
    assert gobi[:, STATE:] == pytest.approx(daso[:, STATE : STATE + 3] + daso[:, STATE + 3 :])
    assert Gobi().features(2) == Pooled(decisions=False)


@pytest.mark.parametrize("layout", [Pooled(), Pooled(flat=False), Pooled(False), Slots(), Slots(False), Slots(slots=3)])
def test_pull_is_the_transpose_of_x(view, layout):
    """<dx, x(P + E) - x(P)> = <pull(dx), E>: x is affine in P. With too few slots, unseen rows count for nothing."""
    now, rng = two_tasks(view), np.random.default_rng(0)
    problem = asked(now, [BRANCHES])
    encoding = layout.encode(now, problem, 100.0)
    p, e = rng.random((4, 2)), rng.random((4, 2))
    x = encoding.x(p)
    assert x.size in (layout.width(2), 2 * layout.width(2))
    dx = rng.normal(size=x.shape)
    pulled = encoding.pull(dx)
    assert float(np.vdot(dx, encoding.x(p + e) - x)) == pytest.approx(float(np.vdot(pulled, e)))
    # With the chain given, the same for the rows that are left.
    rest = encoding.given(p, np.array([2, 3]))
    assert rest.x(p[2:]) == pytest.approx(x)
    assert rest.pull(dx) == pytest.approx(pulled[2:])
    flat = x.ravel()
    assert flat[encoding.varying()] == pytest.approx(encoding.moving(p))
    assert encoding.pull_moving(dx.ravel()[encoding.varying()]) == pytest.approx(pulled)
    # ... and of one device alone.
    some = encoding.among(np.array([1]))
    assert flat[some.varying()] == pytest.approx(some.moving(p[:, 1:]))
    assert some.pull_moving(dx.ravel()[some.varying()]) == pytest.approx(pulled[:, 1:])


@pytest.mark.parametrize("layout", [Pooled(), Pooled(False), Slots(), Slots(False)])
def test_renamed_inputs_are_those_of_a_fleet_in_another_order(view, layout):
    """Of three devices alike, the first stands where the last stood: the same columns of P change places."""
    now, order = two_tasks(view, memory_bytes=(200.0,) * 3), np.array([2, 0, 1])
    problem = asked(now, [BRANCHES])
    p = np.random.default_rng(0).random((4, 3))
    encoding = layout.encode(now, problem, 100.0)
    assert layout.renamed(encoding.x(p)[None], order[None])[0] == pytest.approx(encoding.x(p[:, order]))


def test_devices_are_alike_if_they_differ_in_nothing_but_the_name(view):
    """Memory tells the last one apart."""
    groups = alike(view(memory_bytes=(100.0, 100.0, 90.0)))
    assert sorted(group.tolist() for group in groups) == [[0, 1], [2]]


@given(
    memory=st.lists(st.integers(0, 200), min_size=1, max_size=4),
    splits=st.lists(st.integers(0, 1), min_size=1, max_size=6),
    up=st.lists(st.booleans(), min_size=4, max_size=4),
    shares=st.booleans(),
    seed=st.integers(0, 99),
)
def test_the_projection_is_never_infeasible(view, memory, splits, up, shares, seed):
    """Any P, any fleet: memory holds, nothing on a device that is down, a task is placed whole or waits whole."""
    sizes = (60, 30, 20, 20)
    now = view(
        memory_bytes=tuple(map(float, memory)),
        up=tuple(up[: len(memory)]),
        deadlines_s=(5.0,) * len(splits),
        shares_fragments=shares,
    )
    requests = [PlacementRequest(row, split, (0, 1) if split == 0 else (2, 3)) for row, split in enumerate(splits)]
    problem = asked(now, requests)
    p = np.random.default_rng(seed).dirichlet(np.ones(len(memory)), size=len(problem))
    actions = project(now, problem, np.arange(len(problem)), p)
    placed = [a for a in actions if isinstance(a, Place)]
    used, loaded = [0.0] * len(memory), set()
    for action in placed:
        assert up[action.device]
        if not shares or (action.fragment, action.device) not in loaded:
            used[action.device] += sizes[action.fragment]
            loaded.add((action.fragment, action.device))
    assert all(u <= m for u, m in zip(used, memory, strict=True))
    assert len(actions) == len(problem)
    waiting = {a.task for a in actions if isinstance(a, Wait)}
    assert waiting.isdisjoint(a.task for a in placed)


def project_anew(now, problem, free, p):
    """The projection as it is said: whenever a task finds no room, all begins anew without it."""
    order = sorted(range(len(free)), key=lambda i: -problem.demand_CK[free[i], 2])
    waiting = set()

    def attempt():
        room, actions = Room(now), []
        for i in order:
            row = free[i]
            task, fragment, here = int(problem.task_C[row]), int(problem.fragment_C[row]), int(problem.device_C[row])
            liked = int(np.argmax(p[i]))
            if (here == NONE and task in waiting) or liked == here:
                continue
            fits = room.fits(fragment)
            device = liked if fits[liked] and p[i, liked] > 0 else int(np.argmax(np.where(fits, p[i], -1.0)))
            if not fits.any():
                device = NONE
            if here != NONE and device in (NONE, here):
                continue
            if device == NONE:
                waiting.add(task)
                return None
            name = int(now.tasks.id_T[task])
            actions += room.take(fragment, device)
            actions += [Place(name, fragment, device) if here == NONE else Migrate(name, fragment, device)]
        return actions

    while (actions := attempt()) is None:
        pass
    left = [row for row in free if int(problem.task_C[row]) in waiting and problem.device_C[row] == NONE]
    return actions + [Wait(int(now.tasks.id_T[problem.task_C[row]]), int(problem.fragment_C[row])) for row in left]


@given(
    memory=st.lists(st.integers(20, 160), min_size=1, max_size=3),
    splits=st.lists(st.integers(0, 1), min_size=1, max_size=9),
    resident=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=4),
    running=st.booleans(),
    shares=st.booleans(),
    seed=st.integers(0, 999),
)
def test_the_projection_is_as_if_begun_anew_without_who_waits(view, memory, splits, resident, running, shares, seed):
    """Whatever is taken back and booked again: the very actions, evictions and moves among them."""
    devices = len(memory)
    loaded = tuple({(f, d % devices): None for f, d in resident}) if shares else ()
    sizes = (60, 30, 20, 20)
    used = [float(sum(sizes[f] for f, d in loaded if d == device)) for device in range(devices)]
    containers = ((0, 0, 0), (0, 1, devices - 1)) if running and not shares else ()
    for _, fragment, device in containers:
        used[device] += sizes[fragment]
    now = view(
        memory_bytes=tuple(max(float(m), u) for m, u in zip(memory, used, strict=True)), used_bytes=tuple(used),
        deadlines_s=(5.0,) * (1 + len(splits)), split=(0 if containers else -1, *[-1] * len(splits)),
        containers=containers, resident=loaded, shares_fragments=shares,
    )  # fmt: skip
    requests = [PlacementRequest(row, s, (0, 1) if s == 0 else (2, 3)) for row, s in enumerate(splits, start=1)]
    problem = asked(now, requests)
    free = np.arange(len(problem))
    p = np.random.default_rng(seed).dirichlet(np.ones(devices), size=len(problem)).round(1)
    assert project(now, problem, free, p) == project_anew(now, problem, free, p)


def test_the_projection_takes_the_best_device_with_room_largest_first(view):
    """60 bytes go to device 1, liked best; 30 more like it too, but only 40 are left: they fit; then 20 do not."""
    now = view(memory_bytes=(100.0, 100.0), deadlines_s=(9.0, 9.0), shares_fragments=False)
    problem = asked(now, [CHAIN, BRANCHES])
    p = np.tile([0.2, 0.8], (4, 1))
    actions = project(now, problem, np.arange(4), p)
    assert {(a.fragment, a.device) for a in actions} == {(0, 1), (1, 1), (2, 0), (3, 0)}


def test_a_plan_is_deterministic_and_pure(view):
    """Same view, states and generator: same actions, and the states of before are as they were."""
    now = two_tasks(view)
    policy = Composed(Mab(), Daso())
    states = policy.init(now)
    before = [w.copy() for w in states.placer.surrogate.weights]
    first, after = plan(policy, now, states, np.random.default_rng(1))
    again, _ = plan(policy, now, states, np.random.default_rng(1))
    assert first == again
    assert len(after.placer.experience.pending) == 1
    assert states.placer.experience.pending == ()
    assert all((a == b).all() for a, b in zip(before, states.placer.surrogate.weights, strict=True))


@pytest.mark.parametrize("placer", [Daso(), DasoSlots(), DasoWarm(), Gobi()], ids=lambda p: p.name)
@pytest.mark.parametrize("devices", [1, 3])
def test_no_task_one_device_and_no_room(view, placer, devices):
    """Nothing to do is no action; without room, everything waits; with room, everything is placed."""
    empty = view(memory_bytes=(200.0,) * devices)
    state = placer.init(empty)
    rng = np.random.default_rng(0)
    assert placer.place(state, empty, [], rng) == []
    full = view(memory_bytes=(10.0,) * devices, deadlines_s=(9.0,))
    assert placer.place(state, full, [CHAIN], rng) == [Wait(100, 0), Wait(100, 1)]
    roomy = view(memory_bytes=(200.0,) * devices, deadlines_s=(9.0,))
    assert sorted(a.fragment for a in placer.place(state, roomy, [CHAIN], rng)) == [0, 1]
    down = view(memory_bytes=(200.0,) * devices, up=(False,) * devices, deadlines_s=(9.0,))
    assert placer.place(state, down, [CHAIN], rng) == [Wait(100, 0), Wait(100, 1)]


def test_a_state_of_another_fleet_is_refused_in_place(view):
    """The flat surrogate knows its devices by their place."""
    placer = Daso()
    state = placer.init(view(memory_bytes=(9.0, 9.0)))
    with pytest.raises(SplitPlaceError, match="trained for 2 devices, got 3"):
        placer.place(state, view(memory_bytes=(9.0,) * 3, deadlines_s=(9.0,)), [CHAIN], np.random.default_rng(0))


def test_eq_12_avoids_the_device_the_surrogate_dislikes(view):
    """A surrogate that loses by work on device 0: whatever the start, the chain goes to device 1."""
    now = view(memory_bytes=(200.0, 200.0), deadlines_s=(9.0,))
    placer = Daso(eta=1e4)
    state = placer.init(now)
    width = placer.features(2).width(2)
    first, rest = np.zeros((width, 1)), np.zeros(1)
    first[STATE, 0] = 1.0  # work of chains on device 0
    net = surrogate.Surrogate("flat", (first, rest, np.array([[-1.0]]), np.zeros(1)))
    state = replace(state, surrogate=net)
    for seed in range(5):
        actions = placer.place(state, now, [CHAIN], np.random.default_rng(seed))
        assert [a.device for a in actions] == [1, 1]
        assert placer.predict(state, now, actions) > placer.predict(state, now, [Place(100, 0, 0), Place(100, 1, 0)])


def test_who_fits_one_device_only_is_in_the_others_way(view):
    """30 bytes on device 0, 90 on device 1: the chain's first, of 60, has no choice, and is in the second's way."""
    now = view(memory_bytes=(30.0, 90.0), deadlines_s=(9.0,), shares_fragments=False)
    placer = Daso(eta=1e4)
    net = surrogate.init("flat", placer.features(2).width(2), np.random.default_rng(2))
    state, problem = replace(placer.init(now), surrogate=net), asked(now, [CHAIN])
    asked_for = []

    def climb(gradient, begin, *rest):
        asked_for.append((begin, gradient(begin)))
        return begin, 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ascent, "climb", climb)
        placer.place(state, now, [CHAIN], np.random.default_rng(0))
    ((begin, slope),) = asked_for
    assert begin.shape == (1, 2)
    whole = placer.features(2).encode(now, problem, state.time_s)
    p = np.concatenate([[[0.0, 1.0]], begin])
    assert slope == pytest.approx(whole.pull(surrogate.input_gradient(net, whole.x(p))[1])[1:])


def test_with_eta_as_printed_the_warm_start_is_the_answer(view):
    """1e-3 never leaves the start: DASO from the least-loaded placement is the least-loaded placement."""
    now = two_tasks(view)
    placer = DasoWarm(eta=1e-3)
    rng = np.random.default_rng(0)
    actions = placer.place(placer.init(now), now, [BRANCHES], rng)
    greedy = LeastLoaded().place(None, now, [BRANCHES], rng)
    assert {(a.fragment, a.device) for a in actions} == {(a.fragment, a.device) for a in greedy}


def test_experience_pairs_a_placement_with_the_objective_of_the_next_interval(view, left):
    """Begun at 0; the first plan after 300 s closes it with the energy and the tasks between, and only those."""
    placer = Daso()
    state = placer.init(view())
    start = view(deadlines_s=(50.0,), energy_j=(10.0, 10.0))
    state = placer.update(state, Placed(start, (), (Place(100, 0, 0), Place(100, 1, 1))))
    for now_s, finished in ((100.0, left((1, 300, 20.0, 0.9, 1))), (299.0, None)):
        now = view(now_s=now_s, finished=finished)
        state = placer.update(state, Leaving(now, now.finished))
        assert state.experience.pairs == ()
    end = view(now_s=300.0, energy_j=(50_010.0, 50_010.0))
    state = placer.update(state, Leaving(end, end.finished))
    ((x, y),) = state.experience.pairs
    assert y == pytest.approx(0.95 - 0.5 * 2 / 3 - 0.5 * 0.2)
    assert x == pytest.approx(placer.input(state, start, carried_out(start, [Place(100, 0, 0), Place(100, 1, 1)])))
    assert state.experience.left == ()


def test_fine_tuning_moves_the_prediction_towards_what_came(view):
    """Line 14: after many intervals of the same pair, the surrogate predicts it."""
    placer = Daso(fine_tune=200, tune_lr=1e-3)
    now = view(deadlines_s=(50.0,))
    state = placer.init(now)
    x = placer.input(state, now, carried_out(now, [Place(100, 0, 0), Place(100, 1, 1)]))
    state = replace(state, experience=replace(state.experience, pairs=((x, 0.7),) * 40))
    tuned = placer.update(state, Leaving(now, now.finished))
    error = [abs(surrogate.predict(s.surrogate, x[None])[0] - 0.7) for s in (state, tuned)]
    assert error[1] < 0.1 * error[0]
    again = placer.update(state, Leaving(now, now.finished))
    assert all((a == b).all() for a, b in zip(tuned.surrogate.weights, again.surrogate.weights, strict=True))


def test_a_frozen_policy_learns_nothing(view):
    """States come back as they went in."""
    policy = Frozen(Composed(Mab(), Daso()))
    now = two_tasks(view)
    states = policy.init(now)
    _, after = plan(policy, now, states, np.random.default_rng(0))
    assert after.decider is states.decider
    assert after.placer is states.placer


def test_with_migrate_a_running_container_may_move(view):
    """The surrogate that dislikes work on device 1, where the chain runs: it moves to device 0; without, it stays."""
    now = two_tasks(view)
    moving, staying = Daso(eta=1e4, migrate=True), Daso(eta=1e4)
    first = np.zeros((moving.features(2).width(2), 1))
    first[STATE + 6 + STATE, 0] = 1.0  # work of chains on device 1
    net = surrogate.Surrogate("flat", (first, np.zeros(1), np.array([[-1.0]]), np.zeros(1)))
    state = replace(moving.init(now), surrogate=net)
    actions = moving.place(state, now, [BRANCHES], np.random.default_rng(0))
    assert {(type(a).__name__, a.fragment, a.device) for a in actions} >= {("Migrate", 0, 0), ("Migrate", 1, 0)}
    assert all(isinstance(a, Place) for a in staying.place(state, now, [BRANCHES], np.random.default_rng(0)))
    assert NONE not in carried_out(now, actions).device_C
