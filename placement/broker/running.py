"""What the devices of an attempt report: micro-batches that ran, and answers."""

from collections.abc import Iterable

from splitplace.placement import history as book
from splitplace.placement.broker import events as ev
from splitplace.placement.broker.attempt import answer_of, edge_bytes, is_answered, samples
from splitplace.placement.broker.leaving import answer
from splitplace.placement.broker.state import Attempt, Span, TaskState
from splitplace.placement.broker.turn import Turn
from splitplace.placement.protocol import fields
from splitplace.records.task import micro_batches

REPORTS_S = 1.0
"""How long an answered task waits for its devices' reports, which come over other connections than the answers."""


def ran(turn: Turn, event: ev.DeviceRan) -> None:
    """A micro-batch of a fragment is done."""
    attempt = turn.state.jobs.get(event.job)
    if attempt is None or event.micro_batch in attempt.ran[event.fragment]:
        return
    task, entry = turn.state.tasks[attempt.task], turn.setup.entry(attempt.split)
    row = attempt.devices[event.fragment]
    attempt.ran[event.fragment][event.micro_batch] = event.end_s
    progress(turn, attempt, row)
    turn.state.devices[row].failing.clear()
    turn.state.devices[row].rests = turn.state.devices[row].losses = 0
    task.runs.append((event.start_s, event.end_s))
    task.transfers.append((event.sent_s, event.ready_s))
    count = samples(task.task.n, entry.micro_batch, event.micro_batch)
    here, elsewhere, size_bytes = list[str](), list[str](), 0
    for edge in entry.split.edges:
        if edge.dst != event.fragment:
            continue
        sender = attempt.sender(edge.src, edge.dst)
        if sender != row:
            size_bytes += edge_bytes(edge, count, event.input_bytes)
        (here if sender == row else elsewhere).append(edge.src)
    run = book.MicroBatchRun(
        device=turn.setup.names[row],
        task=attempt.task,
        split=entry.split.reference,
        strategy=entry.split.strategy,
        fragment=event.fragment,
        micro_batch=event.micro_batch,
        samples=count,
        made_s=_made_s(attempt, here, event.micro_batch, event.ready_s),
        ready_s=event.ready_s,
        start_s=event.start_s,
        end_s=event.end_s,
    )
    turn.note(run)
    if size_bytes:
        span, made_s = (event.sent_s, event.ready_s), _made_s(attempt, elsewhere, event.micro_batch, event.sent_s)
        sent(turn, task, event.fragment, turn.setup.names[row], event.micro_batch, size_bytes, span, made_s)
    end_if_done(turn, attempt)


def answered(turn: Turn, event: ev.SinkAnswered) -> None:
    """A sink has given its logits for a micro-batch."""
    attempt = turn.state.jobs.get(event.job)
    if attempt is None:
        return
    task = turn.state.tasks[attempt.task]
    answers = task.answers.setdefault(event.sink, {})
    if event.micro_batch in answers:
        return
    answers[event.micro_batch] = event.logits
    task.setbacks = task.cut_offs = 0
    attempt.progressed_s = turn.state.now_s
    task.failed_on.clear()
    span, made_s = (event.sent_s, turn.state.now_s), _made_s(attempt, (event.sink,), event.micro_batch, event.sent_s)
    task.transfers.append(span)
    sent(turn, task, fields.ANSWER, fields.BROKER, event.micro_batch, len(event.logits), span, made_s)
    end_if_done(turn, attempt)


def _made_s(attempt: Attempt, sources: Iterable[str], micro_batch: int, until_s: float) -> float | None:
    """When the last of these fragments had run a micro-batch, of those that had by then; none if none had."""
    ends = (attempt.ran[src].get(micro_batch) for src in sources if src in attempt.ran)
    return max((end_s for end_s in ends if end_s is not None and end_s <= until_s), default=None)


def sent(
    turn: Turn,
    task: TaskState,
    dst: str,
    device: str,
    micro_batch: int,
    size_bytes: int,
    span: Span,
    made_s: float | None,
) -> None:
    """Tensors of a micro-batch were on their way, and before that on the device that had made them."""
    note = book.Send(
        task=task.task.id,
        dst=dst,
        device=device,
        micro_batch=micro_batch,
        bytes=size_bytes,
        made_s=made_s,
        start_s=span[0],
        end_s=max(span[1], span[0]),
    )
    turn.note(note)


def end_if_done(turn: Turn, attempt: Attempt, patient: bool = True) -> bool:
    """Answer the task once every logit of a whole answer is here, without a spare, which has no part in it.

    Args:
        turn: Of the event.
        attempt: The task's.
        patient: Await the report of every run, for a while; not of a spare's, which may still be at it.

    Returns:
        Whether the attempt is over.
    """
    task, entry = turn.state.tasks[attempt.task], turn.setup.entry(attempt.split)
    split = entry.split
    if not is_answered(split, task, micro_batches(task.task.n, entry.micro_batch), split.branches):
        return False
    if patient and any(attempt.left(name) for name in attempt.ran if name != split.merge.spare):
        if not attempt.awaits_reports:
            attempt.awaits_reports = True
            turn.state.alarm(turn.state.now_s + REPORTS_S, "reports", attempt.id)
        return False
    answer(turn, task, answer_of(split, task), ())
    return True


def progress(turn: Turn, attempt: Attempt, device: int) -> None:
    """A device did something for an attempt."""
    attempt.progressed_s = turn.state.devices[device].progressed_s = turn.state.now_s
