"""The sender's end of a stream: what one source gives to one fragment of one job, a micro-batch a credit.

A stream's sender starts with `window` credits, spends one a micro-batch and gets one back when the receiver takes that
micro-batch to run it. So queues are bounded by the window, per stream: credits of one task never depend on another
task, and two tasks cannot wait for each other. Under `strict` precedence a fragment starts when the former has finished
the task, so the window of what fragments give each other is the whole task. Its input nobody has to finish.
"""

from collections import deque
from collections.abc import Callable, Mapping

from splitplace.errors import ContractError
from splitplace.placement.protocol import fields
from splitplace.records.split import INPUT
from splitplace.records.task import micro_batches

Values = Mapping[str, fields.Value]


STRICT_INPUT = 64
"""Micro-batches of a task's input under way under `strict` precedence: orders and other tasks' tensors wait behind no
more of them."""


def window_of(src: str, precedence: fields.Precedence, window: int, n: int, micro_batch: int) -> int:
    """Credits a stream from `src` starts with."""
    if precedence == "pipelined":
        return window
    return max(window, STRICT_INPUT) if src == INPUT else micro_batches(n, micro_batch)


class Outflow:
    """The sender's end of one stream."""

    def __init__(self, job: int, src: str, outlet: fields.Outlet, credits: int):
        self.job, self.src, self.outlet = job, src, outlet
        self._credits = self._window = credits
        self._queue: deque[tuple[int, Values]] = deque()

    @property
    def queued(self) -> int:
        """Micro-batches that wait for credits."""
        return len(self._queue)

    @property
    def open(self) -> bool:
        """Whether one more would go out at once."""
        return self._credits > len(self._queue)

    def put(self, micro_batch: int, values: Values) -> None:
        """Queue a micro-batch's tensors."""
        self._queue.append((micro_batch, {name: values[name] for name in self.outlet.tensors}))

    def grant(self, count: int) -> None:
        """The receiver took `count` micro-batches.

        Raises:
            ContractError: More than are under way.
        """
        if self._credits + count > self._window:
            under_way = self._window - self._credits
            raise ContractError(f"{count} credits for {self.src} to {self.outlet.dst}, expected at most {under_way}")
        self._credits += count

    def flush(self, send: "Send") -> None:
        """Send as much as the credits allow, in order."""
        while self._credits and self._queue:
            self._credits -= 1
            send(self, *self._queue.popleft())


Send = Callable[[Outflow, int, Values], None]
"""Sends a micro-batch's tensors on a stream."""
