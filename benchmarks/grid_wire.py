"""What passes between an experiment's command, the process that talks to Ray, and its nodes: JSON, and nothing else.

A cell is the name of a function of a bench and what it is called with; the files that it names travel by content.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, Self, get_type_hints, runtime_checkable

import numpy as np
from pydantic import Field, TypeAdapter

from splitplace import provenance
from splitplace.errors import IntegrityError
from splitplace.records.base import Count, PositiveCount, Record

Work = Callable[[Any], Any]
PACKAGE = "splitplace.benchmarks"
STATES = ".safetensors"
"""Of the files in a folder that a task names: what is read there."""
FILE_NAME = re.compile(r"[0-9a-f]{16}/[^/\0]{1,255}")
FILES: TypeAdapter[dict[str, str]] = TypeAdapter(dict[str, str])
"""Base64 by name."""


class CodeFacts(Record):
    """By what code, and on what, cells are measured."""

    splitplace: str
    commit: str
    """As in `Provenance`: for words alone."""
    code: str
    """As `provenance.code_digest` has it."""
    numpy: str
    scipy: str
    """Nothing where there is none."""
    machine: str
    """As `Machine.words` has it."""

    @classmethod
    def here(cls) -> Self:
        """Of this process."""
        return cls(
            splitplace=version("splitplace"),
            commit=provenance.commit(),
            code=provenance.code_digest(),
            numpy=np.__version__,
            scipy=version("scipy") if find_spec("scipy") else "",
            machine=provenance.machine().words,
        )

    def difference(self, other: "CodeFacts") -> str:
        """What of another's is not as it is here, in words; empty where cells would be the same."""
        for name in ("splitplace", "numpy", "scipy"):
            mine, its = getattr(self, name), getattr(other, name)
            if mine != its and its:
                return f"it has {name} {its}, expected {mine} as here: install that there"
        if self.code == other.code:
            return ""
        mine, its = (re.sub(r"^([0-9a-f]{9})[0-9a-f]+", r"\1", one.commit) for one in (self, other))
        if mine == its:
            return f"its splitplace is another than here, though both say commit {its}: install there what is here"
        return f"its splitplace is of commit {its}, expected {mine} as here: update it there"


class NodeHello(Record):
    """What a node says first."""

    facts: CodeFacts
    problem: str = ""
    """Why it cannot measure."""


class CellBatch(Record):
    """To the process that talks to Ray: cells of this number follow; what is left of those before is dropped."""

    type: Literal["batch"] = "batch"
    number: Count
    files: dict[str, str]
    """Base64 by name, as `Luggage` gives them."""


class CellAsked(Record):
    """A cell."""

    type: Literal["cell"] = "cell"
    batch: Count
    number: Count
    work: str
    """As `name_of` has it."""
    task: str
    """JSON."""


class CellDone(Record):
    """What came of one."""

    type: Literal["done"] = "done"
    batch: Count
    number: Count
    result: str
    """JSON."""
    machine: str = ""


class CellFailed(Record):
    """Why nothing came of one."""

    type: Literal["failed"] = "failed"
    batch: Count
    number: Count
    problem: str
    usage: bool = False
    """It is the user's mistake."""


class CellAgain(Record):
    """One is measured again: who measured it has ended."""

    type: Literal["again"] = "again"
    batch: Count
    number: Count
    node: str


class NodeHired(Record):
    """One more core of a node measures from now on."""

    type: Literal["hired"] = "hired"
    node: str
    """Its address."""


class NodeRefused(Record):
    """A node that cannot measure."""

    type: Literal["refused"] = "refused"
    node: str
    reason: str


class ForemanEnded(Record):
    """Nothing can be measured there: it ends."""

    type: Literal["ended"] = "ended"
    reason: str


class CrewAsked(Record):
    """What the process that talks to Ray is begun with."""

    facts: CodeFacts
    most: PositiveCount | None
    """Cores; all there are, for none."""


Request = CellBatch | CellAsked
Report = CellDone | CellFailed | CellAgain | NodeHired | NodeRefused | ForemanEnded
REQUESTS: TypeAdapter[Request] = TypeAdapter(Annotated[Request, Field(discriminator="type")])
REPORTS: TypeAdapter[Report] = TypeAdapter(Annotated[Report, Field(discriminator="type")])
ANSWERS: TypeAdapter[CellDone | CellFailed] = TypeAdapter(Annotated[CellDone | CellFailed, Field(discriminator="type")])


def name_of(work: Work) -> str:
    """By which another process finds a function of a bench."""
    assert work.__module__.startswith(f"{PACKAGE}."), f"{work.__module__} is no bench"
    return f"{work.__module__}:{work.__qualname__}"


def work_named(name: str) -> Work:
    """The function.

    Raises:
        IntegrityError: It is none of a bench's.
    """
    module, _, function = name.partition(":")
    if not module.startswith(f"{PACKAGE}."):
        raise IntegrityError(f"{name!r} is asked for, expected a function of {PACKAGE}")
    found: Work = getattr(import_module(module), function)
    return found


@cache
def adapters(work: Work) -> tuple[TypeAdapter[Any], TypeAdapter[Any]]:
    """What it takes, and what it answers with, as JSON: by its annotations."""
    hints = get_type_hints(work)
    gives = hints.pop("return")
    (takes,) = hints.values()
    return TypeAdapter(takes), TypeAdapter(gives)


@runtime_checkable
class NamesFiles(Protocol):
    """A task that may name files."""

    def moved(self, place: Callable[[str], str]) -> Self:
        """The same, its files and folders where `place` has them."""
        ...


class Luggage:
    """The files that tasks name, by content, so that they are found where nobody has this folder."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        """Base64 by name."""
        self._places: dict[str, str] = {}

    def packed(self, task: Any) -> Any:
        """The task as it names them there, relative to the folder that they are unpacked in."""
        return task.moved(self.place) if isinstance(task, NamesFiles) else task

    def place(self, path: str) -> str:
        """Take along a file, or a folder's states; what is not there stays as it is, and is missed there as here."""
        if path not in self._places:
            there = Path(path)
            found = [there] if there.is_file() else sorted(there.glob(f"*{STATES}"))
            contents = {file.name: file.read_bytes() for file in found}
            digest = hashlib.sha256()
            for name, content in contents.items():
                digest.update(f"{name}\0{len(content)}\0".encode() + content)
            folder = digest.hexdigest()[:16]
            self.files |= {f"{folder}/{name}": base64.b64encode(data).decode() for name, data in contents.items()}
            self._places[path] = f"{folder}/{there.name}" if there.is_file() else folder if found else path
        return self._places[path]


def unpack(files: Mapping[str, str], folder: Path) -> None:
    """Put them where tasks name them.

    Args:
        files: As of `Luggage`.
        folder: That tasks are then done in.

    Raises:
        IntegrityError: A name or a content that no `Luggage` gives.
    """
    for name, content in files.items():
        if not FILE_NAME.fullmatch(name) or name.endswith(("/.", "/..")):
            raise IntegrityError(f"a file of a cell is called {name!r}, expected 16 hexadecimal digits, / and a name")
        try:
            data = base64.b64decode(content, validate=True)
        except binascii.Error as error:
            raise IntegrityError(f"file {name} of a cell: {error}") from error
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
