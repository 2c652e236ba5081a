"""The input streams of the attempts that run: which images go to which device next, as its credits allow."""

from splitplace.placement.broker.attempt import route
from splitplace.placement.broker.state import Attempt
from splitplace.placement.protocol import fields
from splitplace.placement.protocol.outflow import Outflow, Send, window_of
from splitplace.records.demand import SplitDemand
from splitplace.records.split import INPUT


class Feed:
    """The inputs of one attempt.

    Args:
        attempt: With its devices and micro-batches.
        entry: Its split.
        images: Of the whole task, (n, ...), as they travel.
        names: Of the devices, by row.
        precedence: Whether fragments overlap.
        window: Credits of each stream.
    """

    def __init__(
        self,
        attempt: Attempt,
        entry: SplitDemand,
        images: fields.Value,
        names: tuple[str, ...],
        precedence: fields.Precedence,
        window: int,
    ):
        self._attempt, self._entry, self._images = attempt, entry, images
        credits = window_of(INPUT, precedence, window, len(images), entry.micro_batch)
        self._flows = {
            dst: Outflow(
                attempt.id, INPUT, fields.Outlet(dst=dst, device=names[attempt.devices[dst]], tensors=given), credits
            )
            for dst, given in route(entry.split, INPUT).items()
            if dst not in attempt.handed_on
        }
        self._sent = dict.fromkeys(self._flows, 0)

    def grant(self, dst: str, count: int) -> None:
        """The device of an input fragment took so many micro-batches."""
        self._flows[dst].grant(count)

    def flush(self, send: Send) -> None:
        """Send the micro-batches that have credits, no more: the rest stays a view of the images."""
        name = self._entry.split.inputs[0].name
        for dst, flow in self._flows.items():
            while flow.open and self._sent[dst] < self._attempt.total:
                row = self._attempt.micro_batches[self._sent[dst]]
                self._sent[dst] += 1
                flow.put(row, {name: self._rows(row)})
            flow.flush(send)

    def _rows(self, micro_batch: int) -> fields.Value:
        size = self._entry.micro_batch
        return self._images[micro_batch * size : (micro_batch + 1) * size]

    def input_bytes(self, micro_batch: int) -> int:
        """What a micro-batch's images take as they travel."""
        return self._rows(micro_batch).nbytes

    def takes(self, dst: str, device: str) -> bool:
        """Whether this is the device of one of the fragments that have the input from here."""
        return dst in self._flows and self._flows[dst].outlet.device == device
