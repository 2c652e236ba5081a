"""Tasks of one image, many at once, on a live fleet with a data folder: what a broker makes of them.

The chain of `chaos_splits.py`, whose fragments take microseconds, so that the broker is what takes the time. Clients
are threads of the process that measures, on the same cores; each sends one task after another.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from splitplace.api.start_fleet import start_fleet
from splitplace.benchmarks import chaos_splits
from splitplace.errors import IntegrityError
from splitplace.placement.outcome import TaskFuture
from splitplace.placement.serve.client import Client

APPLICATION = "chain"
SENDERS = 8
DEADLINE_S = 600.0
"""None is late: each is answered, however long the others take."""
MANY = {3_000: 15.0, 9_900: 50.0}
"""Tasks at once, and the seconds until all are answered."""
UP_LIMIT_S = {8: 8.0}
"""By devices."""
ACKNOWLEDGED_LIMIT_S, BROKER_LIMIT_S = 1 / 300, 3e-3
"""A task."""


@dataclass(frozen=True)
class SmallTasks:
    """Of some tasks that were sent at once."""

    acknowledged_s: float
    """Until the last was on the disk."""
    answered_s: float
    """Until the last was answered."""
    broker_s: float
    """CPU of the fleet's process, its devices apart."""


def up_s(work: Path, devices: int) -> float:
    """How long it takes until that many devices serve."""
    begun_s = time.perf_counter()
    with _fleet(work, devices) as client:
        took_s = time.perf_counter() - begun_s
        client.stop()
    return took_s


def small_tasks(work: Path, counts: Sequence[int], say: Callable[[str], None]) -> list[SmallTasks]:
    """So many tasks at once, one number after another, on a fleet of three devices that has answered some before.

    Raises:
        IntegrityError: One of them failed.
    """
    found = list[SmallTasks]()
    with _fleet(work, 3) as client:
        try:
            _sent(client, 10 * SENDERS)
            for count in counts:
                say(f"{count} tasks of one image at once")
                found.append(_sent(client, count))
        finally:
            client.stop()
    return found


def _fleet(work: Path, devices: int) -> Client:
    catalog = work / "catalog"
    if not catalog.exists():
        chaos_splits.write(catalog, work / "wholes", 0, [APPLICATION])
    number = len(list(work.glob("data-*")))
    return start_fleet(chaos_splits.fleet(devices), catalog, data=work / f"data-{number}")


def _sent(client: Client, count: int) -> SmallTasks:
    image, label, process = chaos_splits.images([0], 1), np.zeros(1, np.int64), psutil.Process(client.pid)
    before, begun_s = process.cpu_times(), time.perf_counter()

    def send(mine: int) -> list[TaskFuture]:
        return [client.submit(APPLICATION, image, DEADLINE_S, label) for _ in range(mine)]

    shares = np.bincount(np.arange(count) % SENDERS, minlength=SENDERS).tolist()
    with ThreadPoolExecutor(SENDERS) as pool:
        futures = [future for part in pool.map(send, shares) for future in part]
    acknowledged_s = time.perf_counter() - begun_s
    outcomes = [future.result().outcome for future in futures]
    answered_s, after = time.perf_counter() - begun_s, process.cpu_times()
    if failed := [outcome.error for outcome in outcomes if outcome.error is not None]:
        raise IntegrityError(f"{len(failed)} of {count} tasks failed; the first: {failed[0]}")
    broker_s = after.user + after.system - before.user - before.system
    return SmallTasks(acknowledged_s, answered_s, broker_s)
