"""Service times: how long a device computes what a container is to do next."""

from splitplace.placement.simulator.holding import batch_s
from splitplace.placement.simulator.state import State
from splitplace.placement.simulator.streams import Streams
from splitplace.records.task import micro_batches
from splitplace.records.view import NONE


class ServiceTimes:
    """Of one run's containers."""

    def __init__(self, state: State, streams: Streams):
        self._state, self._world, self._streams = state, state.world, streams
        self.micro_batch = [int(x) for x in state.world.costs.fragments.micro_batch_F]
        """Images, by fragment."""

    def chunk_s(self, c: int, device: int) -> float:
        """Seconds the current chunk of a container takes on a server of a device."""
        containers = self._state.containers
        batches, micro = containers.carry[c], self.micro_batch[containers.fragment[c]]
        if batches == NONE:
            images = self._streams.chunk(containers.task[c], containers.done[c])
            batches = micro_batches(images, micro)
        else:
            images = batches * micro
        seconds = batches * self.batch_s(containers.fragment[c], device)
        if byte_s := self._world.scenario.handover_s_per_byte:
            seconds += images * self._moved_bytes(c, device) * byte_s / self._world.devices[device].core_speed
        return seconds

    def _moved_bytes(self, c: int, device: int) -> float:
        """Of an image, what the container has from elsewhere and sends elsewhere."""
        containers = self._state.containers
        task, local = containers.task[c], containers.local[c]
        graph, first = self._state.graph(task), self._state.tasks.first_c[task]
        there = [(size, src if dst == local else dst) for src, dst, size in graph.edges if local in (src, dst)]
        return sum(size for size, other in there if other == NONE or containers.device[first + other] != device)

    def batch_s(self, fragment: int, device: int) -> float:
        """Seconds that a micro-batch of a fragment takes a server of a device: its run, and what goes with it."""
        return batch_s(self._world.scenario, self._world.devices, self._world.costs, fragment, device)
