"""What flows along the edges: inputs, tensors between fragments, results; chunk after chunk, in order."""

from typing import TYPE_CHECKING

from splitplace.records.view import NONE

if TYPE_CHECKING:
    from splitplace.placement.simulator.engine import SimulationEngine


class Streams:
    """The edges of an engine's decided tasks."""

    def __init__(self, engine: "SimulationEngine"):
        self._engine = engine

    def halt(self, e: int) -> None:
        """Give up the transfer under way on an edge; its chunk counts as not sent."""
        engine = self._engine
        if engine.edges.flow[e] != NONE:
            engine.links.end(engine.edges.flow[e], engine.now)
            engine.edges.flow[e] = NONE
            engine.phase(engine.edges.task[e], engine.tasks.transferring, -1)

    def pump(self, e: int) -> None:
        """Send what can be sent along an edge: chunks in order, one transfer at a time."""
        engine = self._engine
        edges, task = engine.edges, engine.edges.task[e]
        _, dst, size = engine.graph(task).edges[edges.local[e]]
        chunks = engine.tasks.chunks[task]
        while edges.flow[e] == NONE and edges.sent[e] < chunks:
            target = engine.broker
            if dst != NONE:
                c = engine.tasks.first_c[task] + dst
                target = engine.containers.device[c]
                if target == NONE or engine.containers.moving[c] != NONE:
                    return
            source = self._source(e, edges.sent[e])
            if source == NONE:
                return
            if source == target:
                edges.sent[e] += 1
                engine.changed.add(task)
                edges.received[e] += 1
                self._arrived(e)
            else:
                load = size * self.chunk(task, edges.sent[e])
                edges.flow[e] = engine.links.start(source, target, load, e, engine.now)
                engine.phase(task, engine.tasks.transferring, 1)

    def _source(self, e: int, k: int) -> int:
        """The node that can send chunk k along an edge now; -1 for none."""
        engine = self._engine
        task = engine.edges.task[e]
        graph, first_c = engine.graph(task), engine.tasks.first_c[task]
        src = graph.edges[engine.edges.local[e]][0]
        if src != NONE:
            c = first_c + src
            there = engine.containers.done[c] > k and engine.containers.moving[c] == NONE
            return engine.containers.device[c] if there else NONE
        if engine.world.scenario.inputs == "ring":
            first_e = engine.tasks.first_e[task]
            before = graph.roots[: graph.roots.index(engine.edges.local[e])]
            for other in reversed(before):  # the nearest root before this one that has a device hands it on
                device = engine.containers.device[first_c + graph.edges[other][1]]
                if device != NONE and engine.up[device]:
                    return device if engine.edges.received[first_e + other] > k else NONE
        return engine.broker

    def chunk(self, task: int, k: int) -> int:
        """Images in chunk k of a task."""
        engine = self._engine
        size = engine.tasks.chunk_n[task]
        return size if k < engine.tasks.chunks[task] - 1 else int(engine.world.n_N[task]) - k * size

    def on_over(self, route: int, version: int) -> None:
        """The next transfer of a route is over, unless something changed its course since it was announced."""
        for flow in self._engine.links.over(route, version, self._engine.now):
            self._sent(flow)

    def _sent(self, flow: int) -> None:
        engine = self._engine
        e = engine.links.payload[flow]
        source, target = engine.links.ends(flow)
        delay_s = (engine.rtt_s[source] + engine.rtt_s[target]) / 2
        engine.links.end(flow, engine.now)
        if e < 0:
            c = -1 - e
            engine.containers.move_flow[c] = NONE
            engine.schedule(engine.now + delay_s, engine.on_moved, c, engine.containers.epoch[c])
            return
        engine.changed.add(engine.edges.task[e])
        engine.edges.flow[e] = NONE
        engine.edges.sent[e] += 1
        engine.schedule(engine.now + delay_s, self._on_delivery, e, engine.edges.epoch[e])
        self.pump(e)

    def _on_delivery(self, e: int, epoch: int) -> None:
        engine = self._engine
        if engine.edges.epoch[e] == epoch:
            engine.edges.received[e] += 1
            engine.phase(engine.edges.task[e], engine.tasks.transferring, -1)
            self._arrived(e)

    def _arrived(self, e: int) -> None:
        engine = self._engine
        task = engine.edges.task[e]
        graph = engine.graph(task)
        src, dst, _ = graph.edges[engine.edges.local[e]]
        if dst == NONE:
            if engine.edges.received[e] == engine.tasks.chunks[task]:
                engine.tasks.results_left[task] -= 1
                if not engine.tasks.results_left[task]:
                    engine.answered(task)
            return
        engine.try_run(engine.tasks.first_c[task] + dst)
        if src == NONE and engine.world.scenario.inputs == "ring":
            at = graph.roots.index(engine.edges.local[e])
            for other in graph.roots[at + 1 :]:
                self.pump(engine.tasks.first_e[task] + other)
