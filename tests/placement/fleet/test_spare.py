"""A task that takes a degraded answer of a split with a spare: what stands in, and what is said of it."""

import numpy as np
import pytest

from splitplace.placement.broker import events as ev
from splitplace.placement.broker.effects import EndTask, Tell
from splitplace.placement.broker.rules import Rules
from splitplace.placement.broker.setup import Setup
from splitplace.placement.protocol import messages
from splitplace.records.action import Decide, Place
from splitplace.records.evaluation import MissingFragments
from tests.placement.fleet.test_rules import EVENTS, World

N = 5
VALUE = {"leaf0": 1.0, "leaf1": 2.0, "spare": 3.0}
"""What each sink answers, for every class."""


@pytest.fixture(scope="module")
def setup(toy):
    """A trunk, two branches and a spare, on one device."""
    return Setup(toy.demand_of(toy.spared()), (toy.make_device("a", 8),), "pipelined", 4, 100.0)


class OneTask:
    """A task that has begun, on one device that is up.

    Args:
        setup: Of the fleet.
        degrade: Whether it takes an answer without all classes.
    """

    def __init__(self, setup, degrade=True):
        self.rules, self.state, self.told, self.ended = Rules(setup), setup.first(), [], []
        self.entry = setup.demand.splits[0]
        self.happen(ev.BrokerOpened(at_s=0.0, created="", policy="p", engine="e", devices=setup.names, inputs="ring"))
        joined = {"pid": 1, "cpu_share": 1.0, "cpu_share_method": "none", "core_speed": 1.0}
        self.happen(ev.DeviceJoined(at_s=0.0, device=0, **joined))
        task = {"task": 0, "inputs": "x", "application": "toy", "n": N, "deadline_s": 1.0, "labels": None}
        self.happen(ev.TaskAccepted(at_s=0.0, late=False, degrade=degrade, **task))
        places = tuple(Place(0, row, 0) for row in setup.statics.splits.fragments(0))
        plan = {"decided": (Decide(0, 0, tag=0),), "placed": places, "moved": (), "evicted": ()}
        self.happen(ev.PlanMade(at_s=0.0, decision_s=0.0, told=0, **plan))
        (self.job,) = self.state.jobs

    def happen(self, event):
        """One event; the device does at once what it is told to get ready."""
        effects = self.rules.apply(self.state, event)
        self.ended += [effect for effect in effects if isinstance(effect, EndTask)]
        messages_now = [effect.message for effect in effects if isinstance(effect, Tell)]
        self.told += messages_now
        for message in messages_now:
            if isinstance(message, messages.Load):
                self.happen(ev.DeviceLoaded(at_s=0, device=0, digest=message.fragment.digest, start_s=0, end_s=0))
            if isinstance(message, messages.Assign):
                self.happen(ev.DeviceAssigned(at_s=0, job=message.job, fragment=message.fragment))

    def rows(self):
        """The task's micro-batches."""
        return range(-(-N // self.entry.micro_batch))

    def run(self, *fragments):
        """These have run everything."""
        times = dict.fromkeys(("at_s", "sent_s", "ready_s", "start_s", "end_s"), 0.1)
        for fragment in fragments:
            for row in self.rows():
                self.happen(ev.DeviceRan(job=self.job, fragment=fragment, micro_batch=row, **times))

    def answer(self, *sinks):
        """These have answered everything."""
        for sink in sinks:
            for row in self.rows():
                count = min(self.entry.micro_batch, N - row * self.entry.micro_batch)
                classes = len(self.entry.split.by_name[sink].classes)
                logits = np.full((count, classes), VALUE[sink], np.float32).tobytes()
                known = {"job": self.job, "micro_batch": row, "sink": sink, "logits": logits}
                self.happen(ev.SinkAnswered(at_s=0.1, sent_s=0.1, **known))


def ended(setup, sinks):
    """How a task ends whose deadline passes when only these sinks have answered; and the last message to the device."""
    task = OneTask(setup)
    task.answer(*sinks)
    assert not task.ended
    task.happen(ev.AlarmRang(at_s=2.0))
    (end,) = task.ended
    return end, task.told[-1]


@pytest.mark.parametrize(
    ("sinks", "columns", "missing"),
    [
        (("leaf0", "spare"), (1, 3, 1, 3), (1, 3)),
        (("leaf1", "spare"), (3, 2, 3, 2), (0, 2)),
        (("spare",), (3, 3, 3, 3), (0, 1, 2, 3)),
        (("leaf0", "leaf1"), (1, 2, 1, 2), ()),
        (("leaf1",), (-np.inf, 2, -np.inf, 2), (0, 2)),
    ],
)
def test_the_spare_stands_in_for_branches_that_did_not_answer(setup, sinks, columns, missing):
    """In their columns alone; named are the classes whose branches did not, and the device is told to stop."""
    end, last = ended(setup, sinks)
    np.testing.assert_array_equal(end.logits, np.tile(np.array(columns, np.float32), (N, 1)))
    assert end.outcome.missing_classes == missing and end.outcome.error is None
    assert isinstance(last, messages.Cancel)


@pytest.mark.parametrize(
    ("sinks", "p"),
    [
        (("leaf0", "leaf1"), 0.9),
        (("leaf0", "leaf1", "spare"), 0.9),
        (("leaf0", "spare"), 0.7),
        (("leaf1", "spare"), 0.45),
        (("leaf1",), 0.45),
        (("spare",), 0.0),
    ],
)
def test_how_often_a_degraded_answer_is_right_is_what_was_evaluated_of_it(setup, sinks, p):
    """Of what was not, half the classes are right as often as ever, the others never; labels say it better."""
    (entry,) = setup.demand.splits
    found = (MissingFragments(missing=("leaf1",), top1=0.7),)
    evaluation = entry.evaluation.model_copy(update={"top1": 0.9, "top1_missing": found})
    demand = setup.demand.model_copy(update={"splits": (entry.model_copy(update={"evaluation": evaluation}),)})
    task = OneTask(Setup(demand, setup.devices, "pipelined", 4, 100.0))
    task.answer(*sinks)
    task.happen(ev.AlarmRang(at_s=2.0))
    assert [(end.outcome.p, end.outcome.p_source) for end in task.ended] == [(pytest.approx(p), "prior")]


def test_a_whole_answer_does_not_wait_for_the_spare(setup):
    """Nor miss its deadline for it; what the device has of it is taken back."""
    task = OneTask(setup, degrade=False)
    task.run("trunk", "leaf0", "leaf1")
    task.answer("leaf0", "leaf1")
    (end,) = task.ended
    np.testing.assert_array_equal(end.logits, np.tile(np.array((1, 2, 1, 2), np.float32), (N, 1)))
    assert end.outcome.error is None and end.outcome.missing_classes == ()
    assert isinstance(task.told[-1], messages.Cancel)


def test_a_spare_that_fails_when_all_branches_have_answered_costs_nothing(setup):
    """Reports of their runs may still be on their way."""
    task = OneTask(setup, degrade=False)
    task.answer("leaf0", "leaf1")
    assert not task.ended
    task.happen(ev.FragmentFailed(at_s=0.2, job=task.job, fragment="spare", error="it broke"))
    assert [end.outcome.error for end in task.ended] == [None]


def test_no_history_of_a_split_with_a_spare_breaks_an_invariant(toy):
    """As of other splits: three devices that cannot hold all, and whatever happens to them."""
    setup = Setup(toy.demand_of(toy.spared()), tuple(toy.make_device(name, 3) for name in "abc"), "pipelined", 4, 100.0)
    for seed in range(50):
        world = World(setup, seed)
        world.later(*(world.joined(device) for device in range(3)))
        for _ in range(EVENTS):
            world.step()
        world.now_s += 1000.0  # every deadline is over
        world.ring()
        assert not world.state.tasks and set(world.ended) == world.accepted
