"""A task that takes a degraded answer of a split with a spare: what stands in, and what is said of it."""

import numpy as np
import pytest

from splitplace.placement.broker import events as ev
from splitplace.placement.broker.effects import EndTask, Tell
from splitplace.placement.broker.rules import Rules
from splitplace.placement.broker.setup import Setup
from splitplace.placement.protocol import messages
from splitplace.records.action import Decide, Place
from tests.placement.fleet.test_rules import EVENTS, World

N = 5
VALUE = {"leaf0": 1.0, "leaf1": 2.0, "spare": 3.0}
"""What each sink answers, for every class."""


@pytest.fixture(scope="module")
def setup(toy):
    """A trunk, two branches and a spare, on one device."""
    return Setup(toy.demand_of(toy.spared()), (toy.make_device("a", 8),), "pipelined", 4, 100.0)


def ended(setup, sinks):
    """How a task ends whose deadline passes when only these sinks have answered; and the last message to the device."""
    rules, state, told = Rules(setup), setup.first(), []
    split = setup.demand.splits[0].split

    def happen(event):
        effects = rules.apply(state, event)
        told.extend(effect.message for effect in effects if isinstance(effect, Tell))
        for effect in effects:
            if isinstance(effect, Tell) and isinstance(effect.message, messages.Load):
                digest = effect.message.fragment.digest
                happen(ev.DeviceLoaded(at_s=0, device=0, digest=digest, start_s=0, end_s=0))
            if isinstance(effect, Tell) and isinstance(effect.message, messages.Assign):
                happen(ev.DeviceAssigned(at_s=0, job=effect.message.job, fragment=effect.message.fragment))
        return [effect for effect in effects if isinstance(effect, EndTask)]

    happen(ev.BrokerOpened(at_s=0.0, created="", policy="p", engine="e", devices=setup.names, inputs="ring"))
    joined = {"pid": 1, "cpu_share": 1.0, "cpu_share_method": "none", "core_speed": 1.0}
    happen(ev.DeviceJoined(at_s=0.0, device=0, **joined))
    task = {"task": 0, "inputs": "x", "application": "toy", "n": N, "deadline_s": 1.0, "labels": None}
    happen(ev.TaskAccepted(at_s=0.0, late=False, degrade=True, **task))
    places = tuple(Place(0, row, 0) for row in setup.statics.splits.fragments(0))
    plan = {"decided": (Decide(0, 0, tag=0),), "placed": places, "moved": (), "evicted": ()}
    happen(ev.PlanMade(at_s=0.0, decision_s=0.0, told=0, **plan))
    (job,) = state.jobs
    entry = setup.demand.splits[0]
    for sink in sinks:
        for row in range(-(-N // entry.micro_batch)):
            rows = min(entry.micro_batch, N - row * entry.micro_batch)
            logits = np.full((rows, len(split.by_name[sink].classes)), VALUE[sink], np.float32).tobytes()
            happen(ev.SinkAnswered(at_s=0.1, job=job, micro_batch=row, sink=sink, logits=logits, sent_s=0.1))
    (end,) = happen(ev.AlarmRang(at_s=2.0))
    return end, told[-1]


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
