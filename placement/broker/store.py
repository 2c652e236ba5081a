"""What a broker keeps in its data folder: the events of its state, inputs and results, what its policy remembers.

    journal.sqlite      events and snapshots of the state (`journal.py`, `snapshots.py`)
    spool/              inputs and results of tasks that are too large for the journal (`spool.py`)
    policy/             what the policy remembers, and its generator, as of some seconds ago; what it had learned of
                        other devices, under another name (`policy_folder.py`)

A restart replays the snapshot and the events after it through the same rules.
"""

import logging
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from splitplace.errors import (
    ContractError,
    IntegrityError,
    NotReadyError,
    OverloadedError,
    SplitPlaceError,
    first_problem,
)
from splitplace.files import make_folder
from splitplace.inference.encoded_images import EncodedImages
from splitplace.placement.broker.effects import EndTask
from splitplace.placement.broker.events import EVENTS, BrokerOpened, Event, ResultsForgotten, TaskAccepted
from splitplace.placement.broker.journal import Journal
from splitplace.placement.broker.kept_results import KeptResults
from splitplace.placement.broker.policy_folder import PolicyFolder
from splitplace.placement.broker.rules import Rules
from splitplace.placement.broker.setup import Setup
from splitplace.placement.broker.snapshots import Snapshots
from splitplace.placement.broker.spool import Payload, Spool
from splitplace.placement.broker.state import FleetState, TaskState
from splitplace.placement.outcome import TaskResult
from splitplace.placement.protocol.fields import Value

log = logging.getLogger(__name__)

QUOTA_BYTES = 4 * 2**30
"""Of inputs and results."""
NUMBERS_AHEAD = 10_000
"""How far behind the last number on the disk a task may be called by one that is not there yet."""


class Store:
    """The data folder of one broker, for one thread.

    Args:
        folder: Made as needed; nobody but its user may look in.
        setup: Of the run: another one's folder is refused.
        quota_bytes: Of inputs and results.
        retain_s: How long a result is kept; none: as long as there is room. What an earlier broker left is kept as long
            again.

    Raises:
        SplitPlaceError: Another broker uses it, it is damaged, of another version or setup, or the disk is full.
    """

    def __init__(self, folder: Path, setup: Setup, quota_bytes: int = QUOTA_BYTES, retain_s: float | None = None):
        make_folder(folder)
        folder.chmod(0o700)
        self.folder, self.setup = folder, setup
        self.journal = Journal(folder / "journal.sqlite")
        try:
            self.spool = Spool(folder / "spool", quota_bytes, self.journal)
        except BaseException:
            self.journal.close()
            raise
        self._results = KeptResults(self.spool, retain_s)
        self.snapshots = Snapshots(self.journal, self.spool, self._results, setup)
        self.policy = PolicyFolder(folder / "policy", setup)

    def state(self, rules: Rules) -> FleetState:
        """The state as the last broker left it.

        Raises:
            IntegrityError: What is there is damaged, or is no state of this setup's.
        """
        snapshot, events = self.journal.replay()
        state = self.setup.first() if snapshot is None else self.snapshots.read(snapshot)
        for _, body in events:
            try:
                event = EVENTS.validate_json(body)
            except ValidationError as error:
                raise IntegrityError(f"{self.journal.path}: not an event: {first_problem(error, 'event')}") from error
            if isinstance(event, BrokerOpened) and len(event.devices) != len(self.setup.devices):
                raise ContractError(
                    f"{self.folder}: a fleet of {', '.join(event.devices)} was killed there: start that one again and "
                    "drain it, or give another folder"
                )
            if isinstance(event, ResultsForgotten):
                self._results.replay_forgotten(event.tasks)
                continue
            for effect in rules.apply(state, event):
                if isinstance(effect, EndTask):
                    self._results.replay(effect.task, TaskResult(effect.outcome, effect.logits), state.now_s)
        inputs = [task.inputs for task in state.tasks.values() if task.inputs]
        self.spool.keep([*inputs, *self.snapshots.answers, *self._results.digests()])
        return state

    def first_task(self, state: FleetState) -> int:
        """The first number that no broker before can have told anybody, however it ended.

        Args:
            state: As the last broker left it; nothing has been committed since.
        """
        return state.next_task + (NUMBERS_AHEAD if self.journal.last else 0)

    # Events.

    @property
    def accepting(self) -> bool:
        """Whether there is room for new tasks."""
        return self.journal.accepting

    @property
    def policy_is_due(self) -> bool:
        """Whether what the policy remembers is to be kept now: not while the folder is not where it was."""
        return self.journal.lost is None and self.policy.save_is_due

    def append(self, event: Event) -> int:
        """Take an event on; on disk with the next `commit`. Its number, from 1 on."""
        return self.journal.append(event.model_dump_json().encode())

    def has_written(self, sequence: int) -> bool:
        """Whether the event of this number is on the disk."""
        return sequence <= self.journal.last

    def commit(self) -> SplitPlaceError | None:
        """Bring all to the disk; answers why that is not so. What could not be written is tried again with the next."""
        for last in (False, True):
            try:
                self.journal.commit()
            except OverloadedError as error:
                if last:
                    return error
            else:
                break
        return None

    # Inputs and results.

    def take_in(self, event: TaskAccepted, images: Payload | Value | None) -> TaskAccepted:
        """Put a task's images into the spool, if it is not volatile; the event, with where they are.

        Raises:
            OverloadedError: No room for them.
        """
        if not self.accepting:
            if isinstance(images, Payload):
                images.discard()
            raise OverloadedError(self.journal.lost or self._no_room())
        if images is None:
            return event
        return event.model_copy(update={"inputs": self.spool.put(images)})

    def _no_room(self) -> str:
        if self.journal.full:
            return (
                f"{self.folder}: the journal has come to the {self.journal.limit_bytes} bytes that it may hold of "
                "tasks under way, no new ones are taken: try again when some have left"
            )
        return f"{self.folder}: the disk is full, no new tasks are taken: make room there"

    def images(self, task: TaskState) -> Value:
        """A task's images, as they travel.

        Raises:
            NotReadyError: They were the former broker's alone.
            IntegrityError: They are damaged or missing.
        """
        if not task.inputs:
            raise NotReadyError("it was volatile, and ended with the fleet's former process: submit it again")
        spec = next(
            entry.split.inputs[0]
            for entry in self.setup.demand.splits
            if entry.split.application == task.task.application
        )
        shape = tuple(size for size in spec.shape[1:] if isinstance(size, int))
        body = self.spool.get(task.inputs)
        if task.encoded:
            return EncodedImages.from_bytes(body, (task.task.n, *shape))
        return np.frombuffer(body, spec.dtype).reshape(-1, *shape)

    def drop(self, inputs: str) -> None:
        """A task's images are not needed any more."""
        if inputs:
            self.spool.drop(inputs)

    def keep(self, finish: EndTask, now_s: float) -> None:
        """A task ended: keep its result, for a while."""
        try:
            self._results.put(finish.task, TaskResult(finish.outcome, finish.logits), now_s)
        except OverloadedError as error:
            log.warning("the result of task %d is not kept: %s", finish.task, error)
            self.append(ResultsForgotten(at_s=now_s, tasks=(finish.task,)))

    def forget(self, now_s: float) -> bool:
        """Keep no result any more whose time is over; answers whether there was one.

        The next `commit` takes it off the disk, and says so to whoever replays the end of its task: what is then
        missing without a word is damage.
        """
        gone = self._results.forget(now_s)
        if gone:
            self.append(ResultsForgotten(at_s=now_s, tasks=gone))
        return bool(gone)

    def keeps(self, task: int) -> bool:
        """Whether the result of a task that ended is to be here."""
        return task in self._results

    def result(self, task: int) -> TaskResult:
        """Of a task that ended, also under an earlier broker.

        Raises:
            NotFoundError: It is not known, or not kept any more.
            IntegrityError: It is damaged.
        """
        return self._results.get(task)

    def close(self) -> None:
        """Let another broker in."""
        self.journal.close()
