"""What the broker shows to `plan`: the live fleet as the arrays of a `View`."""

import math
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from splitplace.placement import tables
from splitplace.placement.broker.monitor import LOADS_11
from splitplace.placement.broker.state import FleetState, Left, TaskState
from splitplace.placement.protocol.fields import Wire
from splitplace.records.demand import Demand
from splitplace.records.device import Device
from splitplace.records.split import INPUT, Edge
from splitplace.records.view import (
    NONE,
    Bools,
    Containers,
    Devices,
    Finished,
    Floats,
    Fragments,
    Ints,
    Links,
    Splits,
    Tasks,
    Utilisation,
    View,
)


@dataclass(frozen=True, eq=False)
class Statics:
    """What does not change in a run, with the names of its rows."""

    applications: tuple[str, ...]
    splits: Splits
    fragments: Fragments
    links: Links
    names_F: tuple[tuple[int, str], ...]
    """The row in `demand.splits` and the fragment's name."""
    parents_F: tuple[tuple[str, ...], ...]
    """The fragments whose tensors it takes."""
    inbound_F: tuple[tuple[tuple[str, int], ...], ...]
    """Of each edge that ends there, the fragment or `input` that it comes from and its bytes a sample."""
    names_D: tuple[str, ...]
    cores_D: Ints
    servers_D: Ints
    core_speed_D: Floats
    disk_bytes_D: Floats
    power_w_D11: Floats

    @cached_property
    def application_rows(self) -> dict[str, int]:
        """By name."""
        return {name: row for row, name in enumerate(self.applications)}

    @staticmethod
    def of(demand: Demand, devices: tuple[Device, ...], wire: Wire = "raw") -> "Statics":
        """The tables of these splits on these devices, with inputs as they travel, where that is known."""
        applications, splits = tables.applications(demand), tables.splits_table(demand)
        core_speed_D = _kept(np.array([device.core_speed for device in devices]))
        encoded = demand.encoded if wire == "encoded" else {}
        fragments = tables.fragments_table(demand, devices)
        if encoded:
            fragments = tables.with_encoded_inputs(fragments, splits, applications, encoded, core_speed_D)

        def size(edge: Edge, application: str) -> int:
            known = encoded.get(application) if edge.src == INPUT else None
            return edge.bytes_per_sample if known is None else known.bytes_per_sample

        return Statics(
            applications,
            splits,
            fragments,
            tables.links_table(devices),
            tuple((row, f.name) for row, entry in enumerate(demand.splits) for f in entry.split.fragments),
            tuple(entry.split.parents(f.name) for entry in demand.splits for f in entry.split.fragments),
            tuple(
                tuple(
                    (edge.src, size(edge, entry.split.application)) for edge in entry.split.edges if edge.dst == f.name
                )
                for entry in demand.splits
                for f in entry.split.fragments
            ),
            names_D=tuple(device.name for device in devices),
            cores_D=_kept(np.array([device.cores for device in devices], np.int64)),
            servers_D=_kept(np.ones(len(devices), np.int64)),  # one micro-batch at a time, on all cores
            core_speed_D=core_speed_D,
            disk_bytes_D=_kept(np.array([device.disk_bytes for device in devices])),
            power_w_D11=_kept(np.array([device.power_w for device in devices])),
        )


def _kept(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """For all views of a broker: a policy that writes into one of them is refused, and fails its plan."""
    values.flags.writeable = False
    return values


@dataclass(frozen=True, eq=False)
class MeasuredUse:
    """What a device was seen to do just now, and since the start; arrays by device row."""

    cpu_D: Floats
    net_D: Floats
    busy_s_D: Floats
    measure: Callable[[], Utilisation]


def build_view(
    statics: Statics,
    devices: Sequence[Device],
    state: FleetState,
    tasks: Sequence[TaskState],
    measured: MeasuredUse,
    now_s: float,
    interval_s: float,
    longest_s: float,
    grain: float = math.inf,
    relayed_DD: Bools | None = None,
    avoided: Container[int] = (),
) -> View:
    """The fleet now. A task's fragments are placed together, so its containers have all a device or none.

    Nothing can be placed on the devices that are `avoided`, by row.
    """
    containers = _containers(statics, state, tasks)
    application = statics.application_rows
    return View(
        now_s=now_s,
        interval_s=interval_s,
        longest_s=longest_s,
        applications=statics.applications,
        devices=_devices(statics, devices, state, tasks, containers, measured, now_s, avoided),
        links=statics.links if relayed_DD is None else replace(statics.links, relayed_DD=relayed_DD),
        splits=statics.splits,
        fragments=statics.fragments,
        tasks=Tasks(
            id_T=np.array([task.task.id for task in tasks], np.int64),
            application_T=np.array([application[task.task.application] for task in tasks], np.int64),
            n_T=np.array([task.task.n for task in tasks], np.int64),
            deadline_s_T=np.array([task.task.deadline_s for task in tasks], np.float64),
            age_s_T=np.array([max(now_s - task.task.arrival_s, 0.0) for task in tasks], np.float64),
            split_T=np.array([task.decision.split if task.decision else NONE for task in tasks], np.int64),
        ),
        containers=containers,
        finished=_finished(application, state.left),
        measure=measured.measure,
        grain=grain,
    )


def _finished(application: Mapping[str, int], left: Sequence[Left]) -> Finished:
    if not left:
        return Finished.none()
    return Finished(
        id_E=np.array([one.task for one in left], np.int64),
        application_E=np.array([application[one.application] for one in left], np.int64),
        split_E=np.array([one.split for one in left], np.int64),
        deadline_s_E=np.array([one.deadline_s for one in left], np.float64),
        response_s_E=np.array([one.response_s for one in left], np.float64),
        accuracy_E=np.array([one.accuracy for one in left], np.float64),
        tag_E=np.array([one.tag for one in left], np.int64),
        context_E=np.array([one.context for one in left], np.int64),
    )


def _energy_j(device: Device, busy_s: float, now_s: float) -> float:
    """An estimate, nothing measures it: the power curve at the mean share of the time it was busy."""
    busy = min(busy_s / max(now_s, 1e-9), 1.0)
    return float(np.interp(busy, LOADS_11, device.power_w)) * now_s


def _containers(statics: Statics, state: FleetState, tasks: Sequence[TaskState]) -> Containers:
    rows: list[tuple[int, int, int, float, float, bool]] = []
    for row, task in enumerate(tasks):
        if task.decision is None:
            continue
        for fragment in statics.splits.fragments(task.decision.split):
            parents = statics.parents_F[fragment]
            if task.job is None:
                rows.append((row, fragment, NONE, 1.0, 0.0, not parents))
            else:
                attempt, name = state.jobs[task.job], statics.names_F[fragment][1]
                ready = not any(attempt.left(parent) for parent in parents)
                device, left = attempt.devices[name], attempt.left(name) / attempt.total
                size = sum(each for src, each in statics.inbound_F[fragment] if attempt.devices.get(src) != device)
                rows.append((row, fragment, device, left, left * task.task.n * size, ready))
    task_C, fragment_C, device_C, remaining_C, coming_C, ready_C = zip(*rows, strict=True) if rows else ((),) * 6
    return Containers(
        task_C=np.array(task_C, np.int64),
        fragment_C=np.array(fragment_C, np.int64),
        device_C=np.array(device_C, np.int64),
        remaining_C=np.array(remaining_C, np.float64),
        coming_bytes_C=np.array(coming_C, np.float64),
        ready_C=np.array(ready_C, bool),
    )


def _devices(
    statics: Statics,
    devices: Sequence[Device],
    state: FleetState,
    tasks: Sequence[TaskState],
    containers: Containers,
    measured: MeasuredUse,
    now_s: float,
    avoided: Container[int],
) -> Devices:
    backlog_s_D = np.zeros(len(devices))
    for task, fragment, device, remaining in zip(
        containers.task_C, containers.fragment_C, containers.device_C, containers.remaining_C, strict=True
    ):
        if device != NONE:
            n = tasks[int(task)].task.n
            backlog_s_D[device] += remaining * statics.fragments.service_s(int(fragment), n)[device]
    count = len(statics.names_F)
    resident_FD = state.ledger.resident_FD(count)
    disk_bytes_D = (resident_FD * statics.fragments.weight_bytes_F[:, None]).sum(axis=0)
    return Devices(
        names=statics.names_D,
        up_D=np.array([state.placeable(row, now_s) and row not in avoided for row in range(len(devices))]),
        cores_D=statics.cores_D,
        servers_D=statics.servers_D,
        core_speed_D=statics.core_speed_D,
        memory_bytes_D=np.array(state.ledger.capacity_bytes),
        memory_used_bytes_D=state.ledger.used_bytes_D(),
        cpu_D=measured.cpu_D,
        net_D=measured.net_D,
        disk_D=np.minimum(disk_bytes_D / statics.disk_bytes_D, 1.0),
        backlog_s_D=backlog_s_D,
        power_w_D11=statics.power_w_D11,
        energy_j_D=np.array(
            [
                _energy_j(device, busy_s, now_s)
                for device, busy_s in zip(devices, measured.busy_s_D.tolist(), strict=True)
            ]
        ),
        resident_FD=resident_FD,
        idle_FD=state.ledger.idle_FD(count),
        shares_fragments=True,
    )
