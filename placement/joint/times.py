"""How long splits take where nobody else is, and what they use of a fleet: of all tasks of an application at once.

Shape letters as in `offers.py`, and K one device of each kind.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from splitplace.placement.joint.offers import Offer
from splitplace.placement.joint.shapes import Shape
from splitplace.records.task import micro_batches
from splitplace.records.view import Floats, Fragments, Ints, View


@dataclass(frozen=True, eq=False)
class SplitTimes:
    """Rows are the view's, and 0 what is of another application."""

    alone_s_ST: Floats
    """How long a split takes where nobody else is, gathered on the device that suits it best."""
    computed_s_ST: Floats
    """The least that one computes, each fragment on the device that is quickest of those that can hold it."""
    turn_ST: Floats
    """The least share of a task that a fragment of the split hands on at once: all of it, unless they overlap."""
    use_s_S3: Floats
    """Seconds a sample of the whole fleet's servers, of its downlinks and of the broker's card."""


def split_times(view: View, offer: Offer, kinds_K: Ints, off_D: Floats, fleet_3: Floats) -> SplitTimes:
    """Of an application.

    Args:
        view: Its tasks and devices.
        offer: All its splits, and all devices that count.
        kinds_K: One of each kind of these.
        off_D: How much longer than expected something takes.
        fleet_3: All servers, bytes a second of all downlinks, and of the broker's card.
    """
    tasks, f, links, memory_bytes_D = view.tasks, view.fragments, view.links, view.devices.memory_bytes_D
    rows_T = np.flatnonzero(tasks.application_T == offer.application)
    n_T, fragments_F, first_S = tasks.n_T[rows_T], offer.fragments_F, offer.first_S
    quickest = _quickest(view, offer)
    computed_s_ST = np.stack([_ran_s(view, shape, n_T, quickest.of_split(shape))[:, 0] for shape in offer.shapes])
    turn_ST = np.ones(computed_s_ST.shape)
    if not math.isinf(view.grain):  # a turn of each on the longest path, and all turns of the one that takes longest
        turns_ST = [np.max([view.turns(row, n_T) for row in shape.fragments], axis=0) for shape in offer.shapes]
        slowest_ST = [
            np.max([_ran_s(view, shape, n_T, {row: quickest.latency_s[row]})[:, 0] for row in shape.fragments], axis=0)
            for shape in offer.shapes
        ]
        turn_ST = 1.0 / np.stack(turns_ST)
        computed_s_ST = turn_ST * computed_s_ST + (1.0 - turn_ST) * np.stack(slowest_ST)

    ran_STK = np.stack([_ran_s(view, shape, n_T, _on(view, shape, kinds_K)) for shape in offer.shapes])
    rate_K = np.minimum(np.maximum(links.down_bytes_per_s_D[kinds_K], 1.0), links.broker_bytes_per_s)
    # Branches may receive side by side, each over the link of its own device.
    input_SK = offer.sizes_SX.max(axis=1)[:, None] / rate_K
    took_STK = n_T[:, None] * input_SK[:, None, :] + ran_STK + links.rtt_s_D[kinds_K]
    need_SK = np.add.reduceat(f.memory_bytes_FD[fragments_F[:, None], kinds_K], first_S, axis=0)
    holds_SK = need_SK <= memory_bytes_D[kinds_K]
    # Where it fits nowhere whole, it cannot be much quicker spread than on a device that held it.
    holds_SK |= ~holds_SK.any(axis=1, keepdims=True)
    alone_s_ST = np.where(holds_SK[:, None, :], took_STK * off_D[kinds_K], np.inf).min(axis=2)

    splits, all_tasks = len(view.splits.references), len(tasks.id_T)
    alone, computed, turn = np.zeros((3, splits, all_tasks))
    found = SplitTimes(alone, computed, turn, np.zeros((splits, 3)))
    cells = offer.split_S[:, None], rows_T
    found.alone_s_ST[cells], found.computed_s_ST[cells], found.turn_ST[cells] = alone_s_ST, computed_s_ST, turn_ST
    found.use_s_S3[offer.split_S] = np.stack([quickest.work_S, offer.inputs_S, offer.inputs_S], axis=1) / fleet_3
    return found


def _ran_s(view: View, shape: Shape, n_T: Ints, latency_s: Floats | Mapping[int, Floats]) -> Floats:
    """How long a split's longest path takes, shape (T, K), by what micro-batches take of it, or of some fragments."""
    if not isinstance(latency_s, Mapping):
        alike: Floats = micro_batches(n_T, shape.micro_batch)[:, None] * latency_s
        return alike
    micro_batch_F = view.fragments.micro_batch_F
    return shape.path_s({row: micro_batches(n_T, int(micro_batch_F[row]))[:, None] * s for row, s in latency_s.items()})


def _on(view: View, shape: Shape, kinds_K: Ints) -> Floats | Mapping[int, Floats]:
    """What a micro-batch takes on devices: of all of a split, or fragment by fragment where theirs differ."""
    if shape.micro_batch:
        return shape.path_D[kinds_K]
    return {row: view.fragments.latency_s_FD[row, kinds_K] for row in shape.fragments}


@dataclass(frozen=True, eq=False)
class QuickestDevices:
    """Of an application's fragments, as long as the same devices are there."""

    devices: bytes
    latency_s: Mapping[int, Floats]
    """Of a micro-batch where that takes least, among the devices that can hold it; an array of one."""
    path_s: Mapping[int, Floats]
    """The longest path of these, by split."""
    work_S: Floats
    """Of a sample, a mean of all devices."""

    def of_split(self, shape: Shape) -> Floats | Mapping[int, Floats]:
        """As `_on`, each fragment where it is quickest."""
        return self.path_s[shape.split] if shape.micro_batch else {row: self.latency_s[row] for row in shape.fragments}


_QUICKEST: WeakKeyDictionary[Fragments, dict[int, QuickestDevices]] = WeakKeyDictionary()
"""By application."""


def _quickest(view: View, offer: Offer) -> QuickestDevices:
    """The same as last time, unless other devices are there."""
    f, fragments_F, devices_A = view.fragments, offer.fragments_F, offer.devices_A
    memory_bytes_A = view.devices.memory_bytes_D[devices_A]
    known, devices = _QUICKEST.setdefault(f, {}), devices_A.tobytes() + memory_bytes_A.tobytes()
    found = known.get(offer.application)
    if found is None or found.devices != devices:
        latency_FA = f.latency_s_FD[fragments_F[:, None], devices_A]
        holds_FA = f.memory_bytes_FD[fragments_F[:, None], devices_A] <= memory_bytes_A
        among_FA = holds_FA | ~holds_FA.any(axis=1, keepdims=True)
        least_F1 = np.where(among_FA, latency_FA, np.inf).min(axis=1, keepdims=True)
        latency_s = dict(zip(fragments_F.tolist(), least_F1, strict=True))
        path_s = {
            s.split: s.path_s({row: latency_s[row] for row in s.fragments}) for s in offer.shapes if s.micro_batch
        }
        work_S = np.add.reduceat(latency_FA.mean(axis=1) / f.micro_batch_F[fragments_F], offer.first_S)
        found = known[offer.application] = QuickestDevices(devices, latency_s, path_s, work_S)
    return found


def kinds(view: View, devices_A: Ints, off_D: Floats) -> Ints:
    """One device of each kind, by what a split's time depends on; of equal ones, that seen to be quickest."""
    d, links, f = view.devices, view.links, view.fragments
    of_links = links.down_bytes_per_s_D, links.up_bytes_per_s_D, links.rtt_s_D
    some = range(0, len(f.latency_s_FD), max(1, len(f.latency_s_FD) // 4))
    facts = np.stack([d.core_speed_D, d.servers_D, d.memory_bytes_D, *of_links, *f.latency_s_FD[some]], axis=1)
    first: dict[bytes, int] = {}
    for row in devices_A[np.argsort(off_D[devices_A], kind="stable")].tolist():
        first.setdefault(facts[row].tobytes(), row)
    return np.array(list(first.values()))
