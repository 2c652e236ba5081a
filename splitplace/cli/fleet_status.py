"""`splitplace fleet status` and `history`: what a live fleet does, and what happened to it."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from rich.console import RenderableType
from rich.live import Live
from rich.table import Table

from splitplace.cli.fleet import DATA
from splitplace.cli.output import emit, err
from splitplace.cli.verb import Shown, verb
from splitplace.errors import NotReadyError, UsageError
from splitplace.tables.fitting import fitting
from splitplace.tables.fleet import event_fields, status_shown

WATCH_EVERY_S = 1.0


def status(*, data: Path = DATA, watch: bool = False, json: bool = False) -> None:
    """Show a fleet's devices and tasks.

    Args:
        data: Folder of the fleet.
        watch: Show it again every second, until Ctrl-C or the fleet's end.
        json: Print one JSON document.
    """
    import splitplace as sp

    if watch and json:
        raise UsageError("--watch and --json exclude each other")
    with sp.Client(data) as client:
        if not watch:
            found = client.status()
            emit(found.model_dump(mode="json") | {"pid": client.pid}, status_shown(found), json)
            return
        try:
            with _board() as show:
                while True:
                    show(status_shown(client.status()))
                    time.sleep(WATCH_EVERY_S)
        except NotReadyError as error:
            err.print(str(error))
        except KeyboardInterrupt:
            return


@contextmanager
def _board() -> Iterator[Callable[[RenderableType], None]]:
    """What shows one thing in place of the former; in a file or a pipe, below it."""
    if not sys.stdout.isatty():
        yield lambda thing: emit({}, thing, False)
        return
    with Live(auto_refresh=False) as live:
        yield lambda thing: live.update(fitting(thing, live.console), refresh=True)


@verb("fleet_history", positional=0, data=Path, task=int)
def history(events: Sequence[BaseModel]) -> Shown:
    """What happened."""
    table = Table("at s", "event", "what")
    devices: Sequence[str] = ()
    documents = list[dict[str, Any]]()
    for event in events:
        document = event.model_dump(mode="json")
        kind = document.get("kind") or document["event"]
        devices = document["devices"] if kind == "opened" else devices
        at_s = document.get("at_s", document.get("start_s"))
        table.add_row("" if at_s is None else f"{at_s:.3f}", kind, ", ".join(event_fields(event.model_dump(), devices)))
        documents.append(document)
    table.title = f"{len(documents)} events"
    return {"events": documents}, table
