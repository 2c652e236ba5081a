"""Deadlines of tasks as a scenario states them, fixed before any policy runs."""

import math

import numpy as np

from splitplace.errors import ContractError
from splitplace.placement.simulator.costs import Costs
from splitplace.placement.simulator.reference import gathered_s, median_device, reference_split, unloaded_s
from splitplace.placement.simulator.scenario import Scenario
from splitplace.placement.tables import links_table
from splitplace.records.device import Device
from splitplace.records.view import Floats, Ints


def deadlines(
    scenario: Scenario, devices: tuple[Device, ...], costs: Costs, application_N: Ints, n_N: Ints, u_N: Floats
) -> Floats:
    """Seconds from arrival, shape N.

    Args:
        scenario: Whose workload states them.
        devices: Single devices.
        costs: Of the splits on them.
        application_N: Of each task.
        n_N: Its images.
        u_N: Where in its range each deadline lies, 0 to 1.

    Raises:
        SplitPlaceError: They are stated for other applications.
    """
    workload = scenario.workload
    deadline = np.empty(len(n_N))
    for row in np.unique(application_N):
        mine, name = application_N == row, costs.applications[row]
        if workload.deadline_straddle is not None:
            low, high = workload.deadline_straddle
            alone_SN = np.stack(list(_alone(scenario, devices, costs, int(row), n_N[mine]).values()))
            least, most = low * alone_SN.min(axis=0), high * alone_SN.max(axis=0)
            deadline[mine] = least + (most - least) * u_N[mine]
        elif workload.deadline_relative is not None:
            low, high = workload.deadline_relative
            split, card = reference_split(costs, int(row)), scenario.broker_bytes_per_s or math.inf
            alone = unloaded_s(costs, split, n_N[mine], median_device(costs), links_table(devices), card)
            deadline[mine] = (low + (high - low) * u_N[mine]) * alone
        elif name in workload.deadline_intervals:
            first, last = workload.deadline_intervals[name]
            deadline[mine] = (first + np.floor(u_N[mine] * (last - first + 1))) * scenario.interval_s
        else:
            raise ContractError(
                f"scenario {scenario.name}: no deadline_intervals for {name}, only for "
                f"{', '.join(workload.deadline_intervals)}: add it, or leave {name} out of the mix"
            )
    return deadline


def _alone(
    scenario: Scenario, devices: tuple[Device, ...], costs: Costs, application: int, n: Ints
) -> dict[int, Floats]:
    """What each split of an application takes alone: gathered on the median device if it fits there, or apart."""
    device, links = median_device(costs), links_table(devices)
    card = scenario.broker_bytes_per_s or math.inf
    room = devices[device].memory_bytes - costs.runtime_base_bytes_D[device]
    alone: dict[int, Floats] = {}
    for split in np.flatnonzero(costs.splits.application_S == application).tolist():
        alone[split] = unloaded_s(costs, split, n, device, links, card)
        if costs.fragments.memory_bytes_FD[list(costs.splits.fragments(split)), device].sum() <= room:
            together = gathered_s(costs, split, n, device, scenario.servers(devices[device]), links, card)
            alone[split] = np.minimum(alone[split], together)
    return alone
