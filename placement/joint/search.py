"""One plan of `joint`: task after task, the split and the devices of most value."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from splitplace.placement.joint.jobs import DeviceJobs, Job, nearest
from splitplace.placement.joint.residual import Expected, Residuals
from splitplace.placement.joint.shapes import Shape, shapes
from splitplace.placement.policy import PlacementRequest
from splitplace.placement.room import Room
from splitplace.records.action import Action, Place, Wait
from splitplace.records.view import NONE, Bools, View


@dataclass(frozen=True)
class JointWorth:
    """What is maximised, and how far one looks; see `Joint`."""

    sla_weight: float
    eta: float
    look: int


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


class PlanSearch:
    """One plan under way: what it books in memory and on devices."""

    def __init__(self, worth: JointWorth, view: View, state: Residuals, room: Room, jobs: DeviceJobs):
        self.worth, self.view, self.state, self.room, self.jobs = worth, view, state, room, jobs
        self.shapes = shapes(view)
        up = view.devices.up_D
        self.candidates_D: Bools = up if up.any() else np.ones(len(up), np.bool_)
        """Where nobody is up, tasks are decided as if all were, and wait."""

    def all(self) -> JointPlan:
        """Every task without a device, the most urgent first."""
        view, solution = self.view, JointPlan(self.room, self.jobs)
        placed = set(view.containers.task_C[view.containers.device_C != NONE].tolist())
        rows = [row for row in range(len(view.tasks.id_T)) if row not in placed and self._whole(row)]
        slack_T = view.tasks.deadline_s_T - view.tasks.age_s_T
        for row in sorted(rows, key=lambda row: float(slack_T[row])):
            split = int(view.tasks.split_T[row])
            offered = self._offered(row) if split == NONE else [split]
            best = self._best(row, offered, self.room.fits_together)
            if best is None:  # no room anywhere now: which it is to be when there is
                best = self._best(row, offered, lambda fragments: np.ones(len(self.candidates_D), np.bool_))
                solution.waits.add(row)
                solution.split[row] = best.shape.split if best else offered[0]
                continue
            solution.split[row] = best.shape.split
            solution.actions[row] = self._book(row, best)
            solution.expected[int(view.tasks.id_T[row])] = Expected(
                best.shape.split,
                tuple(sorted(set(best.device.values()))),
                best.took_s,
                float(view.tasks.age_s_T[row]),
            )
        return solution

    def parts(self, requests: Iterable[PlacementRequest]) -> list[Action]:
        """Fragments of tasks that have begun elsewhere, each task's together or not at all."""
        actions: list[Action] = []
        for request in requests:
            shape, task = self.shapes[request.split], int(self.view.tasks.id_T[request.task])
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
        mine = self.view.containers.task_C == row
        return int(mine.sum()) == int(self.view.splits.count_S[split])

    def _offered(self, row: int) -> list[int]:
        offered: list[int] = np.flatnonzero(
            self.view.splits.application_S == self.view.tasks.application_T[row]
        ).tolist()
        return offered

    def _best(self, row: int, offered: list[int], fits: Callable[[tuple[int, ...]], Bools]) -> Option | None:
        """The split and devices of most value; none is worked out that could not be better than one that was."""
        best: Option | None = None
        for split in sorted(offered, key=self._most, reverse=True):
            shape = self.shapes[split]
            ways: list[Callable[[], Option | None]] = [
                partial(self._gathered, row, shape, self.candidates_D & fits(shape.fragments)),
                partial(self._spread, row, shape, shape.fragments),
            ]
            for way in ways[: len(shape.fragments)]:
                if best is not None and self._most(split) <= best.value:
                    break
                found = way()
                if found is not None and (best is None or found.value > best.value):
                    best = found
        return best

    def _most(self, split: int) -> float:
        """No more than a split is worth anywhere: in time for certain, at once, and in nobody's way."""
        return self.worth.sla_weight + (1 - self.worth.sla_weight) * self._accuracy(split)

    def _gathered(self, row: int, shape: Shape, fits_D: Bools) -> Option | None:
        if not fits_D.any():
            return None
        view, n = self.view, int(self.view.tasks.n_T[row])
        down = shape.input_bytes * n
        work_s_D = np.maximum(
            shape.gathered_s(view.fragments, n), shape.total_s(view.fragments, n) / view.devices.cores_D
        )
        devices = nearest(self.jobs, fits_D, down, work_s_D, self.worth.look)
        took_s, lost = self.jobs.with_newcomer(devices, np.full(len(devices), down), work_s_D[devices])
        took_s = took_s + view.links.rtt_s_D[devices]
        values = self._value(row, shape.split, took_s * np.exp(self.state.device_D[devices]), lost)
        at = int(np.argmax(values))
        device = int(devices[at])
        job = Job(row, down, float(work_s_D[device]), self._slack_s(row), 1.0)
        return Option(
            float(values[at]), float(took_s[at]), shape, dict.fromkeys(shape.fragments, device), ((device, job),)
        )

    def _spread(self, row: int, shape: Shape, fragments: tuple[int, ...]) -> Option | None:
        """Each of these fragments, parents first, where it would be done first."""
        view, n, room = self.view, int(self.view.tasks.n_T[row]), self.room.copy()
        links, cores_D = view.links, view.devices.cores_D
        device, end_s = self._begun(row, shape), dict[int, float]()
        parts: dict[int, list[float]] = {}
        for fragment in (f for f in shape.fragments if f in fragments):
            fits_D = self.candidates_D & room.fits(fragment)
            if not fits_D.any():
                return None
            service_s_D = view.fragments.service_s(fragment, n)
            down = shape.inputs.get(fragment, 0.0) * n
            at = nearest(self.jobs, fits_D, down, service_s_D, self.worth.look)
            mine = np.array([parts.get(int(d), (0.0, 0.0)) for d in at])
            bytes_per_s = np.maximum(links.down_bytes_per_s_D[at], 1.0)
            there, work = self.jobs.down_bytes_D[at], self.jobs.work_s_D[at] + mine[:, 1]
            ready_s = (np.minimum(there, self.jobs.count_D[at] * down) + mine[:, 0] + down) / bytes_per_s
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
        rows = np.array(list(parts), np.int64)
        down_K, work_K = (np.array([part[k] for part in parts.values()]) for k in (0, 1))
        alone_s, lost = self.jobs.with_newcomer(rows, down_K, work_K)
        took_s = max(*end_s.values(), float(alone_s.max()))
        seen_s = np.array([took_s * np.exp(self.state.device_D[rows].mean())])
        value = float(self._value(row, shape.split, seen_s, np.array([lost.sum()]))[0])
        slack_s, share = self._slack_s(row), 1.0 / len(parts)
        jobs = tuple((d, Job(row, part[0], part[1], slack_s, share)) for d, part in parts.items())
        return Option(value, took_s, shape, {f: device[f] for f in fragments}, jobs)

    def _begun(self, row: int, shape: Shape) -> dict[int, int]:
        """The devices of those fragments of a task that have one."""
        c = self.view.containers
        mine = np.flatnonzero((c.task_C == row) & (c.device_C != NONE))
        return {int(c.fragment_C[i]): int(c.device_C[i]) for i in mine}

    def _slack_s(self, row: int) -> float:
        return float(self.view.tasks.deadline_s_T[row] - self.view.tasks.age_s_T[row])

    def _value(self, row: int, split: int, took_s: Any, lost: Any) -> Any:
        w, accuracy = self.worth.sla_weight, self._accuracy(split)
        took_s = took_s * np.exp(self.state.split_S[split])
        p = self.jobs.p(self._slack_s(row), took_s)
        return w * p + (1 - w) * accuracy + w * lost - self.worth.eta * took_s / self.view.longest_s

    def _accuracy(self, split: int) -> float:
        top1 = float(self.view.splits.top1_S[split])
        return 0.0 if np.isnan(top1) else top1

    def _book(self, row: int, option: Option) -> list[Action]:
        actions, task = list[Action](), int(self.view.tasks.id_T[row])
        for fragment, device in option.device.items():
            actions += [*self.room.take(fragment, device), Place(task, fragment, device)]
        for device, job in option.jobs:
            self.jobs.book(device, job)
        return actions
