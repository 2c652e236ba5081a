"""How long splits take where nobody else is, and what they use of a fleet: of all tasks of an application at once.

Shape letters as in `offers.py`, and K one device of each kind.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from splitplace.placement.joint.offers import Offer
from splitplace.placement.joint.shapes import Shape
from splitplace.records.task import micro_batches
from splitplace.records.view import Floats, Ints, View


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


def split_times(view: View, offer: Offer, off_D: Floats, fleet_3: Floats) -> SplitTimes:
    """Of an application.

    Args:
        view: Its tasks and devices.
        offer: All its splits, and all devices that count.
        off_D: How much longer than expected something takes.
        fleet_3: All servers, bytes a second of all downlinks, and of the broker's card.
    """
    tasks, f, links, memory_bytes_D = view.tasks, view.fragments, view.links, view.devices.memory_bytes_D
    rows_T, devices_A, kinds_K = (
        np.flatnonzero(tasks.application_T == offer.application),
        offer.devices_A,
        _kinds(view, offer.devices_A, off_D),
    )
    n_T, fragments_F, first_S = tasks.n_T[rows_T], offer.fragments_F, offer.first_S
    batches = dict(zip(fragments_F.tolist(), micro_batches(n_T, f.micro_batch_F[fragments_F][:, None]), strict=True))

    latency_FA = f.latency_s_FD[fragments_F[:, None], devices_A]
    holds_FA = f.memory_bytes_FD[fragments_F[:, None], devices_A] <= memory_bytes_D[devices_A]
    among_FA = holds_FA | ~holds_FA.any(axis=1, keepdims=True)
    least_F1 = np.where(among_FA, latency_FA, np.inf).min(axis=1, keepdims=True)
    least = dict(zip(fragments_F.tolist(), least_F1, strict=True))
    computed_s_ST = np.stack([_ran_s(shape, batches, least)[:, 0] for shape in offer.shapes])
    turn_ST = np.stack(
        [1.0 / np.max([view.turns(row, n_T) for row in shape.fragments], axis=0) for shape in offer.shapes]
    )
    if not math.isinf(view.grain):  # a turn of each on the longest path, and all turns of the one that takes longest
        slowest_ST = np.stack(
            [np.max([batches[row] * least[row] for row in shape.fragments], axis=0) for shape in offer.shapes]
        )
        computed_s_ST = turn_ST * computed_s_ST + (1.0 - turn_ST) * slowest_ST

    kinds = {row: f.latency_s_FD[row, kinds_K] for row in fragments_F.tolist()}
    ran_STK = np.stack([_ran_s(shape, batches, kinds) for shape in offer.shapes])
    rate_K = np.minimum(np.maximum(links.down_bytes_per_s_D[kinds_K], 1.0), links.broker_bytes_per_s)
    # Branches may receive side by side, each over the link of its own device.
    input_SK = offer.sizes_SX.max(axis=1)[:, None] / rate_K
    took_STK = n_T[:, None] * input_SK[:, None, :] + ran_STK + links.rtt_s_D[kinds_K]
    need_SK = np.add.reduceat(f.memory_bytes_FD[fragments_F[:, None], kinds_K], first_S, axis=0)
    holds_SK = need_SK <= memory_bytes_D[kinds_K]
    # Where it fits nowhere whole, it cannot be much quicker spread than on a device that held it.
    holds_SK |= ~holds_SK.any(axis=1, keepdims=True)
    alone_s_ST = np.where(holds_SK[:, None, :], took_STK * off_D[kinds_K], np.inf).min(axis=2)

    work_S = np.add.reduceat(latency_FA.mean(axis=1) / f.micro_batch_F[fragments_F], first_S)
    splits, all_tasks = len(view.splits.references), len(tasks.id_T)
    alone, computed, turn = np.zeros((3, splits, all_tasks))
    found = SplitTimes(alone, computed, turn, np.zeros((splits, 3)))
    cells = offer.split_S[:, None], rows_T
    found.alone_s_ST[cells], found.computed_s_ST[cells], found.turn_ST[cells] = alone_s_ST, computed_s_ST, turn_ST
    found.use_s_S3[offer.split_S] = np.stack([work_S, offer.inputs_S, offer.inputs_S], axis=1) / fleet_3
    return found


def _ran_s(shape: Shape, batches: Mapping[int, Ints], latency_s: Mapping[int, Floats]) -> Floats:
    """The longest path of a split, by its fragments' micro-batches (T) and seconds of each (K), shape (T, K)."""
    if shape.micro_batch:
        of_all = batches[shape.fragments[0]][:, None]
        alike: Floats = of_all * shape.path_s({row: latency_s[row] for row in shape.fragments})
        return alike
    return shape.path_s({row: batches[row][:, None] * latency_s[row] for row in shape.fragments})


def _kinds(view: View, devices_A: Ints, off_D: Floats) -> Ints:
    """One device of each kind, by what a split's time depends on; of equal ones, that seen to be quickest."""
    d, links, f = view.devices, view.links, view.fragments
    of_links = links.down_bytes_per_s_D, links.up_bytes_per_s_D, links.rtt_s_D
    some = range(0, len(f.latency_s_FD), max(1, len(f.latency_s_FD) // 4))
    facts = np.stack([d.core_speed_D, d.servers_D, d.memory_bytes_D, *of_links, *f.latency_s_FD[some]], axis=1)
    first: dict[bytes, int] = {}
    for row in devices_A[np.argsort(off_D[devices_A], kind="stable")].tolist():
        first.setdefault(facts[row].tobytes(), row)
    return np.array(list(first.values()))
