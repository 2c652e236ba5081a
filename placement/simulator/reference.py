"""The split and the device that relative loads and deadlines are stated by, and what a split takes alone."""

from collections.abc import Iterator, Mapping

import numpy as np

from splitplace.placement.simulator.costs import Costs
from splitplace.placement.simulator.mix import weights
from splitplace.placement.simulator.scenario import Scenario
from splitplace.placement.tables import links_table
from splitplace.records.dag import path_ends
from splitplace.records.device import Device
from splitplace.records.task import micro_batches
from splitplace.records.view import NONE, Floats, Ints, Links


def rate_of_utilisation(scenario: Scenario, devices: tuple[Device, ...], costs: Costs) -> float:
    """λ from ρ: the share ρ of what the fleet can finish in an interval, were every task run as its layer split.

    What it can finish is set by the resource it has least of: cores, uplinks or downlinks, each fragment on a device of
    its own. A second of work is counted where it is spent, so fast devices offer more.
    """
    workload, links = scenario.workload, links_table(devices)
    assert workload.utilisation is not None
    servers_D = np.array([scenario.servers(device) for device in devices], np.int64)
    share_A = weights(workload.mix, costs.applications)
    mean_n = (workload.batch[0] + workload.batch[1]) / 2
    per_sample_AD = np.stack([_layer_s(costs, row) for row in range(len(costs.applications))])
    work_D = mean_n * share_A @ per_sample_AD
    tasks_per_s = [float((servers_D / work_D).sum())]
    edges_A = [costs.graphs[reference_split(costs, row)].edges for row in range(len(costs.applications))]
    for end, capacity_D in (
        (0, links.up_bytes_per_s_D),
        (1, links.down_bytes_per_s_D),
    ):  # what leaves the broker takes nobody's uplink, and so on
        sent_A = np.array([sum(edge[2] for edge in edges if edge[end] != NONE) for edges in edges_A])
        if sent_A.any():
            tasks_per_s.append(float(capacity_D.sum() / (mean_n * share_A @ sent_A)))
    return workload.utilisation * min(tasks_per_s) * scenario.interval_s


def _layer_s(costs: Costs, application: int) -> Floats:
    """Seconds a sample of an application's reference split takes on each device, all fragments, shape D."""
    rows = costs.splits.fragments(reference_split(costs, application))
    f = costs.fragments
    per_sample_D: Floats = np.sum([f.latency_s_FD[row] / f.micro_batch_F[row] for row in rows], axis=0)
    return per_sample_D


def reference_split(costs: Costs, application: int) -> int:
    """The split that utilisation and relative deadlines are stated by: the first layer split, else the first of all."""
    mine = np.flatnonzero(costs.splits.application_S == application)
    layer = [int(row) for row in mine if costs.splits.strategies[row] == "layer"]
    return layer[0] if layer else int(mine[0])


def median_device(costs: Costs) -> int:
    """The device whose layer splits take the median time over the fleet (the lower one of two)."""
    total_D = np.sum([_layer_s(costs, row) for row in range(len(costs.applications))], axis=0)
    return int(np.argsort(total_D, kind="stable")[(len(total_D) - 1) // 2])


def unloaded_s(
    costs: Costs, split: int, n: Ints, device: int, links: Links, broker_bytes_per_s: float = np.inf
) -> Floats:
    """Response of a split alone in an idle fleet of devices like this one, a device a fragment; shape of n.

    Strict precedence: the longest path of load or input transfer, service, transfers, and the result's way back.
    """
    up, down = float(links.up_bytes_per_s_D[device]), float(links.down_bytes_per_s_D[device])
    rtt = float(links.rtt_s_D[device])
    graph, first = costs.graphs[split], int(costs.splits.first_S[split])
    sent_by_broker = min(down, broker_bytes_per_s / max(len(graph.roots), 1))

    def starts_s(local: int, ends_s: Mapping[int, Floats]) -> Iterator[Floats]:
        yield np.full(len(n), float(costs.load_s_FD[first + local, device]))
        for src, _, size in (graph.edges[e] for e in graph.inbound[local]):
            sent_bytes: Floats = np.multiply(n, size)
            if src == NONE:
                yield sent_bytes / sent_by_broker + rtt / 2
            else:
                yield ends_s[src] + sent_bytes / min(up, down) + rtt

    ends_s = path_ends(graph.topological, starts_s, lambda local: _service_s(costs, first + local, n, device))
    back = min(up, broker_bytes_per_s)
    back_s = [ends_s[src] + n * size / back + rtt / 2 for src, dst, size in graph.edges if dst == NONE]
    answered_s: Floats = np.maximum.reduce(back_s)
    return answered_s


def gathered_s(
    costs: Costs, split: int, n: Ints, device: int, servers: int, links: Links, broker_bytes_per_s: float = np.inf
) -> Floats:
    """The same with all fragments on this device, where nothing passes between hosts; shape of n.

    Inputs share its downlink and the broker's card, results the way back. Branches run side by side as far as there
    are servers: no quicker than the longest path, nor than all work over all servers.
    """
    up, down = float(links.up_bytes_per_s_D[device]), float(links.down_bytes_per_s_D[device])
    rtt = float(links.rtt_s_D[device])
    graph, rows = costs.graphs[split], costs.splits.fragments(split)
    per_sample_in, per_sample_out = (
        sum(edge[2] for edge in graph.edges if edge[end] == NONE) for end in (0, 1)
    )  # an edge from the broker has no source, one to it no target
    service_s = [_service_s(costs, row, n, device) for row in rows]

    def starts_s(local: int, ends_s: Mapping[int, Floats]) -> Iterator[Floats]:
        yield np.zeros(len(n))
        yield from (ends_s[parent] for parent in graph.parents[local])

    ends_s = path_ends(graph.topological, starts_s, service_s.__getitem__)
    path_s = np.maximum.reduce(list(ends_s.values()))
    input_s = np.multiply(n, per_sample_in) / min(down, broker_bytes_per_s) + rtt / 2
    load_s = float(costs.load_s_FD[list(rows), device].max())
    computed_s = np.maximum(input_s, load_s) + np.maximum(path_s, np.sum(service_s, axis=0) / servers)
    answered_s: Floats = computed_s + np.multiply(n, per_sample_out) / min(up, broker_bytes_per_s) + rtt / 2
    return answered_s


def _service_s(costs: Costs, row: int, n: Ints, device: int) -> Floats:
    """Seconds that a fragment takes alone on this device; shape of n."""
    batches = micro_batches(n, int(costs.fragments.micro_batch_F[row]))
    result: Floats = np.multiply(batches, float(costs.fragments.latency_s_FD[row, device]))
    return result
