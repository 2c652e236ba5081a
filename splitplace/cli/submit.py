"""`splitplace submit`, `fleet answer` and `fleet cancel`: images to a live fleet, and what it answers."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts import Parameter
from rich.console import Group

from splitplace.cli.fleet import DATA
from splitplace.cli.output import emit
from splitplace.errors import SplitPlaceError, UsageError
from splitplace.files import check_file, replace_file
from splitplace.tables.answers import answers_shown

if TYPE_CHECKING:
    from splitplace import Client, RemoteClient, TaskFuture


@Parameter(name="*")
@dataclass(frozen=True)
class AskedFleet:
    """Which fleet is asked, by options that stand in each command's own.

    Args:
        data: Folder of the fleet.
        url: Of a front door (`splitplace serve`), in place of the folder: http://HOST:PORT, or https.
        token_file: File with the token that the front door asks for, if any; without, the variable SPLITPLACE_TOKEN.
        ca: PEM file of who vouches for the front door's certificate; without, whom this system trusts.
    """

    data: Path = DATA
    url: str | None = None
    token_file: Path | None = None
    ca: Path | None = None

    def client(self) -> "Client | RemoteClient":
        """Of the fleet in a folder, or behind a front door."""
        import splitplace as sp

        if self.url is not None:
            if self.data != DATA:
                raise UsageError("--data and --url: expected one of them")
            return sp.RemoteClient(self.url, token_file=self.token_file, ca=self.ca)
        if self.token_file is not None or self.ca is not None:
            raise UsageError("--token-file and --ca go with --url")
        return sp.Client(self.data)


HERE = AskedFleet()


def submit(
    application: str,
    *,
    input: tuple[Path, ...],
    deadline: float,
    labels: Path | None = None,
    out: Path | None = None,
    key: str | None = None,
    late: bool = False,
    degrade: bool = False,
    detach: bool = False,
    fleet: AskedFleet = HERE,
    json: bool = False,
) -> None:
    """Have a live fleet classify images, and wait for the answer; Ctrl-C takes the task back, unless it has a key.

    Args:
        application: One that the fleet serves.
        input: One .npy file (n, ...), or image files, or folders of them in the order of their names.
        deadline: Seconds from now.
        labels: True classes (.npy): what the fleet learns its accuracy from.
        out: Write the logits to this file (.npy).
        key: Of your choice: a second task of the same key is the first one, and gets its answer.
        late: Take an answer after the deadline, too.
        degrade: Take an answer of the branches that can be had in time.
        detach: Print the task's number and leave; `splitplace fleet answer` gets the answer.
        fleet: Which one.
        json: Print one JSON document.
    """
    from splitplace.inference.inputs import opened_folders

    if out is not None:
        check_file(out, "--out")
    input = tuple(opened_folders(input))  # to tell each by its name
    with fleet.client() as client:
        task = client.submit(
            application,
            input[0] if len(input) == 1 else input,
            deadline,
            labels,
            key=key,
            keep=detach,
            late=late,
            degrade=degrade,
        )
        if detach:
            emit({"task": _told(task.ticket)}, f"task {task.ticket}", json)
            return
        _answered(client, task, out, json, input)


def answer(task: str, /, *, out: Path | None = None, fleet: AskedFleet = HERE, json: bool = False) -> None:
    """Wait for a task's answer, or get one that is kept.

    Args:
        task: Its number, or what a front door with tokens calls it, as `submit --detach` prints it.
        out: Write the logits to this file (.npy).
        fleet: Which one.
        json: Print one JSON document.
    """
    import splitplace as sp

    if out is not None:
        check_file(out, "--out")
    with fleet.client() as client:
        future = client.answer(task) if isinstance(client, sp.RemoteClient) else client.answer(_number(task))
        _answered(client, future, out, json)


def cancel(task: str, /, *, fleet: AskedFleet = HERE, json: bool = False) -> None:
    """Take a task back: it fails, and its devices are told.

    Args:
        task: As `submit --detach` prints it.
        fleet: Which one.
        json: Print one JSON document.
    """
    import splitplace as sp

    with fleet.client() as client:
        was = client.cancel(task) if isinstance(client, sp.RemoteClient) else client.cancel(_number(task))
    became = "is cancelled" if was else "was not under way"
    emit({"task": _told(task), "was_under_way": was}, f"task {task} {became}", json)


def _number(task: str) -> int:
    """Of a task of a fleet on this machine."""
    if not (task.isascii() and task.isdigit()) or len(task) > 18:
        raise UsageError(f"task {task[:60]!r}: expected its number")
    return int(task)


def _told(ticket: str) -> int | str:
    """A number where that is all there is."""
    return int(ticket) if ticket.isdigit() else ticket


def _answered(
    client: "Client | RemoteClient", task: "TaskFuture", out: Path | None, json: bool, files: tuple[Path, ...] = ()
) -> None:
    import numpy as np

    result = task.result()
    outcome, logits = result.outcome, result.logits
    if logits is None:
        raise SplitPlaceError(f"task {outcome.id} got no answer: {outcome.error}")
    if out is not None:
        replace_file(out, lambda file: np.save(file, logits, allow_pickle=False))
    labels = [int(label) for label in logits.argmax(axis=1)]
    known = client.applications()[outcome.application].class_names
    names = [known[label] for label in labels] if known else []
    document: dict[str, Any] = {"outcome": outcome.model_dump(mode="json"), "labels": labels, "names": names}
    document |= {"inputs": [str(path.absolute()) for path in files]} if files else {}
    document |= {"out": str(out.absolute())} if out is not None else {}
    met = "met" if outcome.response_s is not None and outcome.response_s <= outcome.deadline_s else "missed"
    title = f"task {outcome.id}: {outcome.n} images by {outcome.split} in {outcome.response_s:.3f} s, deadline {met}"
    rows = list(zip(map(str, labels), names or [""] * len(labels), strict=True))
    emit(document, Group(title, answers_shown(None, ("label", "class"), rows, files, len(rows))), json)
