"""Placers against the memory limits."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitplace.placement.deciders.mab import Mab
from splitplace.placement.placers.best_fit import BestFit
from splitplace.placement.placers.earliest_finish import EarliestFinish
from splitplace.placement.placers.least_loaded import gathered_least_loaded, least_loaded
from splitplace.placement.plan import plan
from splitplace.placement.policy import Composed, PlacementRequest
from splitplace.placement.registry import PLACERS
from splitplace.placement.room import Room
from splitplace.records.action import Evict, Place, Wait

pytestmark = pytest.mark.base

RNG = np.random.default_rng(0)
CHAIN = PlacementRequest(task=0, split=0, fragments=(0, 1))


def test_best_fit_takes_the_tightest_device(view):
    """60 bytes into 65 rather than 100; then 30 bytes only fit the 100."""
    now = view(memory_bytes=(100.0, 65.0), deadlines_s=(9.0,))
    assert BestFit().place(None, now, [CHAIN], RNG) == [Place(100, 0, 1), Place(100, 1, 0)]


def test_earliest_finish_spreads_branches_and_spares_a_busy_device(view):
    """Two equal branches on two idle devices run side by side; behind 9 s of backlog, both go to the idle one."""
    branches = PlacementRequest(task=0, split=1, fragments=(2, 3))
    idle = view(deadlines_s=(9.0,))
    assert EarliestFinish().place(None, idle, [branches], RNG) == [Place(100, 2, 0), Place(100, 3, 1)]
    busy = replace(idle, devices=replace(idle.devices, backlog_s_D=np.array([9.0, 0.0])))
    assert EarliestFinish().place(None, busy, [branches], RNG) == [Place(100, 2, 1), Place(100, 3, 1)]


def test_a_fragment_fits_at_its_limit_and_not_one_byte_under(view):
    """60 + 30 bytes fit in 90, not in 89."""
    at, under = view(memory_bytes=(90.0,), deadlines_s=(9.0,)), view(memory_bytes=(89.0,), deadlines_s=(9.0,))
    assert BestFit().place(None, at, [CHAIN], RNG) == [Place(100, 0, 0), Place(100, 1, 0)]
    assert BestFit().place(None, under, [CHAIN], RNG) == [Wait(100, 0), Wait(100, 1)]


def test_a_device_that_is_down_gets_nothing(view):
    """Even if it is the only one with room."""
    now = view(memory_bytes=(100.0, 10.0), up=(False, True), deadlines_s=(9.0,))
    assert BestFit().place(None, now, [CHAIN], RNG) == [Wait(100, 0), Wait(100, 1)]


def test_a_loaded_fragment_is_shared(view):
    """Loaded already, the chain needs no memory on a full device."""
    now = view(memory_bytes=(90.0,), used_bytes=(90.0,), resident=((0, 0), (1, 0)), deadlines_s=(9.0,))
    assert BestFit().place(None, now, [CHAIN], RNG) == [Place(100, 0, 0), Place(100, 1, 0)]


def test_idle_fragments_make_room_and_needed_ones_do_not(view):
    """Branches loaded for nobody are evicted; held by a running container they stay, and the chain waits."""
    idle = view(memory_bytes=(90.0,), used_bytes=(40.0,), resident=((2, 0), (3, 0)), deadlines_s=(9.0,))
    actions = BestFit().place(None, idle, [CHAIN], RNG)
    assert [a for a in actions if isinstance(a, Evict)] == [Evict(2, 0), Evict(3, 0)]
    needed = view(
        memory_bytes=(90.0,),
        used_bytes=(40.0,),
        resident=((2, 0), (3, 0)),
        deadlines_s=(9.0, 9.0),
        split=(-1, 1),
        containers=((1, 2, 0), (1, 3, 0)),
    )
    assert BestFit().place(None, needed, [CHAIN], RNG) == [Wait(100, 0), Wait(100, 1)]


def test_without_sharing_every_task_pays_for_its_own_container(view):
    """The paper's containers: two chains need twice the memory."""
    now = view(memory_bytes=(90.0,), deadlines_s=(9.0, 9.0), shares_fragments=False)
    second = PlacementRequest(task=1, split=0, fragments=(0, 1))
    actions = BestFit().place(None, now, [CHAIN, second], RNG)
    assert actions == [Place(100, 0, 0), Place(100, 1, 0), Wait(101, 0), Wait(101, 1)]


def test_a_whole_task_goes_to_the_least_loaded_device_that_holds_it(view):
    """60 and 30 bytes: the idle device has 80, so both go to the busier one; where none has 90 they go apart."""
    now = view(memory_bytes=(80.0, 100.0), deadlines_s=(9.0,))
    now = replace(now, devices=replace(now.devices, backlog_s_D=np.array([0.0, 50.0])))
    assert gathered_least_loaded(now, [CHAIN]) == [Place(100, 0, 1), Place(100, 1, 1)]
    small = replace(now, devices=replace(now.devices, memory_bytes_D=np.array([80.0, 80.0])))
    assert gathered_least_loaded(small, [CHAIN]) == [Place(100, 0, 0), Place(100, 1, 1)]
    placer = PLACERS.make("gathered")
    assert placer.place(placer.init(now), now, [CHAIN], RNG) == gathered_least_loaded(now, [CHAIN])


def test_gathered_tasks_take_turns_on_the_devices(view):
    """The first chain books 15 s where it goes, so the second goes to the other device."""
    now = view(memory_bytes=(100.0, 100.0), deadlines_s=(9.0, 9.0), shares_fragments=False)
    actions = gathered_least_loaded(now, [CHAIN, replace(CHAIN, task=1)])
    assert [action.device for action in actions] == [0, 0, 1, 1]


@pytest.mark.parametrize(
    "rule", [lambda view, requests: BestFit().place(None, view, requests, RNG), gathered_least_loaded, least_loaded]
)
@given(
    memory=st.lists(st.integers(0, 200), min_size=1, max_size=4),
    splits=st.lists(st.integers(0, 1), max_size=6),
    resident=st.sets(st.tuples(st.integers(0, 3), st.integers(0, 3))),
    shares=st.booleans(),
)
def test_no_plan_breaks_a_memory_limit(view, rule, memory, splits, resident, shares):
    """Whatever the fleet and the requests: used + placed - evicted <= the device's memory, for every device."""
    sizes = (60, 30, 20, 20)
    kept: list[tuple[int, int]] = []
    used = [0.0] * len(memory)
    for fragment, device in sorted(resident) if shares else []:
        if device < len(memory) and used[device] + sizes[fragment] <= memory[device]:
            kept.append((fragment, device))
            used[device] += sizes[fragment]
    now = view(
        memory_bytes=tuple(map(float, memory)),
        used_bytes=tuple(used),
        resident=tuple(kept),
        deadlines_s=tuple(5.0 for _ in splits),
        shares_fragments=shares,
    )
    requests = [PlacementRequest(row, split, (0, 1) if split == 0 else (2, 3)) for row, split in enumerate(splits)]
    loaded = set(kept)
    for action in rule(now, requests):
        if isinstance(action, Evict):
            loaded.remove((action.fragment, action.device))
            used[action.device] -= sizes[action.fragment]
        elif isinstance(action, Place) and (not shares or (action.fragment, action.device) not in loaded):
            used[action.device] += sizes[action.fragment]
            loaded.add((action.fragment, action.device))
        assert all(u <= m for u, m in zip(used, memory, strict=True))


def test_a_copy_of_the_room_can_be_thrown_away(view):
    """What is tried on a copy is not booked."""
    room = Room(view(memory_bytes=(100.0,)))
    room.copy().take(0, 0)
    assert room.left_bytes(0)[0] == 40.0


def test_what_was_evicted_must_be_paid_for_again(view):
    """A branch that made room for the chain is no longer loaded."""
    room = Room(view(memory_bytes=(70.0,), used_bytes=(20.0,), resident=((2, 0),)))
    assert room.take(0, 0) == [Evict(2, 0)]
    assert not room.fits_on(2, 0)


def test_plan_decides_then_places_and_is_pure(view):
    """The same view, states and generator twice: the same actions; every new task is decided and placed or waits."""
    policy = Composed(Mab(), BestFit())
    now = view(memory_bytes=(200.0, 200.0), deadlines_s=(100.0, 1.0))
    states = policy.init(now)
    first, after = plan(policy, now, states, np.random.default_rng(1))
    again, _ = plan(policy, now, states, np.random.default_rng(1))
    assert first == again
    assert [type(action).__name__ for action in first] == ["Decide", "Decide", "Place", "Place", "Place", "Place"]
    assert states.decider.t == 0
    assert after.decider.t == 1


def test_plan_asks_again_for_waiting_fragments_oldest_first(view):
    """A container without a device is requested at the next plan."""
    now = view(memory_bytes=(90.0,), deadlines_s=(50.0,), split=(0,), containers=((0, 0, -1), (0, 1, -1)))
    policy = Composed(Mab(), BestFit())
    actions, _ = plan(policy, now, policy.init(now), RNG)
    assert actions == [Place(100, 0, 0), Place(100, 1, 0)]


@given(
    memory=st.lists(st.integers(0, 130), min_size=1, max_size=4),
    splits=st.lists(st.integers(0, 1), min_size=1, max_size=8),
    resident=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=4),
    shares=st.booleans(),
    placer=st.sampled_from([BestFit(), EarliestFinish()]),
)
def test_who_waits_without_a_try_would_not_have_found_room(view, memory, splits, resident, shares, placer):
    """The same actions where every task is tried, however full the fleet is."""
    devices, sizes = len(memory), (60, 30, 20, 20)
    loaded = tuple({(f, d % devices): None for f, d in resident}) if shares else ()
    used = tuple(float(sum(sizes[f] for f, d in loaded if d == device)) for device in range(devices))
    now = view(
        memory_bytes=tuple(float(m) + u for m, u in zip(memory, used, strict=True)), used_bytes=used,
        deadlines_s=(9.0,) * len(splits), resident=loaded, shares_fragments=shares,
    )  # fmt: skip
    now = replace(now, tasks=replace(now.tasks, n_T=1 + 7 * np.arange(len(splits))))
    requests = [PlacementRequest(row, s, (0, 1) if s == 0 else (2, 3)) for row, s in enumerate(splits)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Room, "may_hold", lambda self, fragments: True)
        tried = placer.place(None, now, requests, RNG)
    assert placer.place(None, now, requests, RNG) == tried


def test_room_for_fewer_than_there_are_is_none(view):
    """Of branches of 20 bytes, 39 on one device hold one and 19 on the other none; 20 there, and both may be held."""
    full, enough = (Room(view(memory_bytes=(39.0, free), shares_fragments=False)) for free in (19.0, 20.0))
    assert not full.may_hold((2, 3))
    assert enough.may_hold((2, 3))
    assert not enough.may_hold((0,))
