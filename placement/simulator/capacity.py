"""What the best policy could sustain on a fleet: tasks an interval, by a linear program that HiGHS solves.

In the long run a policy is a flow: y[f, d], how many tasks a second have fragment f run on device d, and w[e, d], of
how many the tensor of edge e never leaves d. The program asks for the largest rate T at which, with the workload's mix
of applications, every task has one split and every fragment of it one device, and

    cores         sum_f y[f,d] x (micro-batches a task x latency)         <= servers of d
    uplinks       sum_e (y[src,d] - w[e,d]) x bytes a task, and results   <= its uplink; downlinks alike, with inputs
    broker        inputs of all tasks <= its card; results of all tasks <= its card
    memory        sum_f y[f,d] x bytes x seconds held                     <= room of d (Little's law)
    w[e,d] <= y[src,d], w[e,d] <= y[dst,d]

Devices that are alike have one column, for some best flow treats them alike. A container holds its memory at least
while its inputs come or its weights load, those before it compute and it computes itself; where tasks share a loaded
fragment, at least while all servers compute it. For chains and trees nothing else is relaxed but that memory comes
in whole containers, that one end of a transfer may be idle for the other, and that tasks come in bursts: no policy
sustains more than T, and what is memory-bound may not reach it.
"""

from dataclasses import dataclass

import numpy as np

from splitplace.extras import needs
from splitplace.placement.simulator.costs import Costs
from splitplace.placement.simulator.flow_program import FlowProgram
from splitplace.placement.simulator.scenario import Scenario
from splitplace.records.base import Fraction, NonNegative, Record
from splitplace.records.device import Device
from splitplace.records.view import Floats, Ints

WORDS = {
    "cores": "cores",
    "uplinks": "the devices' uplinks",
    "downlinks": "the devices' downlinks",
    "broker_out": "the broker's card, sending inputs",
    "broker_in": "the broker's card, taking results",
    "memory": "memory",
}
"""The resources of a fleet, and what messages call them."""
TOLD, SEEN = 0.05, 1e-6
"""A resource that is less of the bottleneck is not named, nor a split that fewer tasks have."""


class Capacity(Record):
    """The solution of the linear program."""

    tasks_per_interval: NonNegative
    bottleneck: str
    """What limits it, in words."""
    limits: dict[str, Fraction]
    """How much of the limit each resource is: its shadow price x what there is of it; together 1."""
    used: dict[str, NonNegative]
    """How full each resource is then."""
    splits: dict[str, Fraction]
    """Of each application's tasks, the share that has this split."""


@dataclass(frozen=True, eq=False)
class BestFlow:
    """The best flow itself, G groups of devices that are alike.

    Args:
        capacity: What it comes to.
        group_D: Of each device.
        rate_FG: Tasks a second whose fragment a group runs.
        stays_XG: Of each edge within a split (by source and target), tasks a second whose tensor stays on its device.
    """

    capacity: Capacity
    group_D: Ints
    rate_FG: Floats
    stays_XG: dict[tuple[int, int], Floats]


def capacity(scenario: Scenario, devices: tuple[Device, ...], costs: Costs) -> Capacity:
    """The capacity of a fleet for a scenario's workload, as the scenario begins: before any phase, shift or event.

    Args:
        scenario: Whose mix and sizes of tasks count, and whose rules; devices that fail at random count for the share
            of time that they are there.
        devices: Single devices, as the scenario constrains them.
        costs: Of the splits on them.

    Raises:
        MissingExtraError: The extra `sim` is not installed.
        SplitPlaceError: Too many different devices to solve it.
    """
    return best_flow(scenario, devices, costs).capacity


def best_flow(scenario: Scenario, devices: tuple[Device, ...], costs: Costs) -> BestFlow:
    """The same, with the flow; arguments and errors as of `capacity`."""
    needs("a load as a share of capacity", "sim", packages=("scipy",))
    program = FlowProgram(scenario, devices, costs)
    best, part = program.solve()
    rate_FG = np.zeros((len(costs.fragments.split_F), int(program.group_D.max()) + 1))
    stays_XG: dict[tuple[int, int], Floats] = {}
    for key, column in program.columns.items():
        if key[0] == "y":
            rate_FG[key[1], key[2]] = best[column]
        elif key[0] == "w":
            stays_XG.setdefault((key[1], key[2]), np.zeros(rate_FG.shape[1]))[key[3]] = best[column]
    return BestFlow(_told(program, best, part, rate_FG), program.group_D, rate_FG, stays_XG)


def _told(program: FlowProgram, best: Floats, part: Floats, rate_FG: Floats) -> Capacity:
    """The solution in the words of the simulator."""
    scenario, splits = program.scenario, program.costs.splits
    card = scenario.broker_bytes_per_s is not None
    kinds = [kind for kind in WORDS if card or not kind.startswith("broker")]
    limits, used, there = (dict.fromkeys(kinds, 0.0) for _ in range(3))
    for (kind, amount, taken), share in zip(program.rows, part.tolist(), strict=True):
        limits[kind] += share
        used[kind] += sum(float(best[column]) * value for column, value in taken.items())
        there[kind] += amount
    named = sorted(((share, kind) for kind, share in limits.items() if share >= TOLD), reverse=True)
    rate_S = rate_FG[splits.first_S].sum(axis=1)
    of_S = best[0] * program.mean.share_A[splits.application_S]
    share_S = np.divide(rate_S, of_S, out=np.zeros(len(rate_S)), where=of_S > 0)
    return Capacity(
        tasks_per_interval=float(best[0]) * scenario.interval_s,
        bottleneck=", ".join(WORDS[kind] + (f" ({share:.0%})" if len(named) > 1 else "") for share, kind in named),
        limits={kind: min(share, 1.0) for kind, share in limits.items()},
        used={kind: max(used[kind] / there[kind], 0.0) if there[kind] else 0.0 for kind in kinds},
        splits={
            reference: min(share, 1.0)
            for reference, share in zip(splits.references, share_S.tolist(), strict=True)
            if share > SEEN
        },
    )
