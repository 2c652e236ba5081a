"""One fragment of one job on a device: gathers its inputs, says when a micro-batch can run, and sends results on.

A container with a result that found no credit (`protocol/outflow.py`) does not run. One that passes the task's input on
(`Assign.onward`) does so as it comes in, and gives the credit for it back once it has both run it and passed it on.
"""

import heapq
from bisect import bisect_right
from dataclasses import dataclass, field

from splitplace.errors import ContractError
from splitplace.inference.encoded_images import EncodedImages
from splitplace.inference.executor import check_tensor
from splitplace.placement.protocol import fields, messages
from splitplace.placement.protocol.outflow import Outflow, Values, window_of
from splitplace.records.fragment import Fragment
from splitplace.records.split import INPUT
from splitplace.records.task import micro_batches


@dataclass
class _Gathered:
    """The inputs of one micro-batch so far."""

    values: dict[str, fields.Value] = field(default_factory=dict)
    sources: set[str] = field(default_factory=set)
    sent_s: float = float("inf")


class Container:
    """One fragment of one job, from its assignment to its last result.

    Raises:
        ContractError: Inlets that are not the fragment's inputs, or micro-batches that the task does not have.
    """

    def __init__(self, assign: messages.Assign, fragment: Fragment):
        self.assign, self.fragment = assign, fragment
        self._spans = _spans(assign)
        self.total = sum(stop - start for start, stop in self._spans)
        """Micro-batches that it is to run."""
        self._specs = {spec.name: spec for spec in fragment.inputs}
        wanted = sorted(name for inlet in assign.inlets for name in inlet.tensors)
        if wanted != sorted(self._specs) or any(inlet.src not in assign.senders for inlet in assign.inlets):
            raise ContractError(f"{fragment.name}: inlets bring {wanted}, its contract takes {sorted(self._specs)}")
        self._inlets = {inlet.src: frozenset(inlet.tensors) for inlet in assign.inlets}
        if assign.onward is not None and self._inlets.get(INPUT) != frozenset(assign.onward.tensors):
            raise ContractError(
                f"{fragment.name}: is to pass {sorted(assign.onward.tensors)} on, of the input it takes "
                f"{sorted(self._inlets.get(INPUT, ()))}"
            )
        self._gathered: dict[int, _Gathered] = {}
        self._complete: list[tuple[float, int]] = []
        """A heap of the micro-batches whose inputs are all here: since when, and which."""
        self._received = dict.fromkeys(self._inlets, 0)
        self._seen: set[tuple[str, int]] = set()
        self._taken = 0
        self._credited = dict.fromkeys(self._inlets, 0)
        """Micro-batches of each source for which the credit was given back."""
        self._sizes: dict[int, int] = {}
        """Bytes of each micro-batch that is held."""
        self._unpassed: set[int] = set()
        """Those whose input is still to be passed on."""
        self.held_bytes = 0
        """Of inputs that wait to be run, or to be passed on."""
        self.done = 0
        self.listed = self.dropped = False
        self.served_s = 0.0
        """Kept by `ContainerQueue`: whether it waits for its turn, whether it is no more, and how long it was served,
        on the queue's virtual clock."""
        how = assign.precedence, assign.window, assign.n, assign.micro_batch
        self._windows = {src: window_of(src, *how) for src in self._inlets}
        self.outflows = {
            outlet.dst: Outflow(assign.job, assign.fragment, outlet, window_of(assign.fragment, *how))
            for outlet in assign.outlets
        }
        self.onward: Outflow | None = None
        """To the fragment that has the task's input from here, if one has."""
        if assign.onward is not None:
            self.onward = Outflow(assign.job, INPUT, assign.onward, window_of(INPUT, *how))

    def samples(self, micro_batch: int) -> int:
        """How many samples this micro-batch has; the last may have fewer."""
        return min(self.assign.micro_batch, self.assign.n - micro_batch * self.assign.micro_batch)

    def runs(self, micro_batch: int) -> bool:
        """Whether this micro-batch is among those it is to run."""
        at = bisect_right(self._spans, micro_batch, key=lambda span: span[0]) - 1
        return at >= 0 and micro_batch < self._spans[at][1]

    def accept(self, peer: str, message: messages.Tensors, values: Values, now_s: float) -> None:
        """Take in what a source sent.

        Raises:
            SplitPlaceError: Not from the source's device, not by the contract, twice, or more than credits allow.
        """
        where = f"{self.assign.fragment} micro-batch {message.micro_batch} from {message.src}"
        if self.assign.senders.get(message.src) != peer or message.src not in self._inlets:
            raise ContractError(f"{where}: sent by {peer}, expected {self.assign.senders.get(message.src)}")
        if not self.runs(message.micro_batch) or (message.src, message.micro_batch) in self._seen:
            raise ContractError(f"{where}: sent twice, or beyond the {self.total} that it is to run")
        if values.keys() != self._inlets[message.src]:
            raise ContractError(f"{where}: tensors {sorted(values)}, expected {sorted(self._inlets[message.src])}")
        for name, value in values.items():
            check_tensor(self._specs[name], value, where)
            if isinstance(value, EncodedImages) and message.src != INPUT:
                raise ContractError(f"{where}: tensor {name!r} as PNG, expected so of a task's input alone")
            if len(value) != self.samples(message.micro_batch):
                raise ContractError(f"{where}: {len(value)} samples, expected {self.samples(message.micro_batch)}")
        if self._received[message.src] - self._through(message.src) >= self._windows[message.src]:
            raise ContractError(f"{where}: more than the {self._windows[message.src]} micro-batches it had credits for")
        self._received[message.src] += 1
        self._seen.add((message.src, message.micro_batch))
        gathered = self._gathered.setdefault(message.micro_batch, _Gathered())
        gathered.values |= values
        gathered.sources.add(message.src)
        gathered.sent_s = min(gathered.sent_s, message.sent_s)
        size_bytes = sum(value.nbytes for value in values.values())
        self._sizes[message.micro_batch] = self._sizes.get(message.micro_batch, 0) + size_bytes
        self.held_bytes += size_bytes
        if self.onward is not None and message.src == INPUT:
            self._unpassed.add(message.micro_batch)
            self.onward.put(message.micro_batch, values)
        if len(gathered.sources) == len(self._inlets):
            heapq.heappush(self._complete, (now_s, message.micro_batch))

    @property
    def _started(self) -> bool:
        """Whether precedence lets it begin: strict waits for every parent's whole task (not for the task's input)."""
        if self.assign.precedence == "pipelined":
            return True
        return all(count == self.total for src, count in self._received.items() if src != INPUT)

    def ready(self) -> tuple[float, int] | None:
        """The complete micro-batch that became so first, as (when, which); none if nothing can run now."""
        if not self._complete or not self._started or any(outflow.queued for outflow in self.outflows.values()):
            return None
        return self._complete[0]

    def take(self, micro_batch: int) -> tuple[Values, float, float]:
        """Hand the ready micro-batch over to be run: its inputs, when the first was sent and the last had arrived."""
        ready_s, first = heapq.heappop(self._complete)
        assert first == micro_batch, f"micro-batch {micro_batch} taken, {first} was ready"
        gathered = self._gathered.pop(micro_batch)
        self._taken += 1
        self._let_go(micro_batch)
        return gathered.values, gathered.sent_s, ready_s

    def passed_on(self, micro_batch: int) -> None:
        """This micro-batch of the task's input goes to who has it from here."""
        self._unpassed.discard(micro_batch)
        self._let_go(micro_batch)

    def _let_go(self, micro_batch: int) -> None:
        """Count its inputs no more, unless they are still to be run or passed on."""
        if micro_batch not in self._gathered and micro_batch not in self._unpassed:
            self.held_bytes -= self._sizes.pop(micro_batch)

    def _through(self, src: str) -> int:
        """How many micro-batches of a source are run, or about to be, and passed on if they are to be."""
        if src == INPUT and self.onward is not None:
            return min(self._taken, self._received[src] - self.onward.queued)
        return self._taken

    def drop(self) -> None:
        """Let go of every tensor: nobody waits for the results any more."""
        self.dropped = True
        self._gathered.clear()
        self._complete.clear()
        self.outflows.clear()
        self.onward = None
        self.held_bytes = 0

    def credits(self, src: str) -> int:
        """How many to give back to a source now, after a micro-batch was taken or passed on.

        Each time wakes both ends, so they are gathered, up to half a window: meanwhile the source has the other half,
        or what it sent is here and will be taken. One that has sent everything, or has credits for it, needs none.
        """
        owed, window = self._through(src) - self._credited[src], self._windows[src]
        if self._received[src] == self.total or window >= self.total or owed < window // 2:
            return 0
        self._credited[src] += owed
        return owed

    def put(self, micro_batch: int, outputs: Values) -> None:
        """Queue the results of a micro-batch for everyone who wants them."""
        self.done += 1
        for outflow in self.outflows.values():
            outflow.put(micro_batch, outputs)

    @property
    def finished(self) -> bool:
        """Whether everything was run, sent and passed on."""
        return (
            self.done == self.total
            and not any(outflow.queued for outflow in self.outflows.values())
            and (self.onward is None or not self.onward.queued)
        )


def _spans(assign: messages.Assign) -> tuple[tuple[int, int], ...]:
    """The micro-batches to run, as [start, stop) in order.

    Raises:
        ContractError: Not in order, overlapping, empty, or beyond the task.
    """
    of_task = micro_batches(assign.n, assign.micro_batch)
    if assign.micro_batches is None:
        return ((0, of_task),)
    reached = 0
    for start, stop in assign.micro_batches:
        if start < reached or stop <= start or stop > of_task:
            raise ContractError(
                f"{assign.fragment}: micro-batches {start} to {stop}, expected spans in order within {of_task}"
            )
        reached = stop
    return assign.micro_batches
