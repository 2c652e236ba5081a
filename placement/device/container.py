"""One fragment of one job on a device: gathers its inputs, says when a micro-batch can run, and sends results on.

A container with a result that found no credit (`protocol/outflow.py`) does not run.
"""

from dataclasses import dataclass, field

from splitplace.errors import ContractError
from splitplace.inference.executor import check_tensor
from splitplace.placement.protocol import messages
from splitplace.placement.protocol.outflow import Outflow, Values, window_of
from splitplace.records.fragment import Fragment
from splitplace.records.split import INPUT
from splitplace.records.task import micro_batches


@dataclass
class _Gathered:
    """The inputs of one micro-batch so far."""

    values: dict[str, messages.Array] = field(default_factory=dict)
    sources: set[str] = field(default_factory=set)
    sent_s: float = float("inf")
    ready_s: float = 0.0


class Container:
    """One fragment of one job, from its assignment to its last result."""

    def __init__(self, assign: messages.Assign, fragment: Fragment):
        self.assign, self.fragment = assign, fragment
        self.total = micro_batches(assign.n, assign.micro_batch)
        self._specs = {spec.name: spec for spec in fragment.inputs}
        wanted = sorted(name for inlet in assign.inlets for name in inlet.tensors)
        if wanted != sorted(self._specs) or any(inlet.src not in assign.senders for inlet in assign.inlets):
            raise ContractError(f"{fragment.name}: inlets bring {wanted}, its contract takes {sorted(self._specs)}")
        self._inlets = {inlet.src: frozenset(inlet.tensors) for inlet in assign.inlets}
        self._gathered: dict[int, _Gathered] = {}
        self._received = dict.fromkeys(self._inlets, 0)
        self._seen: set[tuple[str, int]] = set()
        self._held = dict.fromkeys(self._inlets, 0)
        self.done = 0
        window = window_of(assign.precedence, assign.window, assign.n, assign.micro_batch)
        self._window = window
        self.outflows = {outlet.dst: Outflow(assign.job, assign.fragment, outlet, window) for outlet in assign.outlets}

    def samples(self, micro_batch: int) -> int:
        """How many samples this micro-batch has; the last may have fewer."""
        return min(self.assign.micro_batch, self.assign.n - micro_batch * self.assign.micro_batch)

    def accept(self, peer: str, message: messages.Tensors, values: Values, now_s: float) -> None:
        """Take in what a source sent.

        Raises:
            SplitPlaceError: Not from the source's device, not by the contract, twice, or more than credits allow.
        """
        where = f"{self.assign.fragment} micro-batch {message.micro_batch} from {message.src}"
        if self.assign.senders.get(message.src) != peer or message.src not in self._inlets:
            raise ContractError(f"{where}: sent by {peer}, expected {self.assign.senders.get(message.src)}")
        if message.micro_batch >= self.total or (message.src, message.micro_batch) in self._seen:
            raise ContractError(f"{where}: sent twice, or beyond the {self.total} of the task")
        if values.keys() != self._inlets[message.src]:
            raise ContractError(f"{where}: tensors {sorted(values)}, expected {sorted(self._inlets[message.src])}")
        for name, value in values.items():
            check_tensor(self._specs[name], value, where)
            if len(value) != self.samples(message.micro_batch):
                raise ContractError(f"{where}: {len(value)} samples, expected {self.samples(message.micro_batch)}")
        if self._held[message.src] >= self._window:
            raise ContractError(f"{where}: more than the {self._window} micro-batches it had credits for")
        self._held[message.src] += 1
        self._received[message.src] += 1
        self._seen.add((message.src, message.micro_batch))
        gathered = self._gathered.setdefault(message.micro_batch, _Gathered())
        gathered.values |= values
        gathered.sources.add(message.src)
        gathered.sent_s = min(gathered.sent_s, message.sent_s)
        gathered.ready_s = now_s

    @property
    def _started(self) -> bool:
        """Whether precedence lets it begin: strict waits for every parent's whole task (not for the task's input)."""
        if self.assign.precedence == "pipelined":
            return True
        return all(count == self.total for src, count in self._received.items() if src != INPUT)

    def ready(self) -> tuple[float, int] | None:
        """The complete micro-batch that became so first, as (when, which); none if nothing can run now."""
        if any(outflow.queued for outflow in self.outflows.values()) or not self._started:
            return None
        complete = [(g.ready_s, index) for index, g in self._gathered.items() if len(g.sources) == len(self._inlets)]
        return min(complete, default=None)

    def take(self, micro_batch: int) -> tuple[Values, float, float]:
        """Hand a ready micro-batch over to be run: its inputs, when the first was sent and the last had arrived."""
        gathered = self._gathered.pop(micro_batch)
        for src in self._held:
            self._held[src] -= 1
        return gathered.values, gathered.sent_s, gathered.ready_s

    @property
    def returns_credits(self) -> bool:
        """Whether any sender could run out of credits at all."""
        return self._window < self.total

    def put(self, micro_batch: int, outputs: Values) -> None:
        """Queue the results of a micro-batch for everyone who wants them."""
        self.done += 1
        for outflow in self.outflows.values():
            outflow.put(micro_batch, outputs)

    @property
    def finished(self) -> bool:
        """Whether everything was run and sent."""
        return self.done == self.total and not any(outflow.queued for outflow in self.outflows.values())
