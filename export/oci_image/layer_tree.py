"""What lies in somebody's image: its layers, one on the other, read once and believed in nothing.

Nothing is unpacked. But the layers are passed on, to whoever unpacks them, so that what would lie outside of the image
is refused here.
"""

import gzip
import hashlib
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from splitplace.errors import IntegrityError
from splitplace.export.oci_image.layer import GZIP_TYPE

MAX_ENTRIES = 2**20
"""Of all layers."""
MAX_BYTES = 2**36
"""Of all layers, unpacked: 64 GiB."""
MAX_PATH = 4096
"""Linux' own bound."""
MAX_HEAD_BYTES = 2**20
"""Of all that is said of one entry, which is read as a whole."""
_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"
_PIECE = 2**20


class _Unpacked:
    """The bytes of a layer's tar: their digest, and up to where there may be more.

    Args:
        file: Which.
        most: Bytes of it.
    """

    def __init__(self, file: BinaryIO, most: int):
        self._file, self._hash, self._most, self.offset = file, hashlib.sha256(), most, 0
        self.head_from(0)

    def head_from(self, offset: int) -> None:
        """The head of an entry stands there, after which tarfile is to stop reading."""
        self._until = offset + MAX_HEAD_BYTES + _PIECE

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._hash.update(data)
        self.offset += len(data)
        if self.offset > self._most:
            raise tarfile.TarError("more bytes than an image of this kind has")
        if self.offset > self._until:
            raise tarfile.TarError(f"more than {MAX_HEAD_BYTES} bytes are said of one entry")
        return data

    def read_to_end(self) -> None:
        """What stands behind the last entry."""
        self._until = self._most
        while self.read(_PIECE):
            pass

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"


class LayerTree:
    """The paths of an image, a layer at a time.

    Args:
        entries: That its layers may have, together.
        size_bytes: And be, unpacked.
    """

    def __init__(self, entries: int = MAX_ENTRIES, size_bytes: int = MAX_BYTES):
        self.paths: set[str] = set()
        """Absolute."""
        self._entries, self._left = entries, size_bytes

    def apply(self, layer: Path, media_type: str, source: str) -> str:
        """Lay one on those before it.

        Args:
            layer: Its file.
            media_type: A tar's, plain or gzip; read as that and nothing else.
            source: What it is called when it is refused.

        Returns:
            The digest of its tar, unpacked.

        Raises:
            IntegrityError: No such tar; one with a path or a link that leads out of the image; one beyond the bounds.
        """
        changes = _Changes()
        try:
            with gzip.open(layer) if media_type == GZIP_TYPE else layer.open("rb") as file:
                unpacked = _Unpacked(cast(BinaryIO, file), self._left)
                with tarfile.open(fileobj=unpacked, mode="r|", bufsize=_PIECE) as tar:  # type: ignore[call-overload]
                    while (entry := tar.next()) is not None:
                        tar.members.clear()  # which it keeps, each with all that is said of it
                        self._check(entry, source)
                        changes.take(entry.name)
                        unpacked.head_from(tar.offset)
                unpacked.read_to_end()
        except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
            raise IntegrityError(f"{source}: no tar that can be read: {error}") from error
        self._left -= unpacked.offset
        self.paths = changes.on(self.paths)
        return unpacked.digest

    def _check(self, entry: tarfile.TarInfo, source: str) -> None:
        self._entries -= 1
        if self._entries < 0:
            raise IntegrityError(f"{source}: more entries than an image of this kind has")
        _check_places(entry, source)


class _Changes:
    """What a layer has, and what it takes away of those below, not of itself (OCI image-spec, Whiteouts)."""

    def __init__(self) -> None:
        self._has: set[str] = set()
        self._gone: set[str] = set()
        self._emptied: set[str] = set()

    def take(self, name: str) -> None:
        """An entry of it."""
        path = PurePosixPath("/", name)
        if path.name == _OPAQUE:
            self._emptied.add(str(path.parent))
        elif path.name.startswith(_WHITEOUT):
            self._gone.add(str(path.parent / path.name.removeprefix(_WHITEOUT)))
        else:
            self._has.add(str(path))

    def on(self, below: set[str]) -> set[str]:
        """The paths that there are then."""
        if self._gone or self._emptied:
            below = {path for path in below if not self._hides(path)}
        return below | self._has

    def _hides(self, path: str) -> bool:
        above = [str(folder) for folder in PurePosixPath(path).parents]
        return path in self._gone or any(folder in self._gone or folder in self._emptied for folder in above)


def _check_places(entry: tarfile.TarInfo, source: str) -> None:
    """Neither its name nor what it links to lies outside; a symbolic link may go up as far as there is an above."""
    if (longest := max(len(entry.name), len(entry.linkname))) > MAX_PATH:
        raise IntegrityError(f"{source}: a path of {longest} letters, expected {MAX_PATH} at most")
    paths = [entry.name, entry.linkname] if entry.islnk() else [entry.name]
    outside = [path for path in paths if ".." in PurePosixPath(path).parts]
    if entry.issym() and _is_above_root(PurePosixPath("/", entry.name).parent / entry.linkname):
        outside.append(entry.linkname)
    if outside:
        raise IntegrityError(
            f"{source}: entry {entry.name[:200]!r} leads out of the image by {outside[0][:200]!r}: take another base"
        )


def _is_above_root(path: PurePosixPath) -> bool:
    depth = 0
    for part in path.parts[1:]:
        depth += -1 if part == ".." else 1
        if depth < 0:
            return True
    return False
