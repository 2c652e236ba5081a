"""What stands on the devices: the parts of tasks, a job a task and device, and what one more would do to them."""

import copy
from dataclasses import dataclass

import numpy as np

from splitplace.placement.joint.estimate import finish_s, in_time
from splitplace.placement.joint.shapes import shapes
from splitplace.records.task import micro_batches
from splitplace.records.view import NONE, Bools, Floats, Ints, View


@dataclass(slots=True)
class Job:
    """What a task has on one device."""

    task: int
    """Row of the view's tasks."""
    down_bytes: float
    work_s: float
    slack_s: float
    """Until the task's deadline."""
    share: float
    """Of the task's worth: it has one job a device, and is in time if the last of them is."""


@dataclass(frozen=True)
class Doubt:
    """How unsure an estimate is: `relative` of it, and `fixed_s` besides."""

    relative: float
    fixed_s: float

    def of(self, took_s: Floats) -> Floats:
        """The width of P(in time) around an estimate."""
        return self.relative * np.maximum(took_s, 0.0) + self.fixed_s


class DeviceJobs:
    """The jobs of every device; a plan books its own as it goes."""

    def __init__(self, view: View, doubt: Doubt):
        self.view, self._doubt = view, doubt
        self.by_device: list[list[Job]] = [[] for _ in view.devices.names]
        self.down_bytes_D, self.work_s_D = np.zeros(len(self.by_device)), np.zeros(len(self.by_device))
        self.count_D = np.zeros(len(self.by_device), np.int64)
        self._bytes_per_s_D = np.maximum(view.links.down_bytes_per_s_D, 1.0)
        self._take_in(view)

    def _take_in(self, view: View) -> None:
        c, all_shapes = view.containers, shapes(view)
        placed = np.flatnonzero(c.device_C != NONE)
        where = {(int(c.task_C[i]), int(c.fragment_C[i])): int(c.device_C[i]) for i in placed}
        parts: dict[tuple[int, int], list[float]] = {}
        for i in placed.tolist():
            task, fragment, device = int(c.task_C[i]), int(c.fragment_C[i]), int(c.device_C[i])
            n, left = int(view.tasks.n_T[task]), float(c.remaining_C[i])
            shape = all_shapes[int(view.tasks.split_T[task])]
            # One that has begun has all its bytes, under strict precedence; how far a transfer is, no view tells.
            down = 0.0
            if left >= 1.0:
                down = shape.inputs.get(fragment, 0.0) * n
                for parent, size in shape.feeds[fragment]:
                    if where.get((task, parent), NONE) != device:
                        down += size * n
            batches = micro_batches(n, int(view.fragments.micro_batch_F[fragment]))
            job = parts.setdefault((task, device), [0.0, 0.0])
            job[0] += down
            job[1] += left * batches * float(view.fragments.latency_s_FD[fragment, device])
        jobs_of: dict[int, int] = {}
        for task, _ in parts:
            jobs_of[task] = jobs_of.get(task, 0) + 1
        for (task, device), (down, work) in parts.items():
            slack = float(view.tasks.deadline_s_T[task] - view.tasks.age_s_T[task])
            self.book(device, Job(task, down, work, slack, 1.0 / jobs_of[task]))

    def copy(self) -> "DeviceJobs":
        """The same jobs, to book more without touching these."""
        other = copy.copy(self)
        other.by_device = [list(jobs) for jobs in self.by_device]
        other.down_bytes_D, other.work_s_D = self.down_bytes_D.copy(), self.work_s_D.copy()
        other.count_D = self.count_D.copy()
        return other

    def book(self, device: int, job: Job) -> None:
        """One more."""
        self.by_device[device].append(job)
        self.count_D[device] += 1
        self.down_bytes_D[device] += job.down_bytes
        self.work_s_D[device] += job.work_s

    def alone_s(self, down_bytes: float, work_s_D: Floats) -> Floats:
        """Seconds until a newcomer would be done on each device, everybody there served first: quick, and no less."""
        cores_D = self.view.devices.cores_D
        received_D = (self.down_bytes_D + down_bytes) / self._bytes_per_s_D
        result: Floats = received_D + np.maximum((self.work_s_D + work_s_D) / cores_D, work_s_D)
        return result

    def with_newcomer(self, devices: Ints, down_bytes_K: Floats, work_s_K: Floats) -> tuple[Floats, Floats]:
        """If a job came to each of these devices: seconds until it is done, and what the others there lose by it.

        Args:
            devices: Rows, K of them; any may stand there several times.
            down_bytes_K: What the newcomer has to receive there.
            work_s_K: What it has to compute there.

        Returns:
            Seconds, and the change of Σ share P(in time) of those that are there, at most 0; both of shape K.
        """
        jobs = [self.by_device[device] for device in devices.tolist()]
        most = max(map(len, jobs), default=0)
        down, work = np.zeros((len(jobs), most + 1)), np.zeros((len(jobs), most + 1))
        slack, share = np.zeros((len(jobs), most)), np.zeros((len(jobs), most))
        here = np.zeros((len(jobs), most + 1), np.bool_)
        for row, there in enumerate(jobs):
            for column, job in enumerate(there):
                down[row, column], work[row, column] = job.down_bytes, job.work_s
                slack[row, column], share[row, column] = job.slack_s, job.share
                here[row, column] = True
        rate, cores = self._bytes_per_s_D[devices], self.view.devices.cores_D[devices]
        before = finish_s(down[:, :-1], work[:, :-1], here[:, :-1], rate, cores) if most else np.zeros((len(jobs), 0))
        down[:, -1], work[:, -1], here[:, -1] = down_bytes_K, work_s_K, True
        after = finish_s(down, work, here, rate, cores)
        lost = share * (self.p(slack, after[:, :-1]) - self.p(slack, before))
        return after[:, -1], np.where(here[:, :-1], lost, 0.0).sum(axis=1)

    def p(self, slack_s: Floats | float, took_s: Floats) -> Floats:
        """P(in time) of what is expected to take so long."""
        return in_time(slack_s, took_s, self._doubt.of(took_s))


def nearest(jobs: DeviceJobs, candidates: Bools, down_bytes: float, work_s_D: Floats, most: int) -> Ints:
    """The devices worth a closer look for a job: those where it would be done first, by the quick estimate."""
    rows = np.flatnonzero(candidates)
    if len(rows) <= most:
        return rows
    quick = jobs.alone_s(down_bytes, work_s_D)[rows]
    result: Ints = rows[np.sort(np.argpartition(quick, most)[:most])]
    return result
