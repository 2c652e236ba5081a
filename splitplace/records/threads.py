"""What a fragment gains from threads: Amdahl's law, fitted to the thread counts that it was measured at.

Amdahl, "Validity of the single processor approach to achieving large scale computing capabilities", AFIPS 1967: of what
takes a second on one thread, a share p runs on all of them and the rest on one, so c threads take 1 - p + p / c. Beyond
the thread counts that were measured this is an extrapolation: it knows no memory bus that many cores wait for.
"""

from collections.abc import Mapping

UNMEASURED_SHARE = 0.7
"""Of a fragment that was measured at one thread count, where nobody states another share: about the middle of the
fragments of the demand that ships (`benchmarks/thread_shares.py`)."""


def share_of_time(parallel_share: float, threads: int) -> float:
    """What so many threads take, as a share of what one takes."""
    return 1.0 - parallel_share + parallel_share / threads


def parallel_share(seconds_by_threads: Mapping[int, float]) -> float:
    """The share p of the law that fits best: least squares of serial + parallel / threads, each at least 0.

    Args:
        seconds_by_threads: What was measured, at two thread counts or more.
    """
    assert len(seconds_by_threads) > 1, "one thread count says nothing of others"
    per_thread = [1.0 / threads for threads in seconds_by_threads]
    seconds = list(seconds_by_threads.values())
    middle, mean_s = sum(per_thread) / len(per_thread), sum(seconds) / len(seconds)
    spread = sum((x - middle) ** 2 for x in per_thread)
    parallel_s = sum((x - middle) * (y - mean_s) for x, y in zip(per_thread, seconds, strict=True)) / spread
    serial_s = mean_s - parallel_s * middle
    if parallel_s <= 0.0:
        return 0.0
    return 1.0 if serial_s <= 0.0 else parallel_s / (parallel_s + serial_s)
