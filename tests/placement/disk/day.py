"""A fleet's day: the broker itself, its store, rules and loop, stepped by a test, with devices of a few lines.

What the broker promises its clients is written down as it is promised (`tell`), and held against what the next broker
on the same folder says (`check`). Nothing here looks at the broker's own books.
"""

import os
import threading
from contextlib import contextmanager, suppress
from functools import cache, partial
from types import SimpleNamespace

import numpy as np
import pytest

from splitplace.errors import NotFoundError
from splitplace.placement.broker import loop, planning, policy_folder, snapshots, store
from splitplace.placement.broker.answers import BrokerFuture
from splitplace.placement.broker.broker import Broker
from splitplace.placement.broker.journal import Journal
from splitplace.placement.broker.leaving import CANCELLED
from splitplace.placement.broker.spool import Spool
from splitplace.placement.broker.store import Store
from splitplace.placement.callbacks import Callbacks
from splitplace.placement.engines.local import LocalEngine
from splitplace.placement.policy import Leaving
from splitplace.placement.protocol import codec, fields, messages
from splitplace.placement.protocol.stream import Received
from splitplace.placement.state_files import Packed
from tests.placement.fleet.conftest import CLASSES, WIDTH, demand_of, make_device
from tests.placement.fleet.test_pace import GRAPH, FakeFleet, Watcher

STEP_S = 0.05
HEARD = 4
"""Messages of devices that a step of the day hears at most: tasks take several, and snapshots fall into them."""
RETAIN_S = 2.02
"""Between two steps."""
SIZES = (1, 3, 9, 20)
"""Images of a task: rows of the spool, and files."""
FRESH = 10**6
"""From here on clients' own numbers of tasks that come after the day."""
DEMAND = demand_of(GRAPH)
CLOSED = "it was closed"
NOT_YET = f"{CLOSED}; the next one goes on"
"""Who waits is told this of a task that has not ended."""


class Devices(FakeFleet):
    """Two, that answer a task's images with their first numbers; all that they answer takes its time."""

    def __init__(self, at_s, heard):
        super().__init__("ab")
        self.clock_s = self.origin_s = at_s
        self.heard = heard
        """Messages that a step hears at most."""

    def now_s(self):
        """The run's clock."""
        return self.clock_s - self.origin_s

    def on_clock(self, monotonic_s):
        """Of a device's time."""
        return max(monotonic_s - self.origin_s, 0.0)

    def hear(self, timeout_s):
        """A few messages."""
        heard, self.said = self.said[: self.heard], self.said[self.heard :]
        return heard

    def send(self, name, message, values=()):
        """A micro-batch that is taken is run, and makes room for the next."""
        if not isinstance(message, messages.Tensors):
            super().send(name, message, values)
            return
        job, row, times = message.job, message.micro_batch, dict.fromkeys(("ready_s", "start_s", "end_s"), self.clock_s)
        logits = {"f0.out": values[0][:, :CLASSES].copy()}
        known = {"job": job, "micro_batch": row, "samples": len(values[0]), "sent_s": self.clock_s}
        answers = [
            (messages.Credit(job=job, src="input", dst="f0", count=1), {}),
            (messages.Ran(fragment="f0", **known, **times), {}),
            (codec.tensors(job, "f0", fields.ANSWER, row, self.clock_s, logits), logits),
        ]
        self.said += [(self.members[name], Received(name, answer, values)) for answer, values in answers]


class Learner(Watcher):
    """Counts the tasks that left; that is what is kept of it."""

    name = "learner"

    def init(self, view):
        """None so far."""
        return 0

    def update(self, state, feedback):
        """Some more."""
        return state + len(feedback.finished.id_E) if isinstance(feedback, Leaving) else state

    def pack(self, state):
        """The number."""
        return Packed({"left": np.array([state])}, {})

    def unpack(self, packed, view):
        """The number."""
        return int(packed.arrays["left"][0])


@cache
def images_of(serial):
    """Of a client's task of that number of its own."""
    rng = np.random.default_rng(serial)
    return rng.standard_normal((int(rng.choice(SIZES)), WIDTH)).astype(np.float32)


class Promises:
    """What clients were told, as notes in their order."""

    def __init__(self, notes=()):
        self.taken, self.ended, self.dropped, self.numbers = {}, {}, set(), set()
        """Clients' own numbers of tasks that were taken on; the same with outcomes; who was to be dropped; numbers."""
        self.now_s, self.learned = 0.0, 0
        for note in notes:
            self.add(*note)

    def add(self, what, *said):
        """One note more."""
        match what, said:
            case "number", (task,):
                self.numbers.add(task)
            case "taken", (task, serial):
                self.taken[task] = serial
            case "ended", (task, serial, outcome):
                before = self.ended.setdefault(task, (serial, outcome))
                assert before == (serial, outcome), f"task {task} ended twice"
            case "dropped", (task,):
                self.dropped.add(task)
            case "clock", (now_s,):
                self.now_s = now_s
            case "learned", (count,):
                self.learned = count

    @property
    def known(self):
        """Clients' own numbers of the tasks that are to be found, by those that they were given."""
        return self.taken | {task: serial for task, (serial, _) in self.ended.items()}

    def hold_against(self, task, serial, result):
        """Hold a result against what is right, and against the one that was told before."""
        if task in self.ended:
            assert result.outcome.model_dump(mode="json") == self.ended[task][1], f"task {task} ended once more"
        if result.outcome.error is not None:
            assert result.outcome.error == CANCELLED and task in self.dropped, result.outcome
        else:
            np.testing.assert_array_equal(result.logits, images_of(serial)[:, :CLASSES])

    def over(self, task):
        """Whether a result may be forgotten by now."""
        if task not in self.ended:
            return False
        outcome = self.ended[task][1]
        return self.now_s - outcome["arrival_s"] - (outcome["response_s"] or 0.0) > RETAIN_S


class SteppedFleet:
    """A broker with a data folder, whose loop the test's own thread steps.

    Args:
        folder: Whose `data` it uses.
        at_s: On the machine's monotonic clock.
        tell: Is told what clients are, at the moment.
        heard: Messages of devices that a step hears at most.
    """

    def __init__(self, folder, at_s=0.0, tell=lambda *_: None, heard=10**6):
        self.tell = tell
        self.broker = Broker(
            [make_device(name) for name in "ab"], DEMAND, folder, Learner(), LocalEngine(), data=folder / "data",
            retain_s=RETAIN_S,
        )  # fmt: skip
        self.thread = self.broker._thread
        self.thread.woken, self.thread._wake = os.pipe()
        os.set_blocking(self.thread.woken, False)
        os.set_blocking(self.thread._wake, False)
        self.thread.process = os.getpid()
        try:
            self.store = self.broker._store = Store(folder / "data", self.broker._setup, retain_s=RETAIN_S)
            try:
                self.devices = Devices(at_s, heard)
                self.loop = self.thread.loop = self.broker._open(self.devices)
            except BaseException:
                self.store.close()
                raise
        except BaseException:
            self._let_go()
            raise

    def _let_go(self):
        with self.thread.changed:
            self.thread.stopping = True
            os.close(self.thread.woken)
            os.close(self.thread._wake)

    def submit(self, serial, *, key=False, volatile=False):
        """A client's task; its future. A key says the client's own number."""
        name = f"task {serial}" if key else None
        volatile = volatile and name is None  # as `Broker.submit`, which would wait for the loop
        answer, written = self.broker._tasks.submit("toy", images_of(serial), 1e4, None, False, False, name, volatile)
        self._follow(answer, serial)
        if volatile:  # its number is all that it is told
            written.add_done_callback(lambda _: self.tell("number", answer.task_id))
        else:
            written.add_done_callback(
                lambda done: None if done.exception() else self.tell("taken", answer.task_id, serial)
            )
        return answer

    def drop(self, answer):
        """The client wants it no more."""
        self.tell("dropped", answer.task_id)
        self.broker._tasks.drop(answer.task_id)

    def step(self, times=1):
        """Let time pass; a plan, and keeping what the policy remembers, take none."""
        for _ in range(times):
            self.devices.clock_s += STEP_S
            self.tell("clock", self.devices.now_s())
            for _ in range(2):  # to ask for a plan, and to carry it out
                self.loop.step(self.thread.taken())

    def _follow(self, answer, serial):
        settle = answer.settle

        def settled(result):
            settle(result)
            if result.outcome.error is None:
                np.testing.assert_array_equal(result.logits, images_of(serial)[:, :CLASSES])
            if result.outcome.error != NOT_YET:
                self.tell("ended", answer.task_id, serial, result.outcome.model_dump(mode="json"))

        answer.settle = settled

    def ask(self, task, serial):
        """A future of a task that an earlier broker took on.

        Raises:
            SplitPlaceError: There is none.
        """
        answer = BrokerFuture(task, Callbacks(), lambda task: None)
        self._follow(answer, serial)
        if (error := self.loop.awaited.await_answer(answer)) is not None:
            raise error
        return answer

    def until_done(self, answers):
        """Step until all of these have come."""
        for _ in range(4000):
            if all(answer.done() for answer in answers):
                return
            self.step()
        raise AssertionError(f"no answer: {[answer.task_id for answer in answers if not answer.done()]}")

    def close(self):
        """As at its end."""
        self.loop.close(CLOSED, self.thread.taken())
        self.store.close()
        self._let_go()


def _plan_here(planner):
    """The planner has no thread of its own: what it is to do is done at once, the same at each call."""
    planner._work = SimpleNamespace(put=lambda job: job and job())
    planner._thread, planner._kept = None, threading.Event()
    planner._kept.set()


@contextmanager
def small():
    """Within, journals are cut after few events, snapshots due after few, and rows of the spool are small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "Journal", partial(Journal, keep_events=40, ballast_bytes=4096))
        patch.setattr(store, "Spool", partial(Spool, small_bytes=1000))
        patch.setattr(snapshots, "SNAPSHOT_EVENTS", 40)
        patch.setattr(snapshots, "SNAPSHOT_PAUSE_S", 0.0)
        patch.setattr(snapshots, "SNAPSHOT_TIMES", 0.0)
        patch.setattr(loop, "STUCK_S", 1e9)
        patch.setattr(planning.Planner, "_start", _plan_here)
        # What the policy remembers is kept once in so many looks, not seconds.
        patch.setattr(policy_folder, "SAVE_EVERY_S", 30)
        looks = iter(range(10**9))
        patch.setattr(policy_folder, "time", SimpleNamespace(monotonic=lambda: next(looks)))
        yield


def run(folder, tell, steps=32, restarts=True):
    """The day: tasks small and large, by keys, asked for again, dropped, volatile; results forgotten; two restarts.

    Returns:
        How many events there were, how many of them are still kept, and how many snapshots were taken.
    """
    rng, promises = np.random.default_rng(1), Promises()

    def heard(*note):
        promises.add(*note)
        tell(*note)

    fleet, serial, snapshots = SteppedFleet(folder, 0.0, heard, HEARD), 0, []
    snapshot, save = Journal.snapshot, policy_folder.PolicyFolder.save

    def counted(journal, body):
        snapshots.append(len(body))
        snapshot(journal, body)

    def told(of, policy, state, rng):
        save(of, policy, state, rng)
        heard("learned", state)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "snapshot", counted)
        patch.setattr(policy_folder.PolicyFolder, "save", told)
        for step in range(steps):
            answers = []
            for _ in range(int(rng.integers(1, 4))):
                answers.append(fleet.submit(serial, key=serial % 3 == 0, volatile=serial % 5 == 4))
                serial += 1
            if step % 4 == 3:  # a client that does not know whether it was heard
                fleet.submit(3 * int(rng.integers(serial // 3)), key=True)
            if step % 7 == 5:
                fleet.step()
                fleet.drop(answers[0])
            fleet.step(int(rng.integers(1, 6)))
            if restarts and step in (steps // 3, steps * 2 // 3):
                at_s = fleet.devices.clock_s + 1.0
                fleet.close()
                fleet = SteppedFleet(folder, at_s, heard, HEARD)
                for task in promises.taken.keys() - promises.ended.keys():
                    fleet.ask(task, promises.taken[task])
        journal = fleet.store.journal
        ((kept,),) = journal._database.execute("SELECT count(*) FROM event")
        made = SimpleNamespace(events=journal.last, kept=kept, snapshots=len(snapshots))
        fleet.close()
    return made


def check(folder, promises, at_s=1e4, torn=False):
    """Every task that was taken on ends once, right, under its number and its key; the fleet goes on.

    Args:
        folder: Whose `data` was left.
        promises: What clients had been told by then.
        at_s: On the machine's monotonic clock.
        torn: Look again afterwards: the broker has written over what was half there.

    Returns:
        How many ended that nobody had been told of.
    """
    fleet = SteppedFleet(folder, at_s)
    try:
        waiting = {}
        for task, serial in promises.known.items():
            try:
                waiting[task] = fleet.ask(task, serial)
            except NotFoundError:
                # A volatile one may have come and gone without a word on the disk; but then not half of it.
                assert promises.over(task) or task in promises.numbers, f"task {task} is not known any more"
        again = {
            task: fleet.submit(promises.known[task], key=True)
            for task in waiting
            if promises.known[task] % 3 == 0 and not promises.over(task)
        }
        fresh = [fleet.submit(FRESH + number) for number in range(2)]
        fleet.until_done([*waiting.values(), *again.values(), *fresh])
        for task, answer in waiting.items():
            promises.hold_against(task, promises.known[task], answer.result())
        for task, answer in again.items():
            assert answer.task_id == task, f"the key of task {task} stands for {answer.task_id}"
            promises.hold_against(task, promises.known[task], answer.result())
        given = [answer.task_id for answer in fresh]
        assert not promises.numbers.union(promises.known).intersection(given)
        assert [answer.result().outcome.error for answer in fresh] == [None, None]
        assert fleet.loop.consulting.planner.states >= promises.learned
    finally:
        fleet.close()
    if torn:
        _look_again(folder, promises, {task: answer.result() for task, answer in waiting.items()}, at_s + 1e4)
    return len(promises.taken.keys() - promises.ended.keys())


def _look_again(folder, promises, results, at_s):
    """What the last broker said is what the next one says."""
    fleet = SteppedFleet(folder, at_s)
    try:
        found = {}
        for task in results:
            with suppress(NotFoundError):  # its time may have come meanwhile
                found[task] = fleet.ask(task, promises.known[task])
        fleet.step()
        for task, answer in found.items():
            assert answer.result(0).outcome == results[task].outcome, f"task {task} ended once more"
            promises.hold_against(task, promises.known[task], answer.result())
    finally:
        fleet.close()
