"""What every event does to the state of a fleet, and what is to be done about it: the only writer.

`apply` touches no clock, no network and no file: the same events give the same state and the same effects, in a run,
after a restart and in a test. A task ends once: answered, or failed with a reason.

    placing.py      what becomes of a plan          running.py      what devices report
    setbacks.py     attempts that come to nothing   leaving.py      how tasks leave
"""

import heapq

from splitplace.placement import history as book
from splitplace.placement.broker import events as ev
from splitplace.placement.broker.effects import Effect, Launch
from splitplace.placement.broker.leaving import expire, fail, put_back
from splitplace.placement.broker.placing import begin, carry_out, loaded
from splitplace.placement.broker.running import answered, end_if_done, progress, ran
from splitplace.placement.broker.setbacks import GIVE_UP_S, cut_off, doubt, failed, load_failed, lose, reached
from splitplace.placement.broker.setup import Setup
from splitplace.placement.broker.state import FleetState, TaskState
from splitplace.placement.broker.turn import Turn
from splitplace.records.task import Task


class Rules:
    """The rules for one broker's fleet."""

    def __init__(self, setup: Setup):
        self.setup = setup

    def apply(self, state: FleetState, event: ev.Event) -> list[Effect]:
        """Change the state by an event; answers what is to be done."""
        turn = Turn(self.setup, state)
        state.now_s = max(state.now_s, event.at_s)
        match event:
            case ev.TaskAccepted():
                accept(turn, event)
            case ev.DeviceRan():
                ran(turn, event)
            case ev.SinkAnswered():
                answered(turn, event)
            case ev.DeviceAssigned(job=job, fragment=fragment):
                if attempt := state.jobs.get(job):
                    attempt.unassigned.discard(fragment)
                    progress(turn, attempt, attempt.devices[fragment])
                    begin(turn, attempt)
            case ev.PlanMade():
                carry_out(turn, event)
            case ev.PlanRefused():
                del state.left[: event.told]
                state.plan_failure = f"policy {event.policy} failed: {event.reason}"
                note = book.PlanFailed(
                    at_s=state.now_s, decision_s=event.decision_s, policy=event.policy, reason=event.reason
                )
                turn.note(note)
            case ev.DeviceLoaded():
                loaded(turn, event)
            case ev.DeviceLoadFailed():
                load_failed(turn, event)
            case ev.FragmentFailed():
                failed(turn, event)
            case ev.DeviceJoined():
                join(turn, event)
            case ev.DeviceGone(device=device, reason=reason):
                lose(turn, device, reason)
            case ev.DeviceDoubted(device=device, reason=reason):
                doubt(turn, device, reason)
            case ev.DeviceTrusted(device=device):
                state.devices[device].silent = False
            case ev.DeviceCutOff(device=device, by=by):
                cut_off(turn, device, by)
            case ev.DeviceReached(device=device, by=by):
                reached(turn, device, by)
            case ev.TaskCancelled(task=task, reason=reason, refused=refused):
                if task in state.tasks:
                    if refused and (key := state.tasks[task].key) is not None:
                        state.keys.pop(key, None)
                    fail(turn, state.tasks[task], reason)
            case ev.AlarmRang():
                ring(turn)
            case ev.BrokerOpened():
                take_up(turn, event)
            case ev.BrokerClosed(reason=reason):
                for open_task in tuple(state.tasks.values()):
                    fail(turn, open_task, reason)
        while state.alarms and is_over(turn, *state.alarms[0][1:]):
            heapq.heappop(state.alarms)
        return turn.todo


def take_up(turn: Turn, event: ev.BrokerOpened) -> None:
    """A broker begins with this state: no device is up, every task that had some waits for others."""
    turn.state.inputs = event.inputs
    turn.state.next_task = max(turn.state.next_task, event.next_task)
    for row, device in enumerate(turn.state.devices):
        device.up = device.silent = False
        device.failing.clear()
        device.rested_until_s, device.rests, device.losses = 0.0, 0, 0
        turn.state.ledger.lost(row, turn.state.now_s)
    turn.state.unreached.clear()
    for attempt in tuple(turn.state.jobs.values()):
        if not end_if_done(turn, attempt, patient=False):
            put_back(turn, attempt)
    # All are launched now; who was to be launched again later is not.
    turn.state.alarms = [alarm for alarm in turn.state.alarms if alarm[1] != "launch"]
    heapq.heapify(turn.state.alarms)
    note = book.Start(
        created=event.created,
        policy=event.policy,
        engine=event.engine,
        precedence=turn.setup.precedence,
        inputs=event.inputs,
        devices=event.devices,
    )
    turn.note(note)


def accept(turn: Turn, event: ev.TaskAccepted) -> None:
    """A task comes in."""
    task = Task(
        id=event.task,
        application=event.application,
        n=event.n,
        deadline_s=event.deadline_s,
        arrival_s=event.at_s,
    )
    turn.state.tasks[task.id] = TaskState(
        task, event.inputs, event.labels, event.late, event.degrade, event.key, event.encoded
    )
    turn.state.next_task = max(turn.state.next_task, task.id + 1)
    turn.state.waiting[task.id] = None
    if event.key is not None:
        turn.state.keys.pop(event.key, None)  # of a task whose result is forgotten: the key is the newest again
        turn.state.keys[event.key] = task.id
    turn.state.alarm(event.at_s + patience_s(turn, turn.state.tasks[task.id]), "task", task.id)
    note = book.Arrive(
        at_s=event.at_s, task=task.id, application=task.application, n=task.n, deadline_s=task.deadline_s
    )
    turn.note(note)


def patience_s(turn: Turn, task: TaskState) -> float:
    """How long it may take before it is given up."""
    longest_s = turn.setup.task_timeout_s
    return longest_s if task.late else min(task.task.deadline_s, longest_s)


def join(turn: Turn, event: ev.DeviceJoined) -> None:
    """A device is up."""
    device = turn.state.devices[event.device]
    device.up, device.silent, device.reason = True, False, ""
    device.since_s = device.progressed_s = turn.state.now_s
    note = book.DeviceUp(
        at_s=turn.state.now_s,
        device=turn.setup.names[event.device],
        pid=event.pid,
        cpu_share=event.cpu_share,
        cpu_share_method=event.cpu_share_method,
        core_speed=event.core_speed,
    )
    turn.note(note)


def ring(turn: Turn) -> None:
    """The first alarm: a task took too long, a report did not come, a device is to be started again."""
    if not turn.state.alarms or turn.state.alarms[0][0] > turn.state.now_s:
        return
    _, kind, of = heapq.heappop(turn.state.alarms)
    if kind == "launch":
        if not turn.state.devices[of].up:
            turn.todo.append(Launch(of))
    elif kind == "doubt":
        device = turn.state.devices[of]
        if device.up and device.silent and turn.state.now_s - device.doubted_s >= GIVE_UP_S:
            lose(turn, of, device.reason)
    elif kind == "reports":
        if of in turn.state.jobs:
            end_if_done(turn, turn.state.jobs[of], patient=False)
    elif of in turn.state.tasks:
        expire(turn, turn.state.tasks[of])


def is_over(turn: Turn, kind: str, of: int) -> bool:
    """Whether what an alarm was set for has ended by itself."""
    return (kind == "task" and of not in turn.state.tasks) or (kind == "reports" and of not in turn.state.jobs)
