"""When jobs that share a device are done: two stages, the downlink and the servers, each shared equally.

Of jobs that are there at once, one of w seconds is held up by another of v for min(w, v): what egalitarian processor
sharing comes to when all begin together (Kleinrock, "Time-shared systems", JACM 1967, for the discipline). A job begins
to compute when its input is there; whoever began earlier has less left then, and holds it up for no more than that.

Rows R are devices, or devices as they would be if something came; columns J are jobs, and those behind a device's own
are of nothing to receive and nothing to compute: they take no time, and hold nobody up.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from splitplace.records.view import Floats, Ints

DIRECT = 12
"""Jobs on a device that are compared in pairs; where there are more, their ends are sorted."""


def received_s(down_bytes_RJ: Floats, bytes_per_s_R: Floats) -> Floats:
    """Seconds from now until each job has received all, shape (R, J).

    Args:
        down_bytes_RJ: What each still has to receive.
        bytes_per_s_R: The downlink.
    """
    if down_bytes_RJ.shape[1] <= DIRECT:  # as `overlap` has it of spans that all begin now
        shared_RJ: Floats = np.add.reduce(np.minimum(down_bytes_RJ[:, :, None], down_bytes_RJ[:, None, :]), axis=2)
    else:
        shared_RJ = overlap(np.zeros(down_bytes_RJ.shape), down_bytes_RJ)
    result: Floats = shared_RJ / bytes_per_s_R[:, None]
    return result


def computed_s(received_RJ: Floats, work_s_RJ: Floats, least_s_RJ: Floats, count_R: Ints, servers_R: Floats) -> Floats:
    """Seconds from when each job has received all until it is done, shape (R, J).

    Args:
        received_RJ: When that is.
        work_s_RJ: What it has to compute then, in seconds of one server.
        least_s_RJ: How long that takes with servers enough: as long, of a job that uses one at a time.
        count_R: How many jobs there are.
        servers_R: Of the device.
    """
    # Work is done before somebody comes as if all were there already: an estimate that does not hope. What i still has
    # to do when j begins, or j when i does, is then where their spans lie upon each other.
    begins_RJ = received_RJ * np.minimum(servers_R / np.maximum(count_R, 1), 1.0)[:, None]
    result: Floats = np.maximum(overlap(begins_RJ, begins_RJ + work_s_RJ) / servers_R[:, None], least_s_RJ)
    return result


def overlap(start_RJ: Floats, end_RJ: Floats) -> Floats:
    """How much of all spans of a row lies within each of them, itself included, shape (R, J)."""
    jobs = start_RJ.shape[1]
    if jobs <= DIRECT:
        start_RJJ = np.maximum(start_RJ[:, :, None], start_RJ[:, None, :])
        end_RJJ = np.minimum(end_RJ[:, :, None], end_RJ[:, None, :])
        paired: Floats = np.add.reduce(np.maximum(end_RJJ - start_RJJ, 0.0), axis=2)
        return paired
    # How many are open at a moment, summed up from the first start: at an end, less that at the start.
    moments_RM = np.concatenate([start_RJ, end_RJ], axis=1)
    order_RM = np.argsort(moments_RM, axis=1, kind="stable")
    sorted_RM = np.take_along_axis(moments_RM, order_RM, axis=1)
    open_RM = np.cumsum(np.where(order_RM < jobs, 1, -1), axis=1)
    summed_RM = np.zeros(moments_RM.shape)
    np.cumsum(open_RM[:, :-1] * np.diff(sorted_RM, axis=1), axis=1, out=summed_RM[:, 1:])
    until_RM = np.empty(moments_RM.shape)
    np.put_along_axis(until_RM, order_RM, summed_RM, axis=1)
    result: Floats = until_RM[:, jobs:] - until_RM[:, :jobs]
    return result


def held_s(work_s: Floats, count: Ints, service_s: Floats) -> Floats:
    """The most that something is held up on a device by what has so much to do there, in so many jobs.

    It shares with each for no longer than it takes itself, or than all of them have.
    """
    result: Floats = np.minimum(work_s, (count + 1) * service_s)
    return result


def in_time(slack_s: Floats | float, took_s: Floats | float, spread_s: Floats | float) -> Floats:
    """P(a job expected to take so long is done within the slack): a logistic of that width around the estimate."""
    result: Floats = 0.5 + 0.5 * np.tanh((slack_s - took_s) / (2 * np.maximum(spread_s, 1e-9)))
    return result


@dataclass(frozen=True, eq=False)
class Doubt:
    """How unsure an estimate is: `relative` of it, by device or on the whole, and `fixed_s` besides."""

    relative: float
    relative_D: Floats
    fixed_s: float

    @cached_property
    def range(self) -> tuple[float, float]:
        """The least and the most that is relative."""
        every = self.relative, float(self.relative_D.min()), float(self.relative_D.max())
        return min(every), max(every)

    def of(self, took_s: Floats, devices: Ints) -> Floats:
        """The width of P(in time) around an estimate."""
        result: Floats = self.relative_D[devices] * np.maximum(took_s, 0.0) + self.fixed_s
        return result
