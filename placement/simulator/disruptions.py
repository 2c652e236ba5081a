"""What breaks the even course: migration, devices that leave, fail and join, and links that change."""

import math

from splitplace.placement.simulator.engine import SimulationEngine
from splitplace.placement.simulator.scenario import NetworkShift
from splitplace.records.view import NONE


def migrate(engine: SimulationEngine, c: int, device: int) -> None:
    """Move a container that is not complete; whole micro-batches done stay done.

    What travels: the container's memory if its weights were loaded (a checkpoint holds them), inputs that arrived and
    were not used, outputs not sent yet. Both devices' memory is claimed until it has arrived; what was on its way in
    is sent again to the new device.
    """
    containers, edges = engine.containers, engine.edges
    task, source, fragment = containers.task[c], containers.device[c], containers.fragment[c]
    assert source not in (NONE, device) and not containers.complete[c] and containers.moving[c] == NONE
    engine.changed.add(task)
    graph_edges = engine.graph(task).edges
    full_s = engine.service.chunk_s(c, source)
    left_s = engine.stop(c)
    if left_s is not None and left_s < full_s:
        containers.carry[c] = max(math.ceil(left_s / engine.service.batch_s(fragment, source) - 1e-9), 1)
    size = 0.0
    if containers.loaded[c]:
        size += float(engine.world.costs.fragments.memory_bytes_FD[fragment, source])
    else:
        engine.tasks.touch(task, engine.now)
        engine.tasks.executing[task] -= 1  # it was loading, and loads anew over there
    containers.epoch[c] += 1
    for e in engine.inbound(c):
        engine.streams.halt(e)
        waiting = range(containers.done[c], edges.received[e])
        size += sum(graph_edges[edges.local[e]][2] * engine.streams.chunk(task, k) for k in waiting)
    for e in engine.outbound(c):
        engine.streams.halt(e)
        unsent = range(edges.sent[e], containers.done[c])
        size += sum(graph_edges[edges.local[e]][2] * engine.streams.chunk(task, k) for k in unsent)
    containers.moving[c], containers.device[c] = source, device
    engine.held[device] += 1
    engine.claim(c, device)
    engine.tasks.touch(task, engine.now)
    engine.tasks.migrating[task] += 1
    containers.move_flow[c] = engine.links.start(source, device, size, -1 - c, engine.now)


def leave(engine: SimulationEngine, device: int) -> None:
    """Take no more work; go when no active task has work or output there."""
    if engine.up[device]:
        engine.up[device] = False
        engine.leaving.add(device)
        engine.held[device] += 1
        engine.let_go(device)


def join(engine: SimulationEngine, device: int) -> None:
    """Be there, empty."""
    engine.leaving.discard(device)
    engine.up[device] = True
    engine.waiting.freed = True
    engine.processors.switch(device, True, engine.now)


def slow(engine: SimulationEngine, device: int, speed: float) -> None:
    """Compute at this share of its own speed from now on; what runs goes on at it."""
    engine.speed[device] = speed
    engine.repace(device)


def shift_network(engine: SimulationEngine, shift: NetworkShift) -> None:
    """Set every device's link; the broker's stays. A transfer under way has its new rate when the instant settles."""
    links, now = engine.links, engine.now
    for row, device in enumerate(engine.world.devices):
        engine.rtt_s[row] = device.rtt_s * shift.rtt_factor
        links.set_capacity(row, device.up_bytes_per_s * shift.bandwidth_factor, now)
        links.set_capacity(links.nodes + row, device.down_bytes_per_s * shift.bandwidth_factor, now)


def fail(engine: SimulationEngine, device: int) -> None:
    """Be gone at once, with everything it held that somebody still needs.

    A container is torn down if it was computing there, or if a child lacks part of its output; and so, in turn, is a
    complete parent whose own device is gone. Chunks that all children have are not computed again.
    """
    engine.up[device] = False
    engine.leaving.discard(device)
    for task in list(engine.active):
        if engine.tasks.split[task] != NONE:
            _fail_task(engine, task, device)
    engine.memory.wipe(device, engine.now)
    engine.processors.switch(device, False, engine.now)


def _fail_task(engine: SimulationEngine, task: int, device: int) -> None:
    containers, edges, chunks = engine.containers, engine.edges, engine.tasks.chunks[task]
    rows, graph = engine.rows(task), engine.graph(task)

    def needed(c: int) -> bool:
        return containers.done[c] < chunks or any(edges.sent[e] < chunks for e in engine.outbound(c))

    for c in rows:
        if c in engine.unseen and containers.device[c] == device and not needed(c):
            engine.notice(c)  # its results have left: no reason to compute them again
    lost = [c for c in rows if device in (containers.device[c], containers.moving[c]) and needed(c)]
    torn: set[int] = set()
    while lost:
        c = lost.pop()
        if c in torn:
            continue
        torn.add(c)
        _tear_down(engine, c)
        for e in graph.inbound[containers.local[c]]:
            src = graph.edges[e][0]
            if src != NONE and containers.complete[rows[src]] and not engine.up[containers.device[rows[src]]]:
                lost.append(rows[src])
    if not torn:
        return
    for c in rows:
        if containers.device[c] == NONE:
            engine.waiting.remove(c)
            engine.waiting.add(c)
    for e in graph.roots:  # who had the input from a neighbour in the ring may now need it from the broker
        engine.streams.pump(engine.tasks.first_e[task] + e)


def _tear_down(engine: SimulationEngine, c: int) -> None:
    containers, edges, tasks = engine.containers, engine.edges, engine.tasks
    task, device = containers.task[c], containers.device[c]
    tasks.touch(task, engine.now)
    engine.changed.add(task)
    if c in engine.unseen:
        engine.unseen.remove(c)
        containers.running[c] = False
        tasks.executing[task] -= 1
    engine.stop(c)
    source = containers.moving[c]
    if source != NONE:
        if containers.move_flow[c] != NONE:
            engine.links.end(containers.move_flow[c], engine.now)
            containers.move_flow[c] = NONE
        tasks.migrating[task] -= 1
        containers.moving[c] = NONE
        engine.release(c, source)
        engine.let_go(source)
    elif not containers.loaded[c]:
        tasks.executing[task] -= 1
    if not containers.complete[c]:
        engine.release(c, device)
    containers.epoch[c] += 1
    for e in engine.outbound(c):
        engine.streams.halt(e)
    keep = min(edges.sent[e] for e in engine.outbound(c))
    for e in engine.inbound(c):
        engine.streams.halt(e)
        tasks.transferring[task] -= edges.sent[e] - edges.received[e]
        edges.epoch[e] += 1
        edges.sent[e] = edges.received[e] = keep
    containers.done[c], containers.carry[c] = keep, NONE
    containers.loaded[c] = containers.complete[c] = False
    containers.device[c] = NONE
    engine.let_go(device)
