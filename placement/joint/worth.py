"""What a split is worth to a task, by how long it takes there and what it does to the others; see `joint.py`."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from splitplace.placement.joint.jobs import DeviceJobs
from splitplace.placement.joint.residual import Residuals
from splitplace.placement.joint.shapes import Shape, shapes
from splitplace.records.task import micro_batches
from splitplace.records.view import NONE, Bools, Floats, Ints, View

CORES, LINKS, CARD = range(3)


@dataclass(frozen=True)
class JointWorth:
    """What is maximised, and how far one looks; see `Joint`."""

    sla_weight: float
    eta: float
    look: int


class Worths:
    """Of the splits on offer to the tasks of one view."""

    def __init__(self, weights: JointWorth, view: View, state: Residuals, jobs: DeviceJobs, devices: Bools):
        self.weights, self.view, self.state, self.jobs, self.devices_D = weights, view, state, jobs, devices
        self.shapes = shapes(view)
        self.behind = 0
        """Tasks that whatever is placed next holds up."""
        self._accuracy_S = state.accuracy_S(view.splits.top1_S)
        self._alone_s: dict[int, dict[int, float]] = {}
        self._per_sample_s: dict[int, tuple[float, float, float]] = {}
        self._patience_s = float(view.tasks.deadline_s_T.mean()) if len(view.tasks.id_T) else view.longest_s
        cores, down_bytes_per_s = view.devices.cores_D[devices], np.maximum(view.links.down_bytes_per_s_D[devices], 1.0)
        self._fleet = np.array([cores.sum(), down_bytes_per_s.sum(), view.links.broker_bytes_per_s])
        """Cores, bytes a second of all downlinks, bytes a second of the broker's card."""
        self._quickest_link = float(down_bytes_per_s.max())
        self._least_off = math.exp(float(state.device_D[devices].min()))
        """How much less than expected something takes on the device where that is least."""
        self._held: dict[int, bool] = {}
        self._offered: dict[int, list[int]] = {}
        """By application."""
        self._latency_s: dict[int, float] = {}
        """By fragment, the least of those devices that can hold it."""
        self.scarce = CORES
        """Of which there is least."""

    def busy_s(self) -> Floats:
        """For how long the fleet has to do already: its cores, its downlinks, the broker's card."""
        jobs = self.jobs
        busy_s: Floats = np.array([jobs.work_s_D.sum(), jobs.down_bytes_D.sum(), jobs.card.left_bytes]) / self._fleet
        return busy_s

    def offered(self, row: int) -> list[int]:
        """What a task may run as: what was decided, or any split of its application that could be placed at all."""
        if (split := int(self.view.tasks.split_T[row])) != NONE:
            return [split]
        application = int(self.view.tasks.application_T[row])
        if application not in self._offered:
            mine: list[int] = np.flatnonzero(self.view.splits.application_S == application).tolist()
            self._offered[application] = [split for split in mine if self.held(split)] or mine
        return self._offered[application]

    def held(self, split: int) -> bool:
        """Whether each of its fragments fits some device there is, if nobody else were there."""
        if split not in self._held:
            f, memory_bytes_D = self.view.fragments, self.view.devices.memory_bytes_D[self.devices_D]
            fits_FD = f.memory_bytes_FD[list(self.shapes[split].fragments)][:, self.devices_D] <= memory_bytes_D
            self._held[split] = bool(fits_FD.any(axis=1).all())
        return self._held[split]

    def slack_s(self, row: int) -> float:
        """Until the task's deadline."""
        return float(self.view.tasks.deadline_s_T[row] - self.view.tasks.age_s_T[row])

    def value(self, row: int, split: int, took_s: Any, lost: Any = 0.0, devices: Ints | None = None) -> Any:
        """Of a split that takes so long, when others lose so much of their Σ P(in time).

        All that are behind are held up by what it uses of the scarcest there is, and a second costs each of them
        1 / (the mean deadline) of being in time.
        """
        took_s = took_s * math.exp(self.state.split_S[split])
        slack_s = self._seen_slack_s(row)
        if devices is None:
            in_time: Any = self.jobs.p_anywhere(slack_s, took_s)
        else:
            in_time = self.jobs.p(slack_s, took_s, devices)
        return self._sum(row, split, in_time, took_s, lost)

    def later(self, row: int, split: int, ahead_s: float) -> float:
        """Of a split that has to itself what suits it best, but after so long."""
        off = math.exp(self.state.split_S[split])  # of it alone
        return float(self.value(row, split, ahead_s / off + self.alone_s(row, split)))

    def _sum(self, row: int, split: int, in_time: Any, took_s: Any, lost: Any) -> Any:
        w, held_up = self.weights.sla_weight, 0.0
        if self.behind:
            held_up = self.behind * self.use_s(row, split)[self.scarce] / self._patience_s
        soon = w * (in_time + lost - held_up) - self.weights.eta * took_s / self.view.longest_s
        return soon + (1 - w) * self._accuracy_S[split]

    def most(self, row: int, split: int) -> float:
        """No more than a split is worth, however it is placed: each fragment where it is quickest, nobody in its way.

        But for the transfers that the broker's card has to send already.
        """
        sent = self.sent(row, self.shapes[split])
        received_s = max(self.jobs.card.with_more_s(sent), max(sent) / self._quickest_link)
        off = self._least_off * math.exp(self.state.split_S[split])
        took_s = (received_s + self._computed_s(row, split)) * off
        in_time = self.jobs.most_p(self._seen_slack_s(row), took_s)
        return float(self._sum(row, split, in_time, took_s, self.jobs.lost_elsewhere_D(sent).max()))

    def _computed_s(self, row: int, split: int) -> float:
        """The least that a split computes, each fragment on the device that is quickest of those that can hold it."""
        f, d, shape = self.view.fragments, self.view.devices, self.shapes[split]
        if shape.fragments[0] not in self._latency_s:
            for fragment in shape.fragments:
                holds_D = self.devices_D & (f.memory_bytes_FD[fragment] <= d.memory_bytes_D)
                among_D = holds_D if holds_D.any() else self.devices_D
                self._latency_s[fragment] = float(f.latency_s_FD[fragment][among_D].min())
        n = int(self.view.tasks.n_T[row])
        service_s = {
            fragment: micro_batches(n, int(f.micro_batch_F[fragment])) * self._latency_s[fragment]
            for fragment in shape.fragments
        }
        return float(shape.path_s(service_s))

    def _seen_slack_s(self, row: int) -> float:
        """Until the last moment at which it is seen to be in time."""
        slack_s = self.slack_s(row)
        if self.state.by_interval:  # it is seen to be done at the next start of one
            now_s, interval_s = self.view.now_s, self.view.interval_s
            slack_s = math.floor((now_s + slack_s) / interval_s + 1e-9) * interval_s - now_s
        return slack_s

    def alone_s(self, row: int, split: int) -> float:
        """How long a split takes where nobody else is, on the device that suits it best."""
        if split not in self._alone_s:
            self._alone_s[split] = self._alone(split)
        return self._alone_s[split][row]

    def _alone(self, split: int) -> dict[int, float]:
        """Of all tasks that may run as this split, by row: at once, and on one device of a kind."""
        view, shape, kinds = self.view, self.shapes[split], self._kinds
        tasks, f, links = view.tasks, view.fragments, view.links
        mine = (tasks.split_T == split) | (
            (tasks.split_T == NONE) & (tasks.application_T == view.splits.application_S[split])
        )
        rows = np.flatnonzero(mine)
        n_T = tasks.n_T[rows]
        latency_FK, fragments = f.latency_s_FD[:, kinds], shape.fragments
        batches = {row: micro_batches(n_T, int(f.micro_batch_F[row]))[:, None] for row in fragments}
        ran_TK = shape.path_s({row: batches[row] * latency_FK[row] for row in fragments})
        need_K = f.memory_bytes_FD[list(fragments)][:, kinds].sum(axis=0)
        rate_K = np.minimum(np.maximum(links.down_bytes_per_s_D[kinds], 1.0), links.broker_bytes_per_s)
        # Branches may receive side by side, each over the link of its own device.
        took_TK = (n_T[:, None] * (max(shape.inputs.values()) / rate_K) + ran_TK + links.rtt_s_D[kinds]) * np.exp(
            self.state.device_D[kinds]
        )
        holds_K = need_K <= view.devices.memory_bytes_D[kinds]
        # Where it fits nowhere whole, it cannot be much quicker spread than on a device that held it.
        took_T = took_TK[:, holds_K | ~holds_K.any()].min(axis=1)
        return dict(zip(rows.tolist(), took_T.tolist(), strict=True))

    @cached_property
    def _kinds(self) -> Ints:
        """One device of each kind, by what a split's time depends on; of equal ones, that seen to be quickest."""
        d, links, f, rows = self.view.devices, self.view.links, self.view.fragments, np.flatnonzero(self.devices_D)
        of_links = links.down_bytes_per_s_D, links.up_bytes_per_s_D, links.rtt_s_D
        some = range(0, len(f.latency_s_FD), max(1, len(f.latency_s_FD) // 4))
        facts = np.stack([d.core_speed_D, d.cores_D, d.memory_bytes_D, *of_links, *f.latency_s_FD[some]])[:, rows]
        quickest_first = np.argsort(self.state.device_D[rows], kind="stable")
        _, first = np.unique(facts[:, quickest_first], axis=1, return_index=True)
        result: Ints = rows[quickest_first[first]]
        return result

    def use_s(self, row: int, split: int) -> tuple[float, float, float]:
        """Seconds of the whole fleet's cores, of its downlinks and of the broker's card that a split takes."""
        n, f = int(self.view.tasks.n_T[row]), self.view.fragments
        if split not in self._per_sample_s:
            rows = list(self.shapes[split].fragments)
            work_s = (f.latency_s_FD[rows][:, self.devices_D].mean(axis=1) / f.micro_batch_F[rows]).sum()
            cores, links, card = self._fleet.tolist()
            size = self.shapes[split].input_bytes
            self._per_sample_s[split] = float(work_s) / cores, size / links, size / card
        of_cores, of_links, of_card = self._per_sample_s[split]
        return n * of_cores, n * of_links, n * of_card

    def quickest(self, row: int) -> int:
        """The split that takes least where nobody else is."""
        return min(self.offered(row), key=lambda split: self.alone_s(row, split))

    def sent(self, row: int, shape: Shape) -> tuple[float, ...]:
        """What the broker has to send, transfer by transfer."""
        n = int(self.view.tasks.n_T[row])
        return tuple(each * n for each in shape.inputs.values())
