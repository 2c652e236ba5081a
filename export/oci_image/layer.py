"""A layer of an image: a tar with one form only, so that the same files have the same digest, whoever packs them.

Entries are sorted, of time 0, of user and group 0 without names, and of two modes: what may be executed, and the rest.
"""

import gzip
import hashlib
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from splitplace.errors import SplitPlaceError

TAR_TYPE = "application/vnd.oci.image.layer.v1.tar"
GZIP_TYPE = f"{TAR_TYPE}+gzip"
"""Of every layer made here."""
LEVEL = 6
_FILE, _EXECUTABLE, _FOLDER, _SCRATCH = 0o644, 0o755, 0o755, 0o1777


@dataclass(frozen=True)
class FileLink:
    """A symbolic link."""

    target: str


@dataclass(frozen=True)
class ExecutableFile:
    """A file that may be executed."""

    path: Path


@dataclass(frozen=True)
class ScratchFolder:
    """A folder that everybody may write to, as /tmp."""


Content = Path | bytes | FileLink | ExecutableFile | ScratchFolder
Files = Mapping[str, Content]
"""What lies where, by its path without the first slash."""


@dataclass(frozen=True)
class PackedLayer:
    """A layer that is packed.

    Args:
        digest: Of its bytes.
        size: Of its bytes.
        diff_id: Digest of the tar in it, by which an image's config knows it.
        created_by: What it is, for an image's history.
    """

    digest: str
    size: int
    diff_id: str
    created_by: str


class _Hashed:
    """A file that only grows, and the digest of what was written to it."""

    def __init__(self, file: BinaryIO | gzip.GzipFile):
        self._file, self._hash, self.size = file, hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        self.size += len(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"


def write_layer(files: Files, target: BinaryIO, created_by: str) -> PackedLayer:
    """Pack files; the folders that they lie in are packed before them.

    It is compressed, for tools that copy images compress what is not, and so give it another digest. The bytes depend
    on the version of zlib, those of the tar in it on nothing.

    Args:
        files: Which, and where.
        target: Written to.
        created_by: What it is, in a few words.

    Raises:
        SplitPlaceError: A file cannot be opened.
        OSError: It cannot be read to its end, or `target` not be written.
    """
    outside = _Hashed(target)
    folders = {str(above) for path in files for above in PurePosixPath(path).parents if str(above) != "."}
    with gzip.GzipFile("", "wb", LEVEL, outside, mtime=0) as packer:
        inside = _Hashed(packer)
        with tarfile.open(fileobj=inside, mode="w|", format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
            for path in sorted(folders | files.keys()):
                _add(tar, path, files.get(path))
    return PackedLayer(outside.digest, outside.size, inside.digest, created_by)


def _add(tar: tarfile.TarFile, path: str, content: Content | None) -> None:
    entry = tarfile.TarInfo(path)
    entry.mode = _FILE
    match content:
        case None:
            entry.type, entry.mode = tarfile.DIRTYPE, _FOLDER
        case ScratchFolder():
            entry.type, entry.mode = tarfile.DIRTYPE, _SCRATCH
        case FileLink(target):
            entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, target, 0o777
        case bytes():
            entry.size = len(content)
            tar.addfile(entry, BytesIO(content))
            return
        case ExecutableFile(source) | (Path() as source):
            entry.mode = _EXECUTABLE if isinstance(content, ExecutableFile) else _FILE
            with _opened(source) as file:
                entry.size = file.seek(0, 2)
                file.seek(0)
                tar.addfile(entry, file)
            return
    tar.addfile(entry)


def _opened(source: Path) -> BinaryIO:
    try:
        return source.open("rb")
    except OSError as error:
        raise SplitPlaceError(f"cannot read {source}, which belongs into an image: {error.strerror}") from error
