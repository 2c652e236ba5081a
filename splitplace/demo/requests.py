"""The demo's stream of tasks: held-out images in batches, tight and loose deadlines, drawn from one seed."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from splitplace.api.fleet import POLICY
from splitplace.seeds import generator

RIVALS = (POLICY, "mab+earliest-finish")
"""The same stream is sent under each: what a fleet runs by default, and the paper's bandit."""
TIGHT, LOOSE = 0.6, 3.0
"""Deadlines as multiples of the layer split's estimated response: one it should miss, one it should meet."""


@dataclass(frozen=True, eq=False)
class DemoRequest:
    """One task to come: which held-out images, when, and how soon the answer is wanted."""

    at_s: float
    """Since the start of the stream."""
    deadline_s: float
    images: npt.NDArray[np.int64]
    """Indices into the test set, shape (n,)."""


def draw(
    seed: int, n_tasks: int, n_images: int, test_size: int, mean_gap_s: float, layer_s: float
) -> list[DemoRequest]:
    """A Poisson stream.

    Args:
        seed: The same seed, the same stream.
        n_tasks: How many tasks.
        n_images: Images a task, drawn without repetition.
        test_size: Held-out images to draw from.
        mean_gap_s: Mean seconds between arrivals.
        layer_s: What the layer split should take on the idle fleet; deadlines are `TIGHT` or `LOOSE` times this,
            each with probability one half.
    """
    gaps = generator(seed, "stream", "gaps").exponential(mean_gap_s, n_tasks)
    tight = generator(seed, "stream", "deadlines").random(n_tasks) < 0.5
    pick = generator(seed, "stream", "images")
    return [
        DemoRequest(
            at_s=float(at_s),
            deadline_s=layer_s * (TIGHT if is_tight else LOOSE),
            images=pick.choice(test_size, size=n_images, replace=False).astype(np.int64),
        )
        for at_s, is_tight in zip(np.cumsum(gaps), tight, strict=True)
    ]
