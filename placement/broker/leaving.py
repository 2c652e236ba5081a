"""How a task leaves: answered or failed, once; and how an attempt ends, with devices and memory given back."""

from typing import Any

import numpy as np

from splitplace.inference.executor import merge
from splitplace.placement import history as book
from splitplace.placement.broker.attempt import is_answered, length, logits_of
from splitplace.placement.broker.effects import EndTask, StopFeed, Tell
from splitplace.placement.broker.state import KEPT_RESULTS, Attempt, Left, TaskState
from splitplace.placement.broker.turn import Turn
from splitplace.placement.outcome import TaskOutcome
from splitplace.placement.protocol import fields, messages
from splitplace.records.demand import SplitDemand
from splitplace.records.task import micro_batches

Array = np.ndarray[Any, np.dtype[Any]]
CANCELLED = "it was cancelled"
"""The error of a task that nobody wants any more."""


def expire(turn: Turn, task: TaskState) -> None:
    """Its time is over; what is there of the answer may be enough."""
    if task.degrade and task.decision is not None:
        entry = turn.setup.entry(task.decision.split)
        total = micro_batches(task.task.n, entry.micro_batch)
        there = [sink for sink in entry.split.sinks if is_answered(entry.split, task, total, (sink,))]
        if there:
            logits = merge(entry.split, logits_of(entry.split, task, there))
            answer(turn, task, logits, tuple(sink for sink in entry.split.sinks if sink not in there))
            return
    age_s, waits_for = turn.state.now_s - task.task.arrival_s, stage(turn, task)
    if age_s >= turn.setup.task_timeout_s:
        fail(turn, task, f"no answer within {turn.setup.task_timeout_s:g} s: {waits_for}")
        return
    fail(turn, task, f"its deadline of {task.task.deadline_s:g} s has passed: {waits_for}")


def stage(turn: Turn, task: TaskState) -> str:
    """What a task waits for."""
    if task.job is None:
        if not any(device.up for device in turn.state.devices):
            return "no device is up: " + "; ".join(
                f"{name} {device.reason or 'has not started'}"
                for name, device in zip(turn.setup.names, turn.state.devices, strict=True)
            )
        if turn.state.plan_failure:
            return turn.state.plan_failure
        return "it waited for its turn" if task.decision is None else "it found no place on the devices' memory"
    attempt = turn.state.jobs[task.job]
    names = turn.setup.names
    if attempt.started_s is None:
        return f"its devices {sorted({names[device] for device in attempt.devices.values()})} were not ready"
    behind = [f"{name} on {names[device]}" for name, device in attempt.devices.items() if attempt.left(name)]
    return f"still running {', '.join(behind) or 'nothing, but an answer is missing'}"


def answer(turn: Turn, task: TaskState, logits: Array, absent: tuple[str, ...]) -> None:
    """A task is answered, by these logits; `absent` are the sinks that they are without."""
    assert task.decision is not None
    entry = turn.setup.entry(task.decision.split)
    # A spare answers for branches that do not: what is missing are their own answers.
    branches = tuple(sink for sink in entry.split.branches if sink in absent)
    missing = sorted(c for sink in branches for c in entry.split.by_name[sink].classes)
    response_s = turn.state.now_s - task.task.arrival_s
    held_s = task.held_s + (0.0 if task.job is None else turn.state.now_s - turn.state.jobs[task.job].placed_s)
    wait_s = max(response_s - held_s, 0.0)
    transfer_s = min(length([*task.runs, *task.transfers]) - length(task.runs), response_s - wait_s)
    correct = None
    if task.labels is not None:
        correct = int((logits.argmax(axis=1) == np.frombuffer(task.labels, "<i8")).sum())
        p = correct / task.task.n
    else:
        assert entry.evaluation is not None, "unlabelled tasks of unevaluated splits are refused"
        p = entry.evaluation.top1 if not branches else _without(entry, absent)
    outcome = TaskOutcome(
        **known(turn, task),
        wait_s=wait_s,
        execute_s=response_s - wait_s - transfer_s,
        transfer_s=transfer_s,
        response_s=response_s,
        correct=correct,
        p=p,
        p_source="prior" if correct is None else "labels",
        missing_classes=tuple(missing),
        devices=where(turn, task),
    )
    turn.state.answered += 1
    leave(turn, task, outcome, logits)


def _without(entry: SplitDemand, absent: tuple[str, ...]) -> float:
    """How often an answer without these sinks is right, as it was evaluated; else as if their classes never were."""
    split, evaluation = entry.split, entry.evaluation
    assert evaluation is not None
    for measured in evaluation.top1_missing:  # a split's spare was there
        if set(measured.missing) == set(absent):
            return measured.top1
    classes = sum(len(split.by_name[sink].classes) for sink in split.branches if sink not in absent)
    return evaluation.top1 * classes / split.n_classes


def where(turn: Turn, task: TaskState) -> tuple[str, ...]:
    """The devices of a task's attempt, by name, in the order of its split's fragments; none without one."""
    if task.job is None or task.decision is None:
        return ()
    devices, split = turn.state.jobs[task.job].devices, turn.setup.entry(task.decision.split).split
    return tuple(turn.setup.names[devices[name]] for name in split.by_name if name in devices)


def fail(turn: Turn, task: TaskState, error: str) -> None:
    """A task has no answer, for this reason."""
    if error == CANCELLED:
        turn.state.cancelled += 1
    else:
        turn.state.failed += 1
    leave(turn, task, TaskOutcome(**known(turn, task), error=fields.text(error)), None)


def known(turn: Turn, task: TaskState) -> dict[str, Any]:
    """What an outcome says of its task, whatever came of it."""
    said = task.task.model_dump()
    if task.decision is not None:
        split = turn.setup.entry(task.decision.split).split
        said |= {"split": split.reference, "strategy": split.strategy}
    return said


def leave(turn: Turn, task: TaskState, outcome: TaskOutcome, logits: Array | None) -> None:
    """A task is over: what it held is free, whoever decided is to learn of it."""
    id_ = task.task.id
    if task.job is not None:
        attempt = turn.state.jobs[task.job]
        entry = turn.setup.entry(attempt.split)
        whole = is_answered(entry.split, task, micro_batches(task.task.n, entry.micro_batch))
        drop(turn, attempt, cancel=not outcome.finished or not whole)
    del turn.state.tasks[id_], turn.state.waiting[id_]
    if task.decision is not None and outcome.error != CANCELLED:  # whose choice was not the policy's
        # An answer that never comes has missed its deadline, with p = 0.
        response_s = outcome.response_s
        if response_s is None:
            age_s = turn.state.now_s - task.task.arrival_s
            response_s = max(age_s, float(np.nextafter(task.task.deadline_s, np.inf)))
        decision = task.decision
        left = Left(
            id_,
            task.task.application,
            decision.split,
            task.task.deadline_s,
            response_s,
            outcome.p or 0.0,
            decision.tag,
            decision.context,
        )
        turn.state.left.append(left)
    while len(turn.state.keys) > KEPT_RESULTS + len(turn.state.tasks):  # a key is remembered as long as a result
        del turn.state.keys[next(iter(turn.state.keys))]
    turn.note(book.Finish(at_s=turn.state.now_s, outcome=outcome))
    turn.todo.append(EndTask(id_, task.inputs, outcome, logits))


def put_back(turn: Turn, attempt: Attempt) -> None:
    """End an attempt that came to nothing, or is to go on elsewhere: its task waits for other devices."""
    drop(turn, attempt)
    turn.note(book.AttemptEnded(at_s=turn.state.now_s, task=attempt.task))


def drop(turn: Turn, attempt: Attempt, cancel: bool = True) -> None:
    """Take an attempt's devices from it; its fragments stay loaded, its task waits."""
    task = turn.state.tasks[attempt.task]
    for name, device in attempt.devices.items():
        turn.state.ledger.release(attempt.id, turn.setup.row(attempt.split, name), device)
        turn.state.devices[device].jobs.discard(attempt.id)
    if cancel:
        told = [device for device in sorted(set(attempt.devices.values())) if turn.state.devices[device].up]
        turn.todo.extend(Tell(device, messages.Cancel(job=attempt.id)) for device in told)
    turn.todo.append(StopFeed(attempt.id))
    del turn.state.jobs[attempt.id]
    task.job = None
    task.held_s += turn.state.now_s - attempt.placed_s
    turn.state.waiting[task.task.id] = None
