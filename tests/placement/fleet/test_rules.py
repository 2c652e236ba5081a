"""The rules under random histories: a fake network and a fake clock, no process and no file.

A little world stands in for devices, policy and clients: it carries out what the rules ask for, late, twice, in part or
not at all, loses devices, cancels tasks and restarts the broker. Whatever happens, no invariant breaks, and a replay of
the events is the same state.
"""

import itertools
import random

import numpy as np
import pytest
from pydantic import TypeAdapter

from splitplace.placement.broker import events as ev
from splitplace.placement.broker.effects import EndTask, Kill, Launch, Note, StartFeed, StopFeed, Tell
from splitplace.placement.broker.rules import Rules
from splitplace.placement.broker.setbacks import MAX_CUT_OFFS, MAX_SETBACKS
from splitplace.placement.broker.setup import Setup
from splitplace.placement.broker.state import FleetState
from splitplace.placement.history import Finish as Finished
from splitplace.placement.protocol import messages
from splitplace.records.action import Decide, Evict, Migrate, Place

EVENTS = 120
FAST, ALL, BATCH = 100, 4000, 100
"""Histories in every run of the fast tests, in all, and in one test."""
STATE = TypeAdapter(FleetState)


class World:
    """One random history."""

    def __init__(self, setup, seed):
        self.random = random.Random(seed)
        self.chatter = self.random.choice([0.6, 0.9, 0.98])
        self.breaks, self.loses = self.random.choice([0.02, 0.2, 0.9]), self.random.choice([0.0, 0.03, 0.3])
        self.setup, self.rules, self.state = setup, Rules(setup), setup.first()
        self.now_s, self.events, self.ended, self.accepted = 0.0, [], {}, set()
        self.pending: list[ev.Event] = []
        """What devices are about to say."""
        self.fed: set[int] = set()
        self.up: set[int] = set()
        self.happen(self.opened(0.0))

    def happen(self, event):
        """One event, and the world's answers to what it brings about."""
        self.events.append(event)
        for effect in self.rules.apply(self.state, event):
            match effect:
                case EndTask(task=task, outcome=outcome, logits=logits):
                    assert task in self.accepted and task not in self.ended, f"task {task} ended twice"
                    self.ended[task] = outcome
                    assert (logits is None) == (outcome.error is not None)
                case Tell(device=device, message=message):
                    assert isinstance(message, messages.Gone) or device in self.up, (
                        f"device {device} is told something and is down"
                    )
                    self.told(device, message)
                case StartFeed(job=job):
                    self.fed.add(job)
                    self.run(job)
                case StopFeed(job=job):
                    self.fed.discard(job)
                case Kill(device=device):
                    self.up.discard(device)
                case Launch(device=device):
                    assert device not in self.up, f"device {device} is launched twice"
                    self.later(self.joined(device))
                case Note(event=Finished(outcome=outcome)):
                    assert outcome.id not in self.ended
        self.check()

    def later(self, *events):
        """Something that will be heard, or not."""
        self.pending += events

    def opened(self, at_s):
        """A broker begins; inputs go either way."""
        inputs = self.random.choice(["broadcast", "ring"])
        return ev.BrokerOpened(at_s=at_s, created="", policy="p", engine="e", devices=self.setup.names, inputs=inputs)

    def at(self):
        """A moment not before the last."""
        self.now_s += self.random.choice([0.0, 0.005, 0.02])
        return self.now_s

    def joined(self, device):
        """A device says hello."""
        return ev.DeviceJoined(at_s=0, device=device, pid=1, cpu_share=1.0, cpu_share_method="none", core_speed=1.0)

    def told(self, device, message):
        """A device is told something, and will answer."""
        match message:
            case messages.Load(fragment=fragment):
                good = ev.DeviceLoaded(at_s=0, device=device, digest=fragment.digest, start_s=0, end_s=0)
                known = {"at_s": 0, "device": device, "digest": fragment.digest}
                bad = ev.DeviceLoadFailed(**known, error="no such file", of_file=fragment.digest[-1] < "8")
                self.later(bad if self.random.random() < self.breaks / 2 else good)
            case messages.Assign(job=job, fragment=fragment):
                self.later(ev.DeviceAssigned(at_s=0, job=job, fragment=fragment))

    def run(self, job):
        """All that the devices of a job will say of it."""
        attempt, entry = self.state.jobs[job], self.setup.entry(self.state.jobs[job].split)
        said = []
        for row, fragment in itertools.product(attempt.micro_batches, attempt.devices):
            known = {"at_s": 0, "job": job, "micro_batch": row}
            times = dict.fromkeys(("sent_s", "ready_s", "start_s", "end_s"), self.now_s)
            said.append(ev.DeviceRan(**known, fragment=fragment, **times))
            if fragment in entry.split.sinks:
                n = min(entry.micro_batch, self.state.tasks[attempt.task].task.n - row * entry.micro_batch)
                logits = np.full((n, len(entry.split.by_name[fragment].classes)), row, np.float32)
                said.append(ev.SinkAnswered(**known, sink=fragment, logits=logits.tobytes(), sent_s=self.now_s))
        if self.random.random() < self.breaks:
            fragment = self.random.choice(list(attempt.devices))
            said.insert(
                self.random.randrange(len(said)),
                ev.FragmentFailed(at_s=0, job=job, fragment=fragment, error="it broke"),
            )
        self.later(*said)

    def step(self):
        """Whatever comes next."""
        draw = self.random.uniform(0.8, 1.0)
        if self.pending and self.random.random() < self.chatter:
            at = 0 if self.random.random() < 0.8 else self.random.randrange(len(self.pending))
            said = self.pending[at] if self.random.random() < 0.05 else self.pending.pop(at)
            if self.random.random() < self.loses:
                return  # it was lost
            self.hear(said)
        elif draw < 0.85:
            task = self.state.next_task
            self.accepted.add(task)
            n = self.random.choice([1, 5, 17])
            labels = np.zeros(n, "<i8").tobytes() if self.random.random() < 0.5 else None
            known = {"application": "toy", "n": n, "deadline_s": self.random.choice([1.0, 20.0]), "labels": labels}
            late, degrade = self.random.random() < 0.3, self.random.random() < 0.6
            self.happen(ev.TaskAccepted(at_s=self.at(), task=task, inputs="x", late=late, degrade=degrade, **known))
        elif draw < 0.95:
            self.plan()
        elif draw < 0.955 and self.up:
            self.happen(ev.DeviceGone(at_s=self.at(), device=self.random.choice(sorted(self.up)), reason="killed"))
        elif draw < 0.965:
            kind = self.random.choice([ev.DeviceDoubted, ev.DeviceTrusted, ev.DeviceTrusted])
            reason = {"reason": "silent"} if kind is ev.DeviceDoubted else {}
            self.happen(kind(at_s=self.at(), device=self.random.randrange(len(self.setup.devices)), **reason))
        elif draw < 0.967:
            one, other = self.random.sample(range(len(self.setup.devices)), 2)
            kind = self.random.choice([ev.DeviceCutOff, ev.DeviceReached, ev.DeviceReached])
            self.happen(kind(at_s=self.at(), device=one, by=other))
        elif draw < 0.97 and self.accepted:
            self.happen(
                ev.TaskCancelled(at_s=self.at(), task=self.random.choice(sorted(self.accepted)), reason="unwanted")
            )
        elif draw < 0.972:
            self.up.clear()
            self.pending = [self.joined(device) for device in range(len(self.setup.devices))]
            self.happen(self.opened(self.at()))
        else:
            self.now_s += self.random.choice([0.1, 0.5, 2.0])
            self.ring()

    def hear(self, said):
        """What a device says, unless it is gone, or what it speaks of is over."""
        if isinstance(said, ev.DeviceJoined):
            if said.device in self.up:
                return
            self.up.add(said.device)
        elif isinstance(said, ev.DeviceLoaded | ev.DeviceLoadFailed):
            if said.device not in self.up:
                return
        elif said.job not in self.state.jobs:
            return  # the loop asks the state first, too
        self.happen(said.model_copy(update={"at_s": self.at()}))

    def ring(self):
        """The alarms that are due."""
        while self.state.next_alarm_s <= self.now_s:
            self.happen(ev.AlarmRang(at_s=self.now_s))

    def plan(self):
        """A policy that answers what the rules allow for some view, some of it out of date by now."""
        state, devices = self.state, range(len(self.setup.devices))
        decided, placed, moved, evicted = [], [], [], []
        for id_, task in state.tasks.items():
            split = task.decision.split if task.decision else None
            if split is None and self.random.random() < 0.8:
                split = self.random.randrange(len(self.setup.demand.splits))
                decided.append(Decide(id_, split, tag=id_))
            if split is None or self.random.random() < 0.3:
                continue
            rows = self.setup.statics.splits.fragments(split)
            if task.job is None:
                placed += [Place(id_, row, self.random.choice(devices)) for row in rows]
            elif self.random.random() < 0.2:
                moved.append(Migrate(id_, self.random.choice(rows), self.random.choice(devices)))
        for device in devices:
            idle = [row for row, resident in state.ledger.held[device].items() if not resident.jobs]
            evicted += [Evict(row, device) for row in idle if self.random.random() < 0.3]
        plan = {"decided": decided, "placed": placed, "moved": moved, "evicted": evicted}
        plan = {name: tuple(actions) for name, actions in plan.items()}
        self.happen(ev.PlanMade(at_s=self.at(), decision_s=0.0, told=len(state.left), **plan))

    def check(self):
        """What is true at every moment."""
        state = self.state
        assert set(state.tasks) | set(self.ended) == self.accepted and not set(state.tasks) & set(self.ended)
        placed = {task.job for task in state.tasks.values() if task.job is not None}
        assert placed == set(state.jobs)
        assert set(state.waiting) == {id_ for id_, task in state.tasks.items() if task.job is None}
        assert all(task.setbacks < MAX_SETBACKS for task in state.tasks.values())
        assert all(task.cut_offs < MAX_CUT_OFFS for task in state.tasks.values())
        assert self.fed <= set(state.jobs)
        for row, device in enumerate(state.devices):
            assert state.ledger.used_bytes(row) <= state.ledger.capacity_bytes[row]
            assert device.up or not (device.jobs or state.ledger.held[row])
            assert device.jobs == {id_ for id_, attempt in state.jobs.items() if row in attempt.devices.values()}
            users = set().union(*(resident.jobs for resident in state.ledger.held[row].values()))
            assert users == device.jobs
        assert all(state.devices[row].up for pair in state.unreached for row in pair)
        assert not state.unreached or set(itertools.chain(*state.unreached)) - state.left_out
        assert len(state.left_out) < len(state.devices)


@pytest.fixture(scope="module")
def setup(toy):
    """A chain, a tree and one of several trunks on three devices that cannot hold all of them."""
    demand = toy.demand_of(toy.chain(), toy.tree(), toy.forest())
    return Setup(demand, tuple(toy.make_device(name, 8) for name in "abc"), "pipelined", 4, 100.0)


@pytest.mark.parametrize(
    "first",
    [pytest.param(n, marks=[] if n < FAST else [pytest.mark.slow]) for n in range(0, ALL, BATCH)],
)
def test_no_history_breaks_an_invariant(setup, first):
    """Every task ends once, none is forgotten, memory is never over, and the devices' books agree with the tasks'."""
    for seed in range(first, first + BATCH):
        world = World(setup, seed)
        world.later(*(world.joined(device) for device in range(3)))
        for _ in range(EVENTS):
            world.step()
        world.now_s += 1000.0  # every deadline is over
        world.ring()
        assert not world.state.tasks and set(world.ended) == world.accepted


@pytest.mark.parametrize("seed", range(10))
def test_a_replay_is_the_same_state(setup, seed):
    """Of the events alone, through JSON; and of a snapshot from any moment with those after it."""
    world = World(setup, seed)
    world.later(*(world.joined(device) for device in range(3)))
    for _ in range(EVENTS):
        world.step()
    rows = [event.model_dump_json() for event in world.events]
    cut = len(rows) // 2
    again = setup.first()
    for row in rows[:cut]:
        Rules(setup).apply(again, ev.EVENTS.validate_json(row))
    again = STATE.validate_json(STATE.dump_json(again))
    for row in rows[cut:]:
        Rules(setup).apply(again, ev.EVENTS.validate_json(row))
    assert again == world.state


ENDS = {"answered", "degraded", "broke", "unwanted", "deadline"}
KINDS = {
    "BrokerOpened", "DeviceGone", "DeviceDoubted", "DeviceLoadFailed", "FragmentFailed", "AlarmRang", "moved",
}  # fmt: skip


def test_many_histories_have_seen_everything(setup):
    """The world above does what it says: tasks that end in every way, moves and restarts; all is seen before long."""
    ends, kinds, seed = set(), set(), 0
    while not (ends >= ENDS and kinds >= KINDS):
        assert seed < 200, f"not seen: {ENDS - ends | KINDS - kinds}"
        world = World(setup, seed)
        world.later(*(world.joined(device) for device in range(3)))
        for _ in range(EVENTS * 2):
            world.step()
        world.now_s += 1000.0
        world.ring()
        for outcome in world.ended.values():
            words = "degraded" if outcome.missing_classes else (outcome.error or "answered")
            ends |= {end for end in ENDS if end in words}
        kinds |= {type(event).__name__ for event in world.events}
        kinds |= {"moved" for event in world.events if isinstance(event, ev.PlanMade) and event.moved}
        seed += 1
