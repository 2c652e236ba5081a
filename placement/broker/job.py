"""One attempt to run a decided and placed task: what its devices are told, its input streams, its answer, its times."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from splitplace.errors import ContractError
from splitplace.inference.executor import check_tensor, merge
from splitplace.placement.protocol import messages
from splitplace.placement.protocol.outflow import Outflow, Values, window_of
from splitplace.records.demand import SplitDemand
from splitplace.records.split import INPUT, Split
from splitplace.records.task import micro_batches

Span = tuple[float, float]


def route(split: Split, src: str) -> dict[str, tuple[str, ...]]:
    """The tensors that `src` (a fragment or `input`) gives to each fragment, or to the answer if it is a sink."""
    if src in split.sinks:
        return {messages.ANSWER: (split.by_name[src].outputs[0].name,)}
    return {
        dst: tuple(edge.tensor for edge in split.edges if (edge.src, edge.dst) == (src, dst))
        for dst in split.children(src)
    }


@dataclass(eq=False)
class Job:
    """A task on its devices.

    Args:
        id: Unique among all attempts of all tasks: what the devices know it by.
        demand: The split that was decided.
        images: The task's input, (n, ...).
        devices: The device of each fragment.
        precedence: Whether fragments overlap.
        window: Credits of each stream.
    """

    id: int
    demand: SplitDemand
    images: messages.Array
    devices: Mapping[str, str]
    precedence: messages.Precedence
    window: int
    placed_s: float
    started_s: float | None = None
    """When its first input was sent; none while fragments load."""
    runs: list[Span] = field(default_factory=list)
    transfers: list[Span] = field(default_factory=list)

    def __post_init__(self) -> None:
        split, n, micro_batch = self.demand.split, len(self.images), self.demand.micro_batch
        self.total = micro_batches(n, micro_batch)
        self.unacknowledged = set(self.devices)
        self.done = dict.fromkeys(self.devices, 0)
        window = window_of(self.precedence, self.window, n, micro_batch)
        self.inputs = {
            dst: Outflow(self.id, INPUT, messages.Outlet(dst=dst, device=self.devices[dst], tensors=tensors), window)
            for dst, tensors in route(split, INPUT).items()
        }
        self._sent = dict.fromkeys(self.inputs, 0)
        self._logits = {
            sink: np.zeros((n, len(split.by_name[sink].classes)), split.by_name[sink].outputs[0].dtype)
            for sink in split.sinks
        }
        self._answered: set[tuple[str, int]] = set()

    @property
    def split(self) -> Split:
        """What is run."""
        return self.demand.split

    def assignments(self) -> Iterable[tuple[str, messages.Assign]]:
        """What to tell which device."""
        split = self.split
        given = {src: route(split, src) for src in (INPUT, *self.devices)}
        for name, device in self.devices.items():
            inlets = {src: tensors[name] for src, tensors in given.items() if name in tensors}
            yield (
                device,
                messages.Assign(
                    job=self.id,
                    fragment=name,
                    digest=split.by_name[name].digest,
                    n=len(self.images),
                    micro_batch=self.demand.micro_batch,
                    precedence=self.precedence,
                    window=self.window,
                    inlets=tuple(messages.Inlet(src=src, tensors=tensors) for src, tensors in inlets.items()),
                    senders={src: messages.BROKER if src == INPUT else self.devices[src] for src in inlets},
                    outlets=tuple(
                        messages.Outlet(dst=dst, device=self.devices.get(dst, messages.BROKER), tensors=tensors)
                        for dst, tensors in given[name].items()
                    ),
                ),
            )

    def fill(self) -> Iterable[Outflow]:
        """Queue the input micro-batches that have credits, no more: the rest stays a view of the images."""
        spec, size = self.split.inputs[0], self.demand.micro_batch
        for dst, flow in self.inputs.items():
            while flow.open and self._sent[dst] < self.total:
                index = self._sent[dst]
                self._sent[dst] += 1
                flow.put(index, {spec.name: self.images[index * size : (index + 1) * size]})
            yield flow

    def accept(self, peer: str, message: messages.Tensors, values: Values) -> None:
        """Take in a sink's logits for one micro-batch.

        Raises:
            SplitPlaceError: Not from that sink's device, not by its contract, or twice.
        """
        sink, index = message.src, message.micro_batch
        if self._logits.get(sink) is None or self.devices[sink] != peer:
            raise ContractError(f"{peer} sent logits of {sink!r}, which it does not run")
        spec = self.split.by_name[sink].outputs[0]
        if (sink, index) in self._answered or index >= self.total or values.keys() != {spec.name}:
            raise ContractError(f"{peer} sent {sorted(values)} of {sink} micro-batch {index}, which is not awaited")
        check_tensor(spec, values[spec.name], f"{sink} on {peer}")
        rows = self._logits[sink][index * self.demand.micro_batch :][: self.demand.micro_batch]
        if len(values[spec.name]) != len(rows):
            raise ContractError(f"{sink} on {peer}: {len(values[spec.name])} samples, expected {len(rows)}")
        if not np.isfinite(values[spec.name]).all():
            # The first class would be the largest of what cannot be compared: an answer that nobody gave.
            raise ContractError(
                f"{sink} on {peer}: logits of micro-batch {index} are NaN or infinite, expected numbers"
            )
        rows[:] = values[spec.name]
        self._answered.add((sink, index))

    def ran(self, peer: str, message: messages.Ran) -> None:
        """Note that a micro-batch is done.

        Raises:
            SplitPlaceError: From another device than the fragment's.
        """
        if self.devices.get(message.fragment) != peer:
            raise ContractError(f"{peer} says it ran {message.fragment}, which it was not given")
        self.done[message.fragment] += 1
        self.runs.append((message.start_s, message.end_s))
        self.transfers.append((message.sent_s, message.ready_s))

    @property
    def complete(self) -> bool:
        """Whether every logit and the report of every run is here (they come over different connections)."""
        answered = len(self._answered) == self.total * len(self._logits)
        return answered and all(done == self.total for done in self.done.values())

    def logits(self) -> messages.Array:
        """The merged answer, (n, n_classes)."""
        return merge(self.split, self._logits)

    def transfer_s(self) -> float:
        """Seconds in which a tensor was on its way and no fragment ran."""
        return length([*self.runs, *self.transfers]) - length(self.runs)


def length(spans: Iterable[Span]) -> float:
    """The measure of a union of intervals, in seconds."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(end - max(start, reached), 0.0)
        reached = max(reached, end)
    return total
