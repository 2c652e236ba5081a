"""When jobs that share a device are done: two stages, the downlink and the cores, each shared equally.

Of jobs that are there at once, one of w seconds is held up by another of v for min(w, v): what egalitarian processor
sharing comes to when all begin together (Kleinrock, "Time-shared systems", JACM 1967, for the discipline). A job begins
to compute when its input is there; whoever began earlier has less left then, and holds it up for no more than that.

Rows R are devices, or devices as they would be if something came; columns J are jobs.
"""

import numpy as np

from splitplace.records.view import Bools, Floats


def received_s(down_bytes_RJ: Floats, here_RJ: Bools, bytes_per_s_R: Floats) -> Floats:
    """Seconds from now until each job has received all, shape (R, J); 0 where there is none.

    Args:
        down_bytes_RJ: What each still has to receive.
        here_RJ: Where there is a job at all.
        bytes_per_s_R: The downlink.
    """
    down_RJ = np.where(here_RJ, down_bytes_RJ, 0.0)
    result: Floats = np.minimum(down_RJ[:, :, None], down_RJ[:, None, :]).sum(axis=2) / bytes_per_s_R[:, None]
    return result


def computed_s(received_RJ: Floats, work_s_RJ: Floats, least_s_RJ: Floats, here_RJ: Bools, cores_R: Floats) -> Floats:
    """Seconds from when each job has received all until it is done, shape (R, J); 0 where there is none.

    Args:
        received_RJ: When that is.
        work_s_RJ: What it has to compute then, in seconds of one core.
        least_s_RJ: How long that takes with cores enough: as long, of a job that uses one at a time.
        here_RJ: Where there is a job at all.
        cores_R: Of the device.
    """
    work_RJ, cores_R1 = np.where(here_RJ, work_s_RJ, 0.0), cores_R[:, None]
    # Before that, as much as if all were there already: an estimate that does not hope.
    rate_R11 = np.minimum(cores_R1 / np.maximum(here_RJ.sum(axis=1, keepdims=True), 1), 1.0)[:, :, None]
    # What i (the last axis) has done when j begins, if it begins sooner; and the other way.
    apart_RJJ = (received_RJ[:, :, None] - received_RJ[:, None, :]) * rate_R11
    left_RJJ = np.minimum(
        np.maximum(work_RJ[:, None, :] - np.maximum(apart_RJJ, 0.0), 0.0),
        np.maximum(work_RJ[:, :, None] + np.minimum(apart_RJJ, 0.0), 0.0),
    )
    result: Floats = np.where(here_RJ, np.maximum(left_RJJ.sum(axis=2) / cores_R1, least_s_RJ), 0.0)
    return result


def in_time(slack_s: Floats | float, took_s: Floats | float, spread_s: Floats | float) -> Floats:
    """P(a job expected to take so long is done within the slack): a logistic of that width around the estimate."""
    z = np.clip((np.asarray(slack_s) - took_s) / np.maximum(spread_s, 1e-9), -30.0, 30.0)
    result: Floats = 0.5 + 0.5 * np.tanh(z / 2)
    return result
