"""The broker's loop, in one thread: hears, has the rules applied, writes the events down, does what is to be done.

Nothing that anybody outside is told (that a task is taken on, how it ended) leaves before the events it follows from
are on the disk, if there is a journal. What the fleet alone is told does not wait: devices end with their broker, the
next one plans anew what was under way, and what nobody wants any more leaves them however slow the disk is. Nor need
it wait that a volatile task came, of which nobody is told before its end but its number: no later broker gives one that
is less than `NUMBERS_AHEAD` behind those on the disk, and others wait. Nor its end, where no disk knows yet that it
came: to the next broker it never was, and it cannot end twice. Such events are written with the next that must be, or
a tick later.

One thing does not wait for a disk that takes nothing, not even in place of the ballast: how tasks ended that were taken
on before. Who waits for one is told; until that can be written, which is tried every tick, a kill would have the next
broker run it again. No new task is taken on meanwhile.
"""

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from typing import Any

from splitplace.errors import OverloadedError, SplitPlaceError
from splitplace.inference import memory
from splitplace.placement import history as book
from splitplace.placement.broker import effects as do
from splitplace.placement.broker import events as ev
from splitplace.placement.broker.awaited import AwaitedTasks, HandedIn
from splitplace.placement.broker.consulting import Consulting
from splitplace.placement.broker.feed import Feed
from splitplace.placement.broker.fleet import LiveFleet
from splitplace.placement.broker.hearing import Hearing
from splitplace.placement.broker.history import History
from splitplace.placement.broker.pace import TICK_S, Pace
from splitplace.placement.broker.rules import Rules
from splitplace.placement.broker.setup import Setup
from splitplace.placement.broker.state import FleetState
from splitplace.placement.broker.store import NUMBERS_AHEAD, Store
from splitplace.placement.broker.stuck import stuck
from splitplace.placement.policy import Policy
from splitplace.placement.protocol import codec, fields, messages
from splitplace.placement.protocol.outflow import Outflow, Values

STUCK_S = 2.0
"""A device that has something to do and does nothing for so long is doubted."""
LOOK_S = 0.25
"""How often that is looked for."""
STALL_S = 1.0
"""A loop that was away for so long, at a slow disk say, has heard nothing meanwhile: nobody was idle for that."""
TRIM_S = 60.0
"""How often memory that is free is given back to the system: images of tasks come in all sizes and leave holes."""

INNER = (
    ev.PlanMade, ev.PlanRefused, ev.DeviceAssigned, ev.DeviceLoaded, ev.DeviceRan, ev.SinkAnswered
)  # fmt: skip
"""Events that the fleet alone is told of, unless a task ends by them."""
OUTSIDE = (do.Note, do.EndTask)
"""Effects of which somebody outside the fleet hears."""

Post = HandedIn | ev.BrokerOpened | ev.TaskCancelled | Callable[["Loop"], None]
"""What another thread has for the loop: a task, an event, or something to do in the loop's own thread."""


class Loop:
    """Everything between a task's receipt and its result; `step` is called over and over by one thread.

    Args:
        fleet: Started.
        setup: The splits, devices and limits.
        policy: Decides and places.
        pace: When it is asked, and of what.
        seed: Of its randomness.
        history: What happened is told there.
        store: Where events and inputs are kept, if they are to outlive this process.
        states: What the policy starts from, where the store has nothing of it.
        wake: Ends the wait of `fleet.hear`, from any thread.
        leaving: Entered around the end of each task, in the loop's thread: in it, who waits for the task is told.
    """

    def __init__(
        self,
        fleet: LiveFleet,
        setup: Setup,
        policy: Policy,
        pace: Pace,
        seed: int,
        history: History,
        *,
        store: Store | None,
        states: Any | None,
        wake: Callable[[], None],
        leaving: Callable[[int], AbstractContextManager[None]],
    ):
        self.fleet, self.setup, self.policy, self.history, self.store = fleet, setup, policy, history, store
        self.members = tuple(fleet.members.values())
        self.rules = Rules(setup)
        self.state: FleetState = setup.first() if store is None else store.state(self.rules)
        self.consulting = Consulting(
            fleet, setup, self.state, policy, pace, seed, store=store, states=states, wake=wake
        )
        self.awaited = AwaitedTasks(self.state, store, leaving)
        self._feeds: dict[int, Feed] = {}
        self._hearing = Hearing(setup, self.state, fleet)
        self._todo: list[do.Effect] = []
        self._unwritten_s: float | None = None
        """Since when events of the fleet's alone wait to be written."""
        self._must_write = False
        self._came: dict[int, int] = {}
        """By volatile task that is here, the number that its receipt has in the journal."""
        self.never_again = 0
        """Numbers below it are given by no broker after this one, whatever becomes of it. Grows; read by any thread."""
        self._looked_s = self._listens_s = self._trimmed_s = 0.0

    def step(self, posts: Iterable[Post]) -> None:
        """Hear, apply, write down, do, plan; waits at most a tick for something to happen."""
        for member, received in self.fleet.hear(self.consulting.pace.wait_s(self.fleet.now_s())):
            if event := self._hearing.event(member, received, self._feeds):
                self._apply(event)
            if isinstance(received.message, messages.Credit) and received.message.job in self._feeds:
                self._feeds[received.message.job].flush(self._send)
        handed_in = self._take(posts)
        for change in self.fleet.check():
            self._apply(self._hearing.change(change))
        now_s = self.fleet.now_s()
        while self.state.next_alarm_s <= now_s:
            self._apply(ev.AlarmRang(at_s=now_s))
        if now_s - self._looked_s > LOOK_S:
            if now_s - self._looked_s > STALL_S:
                self._listens_s = now_s
            self._looked_s = now_s
            for member in self.members:
                member.meter.forget(now_s)
            if now_s - self._listens_s > STUCK_S:
                idle_s = [member.idle_s for member in self.members]
                for device, reason in stuck(self.setup, self.state, now_s, STUCK_S, idle_s):
                    self.fleet.suspect(device)
                    self._apply(ev.DeviceDoubted(at_s=now_s, device=device, reason=reason))
        if now_s - self._trimmed_s > TRIM_S:
            self._trimmed_s = now_s
            memory.trim()
        if (plan := self.consulting.take()) is not None:
            self._apply(plan)
        self.consulting.ask()  # which nobody hears of before it is carried out: it need not wait for the disk
        self._tell_fleet()
        self._write_down(handed_in)
        self._do()
        if self.store is not None:
            if self.store.forget(now_s):
                self._wait_to_write()
            self.store.snapshots.compact(self.state, now_s)
            if self.store.policy_is_due and not self.consulting.planner.busy:
                self.consulting.planner.keep(self.store.policy.save)

    def close(self, reason: str, posts: Iterable[Post]) -> None:
        """End: tasks that are on disk stay there for the next broker, all others fail."""
        keeps = None
        try:
            handed_in = self._take(posts)
            if self.store is None:
                self._apply(ev.BrokerClosed(at_s=self.fleet.now_s(), reason=reason))
            self._write_down(handed_in)
            self._do()
            if self.store is not None:
                with suppress(OverloadedError):  # then the next broker replays the events
                    self.store.snapshots.take(self.state)
                if self.store.journal.lost is None:  # which the snapshot has just looked for
                    keeps = self.store.policy.save
        finally:  # whatever it is that fails, and may do so again: nobody waits for it
            self.awaited.close(f"{reason}; the next one goes on")
            self.consulting.planner.close(keeps)

    # In.

    def _take(self, posts: Iterable[Post]) -> list[HandedIn]:
        """What other threads have; answers the tasks whose senders are to be told when they are on disk."""
        taken = []
        for post in posts:
            if isinstance(post, HandedIn):
                if event := self.awaited.take_in(post):
                    at_once = post.volatile and event.task < self.never_again
                    self._apply(event, inner=at_once)
                    if at_once:  # before its end nobody outside is told more of it than its number
                        post.durable(None)
                    else:
                        taken.append(post)
            elif isinstance(post, ev.BrokerOpened | ev.TaskCancelled):
                self._apply(post)
            else:
                post(self)
        return taken

    def _apply(self, event: ev.Event, *, inner: bool = False) -> None:
        sequence = 0 if self.store is None else self.store.append(event)
        if inner and isinstance(event, ev.TaskAccepted):
            self._came[event.task] = sequence
        todo = self.rules.apply(self.state, event)
        self._todo += todo
        self._must_write |= not (inner or isinstance(event, INNER))
        self._wait_to_write()
        self.consulting.note(event, todo)
        for effect in todo:
            if isinstance(effect, do.EndTask):
                came = self._came.pop(effect.task, 0)
                self._must_write |= self.store is None or self.store.has_written(came)
                if self.store is not None:  # in the commit that says that the task has ended
                    self.store.drop(effect.inputs)
                    self.store.keep(effect, self.state.now_s)

    def _wait_to_write(self) -> None:
        if self._unwritten_s is None:
            self._unwritten_s = self.fleet.now_s()

    def _write_down(self, handed_in: list[HandedIn]) -> None:
        now_s = self.fleet.now_s()
        if not self._must_write and (self._unwritten_s is None or now_s - self._unwritten_s < TICK_S):
            self.awaited.tell({})
            return
        error, room = None, True
        if self.store is not None:
            error = self.store.commit()
            room = error is None and self.store.accepting
        if error is None:
            self.never_again = self.state.next_task + NUMBERS_AHEAD
        # What could not be written, or took the last room that there was, is looked after a tick later.
        self._must_write, self._unwritten_s = False, None if room else now_s
        refused = dict[int, SplitPlaceError]()
        for post in handed_in:
            if error is not None:
                refused[post.event.task] = error
                reason = f"it was refused: {error}"  # whenever both can be written, its end will be
                self._apply(ev.TaskCancelled(at_s=now_s, task=post.event.task, reason=reason, refused=True))
            post.durable(error)
        self.awaited.tell(refused)

    # Out.

    def _tell_fleet(self) -> None:
        """Do what nobody outside the fleet hears of; all else, in its order, is left for when it is on the disk."""
        todo = self._todo
        self._todo = [effect for effect in todo if isinstance(effect, OUTSIDE)]
        for effect in todo:
            if not isinstance(effect, OUTSIDE):
                self._do_one(effect, [])

    def _do(self) -> None:
        """All that is to be done, in its order; what follows from doing it is for the next step."""
        todo, self._todo = self._todo, []
        noted = list[book.Event]()
        try:
            for effect in todo:
                self._do_one(effect, noted)
        finally:
            self.history.append(*noted)

    def _do_one(self, effect: do.Effect, noted: list[book.Event]) -> None:
        """One of them; what is to be noted is noted together, but before anybody is told that a task has ended."""
        match effect:
            case do.Note(event=event):
                noted.append(event)
            case do.Tell(device=device, message=message):
                self.fleet.send(self.setup.names[device], message)
            case do.StartFeed(job=job):
                self._feed(job)
            case do.StopFeed(job=job):
                self._feeds.pop(job, None)
            case do.Kill(device=device):
                self.fleet.kill(device)
            case do.Launch(device=device):
                self.fleet.launch(device)
            case do.EndTask():
                self.history.append(*noted)
                noted.clear()
                self.awaited.finish(effect)

    def _feed(self, job: int) -> None:
        attempt = self.state.jobs.get(job)
        if attempt is None:
            return  # it was over before it could begin
        try:
            images = self.awaited.images(attempt.task)
        except SplitPlaceError as error:  # damaged
            self._apply(ev.TaskCancelled(at_s=self.fleet.now_s(), task=attempt.task, reason=fields.text(error)))
            return
        entry = self.setup.entry(attempt.split)
        feed = Feed(attempt, entry, images, self.setup.names, self.setup.precedence, self.setup.window)
        self._feeds[job] = feed
        feed.flush(self._send)

    def _send(self, flow: Outflow, micro_batch: int, values: Values) -> None:
        header = codec.tensors(flow.job, flow.src, flow.outlet.dst, micro_batch, time.monotonic(), values)
        self.fleet.send(flow.outlet.device, header, list(values.values()))
