"""The access log: a JSON line a request, on the logger `splitplace.access`; no query, no header, no tensor."""

import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime

log = logging.getLogger("splitplace.access")


@dataclass
class Visited:
    """What is told of one request; filled in as it becomes known."""

    client: str
    method: str
    path: str
    route: str = "none"
    """As it is written in the routes; a path of no route is told by `path` alone."""
    token: str = ""
    status: int = 0
    """0 where the client left before its answer."""
    bytes_in: int = 0
    bytes_out: int = 0
    seconds: float = 0.0
    task: int | None = None
    model: str | None = None
    error: str | None = None

    def write(self) -> None:
        """One line."""
        if log.isEnabledFor(logging.INFO):
            told = {"at": datetime.now(UTC).isoformat(timespec="milliseconds")} | vars(self)
            told["path"], told["seconds"] = self.path[:200], round(self.seconds, 6)
            log.info("%s", json.dumps({name: value for name, value in told.items() if value not in (None, "")}))
