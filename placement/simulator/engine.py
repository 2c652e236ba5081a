"""The physics: what happens to placed fragments, event by event.

A container waits for its weights and inputs, computes chunk after chunk on its device, hands each on along its edges,
and gives its memory back. Who goes where is decided elsewhere; the engine carries it out exactly.
"""

import math

import numpy as np

from splitplace.placement.simulator.links import SharedLinks
from splitplace.placement.simulator.memory import Memory
from splitplace.placement.simulator.processors import Processors
from splitplace.placement.simulator.service import ServiceTimes
from splitplace.placement.simulator.state import State, World
from splitplace.placement.simulator.streams import Streams
from splitplace.placement.simulator.wait_queue import WaitQueue
from splitplace.records.task import micro_batches
from splitplace.records.view import NONE


class SimulationEngine(State):
    """All state of a simulated fleet; `now` is the instant it stands at."""

    def __init__(self, world: World):
        scenario, devices, costs = world.scenario, world.devices, world.costs
        super().__init__(world)
        self.broker = len(devices)
        self.streams = Streams(self)
        self.active: dict[int, None] = {}
        """Tasks that have arrived and are not finished, in order of arrival."""
        broker = scenario.broker_bytes_per_s or math.inf
        self.links = SharedLinks(
            np.array([*(d.up_bytes_per_s for d in devices), broker]),
            np.array([*(d.down_bytes_per_s for d in devices), broker]),
        )
        self.rtt_s = [*(d.rtt_s for d in devices), 0.0]
        self.processors = Processors(
            np.array([scenario.servers(d) for d in devices], np.int64),
            np.array([d.power_w for d in devices]),
            scenario.discipline == "fifo",
            [scenario.cpu_limits.get(d.kind) for d in devices],
        )
        room_D = np.array([float(d.memory_bytes) for d in devices]) - costs.runtime_base_bytes_D
        self.memory = Memory(room_D, costs.fragments.memory_bytes_FD, scenario.weights, scenario.swap)
        self.up = [True] * len(devices)
        """Takes work."""
        self.speed = [1.0] * len(devices)
        """Of each device's own, while nothing but memory that swaps makes it slower."""
        self.held = [0] * len(devices)
        """Containers of active tasks whose work or output is there."""
        self.leaving: set[int] = set()
        self.waiting = WaitQueue(self)
        self.unseen: list[int] = []
        """Computed, to be noticed at the next interval start (tick = interval)."""
        self.unseen_tasks: list[int] = []
        self.left: list[int] = []
        """Tasks finished since the caller last emptied this."""
        self.executions = 0
        self.notices_at_once = scenario.tick == "event"
        self._dirty: dict[int, None] = {}
        self.service = ServiceTimes(self, self.streams)

    def step(self, end_s: float) -> bool:
        """All events of the next instant up to and including `end_s`; False if there is none."""
        if happened := self.step_clock(end_s):
            self.settle()
        return happened

    def settle(self) -> None:
        """Announce the next completion of every queue and transfer that this instant changed."""
        for device in self._dirty:
            self.processors.version[device] += 1
            at_s = self.processors.next_s(device)
            if at_s is not None:
                self.schedule(at_s, self._on_completion, device, self.processors.version[device])
        self._dirty.clear()
        for at_s, route, version in self.links.settle(self.now):
            self.schedule(at_s, self.streams.on_over, route, version)

    # ---- what a caller orders

    def arrive(self) -> int:
        """The next task is here; its number."""
        task = self.tasks.arrive(self.now)
        self.active[task] = None
        self.changed.add(task)
        return task

    def decide(self, task: int, split: int, tag: int = 0, context: int = 0) -> None:
        """A task becomes the containers and edges of a split."""
        t, scenario = self.tasks, self.world.scenario
        graph, first = self.world.costs.graphs[split], int(self.world.costs.splits.first_S[split])
        n = int(self.world.n_N[task])
        t.split[task], t.graph[task] = split, graph
        self.changed.add(task)
        t.tag[task], t.context[task] = tag, context
        strict = scenario.precedence == "strict"
        t.chunk_n[task] = n if strict else min(scenario.pipeline_grain * self.service.micro_batch[first], n)
        t.chunks[task] = micro_batches(n, t.chunk_n[task])
        t.results_left[task] = graph.results
        rows = [self.containers.add(task, first + local, local) for local in range(graph.count)]
        edges = [self.edges.add(task, local) for local in range(len(graph.edges))]
        t.first_c[task], t.first_e[task] = rows[0], edges[0]
        for c in rows:
            self.waiting.add(c)

    def place(self, c: int, device: int) -> None:
        """A container gets its device: memory is claimed, weights load, inputs that exist start to come."""
        assert self.containers.device[c] == NONE and self.up[device]
        self.changed.add(self.containers.task[c])
        self.containers.device[c] = device
        self.waiting.remove(c)
        self.held[device] += 1
        self.claim(c, device)
        self.load(c)
        for e in self.inbound(c):
            self.streams.pump(e)

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

    def claim(self, c: int, device: int) -> None:
        """Book a container's memory."""
        self.memory.claim(self.containers.fragment[c], device, self.now)
        self.repace(device)

    def release(self, c: int, device: int) -> None:
        """Give a container's memory back; the caller hears of it if something queued fits now."""
        self.memory.release(self.containers.fragment[c], device, self.now)
        self.repace(device)
        if self.up[device] and not self.waiting.freed:
            warm = self.world.scenario.weights == "warm"
            self.waiting.freed = any(warm or self.memory.fits(fragment, device) for fragment in self.waiting.count)

    def repace(self, device: int) -> None:
        """A device's speed after its memory or an event changed it."""
        pace = self.memory.pace(device) * self.speed[device]
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
        self.phase(self.containers.task[c], self.tasks.executing, 1)
        self.schedule(ready_s, self._on_loaded, c, self.containers.epoch[c])

    def stop(self, c: int) -> float | None:
        """Take a container off its device's cores; seconds its chunk still needed, None if it did not run."""
        if not self.containers.running[c]:
            return None
        device = self.containers.device[c]
        left_s = self.processors.remove(device, c, self.now)
        self._dirty[device] = None
        self.containers.running[c] = False
        self.phase(self.containers.task[c], self.tasks.executing, -1)
        return left_s

    # ---- computing

    def try_run(self, c: int) -> None:
        """Put a container on its device's cores if its weights and the next chunk of all its inputs are there."""
        containers = self.containers
        device, k = containers.device[c], containers.done[c]
        if device == NONE or containers.running[c] or not containers.loaded[c] or containers.moving[c] != NONE:
            return
        if k >= self.tasks.chunks[containers.task[c]] or any(self.edges.received[e] <= k for e in self.inbound(c)):
            return
        containers.takes_s[c] = self.service.chunk_s(c, device)
        self.processors.start(device, c, containers.takes_s[c], self.now)
        self._dirty[device] = None
        containers.running[c] = True
        if containers.start_s[c] < 0:
            containers.start_s[c] = self.now
        self.phase(containers.task[c], self.tasks.executing, 1)

    def _on_loaded(self, c: int, epoch: int) -> None:
        if self.containers.epoch[c] == epoch:
            self.containers.loaded[c] = True
            self.phase(self.containers.task[c], self.tasks.executing, -1)
            self.try_run(c)

    def _on_completion(self, device: int, version: int) -> None:
        if self.processors.version[device] != version:
            return
        for c in self.processors.finish(device, self.now):
            self.containers.end_s[c] = self.now
            self.changed.add(self.containers.task[c])
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
        self.phase(task, self.tasks.executing, -1)
        complete = containers.done[c] == self.tasks.chunks[task]
        if complete:
            containers.complete[c] = True
            self.executions += 1
            self.release(c, containers.device[c])
        self._hand_on(c)
        if not complete:
            self.try_run(c)
        elif self.world.scenario.place == "ready":
            for _, dst, _ in (self.graph(task).edges[e] for e in self.graph(task).outbound[containers.local[c]]):
                if dst != NONE and containers.device[self.tasks.first_c[task] + dst] == NONE:
                    self.waiting.add(self.tasks.first_c[task] + dst)

    def _hand_on(self, c: int, results: bool = False) -> None:
        """Along all edges or, with `results`, to the broker only: it waits for nobody's notice."""
        edges = self.graph(self.containers.task[c]).edges
        for e in self.outbound(c):
            if not results or edges[self.edges.local[e]][1] == NONE:
                self.streams.pump(e)

    def answered(self, task: int) -> None:
        """The last result of a task has arrived."""
        if self.notices_at_once:
            self._finish(task)
        else:
            self.unseen_tasks.append(task)

    def _finish(self, task: int) -> None:
        self.tasks.touch(task, self.now)
        self.tasks.finish_s[task] = self.now
        del self.active[task]
        self.changed.add(task)
        self.left.append(task)
        for c in self.rows(task):
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
        self.phase(self.containers.task[c], self.tasks.migrating, -1)
        self.release(c, source)
        self.let_go(source)
        if not self.containers.loaded[c]:
            self.load(c)
        for e in (*self.inbound(c), *self.outbound(c)):
            self.streams.pump(e)
        self.try_run(c)
