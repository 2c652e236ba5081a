"""All containers of a device: found by job, served alike, bounded in bytes.

The processor is shared as it is in the simulator (egalitarian processor sharing), one micro-batch at a time: start-time
fair queueing (Goyal, Vin, Cheng, "Start-time fair queueing", SIGCOMM 1996, with equal weights and the seconds that runs
took as their lengths). A task of one image waits for a micro-batch of each other container, not for all of theirs.

Nothing here looks at more than the container it is about: a device may hold tens of thousands.
"""

import heapq
from collections.abc import Iterator
from itertools import count

from splitplace.errors import OverloadedError
from splitplace.placement.device.container import Container
from splitplace.placement.protocol import messages
from splitplace.placement.protocol.outflow import Outflow, Send, Values
from splitplace.records.split import INPUT

MAX_CONTAINERS = 65_536
"""A container without tensors takes a few kilobytes."""


class ContainerQueue:
    """What a device was given to run and has not finished.

    Args:
        max_bytes: Of the input tensors that they hold together.
        max_count: How many there may be.
    """

    def __init__(self, max_bytes: int, max_count: int = MAX_CONTAINERS):
        self.max_bytes, self.max_count = max_bytes, max_count
        self.held_bytes = 0
        """Of input tensors that wait to be run."""
        self._by_job: dict[int, dict[str, Container]] = {}
        self._count = 0
        self._ready: list[tuple[float, float, int, Container]] = []
        """A heap of those that can run, each once, by the time that they were served (`Container.served_s`), and among
        equals by when the first micro-batch became complete. One that was dropped, blocked or served more meanwhile is
        found out when it comes up."""
        self._clock_s = 0.0
        """Virtual: the served time of who was served last. Who comes anew begins there, else it would catch up."""
        self._left_s = 0.0
        """The most that one had which has ended. Who comes anew takes its place: a stream of short ones is served as
        one that stays, and starves nobody."""
        self._order = count()

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Container]:
        return (container for of_job in self._by_job.values() for container in of_job.values())

    def get(self, job: int, fragment: str) -> Container | None:
        """The container of this fragment of this job, if the device has one."""
        return self._by_job.get(job, {}).get(fragment)

    def add(self, container: Container) -> None:
        """Take a new one in.

        Raises:
            OverloadedError: There are as many as there may be.
        """
        if self._count >= self.max_count:
            raise OverloadedError(f"{self._count} containers here, expected at most {self.max_count}: give it less")
        self._by_job.setdefault(container.assign.job, {})[container.assign.fragment] = container
        self._count += 1

    def accept(self, container: Container, peer: str, message: messages.Tensors, values: Values, now_s: float) -> None:
        """Take in what a source sent to a container.

        Raises:
            OverloadedError: The device would hold more than it may.
            SplitPlaceError: The container refuses it (`Container.accept`).
        """
        size_bytes = sum(value.nbytes for value in values.values())
        if self.held_bytes + size_bytes > self.max_bytes:
            raise OverloadedError(
                f"{message.dst} micro-batch {message.micro_batch} from {message.src}: with its {size_bytes} bytes the "
                f"device would hold {self.held_bytes + size_bytes} of inputs, expected at most {self.max_bytes}"
            )
        container.accept(peer, message, values, now_s)
        self.held_bytes += size_bytes
        self.look(container)

    def flow(self, job: int, src: str, dst: str) -> tuple[Container, Outflow] | None:
        """The stream from a fragment that is here, or of the task's input if that is passed on; and its container.

        None where there is no such stream, or it is over.
        """
        if src == INPUT:
            passing = ((one, one.onward) for one in self._by_job.get(job, {}).values() if one.onward is not None)
            return next((found for found in passing if found[1].outlet.dst == dst), None)
        container = self.get(job, src)
        return None if container is None or dst not in container.outflows else (container, container.outflows[dst])

    def pass_on(self, container: Container, send: Send) -> None:
        """Send on what a container has of the task's input, as far as credits allow."""

        def note(flow: Outflow, micro_batch: int, values: Values) -> None:
            before = container.held_bytes
            container.passed_on(micro_batch)
            self.held_bytes += container.held_bytes - before
            send(flow, micro_batch, values)

        if container.onward is not None:
            container.onward.flush(note)

    def look(self, container: Container) -> None:
        """List a container if it can run; after whatever may have made it so."""
        if container.listed or container.dropped or (found := container.ready()) is None:
            return
        container.listed = True
        came_anew = not container.served_s
        container.served_s = max(container.served_s, self._clock_s, self._left_s if came_anew else 0.0)
        heapq.heappush(self._ready, (container.served_s, found[0], next(self._order), container))

    def take(self) -> tuple[Container, int, Values, float, float] | None:
        """The micro-batch that is to run next.

        Returns:
            Its container, which it is, its inputs, when the first was sent and the last had arrived; or none.
        """
        while self._ready:
            served_s, _, _, container = heapq.heappop(self._ready)
            container.listed = False
            if container.dropped or (found := container.ready()) is None:
                continue
            if container.served_s > served_s:
                self.look(container)
                continue
            self._clock_s = served_s
            before = container.held_bytes
            values, sent_s, ready_s = container.take(found[1])
            self.held_bytes += container.held_bytes - before
            self.look(container)
            return container, found[1], values, sent_s, ready_s
        return None

    def ran(self, container: Container, took_s: float) -> None:
        """Charge a container for a micro-batch that ran."""
        container.served_s += took_s

    def drop(self, container: Container) -> None:
        """Forget one, with what it holds; again: nothing."""
        if container.dropped:
            return
        job, fragment = container.assign.job, container.assign.fragment
        of_job = self._by_job[job]
        del of_job[fragment]
        if not of_job:
            del self._by_job[job]
        self._forget(container)

    def cancel(self, job: int) -> None:
        """Forget all of a job."""
        for container in self._by_job.pop(job, {}).values():
            self._forget(container)

    def _forget(self, container: Container) -> None:
        self._left_s = max(self._left_s, container.served_s)
        self._count -= 1
        self.held_bytes -= container.held_bytes
        container.drop()
        if len(self._ready) > 2 * self._count + 64:  # mostly of the dropped, which would wait there for their turn
            self._ready = [entry for entry in self._ready if not entry[-1].dropped]
            heapq.heapify(self._ready)
