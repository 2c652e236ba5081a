"""What a live fleet's history says of a stream: the parts of its tasks' responses, and what devices did meanwhile."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from splitplace.placement.broker.attempt import length
from splitplace.placement.history import Event, MicroBatchRun, Send
from splitplace.placement.outcome import TaskOutcome
from splitplace.records.demand import Demand
from splitplace.records.device import Device
from splitplace.records.task import micro_batches
from splitplace.records.view import Floats

Spans = list[tuple[float, float]]


@dataclass(frozen=True, eq=False)
class StreamParts:
    """Of the tasks, in their order, and of all runs together."""

    execute_s: Floats
    transfer_s: Floats
    """Of the links alone: a tensor whose device is computing when it comes waits for that, and counts as executing."""
    run_over_profile: float
    """What micro-batches took on their devices, over what their profiles say."""
    between_s: float
    """Mean from the end of a run to the begin of the next one on that device, where that was ready by then."""


def stream_parts(
    outcomes: Sequence[TaskOutcome], events: Sequence[Event], devices: Sequence[Device], demand: Demand
) -> StreamParts | None:
    """Of what is answered; none where the history does not have all of it any more.

    A live broker calls it a transfer from when a tensor is sent until the device has taken it in. A device takes
    nothing in while it has used up its share of the CPU. In the simulator a tensor that has come waits for its device.

    Args:
        outcomes: Of tasks that were answered.
        events: Of the run.
        devices: Of the run.
        demand: What the profiles say of its one split.
    """
    runs, sends = defaultdict[int, list[MicroBatchRun]](list), defaultdict[int, list[Send]](list)
    busy = defaultdict[str, list[MicroBatchRun]](list)
    for event in events:
        if isinstance(event, MicroBatchRun):
            runs[event.task].append(event)
            busy[event.device].append(event)
        elif isinstance(event, Send):
            sends[event.task].append(event)
    (entry,), by_name = demand.splits, {device.name: device for device in devices}
    expected = {o.id: len(entry.split.fragments) * micro_batches(o.n, entry.micro_batch) for o in outcomes}
    if any(len(runs[id_]) != count for id_, count in expected.items()):
        return None
    spans = {name: sorted((run.start_s, run.end_s) for run in of_device) for name, of_device in busy.items()}
    transfer_s = [
        _added(
            [(run.start_s, run.end_s) for run in runs[outcome.id]],
            [span for send in sends[outcome.id] for span in _outside(send, spans)],
        )
        for outcome in outcomes
    ]
    left_s = [(o.response_s or 0.0) - (o.wait_s or 0.0) for o in outcomes]
    every = [run for of_device in busy.values() for run in of_device]
    took_s = sum(run.end_s - run.start_s for run in every)
    told_s = sum(entry.latency_s(run.fragment, by_name[run.device]) for run in every)
    return StreamParts(
        np.subtract(left_s, transfer_s), np.array(transfer_s), took_s / told_s, _between_s(list(busy.values()))
    )


def _added(runs: Spans, sends: Spans) -> float:
    return length([*runs, *sends]) - length(runs)


def _outside(send: Send, busy: Mapping[str, Spans]) -> Spans:
    """The part of a tensor's way during which the device that it goes to did not compute."""
    left, start_s = Spans(), send.start_s
    for from_s, to_s in busy.get(send.device, ()):
        if from_s >= send.end_s:
            break
        if to_s <= start_s:
            continue
        if from_s > start_s:
            left.append((start_s, from_s))
        start_s = max(start_s, to_s)
    if start_s < send.end_s:
        left.append((start_s, send.end_s))
    return left


def _between_s(by_device: Sequence[list[MicroBatchRun]]) -> float:
    found = list[float]()
    for runs in by_device:
        in_turn = sorted(runs, key=lambda run: run.start_s)
        found += [later.start_s - run.end_s for run, later in pairwise(in_turn) if later.ready_s <= run.end_s]
    return float(np.mean(found)) if found else 0.0
