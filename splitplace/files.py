"""Files and folders that are there whole or not at all, whatever dies meanwhile: the process, or the machine.

One policy for everything that is kept: it is written under another name beside its place, brought to the disk, and
only then given its name, which is brought to the disk as well before the call returns. Whoever reads finds the former
or the new, never a part. What fails leaves the former and nothing else; what is killed leaves the former, and what it
had written so far under a name that `is_scratch` tells. Modes are as the umask has them.
"""

import errno
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from splitplace.errors import UsageError

SCRATCH = ".new-"
"""What the names of unfinished files and folders begin with."""

Content = bytes | memoryview | str | Callable[[BinaryIO], object]
"""Bytes, text (written as UTF-8), or what writes to an open file."""


def is_scratch(name: str) -> bool:
    """Whether a file or folder of this name is what somebody who was killed had written so far."""
    return name.startswith(SCRATCH)


def at_home(path: str) -> Path | None:
    """A path in the user's home; None where the system knows of none, as of a bare user id in a container."""
    try:
        return Path.home() / path
    except RuntimeError:
        return None


def check_file(path: Path, option: str) -> None:
    """Refuse, before any work, a file that could not be written.

    Args:
        path: Of the file; what stands there would be replaced.
        option: Who asks for it, as --plot.

    Raises:
        UsageError: A folder, or what is no file, stands there; or nothing can be made in the folder above.
    """
    with _told(path, option):
        if path.exists() and not path.is_file():
            raise UsageError(f"{option} {path}: {'a folder' if path.is_dir() else 'no regular file'} stands there")
        _try(path.parent)


def check_folder(path: Path, option: str) -> None:
    """Refuse, before any work, a folder that could not be made, or nothing be written in; as `check_file`."""
    with _told(path, option):
        _try(path)


@contextmanager
def _told(path: Path, option: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(f"{option} {path}: cannot be written ({error.strerror}): give another place") from error


def _try(folder: Path) -> None:
    """Write something in a folder, or in the nearest one above it that is there, and leave nothing."""
    for above in (folder.absolute(), *folder.absolute().parents):
        with suppress(FileNotFoundError, NotADirectoryError):
            above.lstat()
            break
    if not above.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, f"{above} is no folder")
    with tempfile.TemporaryFile(prefix=SCRATCH, dir=above) as file:
        file.write(b"x")
        file.flush()


def replace_file(path: Path, content: Content, scratch: Path | None = None) -> None:
    """Write a file, in place of what stands there; folders are made as needed.

    Args:
        path: Of the file.
        content: What it is to hold.
        scratch: Folder for the unfinished file, of the same file system; the file's own if not stated.

    Raises:
        OSError: The disk is full or not writable, or a device, a pipe or a folder stands there; it is as it was.
    """
    replace_files({path: content}, scratch)


def replace_files(contents: Mapping[Path, Content], scratch: Path | None = None) -> None:
    """Write several files as `replace_file` does, and bring each folder's names to the disk once.

    Each is there whole or as it was; a kill may leave some of them replaced and others not.

    Raises:
        OSError: As `replace_file`; those that have not got their names yet are as they were.
    """
    fresh: dict[Path, Path] = {}
    try:
        for path, content in contents.items():
            if path.exists() and not path.is_file():  # /dev/null is not to become a file, whoever may write there
                raise OSError(errno.EINVAL, "no regular file, and not to be replaced by one", str(path))
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh[path] = _fresh(scratch or path.parent, path.name)
            with fresh[path].open("xb") as file:
                if callable(content):
                    content(file)
                else:
                    file.write(content.encode() if isinstance(content, str) else content)
        for unfinished in fresh.values():  # all have been handed to the system, which writes them side by side
            sync(unfinished)
        for path, unfinished in fresh.items():
            unfinished.replace(path)
    except BaseException:
        for unfinished in fresh.values():
            unfinished.unlink(missing_ok=True)
        raise
    for folder in {path.parent for path in contents}:
        sync(folder)


def write_aside(path: Path, content: bytes | memoryview) -> Path:
    """Bring bytes to the disk beside a place, for who is to give them its name later, and then has to sync the folder.

    Returns:
        Where they are, under a name that `is_scratch` tells.

    Raises:
        OSError: The disk is full or not writable; nothing is left.
    """
    unfinished = _fresh(path.parent, path.name)
    try:
        with unfinished.open("xb") as file:
            file.write(content)
        sync(unfinished)
    except BaseException:
        with suppress(OSError):  # the folder itself may be gone
            unfinished.unlink(missing_ok=True)
        raise
    return unfinished


@contextmanager
def replace_folder(path: Path) -> Iterator[Path]:
    """A new folder to fill, which takes the place of what stands at `path` when the block ends without an error.

    A folder's name cannot be given to another in one step: a kill in between leaves nothing at `path`, and the former
    in the scratch folder.

    Raises:
        OSError: The disk is full or not writable; what stood there is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = _fresh(path.parent, path.name)
    fresh, former = scratch / "new", scratch / "old"
    try:
        fresh.mkdir(parents=True)
        yield fresh
        for folder, _, names in os.walk(fresh, topdown=False):
            for name in names:
                sync(Path(folder, name))
            sync(Path(folder))
        try:
            if _there(path):
                path.rename(former)
            fresh.rename(path)
        except BaseException:
            if _there(former) and not _there(path):
                former.rename(path)
            raise
        sync(path.parent)
    finally:
        if _there(path) or not _there(former):  # else the former could not be brought back: it stays where it is
            shutil.rmtree(scratch, ignore_errors=True)


def make_folder(path: Path) -> None:
    """A folder, and those above it, there when the call returns whatever becomes of the machine.

    Raises:
        OSError: The disk is full or not writable, or a file stands there.
    """
    missing = [folder for folder in path.parents if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in (path, *missing):  # its own name always: who made it may have been killed before this
        sync(folder.parent)


def _there(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _fresh(folder: Path, name: str) -> Path:
    """A name that nobody has, short enough for any file system."""
    return folder / f"{SCRATCH}{name[:64]}-{secrets.token_hex(6)}"


def sync(path: Path) -> None:
    """Bring a file's bytes, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
