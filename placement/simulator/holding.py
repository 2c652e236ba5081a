"""How long a container holds its device's memory at least, whatever the policy: what a capacity counts memory by."""

from collections.abc import Iterator, Mapping

import numpy as np

from splitplace.placement.simulator.costs import Costs
from splitplace.placement.simulator.mix import MeanTask
from splitplace.placement.simulator.scenario import Scenario
from splitplace.records.dag import path_ends
from splitplace.records.device import Device
from splitplace.records.view import NONE, Floats


def batch_s(scenario: Scenario, devices: tuple[Device, ...], costs: Costs, row: int, d: int) -> float:
    """Seconds that a micro-batch of a fragment takes a server of a device: its run, and what goes with it."""
    return float(costs.fragments.latency_s_FD[row, d]) + scenario.handover_s / devices[d].core_speed


def held_s_FG(  # noqa: N802 - shape suffix
    scenario: Scenario,
    devices: tuple[Device, ...],
    costs: Costs,
    mean: MeanTask,
    split: int,
    first_G: list[int],
) -> Floats:
    """Seconds that a mean task's container of each fragment of a split is on a device, or its share of a shared one.

    Args:
        scenario: Whose rules say when containers are placed and noticed.
        devices: Single devices.
        costs: Of the splits on them.
        mean: Images and micro-batches a task.
        split: Whose F fragments.
        first_G: A device of each group.
    """
    f, graph, rows = costs.fragments, costs.graphs[split], costs.splits.fragments(split)
    application = int(costs.splits.application_S[split])
    service_FG = np.array(
        [
            [
                mean.batches(application, int(f.micro_batch_F[row])) * batch_s(scenario, devices, costs, row, d)
                for d in first_G
            ]
            for row in rows
        ]
    )
    if scenario.weights != "container":
        shared_FG: Floats = service_FG / np.array([scenario.servers(devices[d]) for d in first_G])
        return shared_FG
    load_FG = costs.load_s_FD[np.ix_(list(rows), first_G)]
    if scenario.precedence == "pipelined":
        alone_FG: Floats = load_FG + service_FG
        return alone_FG
    down_G = np.array([devices[d].down_bytes_per_s for d in first_G])
    input_F = np.zeros(len(rows))
    if scenario.inputs == "broadcast":
        for src, dst, size in graph.edges:
            input_F[dst] += float(mean.n_A[application]) * size if src == NONE else 0.0

    def starts_s(local: int, ends_s: Mapping[int, float]) -> Iterator[float]:
        yield float(input_F[local] / down_G.max())
        yield from (ends_s[parent] for parent in graph.parents[local])

    ends_s = path_ends(graph.topological, starts_s, lambda local: float(service_FG[local].min()))
    waits_F = np.array([max([0.0, *(ends_s[parent] for parent in graph.parents[local])]) for local in range(len(rows))])
    if scenario.place == "ready":
        waits_F[:] = 0.0
    held_FG: Floats = np.maximum(np.maximum(load_FG, input_F[:, None] / down_G), waits_F[:, None]) + service_FG
    return np.maximum(held_FG, scenario.interval_s) if scenario.tick == "interval" else held_FG
