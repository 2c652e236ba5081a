"""What stands on the devices: the parts of tasks, a job a task and device, and what one more would do to them."""

import copy
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from splitplace.placement.joint.card import BrokerCard
from splitplace.placement.joint.estimate import computed_s, in_time, received_s
from splitplace.placement.joint.shapes import shapes
from splitplace.records.task import micro_batches
from splitplace.records.view import NONE, Bools, Floats, Ints, View

COLUMNS = ("down_bytes", "work_s", "least_s", "sent_bytes", "slack_s", "share", "received_s", "computed_s")
DOWN, WORK, LEAST, SENT, SLACK, SHARE, RECEIVED, COMPUTED = range(len(COLUMNS))


@dataclass(frozen=True, slots=True)
class Job:
    """What a task has on one device."""

    down_bytes: float
    sent: tuple[float, ...]
    """Of them, what comes from the broker, transfer by transfer."""
    work_s: float
    """Of one core."""
    least_s: float
    """With cores enough: its longest path."""
    slack_s: float
    """Until the task's deadline."""
    share: float
    """Of the task's worth: it has one job a device, and is in time if the last of them is."""


@dataclass(frozen=True, eq=False)
class Doubt:
    """How unsure an estimate is: `relative` of it, by device or on the whole, and `fixed_s` besides."""

    relative: float
    relative_D: Floats
    fixed_s: float

    @cached_property
    def range(self) -> tuple[float, float]:
        """The least and the most that is relative."""
        every = self.relative, float(self.relative_D.min()), float(self.relative_D.max())
        return min(every), max(every)

    def of(self, took_s: Floats, devices: Ints) -> Floats:
        """The width of P(in time) around an estimate."""
        result: Floats = self.relative_D[devices] * np.maximum(took_s, 0.0) + self.fixed_s
        return result


class DeviceJobs:
    """The jobs of every device, a row a device and a column a job; a plan books its own as it goes."""

    def __init__(self, view: View, doubt: Doubt):
        self.view, self._doubt = view, doubt
        devices = len(view.devices.names)
        self.count_D = np.zeros(devices, np.int64)
        self.down_bytes_D, self.sent_bytes_D, self.work_s_D = np.zeros((3, devices))
        self.card = BrokerCard(view.links.broker_bytes_per_s)
        self._cores_D = view.devices.cores_D.astype(np.float64)
        self._bytes_per_s_D = np.maximum(view.links.down_bytes_per_s_D, 1.0)
        self._facts = np.zeros((len(COLUMNS), devices, 4))
        """By `COLUMNS`; the last two as it is where the broker's card holds nobody up."""
        self._lost_D: dict[tuple[float, ...], Floats] = {}
        self._full_s: float | None = None
        """What was worked out since something was booked last."""
        self._take_in(view)

    def _take_in(self, view: View) -> None:
        c, all_shapes = view.containers, shapes(view)
        placed = np.flatnonzero(c.device_C != NONE)
        down_bytes: dict[tuple[int, int], float] = {}
        sent: dict[tuple[int, int], list[float]] = {}
        service_s: dict[tuple[int, int], dict[int, float]] = {}
        for i in placed.tolist():
            task, fragment, device = int(c.task_C[i]), int(c.fragment_C[i]), int(c.device_C[i])
            n, left, coming = int(view.tasks.n_T[task]), float(c.remaining_C[i]), float(c.coming_bytes_C[i])
            part = task, device
            down_bytes[part] = down_bytes.get(part, 0.0) + coming
            if coming and fragment in all_shapes[int(view.tasks.split_T[task])].inputs:
                sent.setdefault(part, []).append(coming)
            batches = micro_batches(n, int(view.fragments.micro_batch_F[fragment]))
            takes_s = left * batches * float(view.fragments.latency_s_FD[fragment, device])
            service_s.setdefault(part, {})[fragment] = takes_s
        jobs_of = Counter(task for task, _ in service_s)
        for part, mine in service_s.items():
            task, device = part
            slack = float(view.tasks.deadline_s_T[task] - view.tasks.age_s_T[task])
            least = float(all_shapes[int(view.tasks.split_T[task])].path_s(mine))
            inputs, work = tuple(sent.get(part, ())), sum(mine.values())
            self._enter(device, Job(down_bytes[part], inputs, work, least, slack, 1.0 / jobs_of[task]))
        self._update(np.flatnonzero(self.count_D))

    def copy(self) -> "DeviceJobs":
        """The same jobs, to book more without touching these."""
        other = copy.copy(self)
        other.count_D, other._facts = self.count_D.copy(), self._facts.copy()
        other.down_bytes_D, other.work_s_D = self.down_bytes_D.copy(), self.work_s_D.copy()
        other.sent_bytes_D, other.card = self.sent_bytes_D.copy(), self.card.copy()
        other._lost_D = {}
        return other

    def book(self, device: int, job: Job) -> None:
        """One more."""
        self._enter(device, job)
        self._update(np.array([device]))

    def _enter(self, device: int, job: Job) -> None:
        column = int(self.count_D[device])
        if column == self._facts.shape[2]:
            self._facts = np.concatenate([self._facts, np.zeros_like(self._facts)], axis=2)
        largest = max(job.sent, default=0.0)
        facts = job.down_bytes, job.work_s, job.least_s, largest, job.slack_s, job.share
        self._facts[: len(facts), device, column] = facts
        self.count_D[device] += 1
        self.down_bytes_D[device] += job.down_bytes
        self.sent_bytes_D[device] += sum(job.sent)
        self.work_s_D[device] += job.work_s
        self.card.add(job.sent)
        self._full_s, self._lost_D = None, {}

    def _update(self, devices: Ints) -> None:
        """When the jobs of these devices have received all, and how long they compute then."""
        facts, here = self._of(devices)
        received = received_s(facts[DOWN], here, self._bytes_per_s_D[devices])
        computed = computed_s(received, facts[WORK], facts[LEAST], here, self._cores_D[devices])
        most = facts.shape[2]
        self._facts[RECEIVED, devices, :most], self._facts[COMPUTED, devices, :most] = received, computed

    def _of(self, devices: Ints, room: int = 0) -> tuple[Floats, Bools]:
        """A copy of these devices' facts (columns, K, J), some columns to spare, and where there is a job (K, J)."""
        count = self.count_D[devices]
        most = int(count.max(initial=0)) + room
        if most > self._facts.shape[2]:
            self._facts = np.concatenate([self._facts, np.zeros_like(self._facts)], axis=2)
        return self._facts[:, devices, :most], np.arange(most) < count[:, None]

    def busy_s(self, devices: Bools) -> float:
        """How long one more would find no room: until the broker's card or some device has nothing to do.

        Args:
            devices: Those that count; infinite if there is none.
        """
        computing_D = np.where(self.count_D >= self._cores_D, self.work_s_D / self._cores_D, 0.0)
        busy_D = np.maximum(self.down_bytes_D / self._bytes_per_s_D, computing_D)
        if self._full_s is None:
            self._full_s = self.card.full_s(self.sent_bytes_D, self._bytes_per_s_D)
        return max(self._full_s, float(busy_D[devices].min(initial=np.inf)))

    def alone_s(self, down_bytes: float, work_s_D: Floats, least_s_D: Floats) -> Floats:
        """Seconds until a newcomer would be done on each device, everybody there served first: quick, and no less."""
        received_D = (self.down_bytes_D + down_bytes) / self._bytes_per_s_D
        result: Floats = received_D + np.maximum((self.work_s_D + work_s_D) / self._cores_D, least_s_D)
        return result

    def with_newcomer(
        self,
        devices: Ints,
        down_bytes_K: Floats,
        work_s_K: Floats,
        least_s_K: Floats,
        sent_K: Sequence[tuple[float, ...]],
    ) -> tuple[Floats, Floats]:
        """If a job came to each of these devices: seconds until it is done, and what the others there lose by it.

        Args:
            devices: Rows, K of them; any may stand there several times.
            down_bytes_K: What the newcomer has to receive there.
            work_s_K: What it has to compute there, in seconds of one core.
            least_s_K: How long that takes with cores enough.
            sent_K: What the broker sends of it.

        Returns:
            Seconds, and the change of Σ share P(in time) of those that are there, at most 0; both of shape K.
        """
        facts, here = self._of(devices, 1)
        last = np.arange(len(devices)), self.count_D[devices]
        rate, cores = self._bytes_per_s_D[devices], self._cores_D[devices]
        before = facts[RECEIVED] + facts[COMPUTED]
        for column, values in ((DOWN, down_bytes_K), (WORK, work_s_K), (LEAST, least_s_K)):
            facts[column][last] = values
        now_here = here.copy()
        now_here[last] = True
        received = received_s(facts[DOWN], now_here, rate)
        if self.card.limits:
            sent = self.card.sent_s(facts[SENT])
            before += np.maximum(sent - facts[RECEIVED], 0.0)
            sent += (
                self.card.later_s(facts[SENT], sent_K[0])
                if len(set(sent_K)) == 1
                else np.array([self.card.later_s(row, sizes) for row, sizes in zip(facts[SENT], sent_K, strict=True)])
            )
            sent[last] = [self.card.with_more_s(sizes) for sizes in sent_K]
            received = np.maximum(received, sent)
        after = received + computed_s(received, facts[WORK], facts[LEAST], now_here, cores)
        on, slack = devices[:, None], facts[SLACK]
        lost = facts[SHARE] * (self.p(slack, after, on) - self.p(slack, before, on))
        return after[last], np.where(here, lost, 0.0).sum(axis=1)

    def lost_elsewhere_D(self, sizes: tuple[float, ...]) -> Floats:  # noqa: N802 - shape suffix
        """The change of Σ share P(in time) over the jobs of all devices but each, if the broker sent these."""
        if sizes not in self._lost_D:
            self._lost_D[sizes] = self._lost_by_sending_D(sizes)
        return self._lost_D[sizes]

    def _lost_by_sending_D(self, sizes: tuple[float, ...]) -> Floats:  # noqa: N802 - shape suffix
        result = np.zeros(len(self.count_D))
        if not self.card.limits or not sizes:
            return result
        taken = np.flatnonzero(self.count_D)
        facts, here = self._of(taken)
        sent, received, slack = self.card.sent_s(facts[SENT]), facts[RECEIVED], facts[SLACK]
        # What has all its input waits for no broker.
        later = np.where(facts[SENT] > 0, sent + self.card.later_s(facts[SENT], sizes), 0.0)
        before = np.maximum(sent, received) + facts[COMPUTED]
        after = np.maximum(np.maximum(later, sent), received) + facts[COMPUTED]
        change = self.p(slack, after, taken[:, None]) - self.p(slack, before, taken[:, None])
        lost = np.where(here, facts[SHARE] * change, 0.0).sum(axis=1)
        result += lost.sum()
        result[taken] -= lost
        return result

    def most_p(self, slack_s: float, took_s: float) -> float:
        """No less than `p` of anything that takes at least so long, wherever."""
        least, most = self._doubt.range
        relative = least if took_s < slack_s else most
        return _in_time(slack_s, took_s, relative * took_s + self._doubt.fixed_s)

    def p_anywhere(self, slack_s: float, took_s: float) -> float:
        """P(in time) of one job, wherever."""
        return _in_time(slack_s, took_s, self._doubt.relative * max(took_s, 0.0) + self._doubt.fixed_s)

    def p(self, slack_s: Floats | float, took_s: Floats, devices: Ints) -> Floats:
        """P(in time) of what is expected to take so long on these devices."""
        return in_time(slack_s, took_s, self._doubt.of(took_s, devices))


def _in_time(slack_s: float, took_s: float, width_s: float) -> float:
    """As `in_time`, of one."""
    return 0.5 + 0.5 * math.tanh(min(max((slack_s - took_s) / max(width_s, 1e-9), -30.0), 30.0) / 2)


def nearest(
    jobs: DeviceJobs, candidates: Bools, down_bytes: float, work_s_D: Floats, least_s_D: Floats, most: int
) -> Ints:
    """The devices worth a closer look for a job: those where it would be done first, by the quick estimate."""
    rows = np.flatnonzero(candidates)
    if len(rows) <= most:
        return rows
    quick = jobs.alone_s(down_bytes, work_s_D, least_s_D)[rows]
    result: Ints = rows[np.sort(np.argpartition(quick, most)[:most])]
    return result
