"""What a split should take, from profiles alone: on an idle fleet (the prior of R), or behind the queues of now."""

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from splitplace.records.dag import path_ends, topological
from splitplace.records.view import NONE, Fragments, Links, Splits, View


def unloaded_response_s(splits: Splits, fragments: Fragments, links: Links, split: int, n: int) -> float:
    """Seconds from arrival to result of n samples on an otherwise idle fleet, each fragment on the median device.

    Infinite where something is to be sent and the median link carries nothing now (devices out of reach).

    Args:
        splits: Tables of a view, or of a fleet that is not up yet.
        fragments: As above.
        links: As above.
        split: Row of `splits`.
        n: Samples.
    """
    return _longest_path_s(splits, fragments, links, split, n, lambda f: float(np.median(fragments.service_s(f, n))))


def expected_response_s(view: View, split: int, n: int) -> float:
    """The same now, each fragment where backlog and its own work would be over first; inf if no device is up."""
    waiting_s_D = np.where(view.devices.up_D, view.devices.backlog_s_D / view.devices.servers_D, np.inf)

    def soonest(fragment: int) -> float:
        return float((waiting_s_D + view.fragments.service_s(fragment, n)).min())

    return _longest_path_s(view.splits, view.fragments, view.links, split, n, soonest)


def _longest_path_s(
    splits: Splits, fragments: Fragments, links: Links, split: int, n: int, takes_s: Callable[[int], float]
) -> float:
    """The longest path of service and transfer times.

    Strict precedence (paper §3.2): a fragment starts when the former has finished the task. A pipelined environment
    stays below it.
    """
    bandwidth = min(float(np.median(links.up_bytes_per_s_D)), float(np.median(links.down_bytes_per_s_D)))
    hop_s = float(np.median(links.rtt_s_D)) / 2

    def sent_s(size: float) -> float:
        return size / bandwidth if bandwidth > 0 else (math.inf if size else 0.0)

    inbound = {fragment: np.flatnonzero(fragments.edge_dst_X == fragment) for fragment in splits.fragments(split)}
    sources = {fragment: fragments.edge_src_X[edges].tolist() for fragment, edges in inbound.items()}

    def arrive_s(fragment: int, ends_s: Mapping[int, float]) -> Iterator[float]:
        for src, size in zip(sources[fragment], fragments.edge_bytes_X[inbound[fragment]].tolist(), strict=True):
            yield (0.0 if src == NONE else ends_s[src]) + hop_s + sent_s(n * float(size))

    order = topological({fragment: [src for src in sources[fragment] if src != NONE] for fragment in inbound})
    return float(max(path_ends(order, arrive_s, takes_s).values())) + hop_s
