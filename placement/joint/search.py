"""One plan of `joint`: task after task, the split and the devices of most value, or to wait for the next plan."""

from collections.abc import Iterable, Sequence

import numpy as np

from splitplace.placement.joint.agenda import least_late
from splitplace.placement.joint.ahead import Ahead
from splitplace.placement.joint.jobs import DeviceJobs, Job, LostBySending
from splitplace.placement.joint.offers import Offer, PlanOffers
from splitplace.placement.joint.options import JointPlan, Later, Option
from splitplace.placement.joint.residual import Expected, Residuals
from splitplace.placement.joint.spread import SpreadSearch
from splitplace.placement.joint.worth import JointWorth, TaskWorth, Worths
from splitplace.placement.policy import PlacementRequest
from splitplace.placement.room import Room
from splitplace.records.action import Action, Place, Wait
from splitplace.records.view import NONE, Bools, Floats, Ints, View

LOOKS = 8
"""Tasks in a row that are looked at and wait; those after them wait without a look."""
FEW = 2
"""Splits that are looked at first."""
CLOSE = 1e-3
"""Values that differ by less are as good as each other."""


class PlanSearch:
    """One plan under way: what it books in memory and on devices."""

    def __init__(self, weights: JointWorth, view: View, state: Residuals, room: Room, jobs: DeviceJobs):
        self.view, self.state, self.room, self.jobs = view, state, room, jobs
        up = view.devices.up_D
        self.candidates_D: Bools = up if up.any() else np.ones(len(up), np.bool_)
        """Where nobody is up, tasks are decided as if all were, and wait."""
        self.offers = PlanOffers(view, room, jobs, self.candidates_D, weights.look)
        self.worth = Worths(weights, view, state, jobs, self.candidates_D, self.offers)
        self._look = weights.look
        self.ahead = Ahead(view, state.arrivals, self.offers, jobs, self.worth.off_D)
        self._count_T = np.bincount(view.containers.task_C, minlength=len(view.tasks.id_T))
        self._nowhere: set[tuple[int, ...]] = set()
        """Splits of which nothing finds room: in the course of a plan there is only less of it."""
        self._queued_s = 0.0
        """Of the scarcest there is, what those take that wait before."""

    def all(self) -> JointPlan:
        """Every task without a device, in the order of its agenda."""
        view, solution = self.view, JointPlan(self.room, self.jobs)
        placed = set(view.containers.task_C[view.containers.device_C != NONE].tolist())
        rows = [row for row in range(len(view.tasks.id_T)) if row not in placed and self._whole(row)]
        agenda, looks = self._agenda(rows), 0
        sharing = int(np.maximum(self.jobs.count_D - view.devices.servers_D, 0).sum())
        for at, row in enumerate(agenda):
            decided = int(view.tasks.split_T[row])
            if decided != NONE and (looks >= LOOKS or not self.offers.held(decided)):
                solution.waits.add(row)  # for its turn, or for a device to come back that holds it
                continue
            self.worth.behind = len(agenda) - 1 - at + sharing
            splits = self.offers.splits(row)
            task = self.worth.to(row, splits)
            wait_s = self._wait_s()
            later = None if wait_s is None else self._later(task, wait_s)
            best = self._best(row, splits, task, later.value if later else -np.inf) if looks < LOOKS else None
            # Who finds no room holds up nobody who might.
            looks = 0 if best is not None else looks + (later is not None)
            if best is None:
                later = later or self._later(task, 0.0)
                solution.waits.add(row)
                solution.split[row] = later.split
                self._queued_s += later.use_s
                continue
            solution.split[row] = best.shape.split
            solution.actions[row] = self._book(row, best)
            solution.expected[int(view.tasks.id_T[row])] = Expected(
                best.shape.split,
                tuple(sorted(set(best.device.values()))),
                best.took_s,
                float(view.tasks.age_s_T[row]),
                view.now_s,
            )
        return solution

    def _agenda(self, rows: list[int]) -> list[int]:
        """Which can be in time if what is scarcest serves one after another, by due date; then the others."""
        worth = self.worth
        alone_s_T, uses_T3 = worth.quickest(rows, [self.offers.splits(row) for row in rows])
        busy_s = worth.busy_s()
        worth.scarce = int(np.argmax(busy_s + uses_T3.sum(axis=0)))
        takes_s_T = uses_T3[:, worth.scarce]
        slack_s_T = (self.view.tasks.deadline_s_T - self.view.tasks.age_s_T)[rows]
        due_s_T = slack_s_T - (alone_s_T - takes_s_T)
        in_time, late = least_late(due_s_T.tolist(), takes_s_T.tolist(), float(busy_s[worth.scarce]))
        return [rows[at] for at in (*in_time, *late)]

    def _wait_s(self) -> float | None:
        """Until whoever is on the way and whoever waits already is served; None: somebody would stand idle."""
        free_s = self.jobs.busy_s(self.candidates_D)
        return free_s + self._queued_s if self.state.next_plan_s < free_s < np.inf else None

    def _later(self, task: TaskWorth, wait_s: float) -> Later:
        """The split to wait with for so long."""
        values_S = task.later(wait_s)
        at = int(np.argmax(values_S))
        return Later(float(values_S[at]), int(task.split_S[at]), float(task.use_S[at]))

    def parts(self, requests: Iterable[PlacementRequest]) -> list[Action]:
        """Fragments of tasks that have begun elsewhere, each task's together or not at all."""
        actions: list[Action] = []
        for request in requests:
            task_id, offer = int(self.view.tasks.id_T[request.task]), self.offers.every((request.split,))
            task = self.worth.to(request.task, (request.split,))
            left_A, cost_FA = self.room.account(offer.fragments_F, offer.devices_A)
            spread = SpreadSearch(self.view, request.task, self.jobs, self.room, offer, cost_FA <= left_A)
            nowhere_A = np.zeros(len(offer.devices_A), np.bool_)
            found = self._spread(task, offer, 0, spread, nowhere_A, request.fragments)
            if found is None:
                actions += [Wait(task_id, fragment) for fragment in request.fragments]
            else:
                actions += self._book(request.task, found)
        return actions

    def _whole(self, row: int) -> bool:
        """Whether all fragments of a task may be placed now, or it is undecided."""
        split = int(self.view.tasks.split_T[row])
        if split == NONE:
            return True
        return int(self._count_T[row]) == int(self.view.splits.count_S[split])

    def _best(self, row: int, splits: tuple[int, ...], task: TaskWorth, least: float) -> Option | None:
        """The split and devices of most value, if that is more than the least.

        None is worked out that could not be better by more than `CLOSE`.
        """
        if splits in self._nowhere:
            return None
        offer = self.offers.near(splits)
        found, held = self._among(row, task, offer, least)
        if not (held or offer.every):
            found, held = self._among(row, task, self.offers.every(splits), least)
        if not held:
            self._nowhere.add(splits)
        return found

    def _among(self, row: int, task: TaskWorth, offer: Offer, least: float) -> tuple[Option | None, bool]:
        """Likewise, on the devices of the offer; and whether they could hold any of it."""
        left_A, cost_FA = self.room.account(offer.fragments_F, offer.devices_A)
        fits_FA, best = cost_FA <= left_A, None
        held_S = np.logical_and.reduceat(fits_FA.any(axis=1), offer.first_S)
        if not held_S.any():
            return None, False
        lost = self.jobs.lost_by_sending(task.sizes_SX)
        most_S = np.where(held_S, task.most(lost.total_S), -np.inf)
        fits_SA = np.add.reduceat(cost_FA, offer.first_S, axis=0) <= left_A
        whole_S = np.flatnonzero(fits_SA.any(axis=1))
        whole_S = whole_S[np.argsort(-most_S[whole_S], kind="stable")]
        # The first few are nearly always the best, and say so of the others.
        for some_S in (whole_S[:FEW], whole_S[FEW:]):
            if len(some_S := some_S[most_S[some_S] > least + CLOSE]):
                found = self._gathered(task, offer, some_S, fits_SA[some_S], lost)
                if found.value > least:
                    best, least = found, found.value
        parted_S = np.flatnonzero(offer.parted_S & (most_S > least + CLOSE))
        if len(parted_S):
            spread = SpreadSearch(self.view, row, self.jobs, self.room, offer, fits_FA)
            least_s_S = np.array(spread.least_s(parted_S.tolist(), fits_SA))
            most_S[parted_S] = task.no_sooner(least_s_S, lost.total_S[parted_S], parted_S)
        for at in parted_S[np.argsort(-most_S[parted_S], kind="stable")].tolist():
            if most_S[at] <= least + CLOSE:
                break
            option = self._spread(task, offer, at, spread, fits_SA[at])
            if option is not None and option.value > least:
                best, least = option, option.value
        return best, True

    def _gathered(self, task: TaskWorth, offer: Offer, at_S: Ints, fits_SA: Bools, lost: LostBySending) -> Option:
        """That of these splits, all of it on one device, which is worth most; each fits one."""
        n, jobs, devices_A = task.n, self.jobs, offer.devices_A
        work_SK, least_SK = offer.takes_s(n, at_S)
        down_S1 = n * offer.inputs_S[at_S, None]
        if len(devices_A) > self._look:
            looked_SK = self._looked(devices_A, down_S1, work_SK, least_SK, fits_SA)
            cells_SK = looked_SK + len(devices_A) * np.arange(len(at_S))[:, None]
            work_SK, least_SK, fits_SA = work_SK.take(cells_SK), least_SK.take(cells_SK), fits_SA.take(cells_SK)
            devices_SK = devices_A.take(looked_SK)
        else:
            devices_SK = np.tile(devices_A, (len(at_S), 1))
        shape = devices_SK.shape
        took_K, lost_K = jobs.with_newcomer(
            devices_SK.ravel(), down_S1.repeat(shape[1]), work_SK.ravel(), least_SK.ravel(),
            task.sizes_SX[at_S].repeat(shape[1], axis=0),
        )  # fmt: skip
        lost_SK = lost_K.reshape(shape) + jobs.elsewhere(lost, at_S, devices_SK)
        took_SK = took_K.reshape(shape) + self.view.links.rtt_s_D[devices_SK]
        values_SK = task.on(took_SK * self.worth.off_D[devices_SK], lost_SK, devices_SK, at_S)
        if self.worth.weights.alpha:
            values_SK -= work_SK * self.worth.price_D[devices_SK]
        if self.ahead.on:
            values_SK += self.worth.weights.sla_weight * self.ahead.lost(devices_SK, work_SK, took_SK)
        at, k = divmod(int(np.where(fits_SA, values_SK, -np.inf).argmax()), shape[1])
        split, device = offer.shapes[at_S[at]], int(devices_SK[at, k])
        sent = tuple(n * size for size in split.inputs.values())
        job = Job(float(down_S1[at, 0]), sent, float(work_SK[at, k]), float(least_SK[at, k]), task.slack_s, 1.0)
        where = dict.fromkeys(split.fragments, device)
        return Option(float(values_SK[at, k]), float(took_SK[at, k]), split, where, ((device, job),))

    def _looked(self, devices_A: Ints, down_S1: Floats, work_SA: Floats, least_SA: Floats, fits_SA: Bools) -> Ints:
        """On which devices a few splits are looked at, of those of the offer, shape (S, K)."""
        quick_SA, loaded_A = self.jobs.alone_s(down_S1, work_SA, least_SA, devices_A)
        nearest_SK = np.where(fits_SA, quick_SA, np.inf).argpartition(self._look, axis=1)[:, : self._look]
        # What every plan is held against: no worse, by the estimate, than gathered on the least loaded.
        least_S1 = np.where(fits_SA, loaded_A, np.inf).argmin(axis=1)[:, None]
        looked_SK = np.concatenate([nearest_SK, least_S1], axis=1)
        looked_SK.sort(axis=1)
        return looked_SK

    def _spread(
        self,
        task: TaskWorth,
        offer: Offer,
        at: int,
        spread: SpreadSearch,
        whole_A: Bools,
        fragments: Sequence[int] = (),
    ) -> Option | None:
        """A split, or some of its fragments, each where it would be done first.

        None where one fits nowhere, or all come together on one of the devices that hold it whole and were looked at.
        """
        shape, n, jobs = offer.shapes[at], task.n, self.jobs
        found = spread.along(shape, fragments or shape.fragments)
        if found is None or (len(found.parts) == 1 and whole_A[np.searchsorted(offer.devices_A, [*found.parts])].all()):
            return None
        parts = found.parts
        rows = np.array(list(parts), np.int64)
        down_K, work_K = np.array([(part.down_bytes, part.work_s) for part in parts.values()]).T
        least_K = np.array([shape.quickest_s(part.service_s) for part in parts.values()])
        sent = [tuple(shape.inputs[f] * n for f in part.service_s if f in shape.inputs) for part in parts.values()]
        # The broker sends to all at once, and so holds up whoever has something to receive, here and elsewhere.
        sizes_1X = np.array([[size for sizes in sent for size in sizes] or [0.0]])
        alone_s, lost_K = jobs.with_newcomer(rows, down_K, work_K, least_K, np.repeat(sizes_1X, len(rows), axis=0))
        by_sending = jobs.lost_by_sending(sizes_1X)
        there_K = by_sending.total_S - jobs.elsewhere(by_sending, np.zeros(1, np.int64), rows[None])[0]
        lost = float(lost_K.sum() + by_sending.total_S[0] - there_K.sum())
        took_s = max(found.took_s, float(alone_s.max()))
        seen_s = np.full((1, len(rows)), took_s * np.exp(self.state.device_D[rows].mean()))
        values = task.on(seen_s, np.full(seen_s.shape, lost), rows[None], np.array([at]))
        share = 1.0 / len(parts)
        booked = tuple(
            (device, Job(part.down_bytes, sizes, part.work_s, float(least), task.slack_s, share))
            for (device, part), sizes, least in zip(parts.items(), sent, least_K, strict=True)
        )
        return Option(
            float(values.min())
            - float(work_K @ self.worth.price_D[rows])
            + self.worth.weights.sla_weight * self.ahead.lost_spread(rows, work_K, took_s),
            took_s,
            shape,
            found.device,
            booked,
        )

    def _book(self, row: int, option: Option) -> list[Action]:
        actions, task = list[Action](), int(self.view.tasks.id_T[row])
        # What is loaded there already first, lest it give way to the others.
        for fragment, device in sorted(option.device.items(), key=lambda one: self.room.need_bytes(*one)):
            actions += [*self.room.take(fragment, device), Place(task, fragment, device)]
        for device, job in option.jobs:
            self.jobs.book(device, job)
        self.offers.placed += 1
        self.ahead.booked()
        return actions
