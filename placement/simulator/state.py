"""The state of every task, container and edge as columns: one list a field, one index a thing.

A decided task owns the containers first_c .. first_c + count - 1 (fragment order) and the edges first_e .. (order of
its split's graph). Its images pass in `chunks` of `chunk_n`, the last one smaller: one chunk if precedence is strict.
"""

from dataclasses import dataclass

from splitplace.placement.simulator.clock import Clock
from splitplace.placement.simulator.costs import Costs, SplitGraph
from splitplace.placement.simulator.scenario import Scenario
from splitplace.records.device import Device
from splitplace.records.view import NONE, Ints

WAIT, EXECUTE, TRANSFER, MIGRATE = range(4)


class TaskColumns:
    """One row a task that has arrived, in order of arrival."""

    def __init__(self) -> None:
        self.split: list[int] = []
        self.tag: list[int] = []
        self.context: list[int] = []
        self.first_c: list[int] = []
        self.first_e: list[int] = []
        self.graph: list[SplitGraph | None] = []
        self.chunks: list[int] = []
        self.chunk_n: list[int] = []
        self.results_left: list[int] = []
        self.finish_s: list[float] = []
        """When its result arrived; negative while it has not."""
        # What it is doing now, as counts, since when; and seconds spent in each phase.
        self.executing: list[int] = []
        self.transferring: list[int] = []
        self.migrating: list[int] = []
        self._since: list[float] = []
        self.spent_s: tuple[list[float], ...] = ([], [], [], [])

    def arrive(self, now: float) -> int:
        """A new row, undecided; its number."""
        for column in (self.split, self.first_c, self.first_e):
            column.append(NONE)
        for column in (self.tag, self.context, self.chunks, self.chunk_n, self.results_left):
            column.append(0)
        for column in (self.executing, self.transferring, self.migrating):
            column.append(0)
        self.graph.append(None)
        self.finish_s.append(-1.0)
        self._since.append(now)
        for seconds in self.spent_s:
            seconds.append(0.0)
        return len(self.split) - 1

    def touch(self, task: int, now: float) -> None:
        """Book the time since the last change: as executing if any fragment is, else transferring, migrating, waiting.

        So the four add up to the response, however many fragments and transfers went on at once.
        """
        elapsed = now - self._since[task]
        if elapsed > 0:
            if self.executing[task]:
                phase = EXECUTE
            elif self.transferring[task]:
                phase = TRANSFER
            elif self.migrating[task]:
                phase = MIGRATE
            else:
                phase = WAIT
            self.spent_s[phase][task] += elapsed
            self._since[task] = now


class ContainerColumns:
    """One row a fragment of a decided task."""

    def __init__(self) -> None:
        self.task: list[int] = []
        self.fragment: list[int] = []
        self.local: list[int] = []
        """Number of the fragment within its split."""
        self.device: list[int] = []
        """Where it is or, once complete, where its output is; -1 in the wait queue."""
        self.done: list[int] = []
        """Chunks computed."""
        self.carry: list[int] = []
        """Micro-batches left of the current chunk, if some were done elsewhere before; else -1."""
        self.takes_s: list[float] = []
        """Seconds of a server that the chunk takes which is computed, or was last."""
        self.loaded: list[bool] = []
        self.running: list[bool] = []
        """On its device's cores, or queueing for them."""
        self.complete: list[bool] = []
        self.moving: list[int] = []
        """While it migrates, the device it comes from; else -1."""
        self.move_flow: list[int] = []
        self.queued: list[bool] = []
        """Waits for a device and may have one."""
        self.epoch: list[int] = []
        """Raised when it is torn down: what was announced for an earlier epoch is void."""
        self.start_s: list[float] = []
        """Since when it computes; negative before."""
        self.end_s: list[float] = []

    def add(self, task: int, fragment: int, local: int) -> int:
        """A new row, without a device."""
        self.task.append(task)
        self.fragment.append(fragment)
        self.local.append(local)
        for column in (self.device, self.carry, self.moving, self.move_flow):
            column.append(NONE)
        for column in (self.done, self.epoch):
            column.append(0)
        for flags in (self.loaded, self.running, self.complete, self.queued):
            flags.append(False)
        self.start_s.append(-1.0)
        self.end_s.append(-1.0)
        self.takes_s.append(0.0)
        return len(self.task) - 1


class EdgeColumns:
    """One row an edge of a decided task: chunks sent, arrived, and the transfer under way."""

    def __init__(self) -> None:
        self.task: list[int] = []
        self.local: list[int] = []
        self.sent: list[int] = []
        self.received: list[int] = []
        self.flow: list[int] = []
        self.epoch: list[int] = []

    def add(self, task: int, local: int) -> int:
        """A new row, nothing sent."""
        self.task.append(task)
        self.local.append(local)
        self.sent.append(0)
        self.received.append(0)
        self.flow.append(NONE)
        self.epoch.append(0)
        return len(self.task) - 1


@dataclass(frozen=True, eq=False)
class World:
    """What does not change in a run."""

    scenario: Scenario
    devices: tuple[Device, ...]
    costs: Costs
    n_N: Ints
    """Images of each task."""
    application_N: Ints


class State(Clock):
    """The columns, and how they hang together."""

    def __init__(self, world: World):
        super().__init__()
        self.world = world
        self.tasks, self.containers, self.edges = TaskColumns(), ContainerColumns(), EdgeColumns()
        self.changed: set[int] = set()
        """Tasks to whose containers or edges something happened since whoever looks at them last emptied this."""

    def graph(self, task: int) -> SplitGraph:
        """The graph of a decided task's split."""
        graph = self.tasks.graph[task]
        assert graph is not None
        return graph

    def rows(self, task: int) -> range:
        """The containers of a decided task."""
        first = self.tasks.first_c[task]
        return range(first, first + self.graph(task).count)

    def inbound(self, c: int) -> list[int]:
        """The edges that feed a container."""
        task = self.containers.task[c]
        first = self.tasks.first_e[task]
        return [first + e for e in self.graph(task).inbound[self.containers.local[c]]]

    def outbound(self, c: int) -> list[int]:
        """The edges that a container feeds."""
        task = self.containers.task[c]
        first = self.tasks.first_e[task]
        return [first + e for e in self.graph(task).outbound[self.containers.local[c]]]

    def ready(self, c: int) -> bool:
        """Whether everything the container needs has been computed."""
        task = self.containers.task[c]
        first, complete = self.tasks.first_c[task], self.containers.complete
        return all(complete[first + parent] for parent in self.graph(task).parents[self.containers.local[c]])

    def phase(self, task: int, counts: list[int], change: int) -> None:
        """One thing more or less that a task is doing."""
        self.tasks.touch(task, self.now)
        self.changed.add(task)
        counts[task] += change
