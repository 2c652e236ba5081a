"""Files by name, wherever they lie: in a folder, packed one by one, or in an archive that nobody unpacked."""

import bz2
import gzip
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from splitplace.errors import IntegrityError

Files = Mapping[str, Callable[[], bytes]]
"""What lies in a folder or archive: a function that reads it, by name."""

MAX_FILE_BYTES = 2**30
_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip", ".npz")
_PACKED: Mapping[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, OSError, EOFError, RuntimeError)
"""What these raise; RuntimeError, where one is encrypted."""


def is_archive(path: Path) -> bool:
    """Whether a file is an archive, by its name or, whatever it is called, by its content."""
    return path.name.lower().endswith(_ARCHIVES) or tarfile.is_tarfile(path) or _is_zip(path)


def files_in(path: Path) -> Files:
    """What lies in a folder, packed files without their ending, or in an archive, whichever folder of it.

    Raises:
        IntegrityError: An archive that is damaged; a file that is, once it is read.
    """
    if not path.is_file():
        return _in_folder(path)
    try:
        if _is_zip(path):
            return _in_zip(path)
        with tarfile.open(path) as tar:
            members = [member for member in tar if member.isfile() and member.size <= MAX_FILE_BYTES]
            read = {Path(member.name).name: tar.extractfile(member) for member in members}
            return {name: partial(bytes, file.read()) for name, file in read.items() if file is not None}
    except _DAMAGED as error:
        reason = str(error).splitlines()[0].rstrip(":")  # tarfile goes on with what each of its readers says
        raise IntegrityError(f"{path}: not an archive that can be read ({reason}): fetch it again") from error


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"PK" and zipfile.is_zipfile(path)


def _in_folder(folder: Path) -> Files:
    """A file that stands in a folder of its own name, as some sites pack each, is that file."""
    entries = [entry / entry.name if (entry / entry.name).is_file() else entry for entry in folder.iterdir()]
    files = sorted(entry for entry in entries if entry.is_file())
    # What is unpacked stands last, and so counts, where the packed one was kept beside it.
    files.sort(key=lambda file: file.suffix.lower() not in _PACKED)
    return {_unpacked(file): partial(_content, file) for file in files}


def _unpacked(file: Path) -> str:
    return file.stem if file.suffix.lower() in _PACKED else file.name


def _content(file: Path) -> bytes:
    opener = _PACKED.get(file.suffix.lower(), open)
    try:
        with opener(file, "rb") as stream:
            data: bytes = stream.read(MAX_FILE_BYTES + 1)
    except _DAMAGED as error:
        raise IntegrityError(f"{file}: cannot be read: {error}") from error
    return _bounded(data, str(file))


def _in_zip(path: Path) -> Files:
    with zipfile.ZipFile(path) as archive:
        return {Path(name).name: partial(_member, path, name) for name in archive.namelist() if not name.endswith("/")}


def _member(path: Path, name: str) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive, archive.open(name) as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except (*_DAMAGED, NotImplementedError) as error:
        raise IntegrityError(f"{path}: {name} in it cannot be read: {error}") from error
    return _bounded(data, f"{path}: {name}")


def _bounded(data: bytes, where: str) -> bytes:
    if len(data) > MAX_FILE_BYTES:
        raise IntegrityError(f"{where}: more than {MAX_FILE_BYTES} bytes")
    return data
