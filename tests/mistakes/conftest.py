"""Commands called in this process, in a folder of little files, and what breaks the promise made to who mistypes.

The promise: exit 0, 1 or 2; where it fails, one line and nothing left behind or changed; no traceback, nobody asked
over the network, and no work before the refusal. What takes minutes when all values are good has a stand-in.
"""

import contextlib
import io
import logging
import os
import resource
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from splitplace.cli import main
from splitplace.errors import SplitPlaceError

MOST_CALLS = 30_000_000
"""Python and C functions that a command may call; what is refused takes some thousand, and little work some million."""
MOST_MEMORY = 6 * 2**30
"""Bytes that may be added to what is in use: who asks for more gets an error, and the machine is left alone."""

WORK = {
    "splitplace.benchmarks.adaptation": ("train", "measure"),
    "splitplace.benchmarks.artifacts": ("splits",),
    "splitplace.benchmarks.chaos_splits": ("write",),
    "splitplace.benchmarks.demand": ("images", "do_stage"),
    "splitplace.benchmarks.frontier": ("strategies",),
    "splitplace.benchmarks.grid_jobs": ("measure",),
    "splitplace.benchmarks.foreign": ("try_graph",),
    "splitplace.benchmarks.hops": ("hops_s",),
    "splitplace.benchmarks.images": ("podman",),
    "splitplace.benchmarks.layer_split": ("core_speed", "_missing"),
    "splitplace.benchmarks.perf_analyzer": ("_version",),
    "splitplace.benchmarks.placement": ("reward_bound", "measure"),
    "splitplace.benchmarks.semantic": ("train_side_by_side", "train"),
    "splitplace.benchmarks.serve_models": ("write",),
    "splitplace.benchmarks.plans": ("measured",),
    "splitplace.benchmarks.simulator": ("measure",),
    "splitplace.benchmarks.testbed": ("fingerprint",),
    "splitplace.benchmarks.timings": ("_cpu_s",),
    "splitplace.benchmarks.training": ("speed",),
    "splitplace.demo.pipeline": ("images",),
    "splitplace.api.push": ("push_split",),
    "splitplace.api.pull": ("look_up_all",),
    "splitplace.api.build_images": ("gather",),
    "splitplace.training.data.applications": ("_by_any_way",),
    "splitplace.inference.probe": ("core_speed",),
    "splitplace.placement.advice.trial": ("simulate",),
    "splitplace.placement.device.joining": ("knock",),
    "splitplace.placement.serve.connection": ("connect",),
    "splitplace.placement.learning.traces": ("simulate",),
}
"""Functions that only work, by module: once one is called, every value has been taken for good."""


class ReachedError(SplitPlaceError):
    """In place of work that takes long."""


class TooLongError(BaseException):
    """A command that goes on where it should refuse."""


@dataclass
class Answer:
    """What came of a call."""

    tokens: Sequence[str]
    code: int | None = None
    out: str = ""
    err: str = ""
    remarks: list[str] = field(default_factory=list)
    """What the library said besides."""
    crash: str = ""
    """A traceback, where it ended by anything else than an exit."""
    changed: Sequence[str] = ()
    """Files and folders that are there now and were not, or the other way, or are others."""
    worked: bool = False
    """Whether it came to what takes long, or is done."""

    @property
    def faults(self) -> list[str]:
        """What breaks the promise."""
        if self.crash:
            return [self.crash]
        found = [] if self.code in (0, 1, 2) else [f"exit {self.code}"]
        said = {line.strip() for remark in self.remarks for line in remark.splitlines()}
        lines = [line for line in self.err.splitlines() if line.strip() and line.strip() not in said]
        told = [line for line in lines if line.startswith("splitplace: ")]
        if self.code and (len(told) != 1 or (len(lines) > 1 and not self.worked)):
            found.append(f"{len(lines)} lines on stderr, expected one")
        if self.code == 0 and lines:
            found.append("worked, and yet something on stderr")
        if self.code and self.changed and not self.worked:
            found.append(f"failed, and left or changed {', '.join(self.changed)}")
        return found

    def __str__(self) -> str:
        return f"splitplace {' '.join(map(repr, self.tokens))}\nexit {self.code}: {self.err[-2000:]}"


class Place:
    """A folder to call commands in (`here`), with what is beside it.

    Args:
        root: An empty folder.
        make: Fills it; what is a link, a pipe or a socket is made again by `special`.
        special: Called with `here` whenever something was put back.
    """

    def __init__(self, root: Path, make: Callable[[Path], None]):
        self.root, self.template, self.here = root / "root", root / "template", root / "root" / "here"
        self.template.mkdir()
        make(self.template)
        shutil.copytree(self.template, self.root, symlinks=True)
        self.before = self.state()

    def state(self) -> dict[str, tuple[int, ...]]:
        """Every entry, and what changes when somebody writes to it."""
        found: dict[str, tuple[int, ...]] = {}

        def look(folder: str, name: str) -> None:
            for entry in os.scandir(folder):
                below, s = f"{name}{entry.name}", entry.stat(follow_symlinks=False)
                is_folder = stat.S_ISDIR(s.st_mode)
                found[below] = (s.st_mode, s.st_ino) if is_folder else (s.st_mode, s.st_ino, s.st_size, s.st_mtime_ns)
                if is_folder:
                    look(entry.path, f"{below}/")

        look(str(self.root), "")
        return found

    def call(self, *tokens: str) -> Answer:
        """One command; all is as before afterwards."""
        answer = run(tokens, self.here)
        after = self.state()
        changed = sorted(name for name in {*self.before, *after} if self.before.get(name) != after.get(name))
        answer.changed = [name for name in changed if not may_stay(name)]
        for name in changed:
            self._put_back(name)
        if changed:
            self.before = self.state()
        return answer

    def _put_back(self, name: str) -> None:
        path, whole = self.root / name, self.template / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        if whole.is_dir() and not whole.is_symlink():
            shutil.copytree(whole, path, symlinks=True)
        elif os.path.lexists(whole):
            shutil.copy2(whole, path, follow_symlinks=False)


def may_stay(name: str) -> bool:
    """A catalog's lock, which its writers take turns by; it holds nothing."""
    return name.endswith("/.lock")


REACHED: list[str] = []


def run(tokens: Sequence[str], here: Path) -> Answer:
    """A command in this process, with its output as a shell would see it, that of C libraries included."""
    answer, left = Answer(tokens), MOST_CALLS
    make_record, before, profile = logging.getLogRecordFactory(), Path.cwd(), sys.getprofile()

    def record(*arguments: Any, **named: Any) -> logging.LogRecord:
        made = make_record(*arguments, **named)
        if made.name.startswith("splitplace"):
            answer.remarks.append(made.getMessage())
        return made

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal left
        left -= event in ("call", "c_call")
        if left == 0:
            raise TooLongError(f"{MOST_CALLS} calls, and it still goes on")

    REACHED.clear()
    beside = here.parents[1]
    with tempfile.TemporaryFile(dir=beside) as out, tempfile.TemporaryFile(dir=beside) as err:
        with streams(out.fileno(), err.fileno()):
            logging.setLogRecordFactory(record)
            os.chdir(here)
            sys.setprofile(count)
            try:
                main(tokens)
                answer.code = 0
            except SystemExit as stop:
                answer.code = stop.code if isinstance(stop.code, int) else -1
            except BaseException:  # noqa: BLE001 - whatever it is, it is what this looks for
                answer.crash = traceback.format_exc()
            finally:
                sys.setprofile(profile)
                os.chdir(before)
                logging.setLogRecordFactory(make_record)
        for name, file in (("out", out), ("err", err)):
            file.seek(0)
            setattr(answer, name, file.read().decode(errors="replace"))
    answer.worked = bool(REACHED) or answer.code == 0
    return answer


@contextlib.contextmanager
def streams(*files: int) -> Iterator[None]:
    """Stdout and stderr into these files; as strict about what can be written as those of a process are."""
    kept, before = [os.dup(1), os.dup(2)], (sys.stdout, sys.stderr)
    for number, file in zip((1, 2), files, strict=True):
        os.dup2(file, number)
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(os.fdopen(os.dup(number), "wb", 0), "utf-8", errors, write_through=True)
        for number, errors in ((1, "strict"), (2, "backslashreplace"))
    )
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.close()
        sys.stdout, sys.stderr = before
        for number, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, number)
            os.close(copy)


@pytest.fixture(scope="module")
def stand_up(request: pytest.FixtureRequest) -> Callable[[Path, Callable[[Path], None]], Place]:
    """Makes a place; what it is filled with is made before work has its stand-ins."""

    def make(root: Path, fill: Callable[[Path], None]) -> Place:
        place = Place(root, fill)
        request.getfixturevalue("stand_ins")
        patch = request.getfixturevalue("patch_environment")
        patch.setenv("TMPDIR", str(place.root / "tmp"))
        patch.setattr(tempfile, "tempdir", str(place.root / "tmp"))
        patch.setenv("SPLITPLACE_DATA", str(place.root / "data"))
        return place

    return make


@pytest.fixture(scope="module")
def patch_environment() -> Iterator[pytest.MonkeyPatch]:
    """Undone when the module's tests are done."""
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def reach(name: str) -> Callable[..., Any]:
    """A stand-in for work."""

    def stand_in(*arguments: Any, **named: Any) -> Any:
        REACHED.append(name)
        raise ReachedError(f"all values are good: {name} would work now")

    return stand_in


@pytest.fixture(scope="module")
def stand_ins() -> Iterator[None]:
    """No work that takes long, no process, no network, and no more memory than there is."""
    import pytorch_lightning

    started = subprocess.Popen.__init__

    def start(self: Any, command: Any, *arguments: Any, **named: Any) -> None:
        if isinstance(command, list) and command[0] == "git":  # the commit, for what a record says of its making
            return started(self, command, *arguments, **named)
        return reach("a process")()

    def refuse(*arguments: Any, **named: Any) -> Any:
        raise OSError(101, "Network is unreachable")

    limits = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    with pytest.MonkeyPatch.context() as patch:
        for module, names in WORK.items():
            for name in names:
                patch.setattr(import_module(module), name, reach(f"{module}.{name}"))
        patch.setattr(pytorch_lightning.Trainer, "fit", reach("a training"))
        patch.setattr(subprocess.Popen, "__init__", start)
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MOST_MEMORY, limits[1]))
        yield
        resource.setrlimit(resource.RLIMIT_AS, limits)
