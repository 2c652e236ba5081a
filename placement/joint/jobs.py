"""What stands on the devices: the parts of tasks, a job a task and device, and what one more would do to them.

Shape letters beside those of the view: N jobs, the first of them none; K looks at a device; J the jobs there, X what
the broker sends of one, transfer by transfer.
"""

import copy
from collections import Counter
from dataclasses import dataclass

import numpy as np

from splitplace.placement.joint.card import TOO_FEW, BrokerCard
from splitplace.placement.joint.estimate import Doubt, computed_s, in_time, received_s
from splitplace.placement.joint.shapes import shapes
from splitplace.records.task import micro_batches
from splitplace.records.view import NONE, Bools, Floats, Ints, View

COLUMNS = (
    "down_bytes", "work_s", "least_s", "sent_bytes", "slack_s", "share", "sent_s", "in_time", "received_s", "computed_s"
)  # fmt: skip
DOWN, WORK, LEAST, SENT, SLACK, SHARE, SENT_S, IN_TIME, RECEIVED, COMPUTED = range(len(COLUMNS))


@dataclass(frozen=True, slots=True)
class Job:
    """What a task has on one device."""

    down_bytes: float
    sent: tuple[float, ...]
    """Of them, what comes from the broker, transfer by transfer."""
    work_s: float
    """Of one server."""
    least_s: float
    """With servers enough: its longest path."""
    slack_s: float
    """Until the task's deadline."""
    share: float
    """Of the task's worth: it has one job a device, and is in time if the last of them is."""


SAMPLE = 256
"""Jobs that tell what sending does to all."""


@dataclass(frozen=True, eq=False)
class LostBySending:
    """A change of Σ share P(in time), at most 0, for several sets of transfers."""

    total_S: Floats
    by_job_SN: Floats
    """A single column where it is not known by job."""


class DeviceJobs:
    """The jobs of every device; a plan books its own as it goes."""

    def __init__(self, view: View, doubt: Doubt):
        self.view, self._doubt = view, doubt
        devices = len(view.devices.names)
        self.count_D = np.zeros(devices, np.int64)
        self.down_bytes_D, self.sent_bytes_D, self.work_s_D, self._busy_s_D = np.zeros((4, devices))
        self.card = BrokerCard(view.links.broker_bytes_per_s)
        self.servers_D = view.devices.servers_D.astype(np.float64)
        self.bytes_per_s_D = np.maximum(view.links.down_bytes_per_s_D, 1.0)
        self._count = 1
        self._facts = np.zeros((len(COLUMNS), 16))
        """By `COLUMNS`, a job a column, the first none: all 0. The last two are as if the card held nobody up."""
        self._device_N = np.zeros(16, np.int64)
        self._at_DJ = np.zeros((devices, 4), np.int64)
        """The jobs of each device, and behind them that which is none."""
        self._sending = np.zeros(0, np.int64)
        """Jobs to which the broker still sends."""
        self._changed: list[Ints] = []
        """Jobs of which it is not worked out how likely they are in time."""
        self._settled = self._full_of = 0
        """Of how many jobs it is worked out how the card holds them up, and how long it is full."""
        self._full_s = 0.0
        self._first_free = NONE
        """The device that has nothing to do first, where that is known."""
        self._take_in(view)

    def _take_in(self, view: View) -> None:
        c, all_shapes = view.containers, shapes(view.fragments, view.splits)
        placed = np.flatnonzero(c.device_C != NONE)
        tasks, fragments, devices = c.task_C[placed], c.fragment_C[placed], c.device_C[placed]
        batches = micro_batches(view.tasks.n_T[tasks], view.fragments.micro_batch_F[fragments])
        takes_s = c.remaining_C[placed] * batches * view.fragments.latency_s_FD[fragments, devices]
        down_bytes: dict[tuple[int, int], float] = {}
        sent: dict[tuple[int, int], list[float]] = {}
        service_s: dict[tuple[int, int], dict[int, float]] = {}
        columns = tasks, fragments, devices, c.coming_bytes_C[placed], view.tasks.split_T[tasks], takes_s
        for task, fragment, device, coming, split, took_s in zip(*(each.tolist() for each in columns), strict=True):
            part = task, device
            down_bytes[part] = down_bytes.get(part, 0.0) + coming
            if coming and fragment in all_shapes[split].inputs:
                sent.setdefault(part, []).append(coming)
            service_s.setdefault(part, {})[fragment] = took_s
        jobs_of = Counter(task for task, _ in service_s)
        for part, mine in service_s.items():
            task, device = part
            slack = float(view.tasks.deadline_s_T[task] - view.tasks.age_s_T[task])
            least = all_shapes[int(view.tasks.split_T[task])].quickest_s(mine) if len(mine) > 1 else sum(mine.values())
            inputs, work = tuple(sent.get(part, ())), sum(mine.values())
            self._enter(device, Job(down_bytes[part], inputs, work, least, slack, 1.0 / jobs_of[task]))
        self._update(np.flatnonzero(self.count_D))

    def copy(self) -> "DeviceJobs":
        """The same jobs, to book more without touching these."""
        other = copy.copy(self)
        other.count_D, other.down_bytes_D, other.work_s_D = (
            self.count_D.copy(), self.down_bytes_D.copy(), self.work_s_D.copy()
        )  # fmt: skip
        other.sent_bytes_D, other._busy_s_D, other.card = (
            self.sent_bytes_D.copy(), self._busy_s_D.copy(), self.card.copy()
        )  # fmt: skip
        other._facts, other._device_N, other._at_DJ = self._facts.copy(), self._device_N.copy(), self._at_DJ.copy()
        other._changed = list(self._changed)
        return other

    def book(self, device: int, job: Job) -> None:
        """One more."""
        self._enter(device, job)
        self._update(np.array([device]))
        if device == self._first_free:
            self._first_free = NONE

    def _enter(self, device: int, job: Job) -> None:
        row, column = self._count, int(self.count_D[device])
        if row == len(self._device_N):
            self._facts = np.concatenate([self._facts, np.zeros_like(self._facts)], axis=1)
            self._device_N = np.concatenate([self._device_N, np.zeros_like(self._device_N)])
        self._widen(column + 1)
        facts = job.down_bytes, job.work_s, job.least_s, max(job.sent, default=0.0), job.slack_s, job.share
        self._facts[: len(facts), row] = facts
        self._device_N[row], self._at_DJ[device, column] = device, row
        self._count += 1
        self.count_D[device] += 1
        self.down_bytes_D[device] += job.down_bytes
        self.sent_bytes_D[device] += sum(job.sent)
        self.work_s_D[device] += job.work_s
        self.card.add(job.sent)
        if job.sent and self.card.limits:
            self._sending = np.append(self._sending, row)

    def _widen(self, columns: int) -> None:
        """Room for so many jobs on a device."""
        if columns > self._at_DJ.shape[1]:
            self._at_DJ = np.concatenate([self._at_DJ, np.zeros_like(self._at_DJ)], axis=1)

    def _update(self, devices: Ints) -> None:
        """When the jobs of these devices have received all, and how long they compute then."""
        count, servers, rate = self.count_D[devices], self.servers_D[devices], self.bytes_per_s_D[devices]
        at = self._at_DJ[devices, : count.max(initial=0)]
        down, work, least = self._facts[: LEAST + 1].take(at, axis=1)
        received = received_s(down, rate)
        self._facts[RECEIVED, at] = received
        self._facts[COMPUTED, at] = computed_s(received, work, least, count, servers)
        self._changed.append(at[at > 0])
        computing = np.where(count >= servers, self.work_s_D[devices] / servers, 0.0)
        self._busy_s_D[devices] = np.maximum(self.down_bytes_D[devices] / rate, computing)

    def _settle(self) -> None:
        """How likely all are in time as things are."""
        if not self._changed:
            return
        rows = np.concatenate(self._changed)
        if self._many(self._settled):
            rows, self._settled = np.concatenate([self._sending, rows]), self._count
        facts = self._facts[:, rows]
        sent = self.card.sent_s(facts[SENT]) if self.card.limits else 0.0
        done = np.maximum(sent, facts[RECEIVED]) + facts[COMPUTED]
        self._facts[SENT_S, rows] = sent
        self._facts[IN_TIME, rows] = self.p(facts[SLACK], done, self._device_N[rows])
        self._changed = []

    def _many(self, before: int) -> bool:
        """Whether there are more jobs than before by too many to leave what was worked out."""
        return (self._count - before) * TOO_FEW > self._count

    def busy_s(self, devices: Bools) -> float:
        """How long one more would find no room: until the broker's card or some device has nothing to do.

        Args:
            devices: Those that count, the same in all of a plan; infinite if there is none.
        """
        if self._many(self._full_of):
            self._full_s, self._full_of = self.card.full_s(self.sent_bytes_D, self.bytes_per_s_D), self._count
        if self._first_free == NONE:  # what is booked makes none of the others free any sooner
            self._first_free = int(np.where(devices, self._busy_s_D, np.inf).argmin())
        device = self._first_free
        return max(self._full_s, float(self._busy_s_D[device]) if devices[device] else np.inf)

    def alone_s(
        self, down_bytes_SA: Floats, work_s_SA: Floats, least_s_SA: Floats, devices_A: Ints
    ) -> tuple[Floats, Floats]:
        """Seconds until a newcomer would be done on each device, everybody there served first: quick, and no less.

        And how long each has to compute without it, shape A.
        """
        servers_A, work_s_A = self.servers_D[devices_A], self.work_s_D[devices_A]
        received_SA = (self.down_bytes_D[devices_A] + down_bytes_SA) / self.bytes_per_s_D[devices_A]
        result: Floats = received_SA + np.maximum((work_s_A + work_s_SA) / servers_A, least_s_SA)
        return result, work_s_A / servers_A

    def with_newcomer(
        self, devices_K: Ints, down_bytes_K: Floats, work_s_K: Floats, least_s_K: Floats, sizes_KX: Floats
    ) -> tuple[Floats, Floats]:
        """If a job came to each of these devices: seconds until it is done, and what the others there lose by it.

        Args:
            devices_K: Any may stand there several times.
            down_bytes_K: What the newcomer has to receive there.
            work_s_K: What it has to compute there, in seconds of one server.
            least_s_K: How long that takes with servers enough.
            sizes_KX: What the broker sends of it; 0 is no transfer.

        Returns:
            Seconds, and the change of Σ share P(in time) of those that are there, at most 0; both of shape K.
        """
        self._settle()
        count_K, rate_K, servers_K = self.count_D[devices_K], self.bytes_per_s_D[devices_K], self.servers_D[devices_K]
        columns = int(count_K.max()) + 1
        if columns == 1:
            return self._alone_there(down_bytes_K / rate_K, work_s_K, least_s_K, servers_K, sizes_KX)
        self._widen(columns)
        facts = self._facts[:RECEIVED].take(self._at_DJ[devices_K, :columns], axis=1)
        last = np.arange(len(devices_K)), count_K
        for column, values in ((DOWN, down_bytes_K), (WORK, work_s_K), (LEAST, least_s_K)):
            facts[column][last] = values
        received = received_s(facts[DOWN], rate_K)
        if self.card.limits:
            sent = facts[SENT_S] + self.card.later_s(facts[SENT], sizes_KX)
            sent[last] = self.card.with_more_s(sizes_KX)
            received = np.maximum(received, sent)
        after = received + computed_s(received, facts[WORK], facts[LEAST], count_K + 1, servers_K)
        # The newcomer has no share here: what it is worth itself is no loss to the others.
        lost = facts[SHARE] * (self.p(facts[SLACK], after, devices_K[:, None]) - facts[IN_TIME])
        return after[last], np.add.reduce(lost, axis=1)

    def _alone_there(
        self, received_K: Floats, work_s_K: Floats, least_s_K: Floats, servers_K: Floats, sizes_KX: Floats
    ) -> tuple[Floats, Floats]:
        """As `with_newcomer` where none of the devices has any job: the same sums, of one."""
        if self.card.limits:
            received_K = np.maximum(received_K, self.card.with_more_s(sizes_KX))
        after_K = received_K + np.maximum((received_K + work_s_K - received_K) / servers_K, least_s_K)
        return after_K, np.zeros(len(after_K))

    def lost_by_sending(self, sizes_SX: Floats) -> "LostBySending":
        """The change of Σ share P(in time) if the broker sent these, set by set; of very many jobs by a sample."""
        self._settle()
        every = 1 + len(self._sending) // SAMPLE
        rows = self._sending[::every]
        lost_SN = np.zeros((len(sizes_SX), self._count if len(rows) and every == 1 else 1))
        if not len(rows):
            return LostBySending(lost_SN[:, 0], lost_SN)
        facts = self._facts.take(rows, axis=1)
        later = facts[SENT_S] + self.card.later_s(facts[SENT][None], sizes_SX)
        after = np.maximum(later, facts[RECEIVED]) + facts[COMPUTED]
        lost = facts[SHARE] * (self.p(facts[SLACK], after, self._device_N[rows]) - facts[IN_TIME])
        if every == 1:
            lost_SN[:, rows] = lost
        return LostBySending(np.add.reduce(lost, axis=1) * every, lost_SN)

    def elsewhere(self, lost: "LostBySending", at_S: Ints, devices_SK: Ints) -> Floats:
        """What of it is not on each of these devices, for some of the sets, shape (S, K), or (S, 1) if alike of all."""
        total_S1 = lost.total_S[at_S, None]
        if lost.by_job_SN.shape[1] == 1:  # one device of thousands
            return total_S1
        most = int(self.count_D[devices_SK].max(initial=0))
        result: Floats = total_S1 - lost.by_job_SN[at_S[:, None, None], self._at_DJ[devices_SK, :most]].sum(axis=2)
        return result

    def p_anywhere(self, slack_s: float, took_s: Floats) -> Floats:
        """P(in time) of jobs, wherever."""
        return in_time(slack_s, took_s, self._doubt.relative * np.maximum(took_s, 0.0) + self._doubt.fixed_s)

    def most_p(self, slack_s: float, took_s: Floats) -> Floats:
        """No less than `p` of anything that takes at least so long, wherever."""
        least, most = self._doubt.range
        relative = np.where(took_s < slack_s, least, most)
        return in_time(slack_s, took_s, relative * took_s + self._doubt.fixed_s)

    def p(self, slack_s: Floats | float, took_s: Floats, devices: Ints) -> Floats:
        """P(in time) of what is expected to take so long on these devices."""
        return in_time(slack_s, took_s, self._doubt.of(took_s, devices))
