"""What a split should take, from profiles alone: on an idle fleet (the prior of R), or behind the queues of now."""

from collections.abc import Callable

import numpy as np

from splitplace.records.view import NONE, Fragments, Links, Splits, View


def unloaded_response_s(splits: Splits, fragments: Fragments, links: Links, split: int, n: int) -> float:
    """Seconds from arrival to result of n samples on an otherwise idle fleet, each fragment on the median device.

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
    waiting_s_D = np.where(view.devices.up_D, view.devices.backlog_s_D / view.devices.cores_D, np.inf)

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
    rows = splits.fragments(split)
    done = dict.fromkeys(rows, 0.0)
    # Edges and fragments are stored parents first (`Split` allows any order of edges, so relax once per fragment).
    for _ in rows:
        for fragment in rows:
            arrives = 0.0
            for x in np.flatnonzero(fragments.edge_dst_X == fragment):
                src = int(fragments.edge_src_X[x])
                sent = 0.0 if src == NONE else done[src]
                arrives = max(arrives, sent + hop_s + n * float(fragments.edge_bytes_X[x]) / bandwidth)
            done[fragment] = arrives + takes_s(fragment)
    return max(done.values()) + hop_s
