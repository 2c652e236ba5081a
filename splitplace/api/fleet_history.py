"""`fleet_history`: what happened in a fleet as its journal has it, or what became of one task, by names."""

from collections.abc import Iterator
from pathlib import Path
from typing import overload

from pydantic import ValidationError

from splitplace.errors import IntegrityError, NotFoundError, explained, first_problem
from splitplace.placement.broker.events import EVENTS, Event
from splitplace.placement.broker.history import read_kept
from splitplace.placement.broker.journal_reader import events
from splitplace.placement.history import DeviceDown, Finish, FragmentPlaced, Start
from splitplace.placement.history import Event as TaskEvent
from splitplace.placement.serve.data_folder import DEFAULT, DataFolder
from splitplace.placement.serve.task_inputs import check_number


@overload
def fleet_history(data: str | Path = DEFAULT, task: None = None) -> tuple[Event, ...]: ...


@overload
def fleet_history(data: str | Path = DEFAULT, *, task: int) -> tuple[TaskEvent, ...]: ...


@explained()
def fleet_history(data: str | Path = DEFAULT, task: int | None = None) -> tuple[Event, ...] | tuple[TaskEvent, ...]:
    """What happened to a fleet, in the order its broker learnt of it, as its journal has it: whoever reads, it goes on.

    Args:
        data: Folder of the fleet.
        task: The number of a task, as `submit` prints it: what became of it, with splits, fragments and devices by
            their names, from the fleet's history, which says more of a task than the journal needs and is kept longer.

    Returns:
        Typed events, the oldest that are still kept first; times are seconds on the clock of this folder's fleets. Of a
        task, those of `placement/history.py`: each run of the fleet that it was in begins with a `Start`, from which
        times count; with the devices that went down while it had something on them.

    Raises:
        NotFoundError: No fleet ever ran there; or none that is still kept had such a task.
        IntegrityError: The journal or the history is damaged; says where.
    """
    folder = DataFolder(data)
    if task is None:
        return tuple(_journal(folder.path / "journal.sqlite"))
    check_number(task)
    found = tuple(_of_task(read_kept(folder.history), task))
    if not found:
        raise NotFoundError(
            f"no task {task} in {folder.history}: expected the number of one that came, and is kept there"
        )
    return found


def _journal(path: Path) -> Iterator[Event]:
    for sequence, body in events(path):
        try:
            yield EVENTS.validate_json(body)
        except ValidationError as error:
            raise IntegrityError(f"{path}: event {sequence}: {first_problem(error, 'as a whole')}") from error


def _of_task(kept: Iterator[TaskEvent], task: int) -> Iterator[TaskEvent]:
    start: Start | None = None
    on: set[str] = set()
    for event in kept:
        if isinstance(event, Start):
            start, on = event, set()
            continue
        mine = event.outcome.id == task if isinstance(event, Finish) else getattr(event, "task", None) == task
        if mine or (isinstance(event, DeviceDown) and event.device in on):
            if start is not None:
                yield start
                start = None
            yield event
        if mine and isinstance(event, FragmentPlaced):
            on.add(event.device)
        elif mine and isinstance(event, Finish):
            on = set()
