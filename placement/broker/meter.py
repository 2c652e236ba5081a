"""What a device did: totals for the report, and how busy it was just now for the view."""

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field
from operator import itemgetter
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


@dataclass(eq=False)
class Meter:
    """Counts one device's work."""

    fragments_run: int = 0
    micro_batches_run: int = 0
    busy_s: float = 0.0
    sent_bytes: int = 0
    rss_bytes: int = 0
    _runs: deque[tuple[float, float, float]] = field(default_factory=deque)
    """Of each of the last runs when it ended, when it began, and how long all before it took."""
    _sends: deque[tuple[float, int]] = field(default_factory=deque)
    """Of what was sent lately when that was, and the bytes of all before it."""

    def ran(self, start_s: float, end_s: float) -> None:
        """It ran a micro-batch."""
        self._runs.append((end_s, start_s, self.busy_s))
        self.micro_batches_run += 1
        self.busy_s += end_s - start_s

    def sent(self, at_s: float, size_bytes: int) -> None:
        """Tensors passed over its link."""
        self._sends.append((at_s, self.sent_bytes))
        self.sent_bytes += size_bytes

    def forget(self, now_s: float) -> None:
        """Drop what no question looks back at any more; for the thread that counts."""
        for kept in (self._runs, self._sends):
            while kept and kept[0][0] < now_s - LOOK_BACK_S:
                kept.popleft()

    def busy(self, now_s: float) -> float:
        """Share of the last moments it was running something, 0..1; from any thread."""
        since_s = max(now_s - LOOK_BACK_S, 0.0)
        runs = tuple(self._runs)
        first = bisect_left(runs, since_s, key=itemgetter(0))
        if first == len(runs):
            return 0.0
        _, start_s, before_s = runs[first]
        busy_s = self.busy_s - before_s - max(since_s - start_s, 0.0)
        return min(max(busy_s, 0.0) / max(now_s - since_s, 1e-9), 1.0)

    def link(self, now_s: float, bytes_per_s: float) -> float:
        """Share of the last moments its link was in use at the stated speed, 0..1."""
        since_s = max(now_s - LOOK_BACK_S, 0.0)
        sends = tuple(self._sends)
        first = bisect_left(sends, since_s, key=itemgetter(0))
        seconds = (self.sent_bytes - sends[first][1] if first < len(sends) else 0) / bytes_per_s
        return min(seconds / max(now_s - since_s, 1e-9), 1.0)
