"""Files by name, wherever they lie: in a folder, packed one by one, or in an archive that nobody unpacked."""

import bz2
import gzip
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import IO, Any, NoReturn

from splitplace.errors import IntegrityError, UsageError, some
from splitplace.training.data.dataset import MAX_DECODED_BYTES
from splitplace.training.data.parts import is_hidden

Files = Mapping[str, Callable[[], bytes]]
"""What lies in a folder or archive: a function that reads it, by name."""

MAX_FILE_BYTES = 2**30
_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip", ".npz")
_PACKED: Mapping[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_DAMAGED = (
    *(tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error),
    *(OSError, EOFError, RuntimeError, NotImplementedError),
)
"""What these raise; RuntimeError, where one is encrypted, NotImplementedError, where one is packed in another way."""

_Opener = Callable[[], AbstractContextManager[IO[bytes]]]


def is_archive(path: Path) -> bool:
    """Whether a file is an archive, by its name or, whatever it is called, by its content."""
    if path.name.lower().endswith(_ARCHIVES):
        return True
    try:
        return tarfile.is_tarfile(path) or _is_zip(path)
    except _DAMAGED:  # a packed file that is cut off before it says what is in it
        return False


def files_in(path: Path) -> Files:
    """What lies in a folder or in an archive, whichever folder of it; packed files without their ending.

    Nothing is read before it is asked for, and no more than a data set may take.

    Raises:
        IntegrityError: An archive that is damaged; a file that is, or that is too much, once it is read.
        UsageError: A file that lies in several folders of an archive, once it is read.
    """
    try:
        found = list(_in_archive(path) if path.is_file() else _in_folder(path))
    except _DAMAGED as error:
        # tarfile goes on with what each of its readers says
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(":")
        raise IntegrityError(f"{path}: not an archive that can be read ({reason}): fetch it again") from error
    # What is unpacked stands last, and so counts, where the packed one was kept beside it.
    found.sort(key=lambda entry: entry[0].suffix.lower() not in _PACKED)
    files: dict[str, dict[Path, Callable[[], bytes]]] = {}
    reader = _BoundedReader()
    for file, opener in found:
        if not any(map(is_hidden, (file, *file.parents))):
            name = file.stem if file.suffix.lower() in _PACKED else file.name
            # A file that stands in a folder of its own name, as some sites pack each, is that file.
            home = file.parent.parent if file.parent.name == file.name else file.parent
            files.setdefault(name, {})[home] = partial(reader.read, opener, path / file)
    return {
        name: next(iter(homes.values())) if len(homes) == 1 else partial(_ambiguous, path, name, homes)
        for name, homes in files.items()
    }


class _BoundedReader:
    """Reads the files of one place, all together no more than a data set may take."""

    def __init__(self) -> None:
        self._left = MAX_DECODED_BYTES

    def read(self, opener: _Opener, file: Path) -> bytes:
        """The content, unpacked if it is packed."""
        unpack = _PACKED.get(file.suffix.lower(), nullcontext)
        try:
            with opener() as packed, unpack(packed) as stream:
                data: bytes = stream.read(min(MAX_FILE_BYTES, self._left) + 1)
        except _DAMAGED as error:
            raise IntegrityError(f"{file}: cannot be read: {error}") from error
        if len(data) > MAX_FILE_BYTES:
            raise IntegrityError(f"{file}: more than {MAX_FILE_BYTES} bytes")
        self._left -= len(data)
        if self._left < 0:
            raise IntegrityError(f"{file}: more than {MAX_DECODED_BYTES} bytes with the files of its data set")
        return data


def _ambiguous(path: Path, name: str, homes: Iterable[Path]) -> NoReturn:
    """Two data sets, of which nobody knows which is meant."""
    places = some(sorted(map(str, homes)))
    raise UsageError(f"{path}: {name} lies in several folders of it ({places}): unpack it and give one of them")


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"PK" and zipfile.is_zipfile(path)


def _in_folder(folder: Path) -> Iterator[tuple[Path, _Opener]]:
    for entry in sorted(folder.iterdir()):
        file = entry / entry.name if (entry / entry.name).is_file() else entry
        if file.is_file():
            yield file.relative_to(folder), partial(_plain, file)


def _in_archive(path: Path) -> Iterator[tuple[Path, _Opener]]:
    if _is_zip(path):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if not name.endswith("/"):
                    yield Path(name), partial(_zipped, path, name)
    else:
        with tarfile.open(path) as tar:
            for member in tar:
                if member.isfile():
                    yield Path(member.name), partial(_tarred, path, member)


@contextmanager
def _plain(file: Path) -> Iterator[IO[bytes]]:
    with file.open("rb") as stream:
        yield stream


@contextmanager
def _zipped(path: Path, name: str) -> Iterator[IO[bytes]]:
    with zipfile.ZipFile(path) as archive, archive.open(name) as stream:
        yield stream


@contextmanager
def _tarred(path: Path, member: tarfile.TarInfo) -> Iterator[IO[bytes]]:
    with tarfile.open(path) as tar:
        stream = tar.extractfile(member)
        assert stream is not None, "a member that is a file"
        with stream:
            yield stream
