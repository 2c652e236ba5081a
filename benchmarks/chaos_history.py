"""A run's whole history: the broker keeps the last of it, and puts aside one file that the next takes the place of."""

import os
import shutil
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

LOOK_S = 0.5
"""A file takes minutes to fill."""


class KeptHistory:
    """Copies what is put aside, as long as it lasts, and in the end what is there; a context manager.

    Args:
        data: The fleet's data folder.
        out: Folder for the copies, whose names are in order.
    """

    def __init__(self, data: Path, out: Path):
        self._last, self._aside, self._out = data / "history.jsonl", data / "history.jsonl.1", out
        self._copied = 0
        self._seen: tuple[int, int] | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._out.mkdir()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()
        self.look()
        if self._last.exists():
            shutil.copy(self._last, self._out)

    def _look(self) -> None:
        while not self._over.wait(LOOK_S):
            self.look()

    def look(self) -> None:
        """Copy the file that is put aside, if it is another than before."""
        try:
            source = self._aside.open("rb")
        except FileNotFoundError:
            return
        with source:  # as it is now, whatever takes its place meanwhile
            there = os.fstat(source.fileno())
            if (there.st_ino, there.st_mtime_ns) == self._seen:
                return
            self._copied += 1
            with (self._out / f"history-{self._copied:04}.jsonl").open("wb") as copy:
                shutil.copyfileobj(source, copy)
            self._seen = there.st_ino, there.st_mtime_ns
