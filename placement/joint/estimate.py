"""When jobs that share a device are done: two stages, the downlink and the cores, each shared equally.

Of jobs that are there at once, one of w seconds is held up by another of v for min(w, v): what egalitarian processor
sharing comes to when all begin together (Kleinrock, "Time-shared systems", JACM 1967, for the discipline). A job begins
to compute when its input is there; whoever began earlier has less left then, and holds it up for no more than that.

Rows R are devices, or devices as they would be if something came; columns J are jobs.
"""

import numpy as np

from splitplace.records.view import Bools, Floats, Ints


def finish_s(down_bytes_RJ: Floats, work_s_RJ: Floats, here_RJ: Bools, bytes_per_s_R: Floats, cores_R: Ints) -> Floats:
    """Seconds from now until each job is done, shape (R, J); 0 where there is none.

    Args:
        down_bytes_RJ: What each still has to receive.
        work_s_RJ: What it has to compute then, in seconds of one core; a job uses one at a time.
        here_RJ: Where there is a job at all.
        bytes_per_s_R: The downlink.
        cores_R: Of the device.
    """
    down_RJ, work_RJ = np.where(here_RJ, down_bytes_RJ, 0.0), np.where(here_RJ, work_s_RJ, 0.0)
    received_RJ = np.minimum(down_RJ[:, :, None], down_RJ[:, None, :]).sum(axis=2) / bytes_per_s_R[:, None]
    cores = cores_R[:, None].astype(np.float64)
    # Before that, as much as if all were there already: an estimate that does not hope.
    rate_R11 = np.minimum(cores / np.maximum(here_RJ.sum(axis=1, keepdims=True), 1), 1.0)[:, :, None]
    # What i (the last axis) has done when j begins, if it begins sooner; and the other way.
    ahead_RJJ = np.maximum(received_RJ[:, :, None] - received_RJ[:, None, :], 0.0) * rate_R11
    left_RJJ = np.minimum(
        np.maximum(work_RJ[:, None, :] - ahead_RJJ, 0.0),
        np.maximum(work_RJ[:, :, None] - ahead_RJJ.swapaxes(1, 2), 0.0),
    )
    computed_RJ = np.maximum(left_RJJ.sum(axis=2) / cores, work_RJ)
    result: Floats = np.where(here_RJ, received_RJ + computed_RJ, 0.0)
    return result


def in_time(slack_s: Floats | float, took_s: Floats | float, spread_s: Floats | float) -> Floats:
    """P(a job expected to take so long is done within the slack): a logistic of that width around the estimate."""
    z = np.clip((np.asarray(slack_s) - took_s) / np.maximum(spread_s, 1e-9), -30.0, 30.0)
    result: Floats = 0.5 + 0.5 * np.tanh(z / 2)
    return result
