"""When an attempt comes to nothing: its task is put back, or fails; a device rests, or is started again.

A task with `MAX_SETBACKS` in a row that brought no answer fails, and so does one that links cut off `MAX_CUT_OFFS`
times. A device on which `REST_AFTER` tasks in a row failed rests, each time twice as long, and from the second time on
is started again as well; a task that fails wherever it is put is its own fault and no device's.
"""

from splitplace.placement import history as book
from splitplace.placement.broker import events as ev
from splitplace.placement.broker.effects import Kill
from splitplace.placement.broker.leaving import fail, put_back
from splitplace.placement.broker.placing import rows_of
from splitplace.placement.broker.reach import TRIED
from splitplace.placement.broker.running import end_if_done
from splitplace.placement.broker.state import Attempt
from splitplace.placement.broker.turn import Turn
from splitplace.placement.protocol import messages

MAX_SETBACKS = 3
MAX_CUT_OFFS = 8
"""Likewise, where what one device says does not arrive at another: the fault of neither the task nor, for sure, of one
of the two, so that it is tried more often; a link that comes and goes would have it tried without end."""
BACK_OFF_S = 0.1
"""Before a task is placed again after its first setback; doubled with each."""
GIVE_UP_S = 8.0
"""A device that is doubted for so long is given up: its tasks are elsewhere already, and one that was only stopped for
seconds, on a machine that is busy besides, is worth more alive than started again."""
REST_AFTER = 3
REST_S, MAX_REST_S = 1.0, 60.0
RESTART_RESTS = 2
"""So many rests in a row, and what is wrong may be its process: memory that is gone, a library in a bad state."""
RELAUNCH_S, MAX_RELAUNCH_S = 0.1, 30.0
"""Before a device that ended is started again; doubled each time it ends without having done anything."""
MAX_DOUBLINGS = 10
"""Of either: far beyond the longest. A power of some thousand is no float."""


def failed(turn: Turn, event: ev.FragmentFailed) -> None:
    """A fragment raised, or gave what is no answer."""
    attempt = turn.state.jobs.get(event.job)
    if attempt is None:
        return
    device = attempt.devices[event.fragment]
    worn = blame(turn, device, attempt.task)
    reason = f"device {turn.setup.names[device]}: {event.fragment} failed: {event.error}"
    set_back(turn, attempt, device, reason)
    if worn:
        restart(turn, device, event.error)


def load_failed(turn: Turn, event: ev.DeviceLoadFailed) -> None:
    """A device cannot open a file: every attempt that needs it there is over.

    Where the file itself is at fault no device is: one that rested, or was started again, could not open it either, and
    would be missed by tasks whose files are right.
    """
    rows = rows_of(turn, event.device, event.digest)
    name, worn = turn.setup.names[event.device], False
    for job in sorted(turn.state.devices[event.device].jobs):
        attempt = turn.state.jobs[job]
        needs = {fragment for fragment, device in attempt.devices.items() if device == event.device}
        split = turn.setup.entry(attempt.split).split
        if any(split.by_name[fragment].digest == event.digest for fragment in needs):
            worn |= not event.of_file and blame(turn, event.device, attempt.task)
            reason = f"device {name} cannot load {event.digest}: {event.error}"
            set_back(turn, attempt, event.device, reason)
    for row in rows:
        turn.state.ledger.forget(row, event.device, turn.state.now_s)
    if worn:
        restart(turn, event.device, event.error)


def doubt(turn: Turn, row: int, reason: str) -> None:
    """A device says or does nothing: what it has to run goes elsewhere, and if it stays so it is given up."""
    device = turn.state.devices[row]
    if not device.up or device.silent:
        return
    device.silent, device.doubted_s, device.reason = True, turn.state.now_s, reason
    turn.state.alarm(turn.state.now_s + GIVE_UP_S, "doubt", row)
    for job in sorted(device.jobs):
        set_back(turn, turn.state.jobs[job], None, f"device {turn.setup.names[row]}: {reason}")


def cut_off(turn: Turn, row: int, by: int) -> None:
    """What one device says to another does not arrive: the attempts that need the two together are over.

    Which of them is at fault, others show: some are asked to reach the one, and the other is asked to reach some.
    """
    state, names = turn.state, turn.setup.names
    if row == by or (by, row) in state.unreached or not (state.devices[row].up and state.devices[by].up):
        return
    state.unreached.append((by, row))
    in_turn = [other % len(names) for other in range(row + 1, row + len(names))]
    for other in [other for other in in_turn if other != by and state.devices[other].up][:TRIED]:
        turn.tell(other, messages.Reach(peer=names[row]))
        turn.tell(by, messages.Reach(peer=names[other]))
    for job in sorted(state.devices[row].jobs & state.devices[by].jobs):
        attempt = state.jobs[job]
        edges = turn.setup.entry(attempt.split).split.edges  # tensors go one way, credits the other
        if any({attempt.sender(edge.src, edge.dst), attempt.devices[edge.dst]} == {by, row} for edge in edges):
            reason = f"what device {names[by]} sends to {names[row]} does not arrive"
            set_back(turn, attempt, None, reason)
            if (task := state.tasks.get(attempt.task)) is None:
                continue  # it was answered all the same
            task.cut_offs += 1
            if task.cut_offs >= MAX_CUT_OFFS:
                fail(turn, task, f"{reason}: cut off {MAX_CUT_OFFS} times without an answer between")


def reached(turn: Turn, row: int, by: int) -> None:
    """It arrives again."""
    if (by, row) in turn.state.unreached:
        turn.state.unreached.remove((by, row))


def lose(turn: Turn, row: int, reason: str) -> None:
    """A device is gone: its tasks go elsewhere, and it is started again.

    What it died of is not known; of the tasks that had work for it, the oldest is taken to have been running.
    """
    device = turn.state.devices[row]
    if device.up:
        device.up_s += turn.state.now_s - device.since_s
        turn.note(book.DeviceDown(at_s=turn.state.now_s, device=turn.setup.names[row], reason=reason))
    device.up = device.silent = False
    turn.state.unreached = [pair for pair in turn.state.unreached if row not in pair]
    device.reason = reason
    running = [
        job
        for job in sorted(device.jobs)
        if turn.state.jobs[job].started_s is not None
        and any(turn.state.jobs[job].left(name) for name, of in turn.state.jobs[job].devices.items() if of == row)
    ]
    for job in sorted(device.jobs):
        said = f"device {turn.setup.names[row]} is lost: {reason}"
        blamed = row if running and job == running[0] else None
        set_back(turn, turn.state.jobs[job], blamed, said)
    turn.state.ledger.lost(row, turn.state.now_s)
    for other_row, other in enumerate(turn.state.devices):
        if other.up:
            turn.tell(other_row, messages.Gone(peer=turn.setup.names[row]))
    turn.todo.append(Kill(row))
    turn.state.alarm(turn.state.now_s + min(_doubled(RELAUNCH_S, device.losses), MAX_RELAUNCH_S), "launch", row)
    device.losses += 1


def set_back(turn: Turn, attempt: Attempt, device: int | None, reason: str) -> None:
    """The attempt is over, its task waits for another; `device` is where it failed, if that was its own doing."""
    if end_if_done(turn, attempt, patient=False):
        return
    task = turn.state.tasks[attempt.task]
    put_back(turn, attempt)
    if device is None:
        return
    task.setbacks += 1
    task.failed_on.add(device)
    if task.setbacks < MAX_SETBACKS:
        task.not_before_s = turn.state.now_s + BACK_OFF_S * 2 ** (task.setbacks - 1)
        return
    if len(task.failed_on) > 1:  # whichever device had it: the task is at fault
        for found in turn.state.devices:
            found.failing.discard(task.task.id)
            if len(found.failing) < REST_AFTER and found.rested_until_s > turn.state.now_s:
                found.rested_until_s = turn.state.now_s
                found.rests = max(found.rests - 1, 0)
    fail(turn, task, reason)


def blame(turn: Turn, row: int, task: int) -> bool:
    """A task failed on a device; too many in a row, and it rests. Answers whether it is to be started again as well."""
    device = turn.state.devices[row]
    device.failing.add(task)
    if len(device.failing) < REST_AFTER or device.rested_until_s > turn.state.now_s:
        return False
    device.rested_until_s = turn.state.now_s + min(_doubled(REST_S, device.rests), MAX_REST_S)
    device.rests += 1
    return device.rests >= RESTART_RESTS


def restart(turn: Turn, row: int, error: str) -> None:
    """End a device whose process may be what is wrong; it is started again, later each time."""
    device = turn.state.devices[row]
    if device.up and device.rested_until_s > turn.state.now_s:  # not where a task was found to be at fault meanwhile
        lose(turn, row, f"{len(device.failing)} tasks in a row failed there, also after a rest: {error}")


def _doubled(seconds: float, times: int) -> float:
    return seconds * 2.0 ** min(times, MAX_DOUBLINGS)
