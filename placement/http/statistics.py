"""`GET v2/models/NAME/stats`: what the front door answered, in the form of Triton's statistics extension."""

from dataclasses import dataclass, field
from typing import Any

from splitplace.placement.http.models import VERSION
from splitplace.placement.outcome import TaskOutcome

DURATIONS = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss")


@dataclass
class ModelStatistics:
    """Of one model, since the front door opened."""

    name: str
    last_ms: int = 0
    inferences: int = 0
    executions: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(DURATIONS, 0))
    ns: dict[str, int] = field(default_factory=lambda: dict.fromkeys(DURATIONS, 0))

    def note(self, seconds: float, outcome: TaskOutcome | None, unix_s: float) -> None:
        """One more request has ended.

        Args:
            seconds: It took, from its receipt.
            outcome: Of its task, if it was answered. What the fleet calls waiting is the queue, what it calls transfer
                the input's way, what it calls executing the inference; the rest is the front door's, the output's.
            unix_s: When.
        """
        self.last_ms = int(unix_s * 1000)
        if outcome is None or not outcome.finished:
            self._add("fail", seconds)
            return
        self.inferences += outcome.n
        self.executions += 1
        parts = (outcome.wait_s or 0.0, outcome.transfer_s or 0.0, outcome.execute_s or 0.0)
        self._add("success", seconds)
        for name, part in zip(("queue", "compute_input", "compute_infer"), parts, strict=True):
            self._add(name, part)
        self._add("compute_output", max(seconds - sum(parts), 0.0))

    def _add(self, name: str, seconds: float) -> None:
        self.counts[name] += 1
        self.ns[name] += round(seconds * 1e9)

    def document(self) -> dict[str, Any]:
        """As the protocol has it."""
        return {
            "name": self.name,
            "version": VERSION,
            "last_inference": self.last_ms,
            "inference_count": self.inferences,
            "execution_count": self.executions,
            "inference_stats": {name: {"count": self.counts[name], "ns": self.ns[name]} for name in DURATIONS},
            "response_stats": {},
            "batch_stats": [],
            "memory_usage": [],
        }
