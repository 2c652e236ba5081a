"""Fragments of a task on several devices: each, parents first, where it would be done first.

After Topcuoglu et al., "HEFT" (TPDS 2002), by earliest finish. Where fragments overlap, one takes the first of its
turns when its share of what it needs is there, and the last when all is. Shape letters as in `offers.py`.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from splitplace.placement.joint.estimate import held_s
from splitplace.placement.joint.jobs import DeviceJobs
from splitplace.placement.joint.offers import Offer
from splitplace.placement.joint.shapes import Shape
from splitplace.placement.room import Room
from splitplace.records.view import NONE, Bools, Floats, Ints, View

ENDLESS_S = 1e9
"""Longer than anything takes that is worth it."""


@dataclass
class DevicePart:
    """What of a task is on one device."""

    down_bytes: float = 0.0
    work_s: float = 0.0
    service_s: dict[int, float] = field(default_factory=dict)
    """By fragment."""


@dataclass
class Parts:
    """Where fragments are put, and when the last of them is done."""

    device: dict[int, int] = field(default_factory=dict)
    parts: dict[int, DevicePart] = field(default_factory=dict)
    """By device."""
    took_s: float = 0.0


class Ends(NamedTuple):
    """When a fragment has handed on the first of a task, and all of it."""

    first_s: float
    last_s: float

    @staticmethod
    def of(begins_s: float, ends_s: float, turn: float) -> "Ends":
        """Of one that begins and ends then, and hands on such a share at once."""
        return Ends(ends_s if turn == 1.0 else begins_s + (ends_s - begins_s) * turn, ends_s)


class SpreadSearch:
    """How soon fragments of one task would be done on each device, if nothing else of the task were there."""

    def __init__(self, view: View, row: int, jobs: DeviceJobs, room: Room, offer: Offer, fits_FA: Bools):
        self.view, self.jobs, self.room, self.n = view, jobs, room, int(view.tasks.n_T[row])
        self._row_of = {fragment: at for at, fragment in enumerate(offer.fragments_F.tolist())}
        self._offer, self._devices_A = offer, offer.devices_A
        devices_A = offer.devices_A
        self._fits_FA, self._service_FA = fits_FA, offer.service_s(self.n)
        self._inputs = {row: self.n * size for shape in offer.shapes for row, size in shape.inputs.items()}
        self._begun = begun(view, row)
        links, down_F1 = view.links, self.n * offer.inputs_F[:, None]
        self._bytes_per_s_A, self._servers_A = jobs.bytes_per_s_D[devices_A], jobs.servers_D[devices_A]
        self._rtt_A, self._count_A = links.rtt_s_D[devices_A], jobs.count_D[devices_A]
        self._there_A, self._work_A = jobs.down_bytes_D[devices_A], jobs.work_s_D[devices_A]
        self._ready_FA = (np.minimum(self._there_A, self._count_A * down_F1) + down_F1) / self._bytes_per_s_A
        self._computed_FA = self._computed(self._service_FA, self._work_A, self._count_A, self._servers_A)

    @staticmethod
    def _computed(service_s: Floats, work_s: Floats, count: Ints, servers: Floats) -> Floats:
        """Seconds that a fragment computes beside so many jobs, that have so much to do."""
        result: Floats = np.maximum((service_s + held_s(work_s, count, service_s)) / servers, service_s)
        return result

    def least_s(self, splits: Sequence[int], whole_SA: Bools) -> list[float]:
        """No more than splits take, however they are spread; for ever where that is of no use.

        Of a chain it is of use only on devices that do not hold it whole: its fragments run one after another, and to
        be apart costs them transfers.

        Args:
            splits: Rows of the offer's; each fragment of them fits some device.
            whole_SA: Which devices hold all of a split; of all splits of the offer.
        """
        offer, fits_FA = self._offer, self._fits_FA
        whole_FA = whole_SA[np.repeat(np.arange(len(offer.shapes)), [len(shape.fragments) for shape in offer.shapes])]
        anywhere, gathered = (
            [
                np.where(looked_FA, each_FA, np.inf).min(axis=1).tolist()
                for each_FA in (self._ready_FA, self._computed_FA)
            ]
            for looked_FA in (fits_FA, fits_FA & whole_FA)
        )
        found, overlap = [], not math.isinf(self.view.grain)
        for split in splits:
            shape, first = offer.shapes[split], int(offer.first_S[split])
            least_s = self._quickest_s(shape, first, *anywhere)
            of_no_use = shape.chain and not overlap and self._quickest_s(shape, first, *gathered) <= least_s
            found.append(ENDLESS_S if of_no_use else least_s)
        return found

    def along(self, shape: Shape, fragments: Collection[int]) -> Parts | None:
        """Where each of these fragments of a split would be done first; others have a device, or are done."""
        links, found, ends = self.view.links, Parts(), dict[int, Ends]()
        mine = [row for row in shape.fragments if row in fragments]
        # The broker sends to all at once, so that all have theirs when it is through.
        sizes = np.array([[self._inputs[row] for row in mine if row in self._inputs]])
        sent_s = float(self.jobs.card.with_more_s(sizes)[0]) if sizes.size else 0.0
        for row in mine:
            at, down = self._row_of[row], self._inputs.get(row, 0.0)
            ready_A, computed_A, fits_A = self._ready_FA[at], self._computed_FA[at], self._fits_FA[at]
            if found.parts:
                ready_A, computed_A, fits_A = self._beside(row, down, found.parts)
            if not fits_A.any():
                return None
            if down:
                ready_A = np.maximum(ready_A, sent_s)
            turn, coming_A = self._turn(row), np.full(len(ready_A), down)
            first_A, last_A = ready_A * turn, ready_A
            for parent, size in shape.feeds[row]:
                if (src := found.device.get(parent, self._begun.get(parent))) is None:
                    continue  # its output is there already
                rate_A = np.minimum(max(float(links.up_bytes_per_s_D[src]), 1.0), self._bytes_per_s_A)
                if links.relayed_DD is not None:  # what does not get there directly goes over the broker's card
                    over_A = links.relayed_DD[src, self._devices_A]
                    rate_A = np.where(over_A, np.minimum(rate_A, links.broker_bytes_per_s), rate_A)
                moved_A = self.n * size * turn / rate_A + (float(links.rtt_s_D[src]) + self._rtt_A) / 2
                apart_A = self._devices_A != src
                fed = ends.get(parent, Ends(0.0, 0.0))
                first_A = np.maximum(first_A, fed.first_s + moved_A * apart_A)
                last_A = np.maximum(last_A, fed.last_s + moved_A * apart_A)
                coming_A += self.n * size * apart_A
            done_A = np.maximum(first_A + computed_A, last_A + computed_A * turn)
            done_A = np.where(fits_A, done_A, np.inf)
            best = int(np.argmin(done_A))
            chosen, service_s = int(self._devices_A[best]), float(self._service_FA[at, best])
            found.device[row], ends[row] = chosen, Ends.of(float(first_A[best]), float(done_A[best]), turn)
            part = found.parts.setdefault(chosen, DevicePart())
            part.down_bytes += float(coming_A[best])
            part.work_s += service_s
            part.service_s[row] = service_s
        found.took_s = max(end.last_s for end in ends.values())
        return found

    def _beside(self, row: int, down: float, parts: dict[int, DevicePart]) -> tuple[Floats, Floats, Bools]:
        """When its input is there, how long it computes and where it fits, with what else of the task is there."""
        at = self._row_of[row]
        ready_A, computed_A, fits_A = self._ready_FA[at].copy(), self._computed_FA[at].copy(), self._fits_FA[at].copy()
        for device, part in parts.items():
            a = int(np.searchsorted(self._devices_A, device))
            service_s, count = self._service_FA[at, a], self._count_A[a]
            held_bytes = min(self._there_A[a], count * down)
            ready_A[a] = (held_bytes + part.down_bytes + down) / self._bytes_per_s_A[a]
            computed_A[a] = self._computed(service_s, self._work_A[a] + part.work_s, count, self._servers_A[a])
            fits_A[a] = self.room.left_on(device, (*part.service_s, row)) >= 0
        return ready_A, computed_A, fits_A

    def _quickest_s(self, shape: Shape, first: int, ready_F: Sequence[float], computed_F: Sequence[float]) -> float:
        """When all of a split is done if each fragment is ready and computes so soon."""
        ends: dict[int, Ends] = {}
        for at, row in enumerate(shape.fragments, first):
            fed = [ends[parent] for parent, _ in shape.feeds[row]]
            turn, ready_s, takes_s = self._turn(row), ready_F[at], computed_F[at]
            first_s = max(ready_s * turn, *(end.first_s for end in fed), 0.0)
            last_s = max(ready_s, *(end.last_s for end in fed), 0.0)
            ends[row] = Ends.of(first_s, max(first_s + takes_s, last_s + takes_s * turn), turn)
        return max(end.last_s for end in ends.values())

    def _turn(self, row: int) -> float:
        """The share of the task that a fragment hands on at once."""
        if math.isinf(self.view.grain):
            return 1.0
        return 1.0 / float(self.view.turns(row, np.array(self.n)))


def begun(view: View, row: int) -> dict[int, int]:
    """The devices of those fragments of a task that have one."""
    c = view.containers
    mine = np.flatnonzero((c.task_C == row) & (c.device_C != NONE))
    return {int(c.fragment_C[i]): int(c.device_C[i]) for i in mine}
