"""What an option leaves for whoever comes next: tasks like those that came lately, while it runs.

Of the next task, as if it were one of those that came last, the best P(in time) on one device is held against what it
would be with half of the option's work still there: what it finds in its way on the mean. Where so many wait already
that nobody else is next, nothing is left for anybody.
"""

from dataclasses import dataclass

import numpy as np

from splitplace.placement.joint.estimate import held_s
from splitplace.placement.joint.jobs import DeviceJobs
from splitplace.placement.joint.offers import PlanOffers
from splitplace.records.view import NONE, Floats, Ints, View

KEPT = 8
"""Tasks that came last, which the next is taken to be like."""
STEP = 0.1
"""Of the rate's running mean."""
MOST = 2.0
"""Tasks that come meanwhile, at most: those after them find others in their way as well."""
LARGE = 288
"""Devices: among so many there is always another."""
NEVER_S = 1e12


@dataclass(frozen=True)
class RecentArrivals:
    """What came lately."""

    tasks: tuple[tuple[int, int, float], ...] = ()
    """Application, images and deadline of the last."""
    gap_s: float = 0.0
    """Between two, a running mean; 0 as long as nothing is known."""
    newest: int = -1
    """The last task's number."""
    newest_s: float = 0.0
    """When it came."""

    def seen(self, view: View) -> "RecentArrivals":
        """With those of a view that were not seen before."""
        t = view.tasks
        rows = np.flatnonzero(t.id_T > self.newest)
        if not len(rows):
            return self
        rows = rows[np.argsort(t.id_T[rows])]
        came_s, tasks, gap_s = self.newest_s, list(self.tasks), self.gap_s
        for row in rows.tolist():
            at_s = max(view.now_s - float(t.age_s_T[row]), came_s)
            if self.newest >= 0 or row != rows[0]:
                gap_s = at_s - came_s if not gap_s else gap_s + STEP * (at_s - came_s - gap_s)
            came_s = at_s
            tasks.append((int(t.application_T[row]), int(t.n_T[row]), float(t.deadline_s_T[row])))
        return RecentArrivals(tuple(tasks[-KEPT:]), gap_s, int(t.id_T[rows[-1]]), came_s)


class Ahead:
    """Of one plan; shape letter M: the tasks that came last."""

    def __init__(self, view: View, arrivals: RecentArrivals, offers: PlanOffers, jobs: DeviceJobs, off_D: Floats):
        self._jobs, self._gap_s = jobs, arrivals.gap_s
        few = len(view.devices.names) <= LARGE
        self.on = bool(arrivals.tasks) and arrivals.gap_s > 0 and few and _waiting(view) < KEPT
        if not self.on:
            return
        alone, works = list[Floats](), list[Floats]()
        for application, n, _ in arrivals.tasks:
            # By time alone: it may be in a hurry.
            offer = offers.every(offers.of_application(application))
            devices_A = offer.devices_A
            base_A, work_A = offer.quickest_alone(n, jobs.bytes_per_s_D[devices_A], jobs.servers_D[devices_A])
            alone_D, work_D = np.full(len(off_D), NEVER_S), np.zeros(len(off_D))
            alone_D[devices_A] = (base_A + view.links.rtt_s_D[devices_A]) * off_D[devices_A]
            work_D[devices_A] = work_A
            alone.append(alone_D)
            works.append(work_D)
        self._alone_MD, self._work_MD = np.array(alone), np.array(works)
        self._slack_M1 = np.array([deadline_s for _, _, deadline_s in arrivals.tasks])[:, None]
        self._every_D = np.arange(len(off_D))
        self._refresh()

    def _refresh(self) -> None:
        jobs = self._jobs
        self._took_MD = self._alone_MD + held_s(jobs.work_s_D, jobs.count_D, self._work_MD) / jobs.servers_D
        p_MD = self._p(self._took_MD, self._every_D)
        self._best_M, self._at_M = p_MD.max(axis=1), p_MD.argmax(axis=1)
        p_MD[np.arange(len(p_MD)), self._at_M] = 0.0
        self._next_M = p_MD.max(axis=1)
        """The best of all other devices."""

    def _p(self, took_s: Floats, devices: Ints) -> Floats:
        return self._jobs.p(self._slack_M1 if took_s.ndim == 2 else self._slack_M1[:, :, None], took_s, devices)

    def booked(self) -> None:
        """Something was, among the jobs."""
        if self.on:
            self._refresh()

    def lost(self, devices_SK: Ints, work_SK: Floats, took_SK: Floats) -> Floats:
        """What the next lose of P(in time) by options that are all on one device each, at most 0, shape (S, K).

        Args:
            devices_SK: Rows.
            work_SK: What each computes there, in seconds of one server.
            took_SK: Until it is done.
        """
        if not self.on:
            return np.zeros(devices_SK.shape)
        share = np.minimum(took_SK / self._gap_s, MOST)
        held_MSK = np.minimum(work_SK / 2, self._work_MD[:, devices_SK]) / self._jobs.servers_D[devices_SK]
        p_MSK = self._p(self._took_MD[:, devices_SK] + held_MSK, devices_SK)
        other_MSK = np.where(
            devices_SK == self._at_M[:, None, None], self._next_M[:, None, None], self._best_M[:, None, None]
        )
        left_MSK = np.maximum(other_MSK, p_MSK)
        result: Floats = share * (left_MSK - self._best_M[:, None, None]).mean(axis=0)
        return result

    def lost_spread(self, devices_K: Ints, work_K: Floats, took_s: float) -> float:
        """Likewise, by one that is on several."""
        if not self.on:
            return 0.0
        held_MK = np.minimum(work_K / 2, self._work_MD[:, devices_K]) / self._jobs.servers_D[devices_K]
        took_MD = self._took_MD.copy()
        took_MD[:, devices_K] += held_MK
        left_M = self._p(took_MD, self._every_D).max(axis=1)
        return min(took_s / self._gap_s, MOST) * float((left_M - self._best_M).mean())


def _waiting(view: View) -> int:
    """Tasks that found no device in an earlier plan: they are next, and known."""
    placed = set(view.containers.task_C[view.containers.device_C != NONE].tolist())
    return sum(row not in placed for row in np.flatnonzero(view.tasks.split_T != NONE).tolist())
