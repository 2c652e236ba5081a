"""What the broker shows to `plan`: the live fleet as the arrays of a `View`."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from splitplace.placement import tables
from splitplace.placement.broker.fleet import Member
from splitplace.placement.broker.ledger import Ledger
from splitplace.placement.broker.task import Live
from splitplace.records.demand import Demand
from splitplace.records.device import Device
from splitplace.records.view import NONE, Containers, Devices, Finished, Fragments, Links, Splits, Tasks, View


@dataclass(frozen=True, eq=False)
class Statics:
    """What does not change in a run, with the names of its rows."""

    applications: tuple[str, ...]
    splits: Splits
    fragments: Fragments
    links: Links
    names_F: tuple[tuple[int, str], ...]
    """The row in `demand.splits` and the fragment's name."""

    @staticmethod
    def of(demand: Demand, devices: tuple[Device, ...]) -> "Statics":
        """The tables of these splits on these devices."""
        return Statics(
            tables.applications(demand),
            tables.splits_table(demand),
            tables.fragments_table(demand, devices),
            tables.links_table(devices),
            tuple((row, f.name) for row, entry in enumerate(demand.splits) for f in entry.split.fragments),
        )


def build_view(
    statics: Statics,
    members: Sequence[Member],
    ledger: Ledger,
    tasks: Sequence[Live],
    finished: Finished,
    now_s: float,
    interval_s: float,
    longest_s: float,
) -> View:
    """The fleet now. A task's fragments are placed together, so its containers have all a device or none."""
    containers = _containers(statics, members, tasks)
    return View(
        now_s=now_s,
        interval_s=interval_s,
        longest_s=longest_s,
        applications=statics.applications,
        devices=_devices(statics, members, ledger, tasks, containers, now_s),
        links=statics.links,
        splits=statics.splits,
        fragments=statics.fragments,
        tasks=Tasks(
            id_T=np.array([live.task.id for live in tasks], np.int64),
            application_T=np.array([statics.applications.index(live.task.application) for live in tasks], np.int64),
            n_T=np.array([live.task.n for live in tasks], np.int64),
            deadline_s_T=np.array([live.task.deadline_s for live in tasks], np.float64),
            age_s_T=np.array([now_s - live.task.arrival_s for live in tasks], np.float64),
            split_T=np.array([live.decision.split if live.decision else NONE for live in tasks], np.int64),
        ),
        containers=containers,
        finished=finished,
    )


def _energy_j(member: Member, now_s: float) -> float:
    """An estimate, nothing measures it: the power curve at the mean share of the time it was busy."""
    busy = min(member.meter.busy_s / max(now_s, 1e-9), 1.0)
    return float(np.interp(busy, np.linspace(0.0, 1.0, 11), member.device.power_w)) * now_s


def _containers(statics: Statics, members: Sequence[Member], tasks: Sequence[Live]) -> Containers:
    row_of = {member.name: member.row for member in members}
    rows: list[tuple[int, int, int, float, bool]] = []
    for row, live in enumerate(tasks):
        if live.decision is None:
            continue
        for fragment in statics.splits.fragments(live.decision.split):
            name = statics.names_F[fragment][1]
            job = live.job
            if job is None:
                rows.append((row, fragment, NONE, 1.0, not live.split.parents(name)))
            else:
                ready = all(job.done[parent] == job.total for parent in job.split.parents(name))
                rows.append((row, fragment, row_of[job.devices[name]], 1 - job.done[name] / job.total, ready))
    task, fragment_C, device, remaining, ready_C = zip(*rows, strict=True) if rows else ((), (), (), (), ())
    return Containers(
        task_C=np.array(task, np.int64),
        fragment_C=np.array(fragment_C, np.int64),
        device_C=np.array(device, np.int64),
        remaining_C=np.array(remaining, np.float64),
        ready_C=np.array(ready_C, bool),
    )


def _devices(
    statics: Statics,
    members: Sequence[Member],
    ledger: Ledger,
    tasks: Sequence[Live],
    containers: Containers,
    now_s: float,
) -> Devices:
    backlog_s_D = np.zeros(len(members))
    for task, fragment, device, remaining in zip(
        containers.task_C, containers.fragment_C, containers.device_C, containers.remaining_C, strict=True
    ):
        if device != NONE:
            n = tasks[int(task)].task.n
            backlog_s_D[device] += remaining * statics.fragments.service_s(int(fragment), n)[device]
    resident_FD = ledger.resident_FD()
    disk_bytes_D = (resident_FD * statics.fragments.weight_bytes_F[:, None]).sum(axis=0)
    return Devices(
        names=tuple(member.name for member in members),
        up_D=np.array([member.up for member in members]),
        cores_D=np.array([member.device.cores for member in members], np.int64),
        core_speed_D=np.array([member.device.core_speed for member in members]),
        memory_bytes_D=ledger.capacity_bytes_D,
        memory_used_bytes_D=ledger.used_bytes_D(),
        cpu_D=np.array([member.meter.busy(now_s) for member in members]),
        net_D=np.array([member.meter.link(now_s, member.device.up_bytes_per_s) for member in members]),
        disk_D=np.minimum(disk_bytes_D / np.array([member.device.disk_bytes for member in members]), 1.0),
        backlog_s_D=backlog_s_D,
        power_w_D11=np.array([member.device.power_w for member in members]),
        energy_j_D=np.array([_energy_j(member, now_s) for member in members]),
        resident_FD=resident_FD,
        idle_FD=ledger.idle_FD(),
        shares_fragments=True,
    )
