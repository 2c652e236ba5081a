"""What a device runtime does, apart from being a process: takes orders and tensors in, works, sends results on.

One thread talks to the network and never computes; another one computes (`worker.py`): micro-batches, every container
served alike (`containers.py`), and before these what it is ordered to do.
"""

import logging
import os
import time
from collections import deque
from concurrent.futures import Future
from functools import partial

from splitplace.errors import ContractError, NotReadyError, SplitPlaceError
from splitplace.inference.cpu_share import CpuShare
from splitplace.placement.device import monitor
from splitplace.placement.device.config import DeviceConfig
from splitplace.placement.device.container import Container
from splitplace.placement.device.containers import ContainerQueue
from splitplace.placement.device.fragments import LoadedFragments, TimedWork
from splitplace.placement.device.neighbours import Neighbours
from splitplace.placement.device.orders import WorkerOrders
from splitplace.placement.device.supply import fragment_store
from splitplace.placement.device.worker import SessionWorker
from splitplace.placement.protocol import codec, fields, messages
from splitplace.placement.protocol.outflow import Outflow, Values
from splitplace.placement.protocol.stream import Malformed, Received, StreamNode, UnknownProcess, drain

log = logging.getLogger(__name__)

POLL_S = 1.0


class DeviceRuntime:
    """The state of one device runtime; driven by `serve` in one thread.

    Args:
        config: Who it is and whom it talks to.
        node: Its network, connected to the broker.
        share: What slows its work down.
    """

    def __init__(self, config: DeviceConfig, node: StreamNode, share: CpuShare):
        self.config, self.node, self.share = config, node, share
        self.fragments = LoadedFragments(fragment_store(config), config.threads, share)
        self.containers = ContainerQueue(config.max_held_bytes)
        self.neighbours = Neighbours(node)
        self.worker = SessionWorker(self.wake)
        self.orders = WorkerOrders(self.fragments, self.worker, share, config.threads, self._tell, self._refuse)
        self._own: deque[Received] = deque()
        """What it has said to itself: taken in by and by, as what others say, and not in the middle of something."""
        self._stopping = False
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._woken, False)
        node.watch(self._woken)

    def wake(self) -> None:
        """Make `serve` look again; from any thread or signal handler."""
        os.write(self._wake, b"!")

    def stop(self) -> None:
        """Make `serve` return."""
        self._stopping = True
        self.wake()

    def serve(self) -> None:
        """Work until told to stop."""
        while not self._stopping:
            for received in self.node.receive(POLL_S):
                self._handle(received)
            self._tell_whom_it_reaches()
            drain(self._woken)
            self._advance()

    def _advance(self) -> None:
        """Take in what the worker has done, and give it something to do."""
        self.worker.collect()
        self._hear_itself()
        self._work()
        self._hear_itself()

    # What comes in.

    def _handle(self, received: Received | Malformed | UnknownProcess) -> None:
        if not isinstance(received, Received):
            self._refuse(received.peer, received.error)
            return
        peer, message = received.peer, received.message
        match message:
            case messages.Tensors():
                self._accept(peer, message, received.values)
            case messages.Credit():
                self._credit(peer, message)
            case messages.Nudge():
                pass  # that it is acknowledged is the answer
            case _ if peer == fields.BROKER:
                self._order(message)
            case _:
                self._refuse(peer, f"only the broker may send {message.type}")

    def _hear_itself(self) -> None:
        while self._own:
            self._handle(self._own.popleft())

    def _order(self, message: messages.Message) -> None:
        match message:
            case messages.Peers(peers=peers):
                for peer in peers:
                    self._meet(peer)
            case messages.Gone(peer=name):
                self.neighbours.part(name)  # `Reachable` follows: that it is not may come late, of whoever it is then
            case messages.Reach(peer=name):
                self.node.send(name, messages.Nudge())
            case messages.Ping(sequence=sequence):
                self._tell(monitor.pong(sequence, self.node, self.fragments, self.containers, self.worker.idle))
            case messages.ProbeOrder(trim=trim):
                self.orders.probe(trim)
            case messages.Load(fragment=fragment):
                self.orders.load(fragment)
            case messages.Unload(digest=digest):
                self.orders.unload(digest)
            case messages.Assign():
                self._assign(message)
            case messages.Cancel(job=job):
                self.containers.cancel(job)
                self.node.take_back(job)
            case messages.Stop():
                self._stopping = True
            case _:
                self._refuse(fields.BROKER, f"a device takes no {message.type}")

    def _meet(self, peer: fields.Peer) -> None:
        try:
            self.neighbours.meet(peer)
        except ContractError as error:
            self._refuse(fields.BROKER, str(error))

    def _assign(self, assign: messages.Assign) -> None:
        if self.containers.get(assign.job, assign.fragment) is not None:
            self._refuse(fields.BROKER, f"{assign.fragment} of job {assign.job} is assigned already")
            return
        try:
            self.containers.add(Container(assign, self.fragments.contract(assign.digest)))
        except SplitPlaceError as error:
            self._fail(assign.job, assign.fragment, error)
            return
        if any(sender not in (fields.BROKER, self.config.name) for sender in assign.senders.values()):
            self._tell(messages.Assigned(job=assign.job, fragment=assign.fragment))

    def _accept(self, peer: str, message: messages.Tensors, values: Values) -> None:
        container = self.containers.get(message.job, message.dst)
        if container is None:
            return  # of a job that was cancelled meanwhile
        try:
            self.containers.accept(container, peer, message, values, time.monotonic())
            if peer != self.config.name:
                self.fragments.moved(container.assign.digest, received=values)
        except SplitPlaceError as error:
            self._refuse(peer, str(error))
            self._fail(message.job, message.dst, error)
            return
        self._pass_on(container)

    def _credit(self, peer: str, message: messages.Credit) -> None:
        found = self.containers.flow(message.job, message.src, message.dst)
        if found is None or found[1].outlet.device != peer:
            return
        container, flow = found
        try:
            flow.grant(message.count)
        except ContractError as error:
            self._refuse(peer, str(error))
            return
        self._flush(container)

    # What is worked on.

    def _work(self) -> None:
        """Give the worker its next piece, if it is idle and there is one."""
        if not self.worker.idle or self.worker.start_order():
            return
        while (taken := self.containers.take()) is not None:
            container, micro_batch, values, sent_s, ready_s = taken
            try:
                run = self.fragments.work(container.assign.digest, values)
            except SplitPlaceError as error:
                self._fail(container.assign.job, container.assign.fragment, error)
                continue
            self._return_credits(container)
            self.worker.start(run, partial(self._ran, container, micro_batch, sent_s, ready_s))
            return

    def _ran(
        self,
        container: Container,
        micro_batch: int,
        sent_s: float,
        ready_s: float,
        future: Future[TimedWork[dict[str, fields.Array]]],
    ) -> None:
        assign, error = container.assign, future.exception()
        if error is None:
            self.fragments.ran(assign.digest, future.result())
        if container.dropped:
            return  # cancelled while it ran
        if error is not None:
            self._fail(assign.job, assign.fragment, error)
            return
        took = future.result()
        self.containers.ran(container, took.end_s - took.start_s)
        # Before the results, so that the broker knows of every run when it has the last answer of this device.
        self._tell(
            messages.Ran(
                job=assign.job,
                fragment=assign.fragment,
                micro_batch=micro_batch,
                samples=container.samples(micro_batch),
                sent_s=sent_s,
                ready_s=ready_s,
                start_s=took.start_s,
                end_s=took.end_s,
            )
        )
        container.put(micro_batch, took.result)
        self._flush(container)

    # What goes out.

    def _flush(self, container: Container) -> None:
        for flow in container.outflows.values():
            flow.flush(self._send)
        self._pass_on(container)
        if container.finished:
            self.containers.drop(container)
        else:
            self.containers.look(container)

    def _pass_on(self, container: Container) -> None:
        """Send the task's input on, if it is to be; that may be worth credits to whoever it came from."""
        if container.onward is not None:
            self.containers.pass_on(container, self._send)
            self._return_credits(container)

    def _send(self, flow: Outflow, micro_batch: int, values: Values) -> None:
        header = codec.tensors(flow.job, flow.src, flow.outlet.dst, micro_batch, time.monotonic(), values)
        found = self.containers.flow(flow.job, flow.src, flow.outlet.dst)
        if found is not None and flow.outlet.device != self.config.name:
            self.fragments.moved(found[0].assign.digest, sent=values)
        self._say(flow.outlet.device, header, values)

    def _say(self, peer: str, message: messages.Message, values: Values) -> None:
        if peer == self.config.name:
            self._own.append(Received(peer, message, values))
        else:
            self.node.send(peer, message, list(values.values()))

    def _return_credits(self, container: Container) -> None:
        assign = container.assign
        for src, device in assign.senders.items():
            if not (count := container.credits(src)):
                continue
            self._say(device, messages.Credit(job=assign.job, src=src, dst=assign.fragment, count=count), {})

    def _tell_whom_it_reaches(self) -> None:
        for change in self.neighbours.changes():
            self._tell(change)
        if self.neighbours.broker_lost:
            raise NotReadyError("the broker takes in nothing: too much waits for it, the device ends")

    def _tell(self, message: messages.Message) -> None:
        self.node.send(fields.BROKER, message)

    def _fail(self, job: int, fragment: str, error: BaseException) -> None:
        container = self.containers.get(job, fragment)
        if container is not None:
            self.containers.drop(container)
        self._tell(messages.Failed(job=job, fragment=fragment, error=fields.text(error)))

    def _refuse(self, peer: str, error: str) -> None:
        log.warning("%s: refused a message of %s: %s", self.config.name, peer, error)
        self._tell(messages.Refused(peer=peer, error=fields.text(error)))
