"""What a task may run as, side by side, and the devices that are looked at for it.

Shape letters beside those of the view: S the splits on offer to a task, F their fragments, split after split, A devices
that are looked at, X what the broker sends of a split, transfer by transfer.
"""

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np

from splitplace.placement.joint.jobs import DeviceJobs
from splitplace.placement.joint.shapes import Shape, shapes
from splitplace.placement.room import Room
from splitplace.records.task import micro_batches
from splitplace.records.view import NONE, Bools, Floats, Fragments, Ints, Splits, View

AHEAD = 128
"""Placements after which devices are looked out for anew; so many more than a look takes are kept of each split."""
MOST_KEPT = 64
"""Sizes of tasks."""
LEAST_LOADED = 8
"""Devices with the least to compute that are among them."""


@dataclass(frozen=True, eq=False)
class Offer:
    """Splits, and devices to look at."""

    application: int
    split_S: Ints
    shapes: tuple[Shape, ...]
    fragments: Fragments
    devices_A: Ints
    every: bool
    """Whether those are all there are."""

    @cached_property
    def fragments_F(self) -> Ints:  # noqa: N802 - shape suffix
        """Rows of the view's, parents first within a split."""
        return np.array([row for shape in self.shapes for row in shape.fragments], np.int64)

    @cached_property
    def first_S(self) -> Ints:  # noqa: N802 - shape suffix
        """Where a split's begin among them."""
        return np.cumsum([0, *(len(shape.fragments) for shape in self.shapes[:-1])])

    @cached_property
    def parted_S(self) -> Bools:  # noqa: N802 - shape suffix
        """Which have more than one."""
        return np.array([len(shape.fragments) > 1 for shape in self.shapes])

    @cached_property
    def sizes_SX(self) -> Floats:  # noqa: N802 - shape suffix
        """Bytes a sample; 0 is no transfer."""
        sizes_SX = np.zeros((len(self.shapes), max(len(shape.inputs) for shape in self.shapes)))
        for row, shape in enumerate(self.shapes):
            sizes_SX[row, : len(shape.inputs)] = list(shape.inputs.values())
        return sizes_SX

    @cached_property
    def inputs_F(self) -> Floats:  # noqa: N802 - shape suffix
        """Bytes a sample that a fragment has from the broker."""
        return np.array([shape.inputs.get(row, 0.0) for shape in self.shapes for row in shape.fragments])

    @cached_property
    def inputs_S(self) -> Floats:  # noqa: N802 - shape suffix
        """Those of all fragments of a split."""
        result: Floats = self.sizes_SX.sum(axis=1)
        return result

    @cached_property
    def _latency_FA(self) -> Floats:  # noqa: N802 - shape suffix
        result: Floats = self.fragments.latency_s_FD[self.fragments_F[:, None], self.devices_A]
        return result

    @cached_property
    def _a_batch(self) -> tuple[Floats, Floats]:
        """Server-seconds of a micro-batch, and its longest path, both of shape (S, A)."""
        devices_A = self.devices_A
        totals, paths = zip(*((s.total_D[devices_A], s.path_D[devices_A]) for s in self.shapes), strict=True)
        return np.stack(totals), np.stack(paths)

    @cached_property
    def _micro_batch_S(self) -> Ints:  # noqa: N802 - shape suffix
        return np.array([shape.micro_batch for shape in self.shapes])

    def takes_s(self, n: int, at_S: Ints) -> tuple[Floats, Floats]:
        """Server-seconds of n samples of some splits gathered on each device, and their longest path, both (S, A)."""
        if self._micro_batch_S.all():
            batches_S1 = micro_batches(np.array(n), self._micro_batch_S[at_S])[:, None]
            total_SA, path_SA = self._a_batch
            return batches_S1 * total_SA[at_S], batches_S1 * path_SA[at_S]
        mine = [self.shapes[at].takes_s(self.fragments, n, self.devices_A) for at in at_S.tolist()]
        totals, paths = zip(*mine, strict=True)
        return np.stack(totals), np.stack(paths)

    @cached_property
    def _alone(self) -> dict[tuple[int, bytes], tuple[Floats, Floats]]:
        return {}

    def quickest_alone(self, n: int, bytes_per_s_A: Floats, servers_A: Floats) -> tuple[Floats, Floats]:
        """On each device, of the split that is done first there: how long it takes, and its server-seconds; shape A.

        Kept for the next plan, for tasks like the last ones come into several.
        """
        key = n, bytes_per_s_A.tobytes() + servers_A.tobytes()
        if key not in self._alone:
            if len(self._alone) >= MOST_KEPT:
                self._alone.clear()
            work_SA, least_SA = self.takes_s(n, np.arange(len(self.shapes)))
            base_SA = n * self.inputs_S[:, None] / bytes_per_s_A + np.maximum(work_SA / servers_A, least_SA)
            best_A = base_SA.argmin(axis=0), np.arange(len(self.devices_A))
            self._alone[key] = base_SA[best_A], work_SA[best_A]
        return self._alone[key]

    def service_s(self, n: int) -> Floats:
        """Server-seconds of each fragment on each device, shape (F, A)."""
        batches_F = micro_batches(np.array(n), self.fragments.micro_batch_F[self.fragments_F])
        result: Floats = batches_F[:, None] * self._latency_FA
        return result


class StandingOffers:
    """What does not change from plan to plan while the same devices are there: offers with all of them."""

    def __init__(self, fragments: Fragments, splits: Splits, devices_A: Ints, memory_bytes_A: Floats):
        self._fragments, self._splits, self._shapes = fragments, splits, shapes(fragments, splits)
        self._devices_A, self._memory_bytes_A = devices_A, memory_bytes_A
        self._of_application: dict[int, tuple[int, ...]] = {}
        self._held: dict[int, bool] = {}
        self._every: dict[tuple[int, ...], Offer] = {}

    def of_application(self, application: int) -> tuple[int, ...]:
        """All its splits that could be placed at all."""
        if application not in self._of_application:
            mine: list[int] = np.flatnonzero(self._splits.application_S == application).tolist()
            self._of_application[application] = tuple([split for split in mine if self.held(split)] or mine)
        return self._of_application[application]

    def held(self, split: int) -> bool:
        """Whether each of its fragments fits some device there is, if nobody else were there."""
        if split not in self._held:
            rows = np.array(self._shapes[split].fragments)
            fits_FA = self._fragments.memory_bytes_FD[rows[:, None], self._devices_A] <= self._memory_bytes_A
            self._held[split] = bool(fits_FA.any(axis=1).all())
        return self._held[split]

    def every(self, splits: tuple[int, ...]) -> Offer:
        """With all devices."""
        if splits not in self._every:
            mine, application = tuple(self._shapes[split] for split in splits), self._splits.application_S[splits[0]]
            self._every[splits] = Offer(
                int(application), np.array(splits), mine, self._fragments, self._devices_A, every=True
            )
        return self._every[splits]


@lru_cache(maxsize=2)
def _standing(fragments: Fragments, splits: Splits, devices_A: bytes, memory_bytes_A: bytes) -> StandingOffers:
    """A memo of the last: plans of one fleet come one after another."""
    devices, memory_bytes = np.frombuffer(devices_A, np.int64), np.frombuffer(memory_bytes_A, np.float64)
    return StandingOffers(fragments, splits, devices, memory_bytes)


class PlanOffers:
    """The offers of one plan: to each application, and to tasks that are decided."""

    def __init__(self, view: View, room: Room, jobs: DeviceJobs, devices: Bools, look: int):
        self.view = view
        self._room, self._jobs, self._look = room, jobs, look
        self._devices_A = np.flatnonzero(devices)
        memory_bytes_A = view.devices.memory_bytes_D[self._devices_A].astype(np.float64)
        standing = _standing(view.fragments, view.splits, self._devices_A.tobytes(), memory_bytes_A.tobytes())
        self.of_application, self.held, self.every = standing.of_application, standing.held, standing.every
        self._near: dict[tuple[int, ...], tuple[int, Offer]] = {}
        """By splits; and how many placements there were when its devices were chosen."""
        self.placed = 0

    def splits(self, row: int) -> tuple[int, ...]:
        """What a task may run as: what was decided, or any split of its application that could be placed at all."""
        if (split := int(self.view.tasks.split_T[row])) != NONE:
            return (split,)
        return self.of_application(int(self.view.tasks.application_T[row]))

    def near(self, splits: tuple[int, ...]) -> Offer:
        """With the devices worth a look: all of a small fleet, else where tasks of a mean size would be done first."""
        if len(self._devices_A) <= 2 * (self._look + AHEAD):
            return self.every(splits)
        chosen, offer = self._near.get(splits, (-AHEAD, None))
        if offer is None or self.placed - chosen >= AHEAD:
            offer = self._choose(splits)
            self._near[splits] = self.placed, offer
        return offer

    def _choose(self, splits: tuple[int, ...]) -> Offer:
        every, devices_A, most = self.every(splits), self._devices_A, self._look + AHEAD
        n, jobs = int(np.ceil(self.view.tasks.n_T.mean())), self._jobs
        work_SA, least_SA = every.takes_s(n, np.arange(len(splits)))
        quick_SA, load_A = jobs.alone_s(n * every.inputs_S[:, None], work_SA, least_SA, devices_A)
        left_A, cost_FA = self._room.account(every.fragments_F, devices_A)
        fits_SA = np.add.reduceat(cost_FA, every.first_S, axis=0) <= left_A
        chosen = [np.argpartition(np.where(fits_SA, quick_SA, np.inf), most, axis=1)[:, :most].ravel()]
        loaded_A = np.where(fits_SA.any(axis=0), load_A, np.inf)
        chosen.append(np.argpartition(loaded_A, LEAST_LOADED)[:LEAST_LOADED])
        scarce = np.repeat(fits_SA.sum(axis=1) < most, [len(shape.fragments) for shape in every.shapes])
        if scarce.any():  # few hold it whole: those that hold its parts
            service_FA = every.service_s(n)[scarce]
            quick_FA, _ = jobs.alone_s(n * every.inputs_F[scarce][:, None], service_FA, service_FA, devices_A)
            quick_FA[cost_FA[scarce] > left_A] = np.inf
            chosen.append(np.argpartition(quick_FA, most, axis=1)[:, :most].ravel())
        near_A: Ints = devices_A[np.unique(np.concatenate(chosen))]
        return replace(every, devices_A=near_A, every=False)
