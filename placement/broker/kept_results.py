"""Results of tasks that ended, for whoever asks again: the newest, up to so many, so much and for so long."""

from collections.abc import Collection, Iterable, Mapping

import numpy as np

from splitplace.catalog.oci import digest
from splitplace.errors import NotFoundError
from splitplace.placement.broker.spool import Spool
from splitplace.placement.broker.state import KEPT_RESULTS
from splitplace.placement.outcome import TaskOutcome, TaskResult
from splitplace.records.base import Digest, Record

KEPT_RESULTS_BYTES = 2**28


class _ResultHeader(Record):
    """Before the logits of a result."""

    outcome: TaskOutcome
    dtype: str | None
    shape: tuple[int, ...] = ()


class KeptResults:
    """Of one broker; where each is in its spool, and how large. What is dropped there leaves with the next commit.

    Args:
        spool: That they are in.
        retain_s: How long one is kept; none: as long as there is room.
    """

    def __init__(self, spool: Spool, retain_s: float | None):
        self._spool, self._retain_s = spool, retain_s
        self._places: dict[int, tuple[Digest, int]] = {}
        self._bytes = 0
        self._ended_s: dict[int, float] = {}
        """When each of their tasks had ended, by the fleet's clock."""

    def __contains__(self, task: int) -> bool:
        return task in self._places

    def places(self) -> dict[int, tuple[Digest, int]]:
        """For a snapshot: where each task's result is, and its size in bytes."""
        return dict(self._places)

    def digests(self) -> Iterable[Digest]:
        """Of all that are kept."""
        return (key for key, _ in self._places.values())

    def restore(self, places: Mapping[int, tuple[Digest, int]], now_s: float) -> None:
        """What a snapshot has; kept as long again."""
        for task, (key, size) in places.items():
            self._places[task], self._ended_s[task] = (key, size), now_s
            self._bytes += size

    def replay(self, task: int, result: TaskResult, now_s: float) -> None:
        """A task ended under an earlier broker, which put its result into the spool."""
        body = _encode(result)
        self._note(task, digest(body), len(body), now_s)

    def replay_forgotten(self, tasks: Collection[int]) -> None:
        """An earlier broker kept these no more."""
        for task in self._places.keys() & set(tasks):
            self._leave_out(task)

    def put(self, task: int, result: TaskResult, now_s: float) -> None:
        """Keep one.

        Raises:
            OverloadedError: No room for it.
        """
        body = _encode(result)
        for gone in self._note(task, self._spool.put(body), len(body), now_s):
            self._spool.drop(gone)

    def forget(self, now_s: float) -> tuple[int, ...]:
        """Keep none any more whose time is over; the tasks of which that is so."""
        gone = list[int]()
        while self._retain_s is not None and self._ended_s:
            oldest, ended_s = next(iter(self._ended_s.items()))
            if now_s - ended_s <= self._retain_s:
                break
            self._spool.drop(self._leave_out(oldest))
            gone.append(oldest)
        return tuple(gone)

    def get(self, task: int) -> TaskResult:
        """Of a task that ended.

        Raises:
            NotFoundError: It is not known, or not kept any more.
            IntegrityError: It is damaged.
        """
        if task not in self._places:
            raise NotFoundError(f"no task {task}: it never was, or its result is not kept any more")
        return _decode(self._spool.get(self._places[task][0]))

    def _note(self, task: int, key: Digest, size: int, now_s: float) -> list[Digest]:
        """Remember one; where those are for which there is no room any more."""
        self._places[task], self._ended_s[task] = (key, size), now_s
        self._bytes += size
        gone = list[Digest]()
        while len(self._places) > KEPT_RESULTS or self._bytes > KEPT_RESULTS_BYTES:
            gone.append(self._leave_out(next(iter(self._places))))
        return gone

    def _leave_out(self, task: int) -> Digest:
        del self._ended_s[task]
        key, size = self._places.pop(task)
        self._bytes -= size
        return key


def _encode(result: TaskResult) -> bytes:
    logits = result.logits
    header = _ResultHeader(
        outcome=result.outcome,
        dtype=None if logits is None else logits.dtype.name,
        shape=() if logits is None else logits.shape,
    )
    return (
        header.model_dump_json().encode() + b"\n" + (b"" if logits is None else np.ascontiguousarray(logits).tobytes())
    )


def _decode(body: bytes) -> TaskResult:
    head, _, data = body.partition(b"\n")
    header = _ResultHeader.model_validate_json(head)
    if header.dtype is None:
        return TaskResult(header.outcome)
    return TaskResult(header.outcome, np.frombuffer(data, header.dtype).reshape(header.shape))
