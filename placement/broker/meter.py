"""What a device did: totals for the report, and how busy it was just now for the view."""

import threading
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from math import inf
from typing import Annotated

from pydantic import Field

from splitplace.records.base import Count, Fraction, Name, NonNegative, Positive, Record
from splitplace.records.profile import CpuShareMethod

LOOK_BACK_S = 2.0
"""Over how long `busy` looks: long against a micro-batch, short against a change of load."""


class DeviceReport(Record):
    """One device of a run. Its speed is emulated where `cpu_share_method` is not `none`."""

    name: Name
    up: bool
    cpu_share: Annotated[float, Field(gt=0, le=1)]
    cpu_share_method: CpuShareMethod
    core_speed_stated: Positive
    core_speed_measured: Positive
    speed_ratio_measured: Positive
    """Over the first device's, both taken within a moment of each other: free of the machine's own drift."""
    fragments_run: Count
    """Distinct (task, fragment) pairs it finished."""
    micro_batches_run: Count
    busy_s: NonNegative
    """Seconds it spent running micro-batches."""
    memory_peak_bytes: NonNegative
    """By the broker's account: fragments, without the runtime's base."""
    memory_bytes: NonNegative
    """What fragments may use."""
    rss_bytes: Count
    """The largest resident memory the process reported, base included."""
    busy_share: Fraction
    """busy_s over the time it was up."""


class RecentAmounts:
    """Amounts at moments of late, told in any order: what they come to since a moment is a difference of running sums.

    In order of their moments, which is not that in which they are heard of: of a tensor it is heard when it was worked
    on, and each receiver has a queue of its own. Of one moment the largest is first. From any thread.
    """

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._rows: list[tuple[float, float, float]] = []
        """When, how much, and how much all before it."""
        self._total = 0.0

    def add(self, at_s: float, amount: float) -> None:
        """One more; nothing, where no question looks back at it any more."""
        with self._changing:
            rows = self._rows
            if rows and at_s < rows[-1][0] - LOOK_BACK_S:
                return
            place = bisect_right(rows, (at_s, -amount), key=_order)
            before = rows[place][2] if place < len(rows) else self._total
            rows[place:] = [
                (at_s, amount, before),
                *((later_s, other, sum_before + amount) for later_s, other, sum_before in rows[place:]),
            ]
            self._total += amount

    def forget(self, before_s: float) -> None:
        """Drop what was before this moment."""
        with self._changing:
            del self._rows[: bisect_left(self._rows, (before_s, -inf), key=_order)]

    def since(self, since_s: float) -> tuple[float, float, float]:
        """What those at this moment or later come to, when the first of them was, and how much; (0, since_s, 0)."""
        with self._changing:
            place = bisect_left(self._rows, (since_s, -inf), key=_order)
            if place == len(self._rows):
                return 0.0, since_s, 0.0
            at_s, amount, before = self._rows[place]
            return self._total - before, at_s, amount


def _order(row: tuple[float, float, float]) -> tuple[float, float]:
    return row[0], -row[1]


@dataclass(eq=False)
class Meter:
    """Counts one device's work."""

    fragments_run: int = 0
    micro_batches_run: int = 0
    busy_s: float = 0.0
    sent_bytes: int = 0
    rss_bytes: int = 0
    _runs: RecentAmounts = field(default_factory=RecentAmounts)
    """Seconds of each run, when it ended; a device runs one after the other."""
    _sends: RecentAmounts = field(default_factory=RecentAmounts)
    """Bytes."""

    def ran(self, start_s: float, end_s: float) -> None:
        """It ran a micro-batch."""
        self._runs.add(end_s, end_s - start_s)
        self.micro_batches_run += 1
        self.busy_s += end_s - start_s

    def sent(self, at_s: float, size_bytes: int) -> None:
        """Tensors passed over its link."""
        self._sends.add(at_s, size_bytes)
        self.sent_bytes += size_bytes

    def forget(self, now_s: float) -> None:
        """Drop what no question looks back at any more."""
        for kept in (self._runs, self._sends):
            kept.forget(now_s - LOOK_BACK_S)

    def busy(self, now_s: float) -> float:
        """Share of the last moments it was running something, 0..1; from any thread."""
        since_s = max(now_s - LOOK_BACK_S, 0.0)
        busy_s, end_s, took_s = self._runs.since(since_s)
        busy_s -= max(since_s - (end_s - took_s), 0.0)
        return min(max(busy_s, 0.0) / max(now_s - since_s, 1e-9), 1.0)

    def link(self, now_s: float, bytes_per_s: float) -> float:
        """Share of the last moments its link was in use at the stated speed, 0..1; from any thread."""
        since_s = max(now_s - LOOK_BACK_S, 0.0)
        size_bytes, _, _ = self._sends.since(since_s)
        return min(size_bytes / bytes_per_s / max(now_s - since_s, 1e-9), 1.0)
