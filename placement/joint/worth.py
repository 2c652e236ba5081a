"""What a split is worth to a task, by how long it takes there and what it does to the others; see `joint.py`."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from splitplace.placement.joint.jobs import DeviceJobs
from splitplace.placement.joint.residual import Residuals
from splitplace.placement.joint.shapes import Shape, shapes
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
        self._alone_s: dict[tuple[int, int], float] = {}
        self._use_s: dict[tuple[int, int], Floats] = {}
        self._patience_s = float(view.tasks.deadline_s_T.mean()) if len(view.tasks.id_T) else view.longest_s
        cores, links = view.devices.cores_D[devices], view.links
        self._fleet = np.array([cores.sum(), links.down_bytes_per_s_D[devices].sum(), links.broker_bytes_per_s])
        """Cores, bytes a second of all downlinks, bytes a second of the broker's card."""
        self.scarce = CORES
        """Of which there is least."""

    def busy_s(self) -> Floats:
        """For how long the fleet has to do already: its cores, its downlinks, the broker's card."""
        jobs = self.jobs
        busy_s: Floats = np.array([jobs.work_s_D.sum(), jobs.down_bytes_D.sum(), jobs.card.left_bytes]) / self._fleet
        return busy_s

    def offered(self, row: int) -> list[int]:
        """What a task may run as: what was decided, or any split of its application."""
        if (split := int(self.view.tasks.split_T[row])) != NONE:
            return [split]
        mine: list[int] = np.flatnonzero(self.view.splits.application_S == self.view.tasks.application_T[row]).tolist()
        return mine

    def slack_s(self, row: int) -> float:
        """Until the task's deadline."""
        return float(self.view.tasks.deadline_s_T[row] - self.view.tasks.age_s_T[row])

    def value(self, row: int, split: int, took_s: Any, lost: Any = 0.0, devices: Ints | None = None) -> Any:
        """Of a split that takes so long, when others lose so much of their Σ P(in time).

        All that are behind are held up by what it uses of the scarcest there is, and a second costs each of them
        1 / (the mean deadline) of being in time.
        """
        w, took_s = self.weights.sla_weight, took_s * np.exp(self.state.split_S[split])
        slack_s = self.slack_s(row)
        if self.state.by_interval:  # it is seen to be done at the next start of one
            now_s, interval_s = self.view.now_s, self.view.interval_s
            slack_s = math.floor((now_s + slack_s) / interval_s + 1e-9) * interval_s - now_s
        held_up = self.behind * self.use_s(row, split)[self.scarce] / self._patience_s if self.behind else 0.0
        soon = (
            w * (self.jobs.p(slack_s, took_s, devices) + lost - held_up)
            - self.weights.eta * took_s / self.view.longest_s
        )
        return soon + (1 - w) * self._accuracy_S[split]

    def alone_s(self, row: int, split: int) -> float:
        """How long a split takes where nobody else is, on the device that suits it best."""
        key = split, int(self.view.tasks.n_T[row])
        if key not in self._alone_s:
            shape, n, links = self.shapes[split], key[1], self.view.links
            need_D = self.view.fragments.memory_bytes_FD[list(shape.fragments)].sum(axis=0)
            holds_D = need_D <= self.view.devices.memory_bytes_D
            rate_D = np.minimum(np.maximum(links.down_bytes_per_s_D, 1.0), links.broker_bytes_per_s)
            took_D = shape.input_bytes * n / rate_D + shape.gathered_s(self.view.fragments, n) + links.rtt_s_D
            took_D = took_D * np.exp(self.state.device_D)
            # Where it fits nowhere whole, it cannot be much quicker spread than on a device that held it.
            possible_D = self.devices_D & (holds_D | ~(holds_D & self.devices_D).any())
            self._alone_s[key] = float(took_D[possible_D].min())
        return self._alone_s[key]

    def use_s(self, row: int, split: int) -> Floats:
        """Seconds of the whole fleet's cores, of its downlinks and of the broker's card that a split takes."""
        key = split, int(self.view.tasks.n_T[row])
        if key not in self._use_s:
            shape, n = self.shapes[split], key[1]
            work_s = float(shape.total_s(self.view.fragments, n)[self.devices_D].mean())
            self._use_s[key] = np.array([work_s, shape.input_bytes * n, shape.input_bytes * n]) / self._fleet
        return self._use_s[key]

    def quickest(self, row: int) -> int:
        """The split that takes least where nobody else is."""
        return min(self.offered(row), key=lambda split: self.alone_s(row, split))

    def sent(self, row: int, shape: Shape) -> tuple[float, ...]:
        """What the broker has to send, transfer by transfer."""
        n = int(self.view.tasks.n_T[row])
        return tuple(each * n for each in shape.inputs.values())
