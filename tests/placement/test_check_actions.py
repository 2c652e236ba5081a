"""`check_actions` on a view to follow by hand: what a whole plan may hold, in its order, and what it may not."""

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitplace.errors import ContractError, PolicyError
from splitplace.placement.plan import check_actions, plan
from splitplace.records.action import Decide, Evict, Migrate, Place, Wait

LAYER, SEMANTIC = 0, 1
"""Splits of fragments 0, 1 (60 and 30 bytes, one after another) and 2, 3 (20 bytes each)."""


def running(view, *devices, **changes):
    """Task 100 decided as layer, its fragments on these devices (-1: none yet), their weights there."""
    containers = tuple((0, fragment, device) for fragment, device in enumerate(devices))
    resident = tuple((fragment, device) for fragment, device in enumerate(devices) if device >= 0)
    used = [0.0, 0.0]
    for fragment, device in resident:
        used[device] += (60.0, 30.0)[fragment]
    fields = {"deadlines_s": (9.0,), "split": (LAYER,), "resident": resident, "used_bytes": tuple(used)}
    return view(containers=containers, **(fields | changes))


@pytest.mark.parametrize(
    "actions",
    [
        [Decide(100, LAYER), Place(100, 0, 0), Place(100, 1, 0)],
        [Place(100, 0, 0), Place(100, 1, 1), Decide(100, LAYER)],
        [Decide(100, SEMANTIC, 7, 1), Wait(100, 3), Place(100, 2, 1)],
        [Decide(np.int64(100), np.int64(LAYER)), Place(100, np.int64(0), np.int32(1)), Wait(100, 1)],
    ],
)
def test_a_right_plan_passes(view, actions):
    """In any order, with numpy's numbers as well as Python's."""
    check_actions(view(deadlines_s=(9.0,)), actions)


@pytest.mark.parametrize(
    ("actions", "said"),
    [
        ([Place(100, 0, 0), Place(100, 1, 0)], "d0 has 10 bytes free, it needs 30"),
        ([Place(100, 0, 1), Place(100, 1, 1)], "d1 has 0 bytes free, it needs 30"),
    ],
)
def test_memory_is_booked_action_after_action(view, actions, said):
    """Two fragments that fit one by one and not together."""
    now = view(memory_bytes=(70.0, 60.0), deadlines_s=(9.0,))
    with pytest.raises(ContractError, match=re.escape(f"{actions[1]}: {said}")):
        check_actions(now, [Decide(100, LAYER), *actions])


@pytest.mark.parametrize("shares", [True, False])
def test_a_loaded_fragment_is_paid_for_once_where_tasks_share_it(view, shares):
    """Two tasks, one device, memory for one chain."""
    now = view(memory_bytes=(90.0,), deadlines_s=(9.0, 9.0), shares_fragments=shares)
    both = [Decide(task, LAYER) for task in (100, 101)] + [Place(task, f, 0) for task in (100, 101) for f in (0, 1)]
    if shares:
        check_actions(now, both)
    else:
        with pytest.raises(ContractError, match="has 0 bytes free"):
            check_actions(now, both)


def test_idle_weights_give_way_only_where_the_plan_says_so(view):
    """Their memory is free after an `Evict`, which comes before the placement that needs it, and once."""
    now = view(memory_bytes=(90.0,), used_bytes=(20.0,), resident=((2, 0),), deadlines_s=(9.0,))
    placed = [Decide(100, LAYER), Place(100, 0, 0), Place(100, 1, 0)]
    check_actions(now, [Evict(2, 0), *placed])
    for wrong, said in (
        (placed, "10 bytes free"),
        ([*placed, Evict(2, 0)], "10 bytes free"),
        ([Evict(2, 0), Evict(2, 0), *placed], "no idle weights"),
        ([Evict(3, 0), *placed], "no idle weights"),
    ):
        with pytest.raises(ContractError, match=said):
            check_actions(now, wrong)


def test_weights_in_use_are_not_unloaded(view):
    """By a task that runs; by one that this plan has just placed."""
    with pytest.raises(ContractError, match="no idle weights"):
        check_actions(running(view, 0, 1), [Evict(0, 0)])
    now = view(used_bytes=(60.0, 0.0), resident=((0, 0),), deadlines_s=(9.0,))
    with pytest.raises(ContractError, match="no idle weights"):
        check_actions(now, [Decide(100, LAYER), Place(100, 0, 0), Evict(0, 0), Wait(100, 1)])


def test_one_that_has_a_device_may_move_once(view):
    """To a device that is up and has room beside what is there; it frees nothing before it has arrived."""
    now = running(view, 0, 1, memory_bytes=(95.0, 95.0))
    check_actions(now, [])
    check_actions(now, [Migrate(100, 0, 1)])
    check_actions(now, [Migrate(100, 0, 0)])
    for wrong, said in (
        ([Migrate(100, 0, 1), Migrate(100, 0, 1)], "another action for it already"),
        ([Migrate(100, 0, 2)], "there are 2 devices"),
        ([Place(100, 0, 1)], "it has a device already"),
        ([Wait(100, 0)], "it has a device already"),
    ):
        with pytest.raises(ContractError, match=said):
            check_actions(now, wrong)
    with pytest.raises(ContractError, match="d0 has 0 bytes free, it needs 30"):
        check_actions(running(view, 0, 1, memory_bytes=(60.0, 95.0)), [Migrate(100, 0, 1), Migrate(100, 1, 0)])
    with pytest.raises(ContractError, match="d1 is down"):
        check_actions(running(view, 0, 0, up=(True, False)), [Migrate(100, 0, 1)])


def test_without_placing_ahead_only_the_ready_may_have_a_device(view):
    """A fragment whose inputs do not exist yet is not asked for, and neither placed nor waits."""
    now = view(deadlines_s=(9.0,))
    check_actions(now, [Decide(100, LAYER), Place(100, 0, 0)], ahead=False)
    with pytest.raises(ContractError, match="its inputs do not exist yet"):
        check_actions(now, [Decide(100, LAYER), Place(100, 0, 0), Wait(100, 1)], ahead=False)
    half = running(view, 0, -1)
    not_ready = replace(half, containers=replace(half.containers, ready_C=np.array([True, False])))
    check_actions(not_ready, [], ahead=False)
    check_actions(half, [Place(100, 1, 1)], ahead=False)
    with pytest.raises(ContractError, match="as fragment 1 of task 100"):
        check_actions(half, [], ahead=False)


def test_nowhere_without_its_image(view):
    """Memory of infinity says that the device's disk lacks it."""
    now = view(deadlines_s=(9.0,))
    memory_FD = now.fragments.memory_bytes_FD.copy()
    memory_FD[0, 1] = np.inf
    now = replace(now, fragments=replace(now.fragments, memory_bytes_FD=memory_FD))
    with pytest.raises(ContractError, match="d1 has no image of it on its disk"):
        check_actions(now, [Decide(100, LAYER), Place(100, 0, 1), Wait(100, 1)])


@given(
    memory=st.tuples(*[st.integers(0, 130)] * 2),
    devices=st.lists(st.integers(-1, 1), min_size=4, max_size=4),
    shares=st.booleans(),
)
def test_memory_as_counted_by_hand(view, memory, devices, shares):
    """Two chains, every fragment on a device or waiting: refused if and only if what is placed sums to too much."""
    now = view(memory_bytes=memory, deadlines_s=(9.0, 9.0), shares_fragments=shares)
    names = [(task, fragment) for task in (100, 101) for fragment in (0, 1)]
    actions = [Decide(task, LAYER) for task in (100, 101)]
    held: list[list[int]] = [[], []]
    for (task, fragment), device in zip(names, devices, strict=True):
        actions.append(Wait(task, fragment) if device < 0 else Place(task, fragment, device))
        if device >= 0:
            held[device].append(fragment)
    sums = [sum((60, 30)[f] for f in (set(there) if shares else there)) for there in held]
    if all(used <= room for used, room in zip(sums, memory, strict=True)):
        check_actions(now, actions)
    else:
        with pytest.raises(ContractError, match="bytes free, it needs"):
            check_actions(now, actions)


def test_a_failed_plan_says_who_and_why_in_one_line(view, rogue):
    """Whatever was raised, and however long that is."""

    class Talker(rogue):
        def decide(self, state, view, rng):
            raise ValueError("line\n" * 10_000)

    with pytest.raises(PolicyError) as failed:
        plan(Talker(), view(deadlines_s=(9.0,)), None, np.random.default_rng(0))
    assert str(failed.value).startswith("policy rogue failed: ValueError: line line ")
    assert len(str(failed.value)) < 1100 and "\n" not in str(failed.value)
    assert failed.value.policy == "rogue" and failed.value.exit_code == 1


def test_who_interrupts_is_not_taken_for_a_policy(view, rogue):
    """Ctrl+C while a policy thinks ends the program."""

    class Interrupted(rogue):
        def decide(self, state, view, rng):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        plan(Interrupted(), view(deadlines_s=(9.0,)), None, np.random.default_rng(0))


def test_what_a_policy_counts_by_numpy_leaves_as_whole_numbers_of_python(view, rogue):
    """For whoever carries it out, and for the policy's own `update`: no journal and no JSON takes numpy's."""
    heard = []

    class Counting(rogue):
        def decide(self, state, view, rng):
            return [Decide(task, np.int8(LAYER), tag=np.uint16(7)) for task in view.tasks.id_T]

        def place(self, state, view, requests, rng):
            return [Place(view.tasks.id_T[0], np.int32(0), np.argmax([0, 1])), Wait(np.int64(100), np.uint8(1))]

        def update(self, state, feedback):
            heard.append(feedback)

    actions, _ = plan(Counting(), view(deadlines_s=(9.0,)), None, np.random.default_rng(0))
    assert actions == [Decide(100, LAYER, 7), Place(100, 0, 1), Wait(100, 1)]
    told = [*heard[1].decisions, *heard[2].decisions, *heard[2].actions]
    numbers = [getattr(action, name) for action in (*actions, *told) for name in action.__slots__]
    assert {type(number) for number in numbers} == {int}
