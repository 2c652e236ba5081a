"""Devices without a broker: what the wire and the device runtime do, with nothing above them that decides.

Whoever uses it says where each fragment of a split runs, and gets the answers, the time and the CPU that it took.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from splitplace.errors import NotReadyError
from splitplace.inference.encoded_images import as_tensor
from splitplace.inference.executor import Array
from splitplace.placement.device.config import DeviceConfig
from splitplace.placement.engines.local import LocalEngine
from splitplace.placement.protocol import codec, fields, messages
from splitplace.placement.protocol.incarnations import draw_incarnation
from splitplace.placement.protocol.stream import Received, StreamNode
from splitplace.records.split import INPUT, Split

PATIENCE_S = 300.0
"""Without a word from any device."""
WINDOW = 4
M = TypeVar("M", bound=messages.Message)


@dataclass(frozen=True)
class BareRun:
    """What a task was answered with, and what it took."""

    answers: Sequence[Array]
    """Of the sink, a micro-batch each."""
    steady_s: float
    """Seconds a micro-batch, from the first answer to the last: without filling the pipeline and draining it."""
    cpu_s: float
    """Of all device processes."""
    run_cpu_s: float
    """The part of it that was spent while fragments ran."""


@dataclass(eq=False)
class BareDevices:
    """Device processes of this machine that are up, and the node that speaks to them in the broker's name."""

    node: StreamNode
    names: Sequence[str]
    _jobs: int = 0
    _pings: int = 0
    _later: list[Received] = field(default_factory=list)

    def load(self, split: Split, placed: Mapping[str, str]) -> None:
        """Load each fragment on its device."""
        for name, device in placed.items():
            self.node.send(device, messages.Load(fragment=split.by_name[name]))
        for _ in placed:
            self._hear(messages.Loaded)

    def run(self, split: Split, placed: Mapping[str, str], inputs: Sequence[Array]) -> BareRun:
        """Stream micro-batches through a chain, as many under way as credits allow.

        Args:
            split: A chain; its fragments are loaded where they are placed.
            placed: The device of each fragment.
            inputs: A micro-batch each, at least two, of one size.

        Raises:
            NotReadyError: A device failed, or says nothing more.
        """
        self._jobs += 1
        orders = [(device, self._assign(split, placed, name, inputs)) for name, device in placed.items()]
        for device, order in orders:
            self.node.send(device, order)
        for device, order in orders:  # whoever gets tensors from another device says that it is ready for them
            if order.senders[order.inlets[0].src] not in (fields.BROKER, device):
                self._hear(messages.Assigned)
        (first,) = split.children(INPUT)
        (spec,) = split.inputs
        answers: dict[int, Array] = {}
        before, answered_s = self._usage(), list[float]()
        sent, credits = 0, WINDOW
        while len(answers) < len(inputs):
            while credits and sent < len(inputs):
                header = codec.tensors(self._jobs, INPUT, first, sent, 0.0, {spec.name: inputs[sent]})
                self.node.send(placed[first], header, [inputs[sent]])
                sent, credits = sent + 1, credits - 1
            message = self._next()
            if isinstance(message.message, messages.Credit):
                credits += message.message.count
            elif isinstance(message.message, messages.Tensors):
                tensors = message.message
                (given,) = message.values.values()
                answers[tensors.micro_batch] = as_tensor(given)
                answered_s.append(time.monotonic())
                self.node.send(message.peer, messages.Credit(job=self._jobs, src=tensors.src, dst=tensors.dst, count=1))
        steady_s = (answered_s[-1] - answered_s[0]) / (len(inputs) - 1)
        process_s, run_s = (after - first for after, first in zip(self._usage(), before, strict=True))
        return BareRun([answers[i] for i in range(len(inputs))], steady_s, process_s, run_s)

    def _assign(self, split: Split, placed: Mapping[str, str], name: str, inputs: Sequence[Array]) -> messages.Assign:
        fragment = split.by_name[name]
        (src,) = {edge.src for edge in split.edges if edge.dst == name}
        tensors = tuple(edge.tensor for edge in split.edges if edge.dst == name)
        onward = [edge for edge in split.edges if edge.src == name]
        dst = onward[0].dst if onward else fields.ANSWER
        return messages.Assign(
            job=self._jobs,
            fragment=name,
            digest=fragment.digest,
            n=sum(map(len, inputs)),
            micro_batch=len(inputs[0]),
            precedence="pipelined",
            window=WINDOW,
            inlets=(fields.Inlet(src=src, tensors=tensors),),
            senders={src: fields.BROKER if src == INPUT else placed[src]},
            outlets=(
                fields.Outlet(
                    dst=dst,
                    device=placed.get(dst, fields.BROKER),
                    tensors=tuple(edge.tensor for edge in onward) or (fragment.outputs[0].name,),
                ),
            ),
        )

    def _usage(self) -> tuple[float, float]:
        """CPU seconds of all devices so far: of the processes, and of their runs."""
        self._pings += 1
        for name in self.names:
            self.node.send(name, messages.Ping(sequence=self._pings))
        pongs = [self._hear(messages.Pong) for _ in self.names]
        return sum(pong.cpu_s for pong in pongs), sum(usage.cpu_s for pong in pongs for usage in pong.fragments)

    def _hear(self, kind: type[M]) -> M:
        while True:
            message = self._next().message
            if isinstance(message, kind):
                return message

    def _next(self) -> Received:
        end_s = time.monotonic() + PATIENCE_S
        while not self._later:
            if time.monotonic() > end_s:
                raise NotReadyError(f"no word from {', '.join(self.names)} within {PATIENCE_S:g} s")
            for received in self.node.receive(1.0):
                if not isinstance(received, Received):
                    raise NotReadyError(f"{received.peer} sent no message: {received.error}")
                if isinstance(received.message, messages.Failed | messages.LoadFailed | messages.Refused):
                    raise NotReadyError(f"{received.peer}: {received.message.error}")
                self._later.append(received)
        return self._later.pop(0)


@contextmanager
def bare_devices(
    catalog: Path, shares: Mapping[str, float], engine: LocalEngine | None = None
) -> Iterator[BareDevices]:
    """Devices of one thread each, up and introduced to each other.

    Args:
        catalog: What they load from.
        shares: Of a core, by device.
        engine: Where they are to be anything but processes that meet over socket files.

    Raises:
        NotReadyError: One does not come up.
    """
    engine = LocalEngine() if engine is None else engine
    accesses = engine.accesses((fields.BROKER, *shares))
    with ExitStack() as stack:
        stack.callback(accesses.close)
        node = stack.enter_context(StreamNode(accesses.by_name[fields.BROKER]))
        devices = BareDevices(node, tuple(shares))
        launched = {name: draw_incarnation() for name in shares}
        for name, share in shares.items():
            stack.callback(engine.stop, name)
            engine.launch(
                DeviceConfig(
                    name=name, catalog=str(catalog.resolve()), threads=1, cpu_share=share,
                    access=accesses.by_name[name], incarnation=launched[name],
                    broker_endpoint=node.endpoint, broker_incarnation=node.incarnation,
                )
            )  # fmt: skip
        peers = tuple(_greeted(devices, launched) for _ in shares)
        for peer in peers:
            node.connect(peer.name, peer.endpoint)
            node.send(peer.name, messages.Peers(peers=tuple(other for other in peers if other != peer)))
        yield devices


def _greeted(devices: BareDevices, launched: Mapping[str, int]) -> fields.Peer:
    while True:
        received = devices._next()
        if isinstance(received.message, messages.Hello):
            return fields.Peer(
                name=received.peer, endpoint=received.message.endpoint, incarnation=launched[received.peer]
            )
