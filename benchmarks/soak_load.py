"""The load of the bench `soak`: tasks of random sizes, and how many images of them a fleet takes at most."""

import time
from concurrent.futures import TimeoutError as NotYetError

import numpy as np

from splitplace.benchmarks import chaos_splits
from splitplace.errors import NotReadyError, OverloadedError
from splitplace.placement.outcome import TaskFuture
from splitplace.placement.serve.client import Client

MOST_IMAGES, DEADLINE_S = 500, 60.0
IN_FLIGHT, WARM_S, CAPACITY_S = 12, 10.0, 30.0
"""For the capacity: so many tasks at once, for so long, after a while that is not counted."""


class SoakLoad:
    """What is handed in, and what came of it."""

    def __init__(self, client: Client, seed: int):
        self.client = client
        self.sent = self.images = self.answered = self.failed = self.refused = 0
        self.waiting: list[TaskFuture] = []
        self._rng = np.random.default_rng([seed, 1])
        self._x = chaos_splits.images([seed, 2], MOST_IMAGES)
        self._labels = np.arange(MOST_IMAGES) % chaos_splits.CLASSES

    def hand_in(self) -> int:
        """One task of a random size; answers its images."""
        n = chaos_splits.task_size(self._rng, MOST_IMAGES)
        application = str(self._rng.choice(chaos_splits.SERVED["broadcast"]))
        self.sent += 1
        self.images += n
        try:
            self.waiting.append(self.client.submit(application, self._x[:n], DEADLINE_S, self._labels[:n]))
        except OverloadedError:
            self.refused += 1
        return n

    def collect(self) -> None:
        """Count those that have ended."""
        waiting = []
        for future in self.waiting:
            try:
                failed = future.result(0).outcome.error is not None
            except NotYetError:
                waiting.append(future)
                continue
            self.failed += failed
            self.answered += not failed
        self.waiting = waiting

    def finish(self, patience_s: float) -> None:
        """Wait for those that are under way."""
        until_s = time.monotonic() + patience_s
        while self.waiting and time.monotonic() < until_s:
            time.sleep(0.1)
            self.collect()

    def capacity(self) -> float:
        """Images a second with `IN_FLIGHT` tasks under way all the time; they are not counted with the others."""
        counted, start_s = 0, time.monotonic()
        while (now_s := time.monotonic()) < start_s + WARM_S + CAPACITY_S:
            while len(self.waiting) < IN_FLIGHT:
                n = self.hand_in()
                if now_s > start_s + WARM_S:
                    counted += n  # as many come as go: what is under way at both ends cancels out
            time.sleep(0.01)
            self.collect()
        self.finish(DEADLINE_S)
        if self.failed or self.refused or self.waiting:
            raise NotReadyError(f"{self.failed} tasks failed and {self.refused} were refused with {IN_FLIGHT} at once")
        self.sent = self.images = self.answered = 0
        return counted / CAPACITY_S


def mean_images() -> float:
    """Of `chaos_splits.task_size`: floor(exp(u)), u uniform from 0 to ln(M + 1)."""
    sizes = np.arange(1, MOST_IMAGES + 1)
    return float((sizes * np.diff(np.log(np.arange(1, MOST_IMAGES + 2)))).sum() / np.log(MOST_IMAGES + 1))
