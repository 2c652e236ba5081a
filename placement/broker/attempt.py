"""What the devices of an attempt are told, and what its answers come to."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from splitplace.inference.executor import merge
from splitplace.placement.broker.state import Attempt, Span, TaskState
from splitplace.placement.protocol import fields, messages
from splitplace.records.demand import SplitDemand
from splitplace.records.split import INPUT, Edge, Split
from splitplace.records.task import micro_batches


def route(split: Split, src: str) -> dict[str, tuple[str, ...]]:
    """The tensors that `src` (a fragment or `input`) gives to each fragment, or to the answer if it is a sink."""
    if src in split.sinks:
        return {fields.ANSWER: (split.by_name[src].outputs[0].name,)}
    return {
        dst: tuple(edge.tensor for edge in split.edges if (edge.src, edge.dst) == (src, dst))
        for dst in split.children(src)
    }


def receivers(attempt: Attempt, split: Split) -> set[str]:
    """The fragments that have tensors from another device, which might send some before theirs is told of them."""
    senders = {edge: attempt.sender(edge.src, edge.dst) for edge in split.edges}
    return {edge.dst for edge, device in senders.items() if device not in (None, attempt.devices[edge.dst])}


def samples(n: int, micro_batch: int, row: int) -> int:
    """How many of n samples a micro-batch holds; the task's last one may have fewer."""
    return min(micro_batch, n - row * micro_batch)


def edge_bytes(edge: Edge, count: int, input_bytes: int | None) -> int:
    """What so many samples take on an edge.

    Args:
        edge: Of a split.
        count: How many.
        input_bytes: What they take of the task's images, if that is not their pixels.
    """
    return edge.bytes_per_sample * count if edge.src != INPUT or input_bytes is None else input_bytes


def spans_of(rows: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Ascending numbers as the fewest [start, stop)."""
    spans: list[tuple[int, int]] = []
    for row in rows:
        if spans and spans[-1][1] == row:
            spans[-1] = spans[-1][0], row + 1
        else:
            spans.append((row, row + 1))
    return tuple(spans)


def assignments(
    attempt: Attempt,
    entry: SplitDemand,
    n: int,
    names: tuple[str, ...],
    precedence: fields.Precedence,
    window: int,
) -> Iterator[tuple[int, messages.Assign]]:
    """What to tell which device, in this order: of who gets tensors of other devices last.

    Who says that it knows of such a fragment knows of all those that it might hand something on to by then.

    Args:
        attempt: With its devices.
        entry: Its split.
        n: Images of the task.
        names: Of the devices, by row.
        precedence: Whether fragments overlap.
        window: Credits of each stream.
    """
    split = entry.split
    given = {src: route(split, src) for src in (INPUT, *attempt.devices)}
    next_of = {before: name for name, before in attempt.handed_on.items()}

    def sender(src: str, dst: str) -> str:
        device = attempt.sender(src, dst)
        return fields.BROKER if device is None else names[device]

    def outlet(dst: str, tensors: tuple[str, ...]) -> fields.Outlet:
        device = fields.BROKER if dst == fields.ANSWER else names[attempt.devices[dst]]
        return fields.Outlet(dst=dst, device=device, tensors=tensors)

    whole = attempt.total == micro_batches(n, entry.micro_batch)
    spans = None if whole else spans_of(attempt.micro_batches)
    known_last = receivers(attempt, split)
    for name, device in sorted(attempt.devices.items(), key=lambda placed: placed[0] in known_last):
        inlets = {src: tensors[name] for src, tensors in given.items() if name in tensors}
        yield (
            device,
            messages.Assign(
                job=attempt.id,
                fragment=name,
                digest=split.by_name[name].digest,
                n=n,
                micro_batch=entry.micro_batch,
                precedence=precedence,
                window=window,
                inlets=tuple(fields.Inlet(src=src, tensors=tensors) for src, tensors in inlets.items()),
                senders={src: sender(src, name) for src in inlets},
                outlets=tuple(outlet(dst, tensors) for dst, tensors in given[name].items()),
                micro_batches=spans,
                onward=outlet(next_of[name], given[INPUT][next_of[name]]) if name in next_of else None,
            ),
        )


def logits_of(split: Split, state: TaskState, sinks: Iterable[str]) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
    """The logits of these sinks, (n, classes of the sink) each; all their micro-batches must be answered."""
    found = {}
    for sink in sinks:
        spec, rows = split.by_name[sink].outputs[0], state.answers[sink]
        joined = b"".join(rows[index] for index in sorted(rows))
        sizes = (int(size) for size in spec.shape[1:])
        found[sink] = np.frombuffer(joined, spec.dtype).reshape(state.task.n, *sizes)
    return found


def answer_of(split: Split, state: TaskState) -> np.ndarray[Any, np.dtype[Any]]:
    """The merged answer of all branches, (n, n_classes)."""
    return merge(split, logits_of(split, state, split.branches))


def is_answered(split: Split, state: TaskState, total: int, sinks: Iterable[str] | None = None) -> bool:
    """Whether every micro-batch of these sinks (or of all) is answered."""
    return all(len(state.answers.get(sink, ())) == total for sink in sinks or split.sinks)


def unanswered(split: Split, answers: Mapping[str, Mapping[int, bytes]], total: int) -> tuple[int, ...]:
    """The micro-batches of which some sink's logits are missing."""
    return tuple(row for row in range(total) if any(row not in answers.get(sink, {}) for sink in split.sinks))


def length(spans: Iterable[Span]) -> float:
    """The measure of a union of intervals, in seconds."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(end - max(start, reached), 0.0)
        reached = max(reached, end)
    return total
