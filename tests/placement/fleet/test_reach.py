"""What one device says of another: whom it costs what, and how it is made good again."""

from collections import defaultdict, deque

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitplace.placement.broker import events as ev
from splitplace.placement.broker.effects import EndTask, Tell
from splitplace.placement.broker.hearing import Hearing
from splitplace.placement.broker.reach import TRIED, left_out
from splitplace.placement.broker.rules import Rules
from splitplace.placement.broker.setbacks import MAX_CUT_OFFS, MAX_RELAUNCH_S
from splitplace.placement.broker.setup import Setup
from splitplace.placement.protocol import messages
from splitplace.placement.protocol.fields import BROKER
from splitplace.placement.protocol.stream import Received
from splitplace.records.action import Decide, Place
from tests.placement.fleet.test_pace import FakeFleet
from tests.placement.fleet.test_ring import fake_device

A, B, C, D = range(4)
devices = st.integers(0, 6)
words = st.lists(st.tuples(devices, devices).filter(lambda pair: pair[0] != pair[1]), unique=True, max_size=20)
"""Of whom each says that it does not reach it."""


@given(words)
def test_those_that_are_left_reach_each_other(pairs):
    """Of every pair one is out, nobody is out who is in none, and somebody of those who are is left."""
    out = left_out(pairs)
    named = {device for pair in pairs for device in pair}
    assert all(out & set(pair) for pair in pairs)
    assert out <= named and (not named or out < named)


@given(st.lists(st.tuples(st.integers(1, 6), st.booleans()), unique=True, min_size=1))
def test_one_bad_device_costs_one_at_most(said):
    """Whoever does not get on with it, whoever of the two says so: one is out, and it is the bad one if two say so."""
    pairs = [(0, other) if by_it else (other, 0) for other, by_it in said]
    out = left_out(pairs)
    assert len(out) == 1
    if len({other for other, _ in said}) > 1:
        assert out == {0}


@given(st.lists(st.integers(1, 6), unique=True, min_size=1))
def test_a_liar_takes_nobody_out_but_itself(accused):
    """Whomever it claims not to reach."""
    assert left_out([(0, other) for other in accused]) == {0}


class Fleet4:
    """The rules for four devices that are up, with what they are told."""

    def __init__(self, toy):
        demand = toy.demand_of(toy.chain())
        self.setup = Setup(demand, tuple(toy.make_device(name) for name in "abcd"), "pipelined", 4, 100.0)
        self.rules, self.state, self.told = Rules(self.setup), self.setup.first(), []
        self.left = {}
        self.happen(ev.BrokerOpened, created="", policy="p", engine="e", devices=self.setup.names, inputs="ring")
        for device in (A, B, C, D):
            self.join(device)

    def join(self, device):
        """It is up."""
        known = {"pid": 1, "cpu_share": 1.0, "cpu_share_method": "none", "core_speed": 1.0}
        self.happen(ev.DeviceJoined, device=device, **known)

    def happen(self, kind, **fields):
        """One event, a second later than the last."""
        todo = self.rules.apply(self.state, kind(at_s=self.state.now_s + 1, **fields))
        self.told += [(effect.device, effect.message) for effect in todo if isinstance(effect, Tell)]
        self.left |= {effect.outcome.id: effect.outcome for effect in todo if isinstance(effect, EndTask)}

    def task(self, *placed):
        """One with a chain on these devices; its number."""
        task = self.state.next_task
        self.happen(ev.TaskAccepted, task=task, application="toy", n=5, deadline_s=90.0, inputs="x")
        self.place(task, *placed, decided=(Decide(task, 0),))
        return task

    def place(self, task, *placed, decided=()):
        """Its chain on these devices."""
        places = tuple(Place(task, row, device) for row, device in enumerate(placed))
        self.happen(ev.PlanMade, decision_s=0.0, decided=decided, placed=places)

    def out(self):
        """Where nothing is placed."""
        return {device for device in (A, B, C, D) if not self.state.placeable(device, self.state.now_s)}


@pytest.fixture
def fleet(toy):
    """All up."""
    return Fleet4(toy)


def test_one_word_takes_out_who_says_it(fleet):
    """The other goes on; it is tried by others, and who complained tries others."""
    fleet.happen(ev.DeviceCutOff, device=B, by=A)
    assert fleet.out() == {A}
    reach = [(device, message.peer) for device, message in fleet.told if isinstance(message, messages.Reach)]
    assert sorted(reach) == [(A, "c"), (A, "d"), (C, "b"), (D, "b")]
    assert len(reach) <= 2 * TRIED


def test_who_is_not_reached_by_two_is_out(fleet):
    """And who complained is in again."""
    fleet.happen(ev.DeviceCutOff, device=B, by=A)
    fleet.happen(ev.DeviceCutOff, device=B, by=C)
    assert fleet.out() == {B}


def test_a_link_that_is_back_makes_all_good(fleet):
    """As each of those that complained says so; the last one who does not has trouble of its own."""
    for by in (A, C):
        fleet.happen(ev.DeviceCutOff, device=B, by=by)
    fleet.happen(ev.DeviceReached, device=B, by=A)
    assert fleet.out() == {C}
    fleet.happen(ev.DeviceReached, device=B, by=C)
    assert fleet.out() == set()


def test_a_device_that_is_silent_is_why_it_is_not_reached(fleet):
    """Nobody else is out for it; when it speaks again and is still not reached, it is about the two."""
    fleet.happen(ev.DeviceCutOff, device=B, by=A)
    fleet.happen(ev.DeviceDoubted, device=B, reason="silent")
    assert fleet.out() == {B}
    fleet.happen(ev.DeviceTrusted, device=B)
    assert fleet.out() == {A}


@pytest.mark.parametrize("gone", [A, B])
def test_what_was_said_goes_with_either(fleet, gone):
    """Another process is another device."""
    fleet.happen(ev.DeviceCutOff, device=B, by=A)
    fleet.happen(ev.DeviceGone, device=gone, reason="killed")
    assert fleet.out() == {gone}
    fleet.join(gone)
    assert fleet.out() == set()


def test_only_what_needs_the_two_together_is_run_anew(fleet):
    """Tensors go from a to b, credits back: whichever does not arrive; other tasks of either go on."""
    needs, other, alone = fleet.task(A, B, C), fleet.task(A, A, C), fleet.task(B, B, B)
    fleet.happen(ev.DeviceCutOff, device=A, by=B)
    assert fleet.state.tasks[needs].job is None
    assert None not in (fleet.state.tasks[other].job, fleet.state.tasks[alone].job)


def flap(fleet, task):
    """The link between a and b breaks under a task, comes back, and the task is placed there again."""
    fleet.happen(ev.DeviceCutOff, device=B, by=A)
    fleet.happen(ev.DeviceReached, device=B, by=A)
    if task in fleet.state.tasks:
        fleet.place(task, A, B, C)


def test_a_link_that_comes_and_goes_is_not_tried_without_end(fleet):
    """The task fails after a stated number of attempts that it ended, and says of which link."""
    task = fleet.task(A, B, C)
    for _ in range(MAX_CUT_OFFS - 1):
        flap(fleet, task)
        assert fleet.state.tasks[task].job is not None
    flap(fleet, task)
    assert task not in fleet.state.tasks and fleet.state.failed == 1
    assert fleet.left[task].error == (
        f"what device a sends to b does not arrive: cut off {MAX_CUT_OFFS} times without an answer between"
    )


def test_an_answer_between_begins_the_count_anew(fleet):
    """A task that gets on, if slowly, goes on."""
    task = fleet.task(A, B, C)
    for row in range(2):
        for _ in range(MAX_CUT_OFFS - 1):
            flap(fleet, task)
        logits = np.zeros((4 if row == 0 else 1, 4), np.float32).tobytes()
        answer = {"job": fleet.state.tasks[task].job, "sink": "f2", "micro_batch": row, "sent_s": fleet.state.now_s}
        fleet.happen(ev.SinkAnswered, **answer, logits=logits)
    fleet.happen(ev.DeviceCutOff, device=B, by=A)
    assert fleet.left[task].error is None and fleet.state.answered == 1


def test_what_is_no_news_is_no_event(fleet):
    """A device that repeats itself, or speaks of itself or of what it never said, fills no journal."""
    faked = FakeFleet("abcd")
    hearing, member = Hearing(fleet.setup, fleet.state, faked), faked.members["a"]

    def heard(kind, peer):
        event = hearing.event(member, Received("a", kind(peer=peer), {}), {})
        if event is not None:
            fleet.rules.apply(fleet.state, event)
        return event is not None

    said = [messages.Unreachable, messages.Unreachable, messages.Reachable, messages.Reachable, messages.Unreachable]
    assert [heard(kind, "b") for kind in said] == [True, False, True, False, True]
    assert not heard(messages.Unreachable, "a") and fleet.out() == {A}
    fleet.happen(ev.DeviceGone, device=C, reason="killed")
    assert not heard(messages.Unreachable, "c")


def test_what_is_said_late_of_a_process_that_is_gone_is_taken_back(toy):
    """Its word may reach the broker when the next process is up, which it then was not about."""
    ways = defaultdict(deque)
    one = fake_device("a", ways, toy.chain().split, None)
    one.node.unreachable = frozenset({"b"})
    one._tell_whom_it_reaches()
    one.node.disconnect = lambda name: setattr(one.node, "unreachable", frozenset())
    one._handle(Received(BROKER, messages.Gone(peer="b"), {}))
    one._tell_whom_it_reaches()
    said = [message for message, _ in ways["a", BROKER]]
    assert said == [messages.Unreachable(peer="b"), messages.Reachable(peer="b")]


def test_a_device_that_is_asked_to_reach_another_nudges_it(toy):
    """Who is nudged does nothing: that it arrives is acknowledged below."""
    ways, split = defaultdict(deque), toy.chain().split
    one, other = (fake_device(name, ways, split, None) for name in "ab")
    one._handle(Received(BROKER, messages.Reach(peer="b"), {}))
    assert [message for message, _ in ways["a", "b"]] == [messages.Nudge()]
    other._handle(Received("a", messages.Nudge(), {}))
    assert not ways["b", BROKER] and not ways["b", "a"]


def test_a_device_that_ends_for_weeks_is_started_again(fleet):
    """However often it was lost: the pause before the next start stays the longest."""
    fleet.state.devices[A].losses = 5000
    fleet.happen(ev.DeviceGone, device=A, reason="exited with 1")
    assert fleet.state.devices[A].losses == 5001
    alarms = [at_s - fleet.state.now_s for at_s, kind, _ in fleet.state.alarms if kind == "launch"]
    assert alarms == [MAX_RELAUNCH_S]


def test_a_device_tells_to_whom_it_goes_through_the_broker(toy):
    """When that begins and when it ends, and not in between; to be unreachable is another matter."""
    ways = defaultdict(deque)
    one = fake_device("a", ways, toy.chain().split, None)
    for relayed in ({"b"}, {"b"}, {"b", "c"}, {"c"}, set()):
        one.node.relayed = frozenset(relayed)
        one._tell_whom_it_reaches()
    said = [(message.peer, message.relayed) for message, _ in ways["a", BROKER]]
    assert said == [("b", True), ("c", True), ("b", False), ("c", False)]
