"""The fleet's state as a whole, on disk: what a restart begins with, in place of the events that made it.

What tasks under way were answered so far goes to the spool, and is written once; all else is the snapshot's text.
"""

import logging
import time

from pydantic import TypeAdapter, ValidationError

from splitplace.errors import ContractError, IntegrityError, OverloadedError, first_problem
from splitplace.placement.broker.database import REMEDY
from splitplace.placement.broker.journal import Journal
from splitplace.placement.broker.kept_results import KeptResults
from splitplace.placement.broker.setup import Setup
from splitplace.placement.broker.spool import Spool
from splitplace.placement.broker.state import FleetState
from splitplace.records.base import Digest, Record

log = logging.getLogger(__name__)

SNAPSHOT_EVENTS = 20_000
SNAPSHOT_SHARE = 0.25
"""A snapshot is due behind so many events, or behind such a share of the bytes that the journal may hold."""
SNAPSHOT_PAUSE_S, SNAPSHOT_TIMES = 1.0, 1.0
"""At least between two snapshots, or so many times what the last one took: where the state is large, or the disk full.
A journal that fills up while a snapshot rests refuses tasks until it is over."""
_STATE = TypeAdapter(FleetState)


class Snapshot(Record):
    """Beside the state itself."""

    results: dict[int, tuple[Digest, int]]
    """Of tasks that ended: where their result is found, and its size."""
    answers: dict[int, Digest]
    """Of tasks under way: where the answers that they have so far are found, which are not in the state's text."""


class _AnswersHeader(Record):
    """Before the logits that a task has so far, in this order."""

    sizes: dict[str, dict[int, int]]
    """Bytes by sink and micro-batch."""


class Snapshots:
    """Of one broker's state.

    Args:
        journal: That they are in.
        spool: That the answers are in.
        results: Of tasks that ended; a snapshot says where each is.
        setup: Of the run.
    """

    def __init__(self, journal: Journal, spool: Spool, results: KeptResults, setup: Setup):
        self._journal, self._spool, self._results, self._setup = journal, spool, results, setup
        self.answers: tuple[Digest, ...] = ()
        """In the spool, of the last one."""
        self._rests_until_s = 0.0

    def read(self, snapshot: bytes) -> FleetState:
        """The state that a snapshot has; the results that it names are here from now on.

        Raises:
            IntegrityError: It is damaged, or what it names is.
            ContractError: Tasks wait in it for another fleet.
        """
        head, _, body = snapshot.partition(b"\n")
        try:
            beside = Snapshot.model_validate_json(head)
            state = _STATE.validate_json(body)
        except ValidationError as error:
            raise IntegrityError(f"{self._journal.path}: not a snapshot: {first_problem(error, 'state')}") from error
        for id_, key in beside.answers.items():
            try:
                state.tasks[id_].answers = _unpack(self._spool.get(key))
            except IntegrityError as error:
                raise IntegrityError(
                    f"{self._journal.path}: the answers that task {id_} had: {error}{REMEDY}"
                ) from error
        self.answers = tuple(beside.answers.values())
        if len(state.devices) != len(self._setup.devices):
            if state.tasks:
                raise ContractError(
                    f"{self._journal.path.parent}: {len(state.tasks)} tasks wait there for a fleet of "
                    f"{len(state.devices)} devices, this one has {len(self._setup.devices)}: start that one again and "
                    "drain it, or give another folder"
                )
            fresh = self._setup.first()  # no device is up now, of either fleet
            state.devices, state.ledger, state.alarms = fresh.devices, fresh.ledger, []
        self._results.restore(beside.results, state.now_s)
        return state

    def compact(self, state: FleetState, now_s: float) -> None:
        """Now and then: keep the state as it is now instead of the events that made it.

        Where those leave no room for new tasks, before long: what ended since the last snapshot makes some.

        Args:
            state: All of it.
            now_s: By the fleet's clock, which goes on where nothing happens.
        """
        events, size = self._journal.behind
        due = events >= SNAPSHOT_EVENTS or size >= SNAPSHOT_SHARE * self._journal.limit_bytes
        if now_s < self._rests_until_s or not (due or (events and self._journal.full)):
            return
        start_s = time.monotonic()
        try:
            self.take(state)
        except OverloadedError as error:
            log.warning("no snapshot was taken: %s", error)
        took_s = time.monotonic() - start_s
        self._rests_until_s = now_s + max(SNAPSHOT_PAUSE_S, SNAPSHOT_TIMES * took_s)

    def take(self, state: FleetState) -> None:
        """Keep the state as it is now. What tasks were answered so far goes to the spool, and is written once.

        Raises:
            OverloadedError: The disk is full, or there is no room in the spool.
        """
        answers = dict[int, Digest]()
        try:
            for id_, task in state.tasks.items():
                if task.answers:
                    answers[id_] = self._spool.put(_pack(task.answers))
            head = Snapshot(results=self._results.places(), answers=answers).model_dump_json().encode()
            body = _STATE.dump_json(state, exclude={"tasks": {"__all__": {"answers"}}})
            self._journal.snapshot(head + b"\n" + body)
        except OverloadedError:
            for key in answers.values():
                self._spool.drop(key)
            raise
        for key in self.answers:  # of the snapshot before: removed with the next commit
            self._spool.drop(key)
        self.answers = tuple(answers.values())


def _pack(answers: dict[str, dict[int, bytes]]) -> bytes:
    sizes = {sink: {row: len(logits) for row, logits in rows.items()} for sink, rows in answers.items()}
    data = (logits for rows in answers.values() for logits in rows.values())
    return b"".join([_AnswersHeader(sizes=sizes).model_dump_json().encode(), b"\n", *data])


def _unpack(body: bytes) -> dict[str, dict[int, bytes]]:
    head, _, data = body.partition(b"\n")
    answers, at = dict[str, dict[int, bytes]](), 0
    for sink, rows in _AnswersHeader.model_validate_json(head).sizes.items():
        answers[sink] = {}
        for row, size in rows.items():
            answers[sink][row] = data[at : at + size]
            at += size
    return answers
