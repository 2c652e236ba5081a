"""The physics: what happens to placed fragments, event by event.

A container waits for its weights and its inputs, computes chunk after chunk on its device, hands each chunk on along
its edges, and gives its memory back. Who goes where is decided elsewhere; the engine carries it out exactly.
"""

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from splitplace.placement.simulator.costs import Costs, Graph
from splitplace.placement.simulator.links import Links
from splitplace.placement.simulator.memory import Memory
from splitplace.placement.simulator.processors import Processors
from splitplace.placement.simulator.scenario import Scenario
from splitplace.placement.simulator.state import Containers, Edges, Tasks
from splitplace.records.device import Device
from splitplace.records.view import NONE, Ints

Handler = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class World:
    """What does not change in a run."""

    scenario: Scenario
    devices: tuple[Device, ...]
    costs: Costs
    n_N: Ints
    """Images of each task."""
    application_N: Ints


class Engine:
    """All state of a simulated fleet; `now` is the instant it stands at."""

    def __init__(self, world: World):
        scenario, devices, costs = world.scenario, world.devices, world.costs
        self.world = world
        self.now = 0.0
        self.broker = len(devices)
        self.tasks, self.containers, self.edges = Tasks(), Containers(), Edges()
        self.active: dict[int, None] = {}
        """Tasks that have arrived and are not finished, in order of arrival."""
        broker = scenario.broker_bytes_per_s or math.inf
        self.links = Links(
            np.array([*(d.up_bytes_per_s for d in devices), broker]),
            np.array([*(d.down_bytes_per_s for d in devices), broker]),
        )
        self.rtt_s = [*(d.rtt_s for d in devices), 0.0]
        self.processors = Processors(
            np.array([d.cores for d in devices], np.int64),
            np.array([d.power_w for d in devices]),
            scenario.discipline == "fifo",
        )
        room_D = np.array([float(d.memory_bytes) for d in devices]) - costs.runtime_base_bytes_D
        self.memory = Memory(room_D, costs.fragments.memory_bytes_FD, scenario.weights, scenario.swap)
        self.up = [True] * len(devices)
        """Takes work."""
        self.held = [0] * len(devices)
        """Containers of active tasks whose work or output is there."""
        self.leaving: set[int] = set()
        self.queued: dict[int, int] = {}
        """How many containers of each fragment wait for a device and may have one."""
        self.unseen: list[int] = []
        """Computed, to be noticed at the next interval start (tick = interval)."""
        self.unseen_tasks: list[int] = []
        self.left: list[int] = []
        """Tasks finished since the caller last emptied this."""
        self.executions = 0
        self.freed = False
        """Room came free for something queued since the caller last looked."""
        self.notices_at_once = scenario.tick == "event"
        self._heap: list[tuple[float, int, Handler, int, int]] = []
        self._sequence = 0
        self._dirty: dict[int, None] = {}
        self._micro = [int(x) for x in costs.fragments.micro_batch_F]

    # ---- the clock

    def schedule(self, at_s: float, handler: Handler, a: int = 0, b: int = 0) -> None:
        """Call `handler(a, b)` at this time, after what is scheduled for it already."""
        self._sequence += 1
        heapq.heappush(self._heap, (at_s, self._sequence, handler, a, b))

    def step(self, end_s: float) -> bool:
        """All events of the next instant up to and including `end_s`; False if there is none."""
        heap = self._heap
        if not heap or heap[0][0] > end_s:
            self.now = end_s
            return False
        self.now = heap[0][0]
        while heap and heap[0][0] == self.now:
            _, _, handler, a, b = heapq.heappop(heap)
            handler(a, b)
        self.settle()
        return True

    def settle(self) -> None:
        """Announce the next completion of every queue and transfer that this instant changed."""
        for device in self._dirty:
            self.processors.version[device] += 1
            at_s = self.processors.next_s(device)
            if at_s is not None:
                self.schedule(at_s, self._on_completion, device, self.processors.version[device])
        self._dirty.clear()
        for at_s, flow, version in self.links.settle(self.now):
            self.schedule(at_s, self._on_flow, flow, version)

    # ---- what a caller orders

    def arrive(self) -> int:
        """The next task is here; its number."""
        task = self.tasks.arrive(self.now)
        self.active[task] = None
        return task

    def decide(self, task: int, split: int, tag: int) -> None:
        """A task becomes the containers and edges of a split."""
        t, scenario = self.tasks, self.world.scenario
        graph, first = self.world.costs.graphs[split], int(self.world.costs.splits.first_S[split])
        n = int(self.world.n_N[task])
        t.split[task], t.tag[task], t.graph[task] = split, tag, graph
        strict = scenario.precedence == "strict"
        t.chunk_n[task] = n if strict else min(scenario.pipeline_grain * self._micro[first], n)
        t.chunks[task] = -(-n // t.chunk_n[task])
        t.results_left[task] = graph.results
        rows = [self.containers.add(task, first + local, local) for local in range(graph.count)]
        edges = [self.edges.add(task, local) for local in range(len(graph.edges))]
        t.first_c[task], t.first_e[task] = rows[0], edges[0]
        for c in rows:
            self.enqueue(c)

    def place(self, c: int, device: int) -> None:
        """A container gets its device: memory is claimed, weights load, inputs that exist start to come."""
        assert self.containers.device[c] == NONE and self.up[device]
        self.containers.device[c] = device
        self.dequeue(c)
        self.held[device] += 1
        self.claim(c, device)
        self.load(c)
        for e in self.inbound(c):
            self.pump(e)

    def evict(self, fragment: int, device: int) -> None:
        """Idle weights are unloaded."""
        self.memory.evict(fragment, device, self.now)
        self.repace(device)

    def see(self) -> None:
        """An interval starts: notice what was computed since the last (tick = interval)."""
        for c in list(self.unseen):
            self.notice(c)
        tasks, self.unseen_tasks = self.unseen_tasks, []
        for task in tasks:
            self._finish(task)
        self.settle()

    def notice(self, c: int) -> None:
        """The broker learns of one container's work (tick = interval)."""
        self.unseen.remove(c)
        self._seen(c)

    # ---- helpers that disruptions use too

    def graph(self, task: int) -> Graph:
        """The graph of a decided task's split."""
        graph = self.tasks.graph[task]
        assert graph is not None
        return graph

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
        edges, first_c = self.graph(task).edges, self.tasks.first_c[task]
        sources = (edges[e][0] for e in self.graph(task).inbound[self.containers.local[c]])
        return all(src == NONE or self.containers.complete[first_c + src] for src in sources)

    def enqueue(self, c: int) -> None:
        """Let a container without a device have one, if the scenario places ahead or its inputs exist."""
        if not self.containers.queued[c] and (self.world.scenario.place == "task" or self.ready(c)):
            self.containers.queued[c] = True
            fragment = self.containers.fragment[c]
            self.queued[fragment] = self.queued.get(fragment, 0) + 1
            self.freed = True

    def dequeue(self, c: int) -> None:
        """It has one, or must wait for its inputs again."""
        if self.containers.queued[c]:
            self.containers.queued[c] = False
            fragment = self.containers.fragment[c]
            self.queued[fragment] -= 1
            if not self.queued[fragment]:
                del self.queued[fragment]

    def claim(self, c: int, device: int) -> None:
        """Book a container's memory."""
        self.memory.claim(self.containers.fragment[c], device, self.now)
        self.repace(device)

    def release(self, c: int, device: int) -> None:
        """Give a container's memory back; the caller hears of it if something queued fits now."""
        self.memory.release(self.containers.fragment[c], device, self.now)
        self.repace(device)
        if self.up[device] and not self.freed:
            warm = self.world.scenario.weights == "warm"
            self.freed = any(warm or self.memory.fits(fragment, device) for fragment in self.queued)

    def repace(self, device: int) -> None:
        """A device's speed after its memory changed."""
        pace = self.memory.pace(device)
        if pace != self.processors.pace[device]:
            self.processors.set_pace(device, pace, self.now)
            self._dirty[device] = None

    def load(self, c: int) -> None:
        """Start to load a container's weights, unless they are there."""
        fragment, device = self.containers.fragment[c], self.containers.device[c]
        ready_s = self.now + float(self.world.costs.load_s_FD[fragment, device])
        if self.world.scenario.weights != "container":
            ready_s = self.memory.loaded_s.setdefault((fragment, device), ready_s)
        if ready_s <= self.now:
            self.containers.loaded[c] = True
            return
        self._phase(self.containers.task[c], self.tasks.executing, 1)
        self.schedule(ready_s, self._on_loaded, c, self.containers.epoch[c])

    def stop(self, c: int) -> float | None:
        """Take a container off its device's cores; core-seconds its chunk still needed, None if it did not run."""
        if not self.containers.running[c]:
            return None
        device = self.containers.device[c]
        left_s = self.processors.remove(device, c, self.now)
        self._dirty[device] = None
        self.containers.running[c] = False
        self._phase(self.containers.task[c], self.tasks.executing, -1)
        return left_s

    def halt(self, e: int) -> None:
        """Give up the transfer under way on an edge; its chunk counts as not sent."""
        if self.edges.flow[e] != NONE:
            self.links.end(self.edges.flow[e], self.now)
            self.edges.flow[e] = NONE
            self._phase(self.edges.task[e], self.tasks.transferring, -1)

    def service_s(self, c: int, device: int) -> float:
        """Core-seconds the current chunk of a container takes on a device."""
        batches = self.containers.carry[c]
        if batches == NONE:
            batches = -(-self.chunk(c, self.containers.done[c]) // self._micro[self.containers.fragment[c]])
        return batches * float(self.world.costs.fragments.latency_s_FD[self.containers.fragment[c], device])

    def chunk(self, c: int, k: int) -> int:
        """Images in chunk k of a container's task."""
        return self._chunk(self.containers.task[c], k)

    # ---- streams

    def pump(self, e: int) -> None:
        """Send what can be sent along an edge: chunks in order, one transfer at a time."""
        edges, task = self.edges, self.edges.task[e]
        _, dst, size = self.graph(task).edges[edges.local[e]]
        chunks = self.tasks.chunks[task]
        while edges.flow[e] == NONE and edges.sent[e] < chunks:
            target = self.broker
            if dst != NONE:
                c = self.tasks.first_c[task] + dst
                target = self.containers.device[c]
                if target == NONE or self.containers.moving[c] != NONE:
                    return
            source = self._source(e, edges.sent[e])
            if source == NONE:
                return
            if source == target:
                edges.sent[e] += 1
                edges.received[e] += 1
                self._arrived(e)
            else:
                load = size * self._chunk(task, edges.sent[e])
                edges.flow[e] = self.links.start(source, target, load, e, self.now)
                self._phase(task, self.tasks.transferring, 1)

    def _source(self, e: int, k: int) -> int:
        """The node that can send chunk k along an edge now; -1 for none."""
        task = self.edges.task[e]
        graph, first_c = self.graph(task), self.tasks.first_c[task]
        src = graph.edges[self.edges.local[e]][0]
        if src != NONE:
            c = first_c + src
            there = self.containers.done[c] > k and self.containers.moving[c] == NONE
            return self.containers.device[c] if there else NONE
        if self.world.scenario.inputs == "ring":
            first_e = self.tasks.first_e[task]
            before = graph.roots[: graph.roots.index(self.edges.local[e])]
            for other in reversed(before):  # the nearest root before this one that has a device hands it on
                device = self.containers.device[first_c + graph.edges[other][1]]
                if device != NONE and self.up[device]:
                    return device if self.edges.received[first_e + other] > k else NONE
        return self.broker

    def _chunk(self, task: int, k: int) -> int:
        size = self.tasks.chunk_n[task]
        return size if k < self.tasks.chunks[task] - 1 else int(self.world.n_N[task]) - k * size

    def _on_flow(self, flow: int, version: int) -> None:
        if self.links.version[flow] != version:
            return
        e = self.links.payload[flow]
        source, target = self.links.ends(flow)
        delay_s = (self.rtt_s[source] + self.rtt_s[target]) / 2
        self.links.end(flow, self.now)
        if e < 0:
            c = -1 - e
            self.containers.move_flow[c] = NONE
            self.schedule(self.now + delay_s, self.on_moved, c, self.containers.epoch[c])
            return
        self.edges.flow[e] = NONE
        self.edges.sent[e] += 1
        self.schedule(self.now + delay_s, self._on_delivery, e, self.edges.epoch[e])
        self.pump(e)

    def _on_delivery(self, e: int, epoch: int) -> None:
        if self.edges.epoch[e] == epoch:
            self.edges.received[e] += 1
            self._phase(self.edges.task[e], self.tasks.transferring, -1)
            self._arrived(e)

    def _arrived(self, e: int) -> None:
        task = self.edges.task[e]
        graph = self.graph(task)
        src, dst, _ = graph.edges[self.edges.local[e]]
        if dst == NONE:
            if self.edges.received[e] == self.tasks.chunks[task]:
                self.tasks.results_left[task] -= 1
                if not self.tasks.results_left[task]:
                    if self.notices_at_once:
                        self._finish(task)
                    else:
                        self.unseen_tasks.append(task)
            return
        self._try_run(self.tasks.first_c[task] + dst)
        if src == NONE and self.world.scenario.inputs == "ring":
            at = graph.roots.index(self.edges.local[e])
            for other in graph.roots[at + 1 :]:
                self.pump(self.tasks.first_e[task] + other)

    # ---- computing

    def _try_run(self, c: int) -> None:
        containers = self.containers
        device, k = containers.device[c], containers.done[c]
        if device == NONE or containers.running[c] or not containers.loaded[c] or containers.moving[c] != NONE:
            return
        if k >= self.tasks.chunks[containers.task[c]] or any(self.edges.received[e] <= k for e in self.inbound(c)):
            return
        self.processors.start(device, c, self.service_s(c, device), self.now)
        self._dirty[device] = None
        containers.running[c] = True
        if containers.start_s[c] < 0:
            containers.start_s[c] = self.now
        self._phase(containers.task[c], self.tasks.executing, 1)

    def _on_loaded(self, c: int, epoch: int) -> None:
        if self.containers.epoch[c] == epoch:
            self.containers.loaded[c] = True
            self._phase(self.containers.task[c], self.tasks.executing, -1)
            self._try_run(c)

    def _on_completion(self, device: int, version: int) -> None:
        if self.processors.version[device] != version:
            return
        for c in self.processors.finish(device, self.now):
            self.containers.end_s[c] = self.now
            self.containers.done[c] += 1
            self.containers.carry[c] = NONE
            if self.notices_at_once:
                self._seen(c)
            else:
                self.unseen.append(c)
                self._hand_on(c, results=True)
        self._dirty[device] = None

    def _seen(self, c: int) -> None:
        """A chunk has been computed, and the broker knows."""
        containers, task = self.containers, self.containers.task[c]
        containers.running[c] = False
        self._phase(task, self.tasks.executing, -1)
        complete = containers.done[c] == self.tasks.chunks[task]
        if complete:
            containers.complete[c] = True
            self.executions += 1
            self.release(c, containers.device[c])
        self._hand_on(c)
        if not complete:
            self._try_run(c)
        elif self.world.scenario.place == "ready":
            for _, dst, _ in (self.graph(task).edges[e] for e in self.graph(task).outbound[containers.local[c]]):
                if dst != NONE and containers.device[self.tasks.first_c[task] + dst] == NONE:
                    self.enqueue(self.tasks.first_c[task] + dst)

    def _hand_on(self, c: int, results: bool = False) -> None:
        """Along all edges or, with `results`, to the broker only: it waits for nobody's notice."""
        edges = self.graph(self.containers.task[c]).edges
        for e in self.outbound(c):
            if not results or edges[self.edges.local[e]][1] == NONE:
                self.pump(e)

    def _finish(self, task: int) -> None:
        self.tasks.touch(task, self.now)
        self.tasks.finish_s[task] = self.now
        del self.active[task]
        self.left.append(task)
        first = self.tasks.first_c[task]
        for c in range(first, first + self.graph(task).count):
            self.let_go(self.containers.device[c])

    def let_go(self, device: int) -> None:
        """One container less whose work or output is there; a leaving device that holds none goes."""
        self.held[device] -= 1
        if not self.held[device] and device in self.leaving:
            self.leaving.remove(device)
            self.memory.wipe(device, self.now)
            self.processors.switch(device, False, self.now)

    def on_moved(self, c: int, epoch: int) -> None:
        """A migration is over: the old device is free of it, the new one goes on."""
        if self.containers.epoch[c] != epoch:
            return
        source, self.containers.moving[c] = self.containers.moving[c], NONE
        self._phase(self.containers.task[c], self.tasks.migrating, -1)
        self.release(c, source)
        self.let_go(source)
        if not self.containers.loaded[c]:
            self.load(c)
        for e in (*self.inbound(c), *self.outbound(c)):
            self.pump(e)
        self._try_run(c)

    def _phase(self, task: int, counts: list[int], change: int) -> None:
        self.tasks.touch(task, self.now)
        counts[task] += change
