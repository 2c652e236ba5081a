"""A mean reward (eq. 15) that no policy can exceed on the very tasks of a run, whatever it knows of the future.

Per task and split, a time that its response cannot undercut: each fragment takes at least its service time on the
device that is fastest for it, alone on a server of it, rested where that has a CPU limit; its input comes at least at
the largest downlink, its result leaves at the largest uplink, half a round trip each; tensors between fragments may
take no time (on one device they take none). No queue, no memory limit, no loading, no hand-over, and links and devices
are the best of any moment of the run.
A split whose bound is over the deadline is worth p / 2, any other (1 + p) / 2, with the p drawn for this task. The
task's bound is the best of its application's splits; the run's is their mean over the cohort that is scored.

It is a relaxation: that no policy exceeds it is certain, that some policy reaches it is not.
"""

from collections.abc import Mapping

import numpy as np

from splitplace.placement.metrics import cohort
from splitplace.placement.simulator.costs import Costs
from splitplace.placement.simulator.demands import DemandLike
from splitplace.placement.simulator.scenario import Scenario
from splitplace.placement.simulator.setting import prepare
from splitplace.placement.simulator.workload import draw
from splitplace.records.dag import path_ends
from splitplace.records.device import Device, FleetSpec
from splitplace.records.task import micro_batches
from splitplace.records.view import NONE, Floats, Ints

ROUNDING = 1e-9
"""Relative; the engine adds the same times in another order."""


def reward_bound(
    scenario: Scenario, fleet: FleetSpec, demand: DemandLike, intervals: int | None = None, seed: int = 0
) -> float:
    """The bound for the run that `simulate` makes of the same arguments; NaN if no task is scored.

    Raises:
        SplitPlaceError: As `simulate`, for a scenario that cannot be run.
    """
    intervals = intervals or scenario.intervals
    devices, costs = prepare(scenario, fleet, demand)
    tasks = draw(scenario, devices, costs, intervals, seed)
    best_N = np.zeros(len(tasks.n_N))
    for split, application in enumerate(costs.splits.application_S):
        mine = tasks.application_N == application
        least_s = scenario.scheduling_delay_s + least_response_s(scenario, devices, costs, split, tasks.n_N[mine])
        met = least_s * (1 - ROUNDING) <= tasks.deadline_s_N[mine]
        p = np.nan_to_num(tasks.p_NS[mine, split], nan=1.0)  # no evaluation: anything is possible
        best_N[mine] = np.maximum(best_N[mine], (met + p) / 2)
    end_s = intervals * scenario.interval_s
    scored_N = cohort(tasks.arrival_s_N, tasks.deadline_s_N, scenario.startup_s, end_s)
    return float(best_N[scored_N].mean()) if scored_N.any() else float("nan")


def least_response_s(scenario: Scenario, devices: tuple[Device, ...], costs: Costs, split: int, n_N: Ints) -> Floats:
    """Seconds that no run of the split on this fleet can undercut, from the moment the task may start; shape N."""
    up = max(d.up_bytes_per_s for d in devices) * max([1.0, *(s.bandwidth_factor for s in scenario.network)])
    down = max(d.down_bytes_per_s for d in devices) * max([1.0, *(s.bandwidth_factor for s in scenario.network)])
    hop_s = min(d.rtt_s for d in devices) / 2 * min([1.0, *(s.rtt_factor for s in scenario.network)])
    graph, f, first = costs.graphs[split], costs.fragments, int(costs.splits.first_S[split])
    least_FN = [
        _computed_s(scenario, devices, f.latency_s_FD[row], micro_batches(n_N, int(f.micro_batch_F[row])))
        for row in range(first, first + graph.count)
    ]
    # In a ring all roots but one have their input from another root, perhaps on the same device.
    sent: dict[int, Floats] = {
        dst: np.multiply(n_N, 0.0) if scenario.inputs == "ring" else np.multiply(n_N, size) / down + hop_s
        for src, dst, size in graph.edges
        if src == NONE
    }
    back: dict[int, Floats] = {
        src: np.multiply(n_N, size) / up + hop_s for src, dst, size in graph.edges if dst == NONE
    }
    if scenario.precedence == "pipelined":  # everything may overlap but for the first and the last bit of it
        overlapped_N: Floats = np.maximum.reduce([*least_FN, *sent.values(), *back.values()])
        return overlapped_N

    def starts_s(local: int, ends_s: Mapping[int, Floats]) -> list[Floats]:
        return [*([sent[local]] if local in sent else []), *(ends_s[parent] for parent in graph.parents[local])]

    ends_s = path_ends(graph.topological, starts_s, least_FN.__getitem__)
    finished_N: Floats = np.maximum.reduce([ends_s[src] + seconds for src, seconds in back.items()])
    return finished_N


def _computed_s(scenario: Scenario, devices: tuple[Device, ...], latency_s_D: Floats, batches_N: Ints) -> Floats:
    """So many micro-batches of a fragment, alone on the device where they are done first; shape N."""
    limits = [scenario.cpu_limits.get(device.kind) for device in devices]
    found = []
    for limit in set(limits):
        there_D = np.array([each == limit for each in limits])
        found.append(np.multiply(batches_N, float(latency_s_D[there_D].min())))
        if limit is not None:
            found[-1] = found[-1] - np.minimum(limit.gain_s, limit.spare * found[-1])
    least_N: Floats = np.minimum.reduce(found)
    return least_N
