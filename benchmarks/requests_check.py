"""What a run of generated requests comes to, from files alone, after everything has ended.

It reads what the clients wrote down (`asked.jsonl`, `described.jsonl`), what the processes held (`memory.jsonl`), and
what the server said on standard error (`serve.log`: its access log, and whatever else), and asks no process.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

WARM = 5_000
"""Requests after which memory is looked at: what a server loads, opens and remembers once is there by then."""
FAULTY_GRPC = ("INTERNAL", "UNKNOWN", "DATA_LOSS")
"""What is 5xx over HTTP, but for 503."""
TRACEBACK = "Traceback (most recent call last)"
DESCRIBED = "described"
"""The kind of those that Schemathesis made."""


@dataclass
class RequestCounts:
    """What was found."""

    by_kind: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """How many of each outcome."""
    logged: Counter[str] = field(default_factory=Counter)
    """Lines of the access log, by status."""
    tracebacks: int = 0
    remarks: Counter[str] = field(default_factory=Counter)
    """Lines of the log that tell of no request."""
    held: list[tuple[int, dict[str, int]]] = field(default_factory=list)
    """Requests that were done, and the bytes of each process then."""

    @property
    def outcomes(self) -> Counter[str]:
        """Over all kinds."""
        return sum(self.by_kind.values(), Counter())

    @property
    def failures(self) -> int:
        """Answers of 5xx but 503: as the clients saw them, or, where more, as the access log has them."""
        seen = sum(count for outcome, count in self.outcomes.items() if is_failure(outcome))
        return max(seen, sum(count for status, count in self.logged.items() if is_failure(status)))

    @property
    def warm(self) -> list[tuple[int, dict[str, int]]]:
        """What was held from the first `WARM` requests on; in a short run, from a quarter of them on."""
        begin = min(WARM, self.held[-1][0] // 4) if self.held else 0
        return [(done, held) for done, held in self.held if done >= begin]

    @property
    def growth_bytes(self) -> int:
        """What all processes held together in the last tenth of that time, over what they held in its first: medians.

        In between it rises and falls with what comes in at once, and when the allocator gives pages back.
        """
        sums = [sum(held.values()) for _, held in self.warm]
        tenth = -(-len(sums) // 10)
        return max(round(median(sums[-tenth:]) - median(sums[:tenth])), 0) if sums else 0


def is_failure(outcome: str) -> bool:
    """Whether it is a fault of the server's own."""
    return outcome in FAULTY_GRPC or (outcome.isdigit() and int(outcome) >= 500 and outcome != "503")


def check(folder: Path) -> RequestCounts:
    """Count, from the files of a run.

    Args:
        folder: With `asked.jsonl`, `described.jsonl`, `memory.jsonl` and `serve.log`.
    """
    found = RequestCounts()
    for file in ("asked.jsonl", "described.jsonl"):
        for _, kind, outcome, _ in _lines(folder / file):
            found.by_kind[kind][outcome] += 1
    found.held = [(done, held) for done, held in _lines(folder / "memory.jsonl")]
    with (folder / "serve.log").open(encoding="utf-8", errors="replace") as log:
        for line in log:
            status = _logged(line)
            if status is not None:
                found.logged[str(status)] += 1
            elif line.strip():
                found.tracebacks += TRACEBACK in line
                found.remarks[line.strip()[:200]] += 1
    return found


def _lines(file: Path) -> Iterator[Any]:
    if file.is_file():
        with file.open(encoding="utf-8") as lines:
            yield from map(json.loads, lines)


def _logged(line: str) -> int | None:
    """The status of a line of the access log; None: it is none."""
    if not line.startswith("{"):
        return None
    try:
        status = json.loads(line)["status"]
    except (ValueError, KeyError):
        return None
    return int(status)
