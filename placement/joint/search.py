"""One plan of `joint`: task after task, the split and the devices of most value, or to wait for the next plan."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from splitplace.placement.joint.agenda import least_late
from splitplace.placement.joint.jobs import DeviceJobs, Job, nearest
from splitplace.placement.joint.residual import Expected, Residuals
from splitplace.placement.joint.shapes import Shape
from splitplace.placement.joint.worth import JointWorth, Worths
from splitplace.placement.policy import PlacementRequest
from splitplace.placement.room import Room
from splitplace.records.action import Action, Place, Wait
from splitplace.records.view import NONE, Bools, View

LOOKS = 8
"""Tasks in a row that are looked at and wait; those after them wait without a look."""
CLOSE = 1e-3
"""Values that differ by less are as good as each other."""


@dataclass
class JointPlan:
    """A plan for every task of a view of which nothing is placed yet, by row of its tasks."""

    room: Room
    jobs: DeviceJobs
    split: dict[int, int] = field(default_factory=dict)
    actions: dict[int, list[Action]] = field(default_factory=dict)
    waits: set[int] = field(default_factory=set)
    expected: dict[int, Expected] = field(default_factory=dict)
    """By task id, of those that are placed."""


@dataclass(frozen=True)
class Option:
    """A split on devices."""

    value: float
    took_s: float
    """As profiles and links have it."""
    shape: Shape
    device: dict[int, int]
    """Of each fragment."""
    jobs: tuple[tuple[int, Job], ...]
    """By device."""


@dataclass(frozen=True)
class Later:
    """A split to wait with for the next plan."""

    value: float
    """Less than any where somebody would stand idle meanwhile."""
    split: int


class PlanSearch:
    """One plan under way: what it books in memory and on devices."""

    def __init__(self, weights: JointWorth, view: View, state: Residuals, room: Room, jobs: DeviceJobs):
        self.view, self.state, self.room, self.jobs = view, state, room, jobs
        up = view.devices.up_D
        self.candidates_D: Bools = up if up.any() else np.ones(len(up), np.bool_)
        """Where nobody is up, tasks are decided as if all were, and wait."""
        self.worth = Worths(weights, view, state, jobs, self.candidates_D)
        self._count_T = np.bincount(view.containers.task_C, minlength=len(view.tasks.id_T))
        self._queued_s = 0.0
        """Of the scarcest there is, what those take that wait before."""

    def all(self) -> JointPlan:
        """Every task without a device, in the order of its agenda."""
        view, solution = self.view, JointPlan(self.room, self.jobs)
        placed = set(view.containers.task_C[view.containers.device_C != NONE].tolist())
        rows = [row for row in range(len(view.tasks.id_T)) if row not in placed and self._whole(row)]
        agenda, looks = self._agenda(rows), 0
        sharing = int(np.maximum(self.jobs.count_D - view.devices.cores_D, 0).sum())
        for at, row in enumerate(agenda):
            decided = int(view.tasks.split_T[row])
            if decided != NONE and (looks >= LOOKS or not self.worth.held(decided)):
                solution.waits.add(row)  # for its turn, or for a device to come back that holds it
                continue
            self.worth.behind = len(agenda) - 1 - at + sharing
            later = self._later(row)
            best = self._best(row, later.value) if looks < LOOKS else None
            # Who finds no room holds up nobody who might.
            looks = 0 if best is not None else looks + (later.value > -np.inf)
            if best is None:
                solution.waits.add(row)
                solution.split[row] = later.split
                self._queued_s += self.worth.use_s(row, later.split)[self.worth.scarce]
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
        worth, quickest = self.worth, [self.worth.quickest(row) for row in rows]
        uses = np.array([worth.use_s(row, split) for row, split in zip(rows, quickest, strict=True)]).reshape(-1, 3)
        busy_s = worth.busy_s()
        worth.scarce = int(np.argmax(busy_s + uses.sum(axis=0)))
        takes_s = uses[:, worth.scarce].tolist()
        besides_s = [
            worth.alone_s(row, split) - takes for row, split, takes in zip(rows, quickest, takes_s, strict=True)
        ]
        due_s = [worth.slack_s(row) - besides for row, besides in zip(rows, besides_s, strict=True)]
        in_time, late = least_late(due_s, takes_s, float(busy_s[worth.scarce]))
        return [rows[at] for at in (*in_time, *late)]

    def _later(self, row: int) -> Later:
        """The split to wait with, if whoever is on the way and whoever waits already is served first."""
        free_s, worth = self.jobs.busy_s(self.candidates_D), self.worth
        worth_it = self.state.next_plan_s < free_s < np.inf
        ahead_s = free_s + self._queued_s if worth_it else 0.0
        values = {split: worth.later(row, split, ahead_s) for split in worth.offered(row)}
        best = max(values, key=values.__getitem__)
        return Later(values[best] if worth_it else -np.inf, best)

    def parts(self, requests: Iterable[PlacementRequest]) -> list[Action]:
        """Fragments of tasks that have begun elsewhere, each task's together or not at all."""
        actions: list[Action] = []
        for request in requests:
            shape, task = self.worth.shapes[request.split], int(self.view.tasks.id_T[request.task])
            found = self._spread(request.task, shape, request.fragments)
            if found is None:
                actions += [Wait(task, fragment) for fragment in request.fragments]
            else:
                actions += self._book(request.task, found)
        return actions

    def _whole(self, row: int) -> bool:
        """Whether all fragments of a task may be placed now, or it is undecided."""
        split = int(self.view.tasks.split_T[row])
        if split == NONE:
            return True
        return int(self._count_T[row]) == int(self.view.splits.count_S[split])

    def _best(self, row: int, least: float) -> Option | None:
        """The split and devices of most value, if that is more than the least.

        None is worked out that could not be better by more than `CLOSE`.
        """
        best, worth = None, self.worth
        most = {split: worth.most(row, split) for split in worth.offered(row)}
        for split in sorted(most, key=most.__getitem__, reverse=True):
            shape = worth.shapes[split]
            ways: list[Callable[[], Option | None]] = [
                partial(self._gathered, row, shape), partial(self._spread, row, shape, shape.fragments)
            ]  # fmt: skip
            for way in ways[: len(shape.fragments)]:
                if most[split] <= least + CLOSE:
                    break
                found = way()
                if found is not None and found.value > least:
                    best, least = found, found.value
        return best

    def _gathered(self, row: int, shape: Shape) -> Option | None:
        """All of it on one device."""
        fits_D = self.candidates_D & self.room.fits(*shape.fragments)
        if not fits_D.any():
            return None
        view, n = self.view, int(self.view.tasks.n_T[row])
        down = shape.input_bytes * n
        work_s_D, least_s_D = shape.total_s(view.fragments, n), shape.gathered_s(view.fragments, n)
        devices = nearest(self.jobs, fits_D, down, work_s_D, least_s_D, self.worth.weights.look)
        # What every plan is held against: no worse, by the estimate, than gathered on the least loaded.
        loaded_D = np.where(fits_D, self.jobs.work_s_D / view.devices.cores_D, np.inf)
        devices = np.union1d(devices, [int(np.argmin(loaded_D))])
        downs = np.full(len(devices), down)
        sent = self.worth.sent(row, shape)
        took_s, lost = self.jobs.with_newcomer(
            devices, downs, work_s_D[devices], least_s_D[devices], [sent] * len(devices)
        )  # fmt: skip
        lost = lost + self.jobs.lost_elsewhere_D(sent)[devices]
        took_s = took_s + view.links.rtt_s_D[devices]
        values = self.worth.value(row, shape.split, took_s * np.exp(self.state.device_D[devices]), lost, devices)
        at = int(np.argmax(values))
        device = int(devices[at])
        job = Job(down, sent, float(work_s_D[device]), float(least_s_D[device]), self.worth.slack_s(row), 1.0)
        return Option(
            float(values[at]), float(took_s[at]), shape, dict.fromkeys(shape.fragments, device), ((device, job),)
        )

    def _spread(self, row: int, shape: Shape, fragments: tuple[int, ...]) -> Option | None:
        """Each of these fragments, parents first, where it would be done first."""
        view, n, room = self.view, int(self.view.tasks.n_T[row]), self.room.copy()
        links, cores_D = view.links, view.devices.cores_D
        device, end_s, took_s_F = self._begun(row, shape), dict[int, float](), dict[int, float]()
        parts: dict[int, list[float]] = {}
        # The broker sends to all at once, so that all have theirs when it is through.
        sent_s = self.jobs.card.with_more_s(tuple(size * n for f, size in shape.inputs.items() if f in fragments))
        for fragment in (f for f in shape.fragments if f in fragments):
            fits_D = self.candidates_D & room.fits(fragment)
            if not fits_D.any():
                return None
            service_s_D = view.fragments.service_s(fragment, n)
            down = shape.inputs.get(fragment, 0.0) * n
            at = nearest(self.jobs, fits_D, down, service_s_D, service_s_D, self.worth.weights.look)
            mine = np.array([parts.get(int(d), (0.0, 0.0)) for d in at])
            bytes_per_s = np.maximum(links.down_bytes_per_s_D[at], 1.0)
            there, work = self.jobs.down_bytes_D[at], self.jobs.work_s_D[at] + mine[:, 1]
            ready_s = (np.minimum(there, self.jobs.count_D[at] * down) + mine[:, 0] + down) / bytes_per_s
            ready_s = np.maximum(ready_s, sent_s if down else 0.0)
            coming = np.full(len(at), down)
            for parent, size in shape.feeds[fragment]:
                if parent not in device:
                    continue  # its output is there already
                src = device[parent]
                rate = np.minimum(max(float(links.up_bytes_per_s_D[src]), 1.0), bytes_per_s)
                moved_s = size * n / rate + (links.rtt_s_D[src] + links.rtt_s_D[at]) / 2
                ready_s = np.maximum(ready_s, end_s.get(parent, 0.0) + np.where(at == src, 0.0, moved_s))
                coming += np.where(at == src, 0.0, size * n)
            service_s = service_s_D[at]
            held_s = np.minimum(work, (self.jobs.count_D[at] + 1) * service_s)
            done_s = ready_s + np.maximum((service_s + held_s) / cores_D[at], service_s)
            best = int(np.argmin(done_s))
            chosen = int(at[best])
            device[fragment], end_s[fragment] = chosen, float(done_s[best])
            room.take(fragment, chosen)
            part = parts.setdefault(chosen, [0.0, 0.0])
            part[0] += float(coming[best])
            part[1] += float(service_s[best])
            took_s_F[fragment] = float(service_s[best])
        rows = np.array(list(parts), np.int64)
        down_K, work_K = (np.array([part[k] for part in parts.values()]) for k in (0, 1))
        here = {d: {f: s for f, s in took_s_F.items() if device[f] == d} for d in parts}
        least_K = np.array([shape.path_s(mine) for mine in here.values()])
        sent = {d: tuple(shape.inputs[f] * n for f in here[d] if f in shape.inputs) for d in parts}
        alone_s, lost = self.jobs.with_newcomer(rows, down_K, work_K, least_K, list(sent.values()))
        lost = lost + self.jobs.lost_elsewhere_D(sum(sent.values(), ()))[rows] / len(rows)
        took_s = max(*end_s.values(), float(alone_s.max()))
        seen_s = took_s * np.exp(self.state.device_D[rows].mean())
        value = float(self.worth.value(row, shape.split, seen_s, lost.sum(), rows).min())
        slack_s, share = self.worth.slack_s(row), 1.0 / len(parts)
        jobs = tuple(
            (d, Job(part[0], sent[d], part[1], float(least), slack_s, share))
            for (d, part), least in zip(parts.items(), least_K, strict=True)
        )
        return Option(value, took_s, shape, {f: device[f] for f in fragments}, jobs)

    def _begun(self, row: int, shape: Shape) -> dict[int, int]:
        """The devices of those fragments of a task that have one."""
        c = self.view.containers
        mine = np.flatnonzero((c.task_C == row) & (c.device_C != NONE))
        return {int(c.fragment_C[i]): int(c.device_C[i]) for i in mine}

    def _book(self, row: int, option: Option) -> list[Action]:
        actions, task = list[Action](), int(self.view.tasks.id_T[row])
        # What is loaded there already first, lest it give way to the others.
        for fragment, device in sorted(option.device.items(), key=lambda one: self.room.need_bytes(*one)):
            actions += [*self.room.take(fragment, device), Place(task, fragment, device)]
        for device, job in option.jobs:
            self.jobs.book(device, job)
        return actions
