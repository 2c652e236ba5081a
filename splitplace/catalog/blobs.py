"""Blobs by digest: bounded, verified before anyone uses them, and never read through a link."""

import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from splitplace.catalog.oci import MAX_JSON_BYTES, Descriptor, digest
from splitplace.errors import IntegrityError

_DIGEST = re.compile(rb"sha256:[0-9a-f]{64}")


def read_file(path: Path, limit: int, source: str) -> bytes:
    """The bytes of a regular file that is no link.

    Raises:
        IntegrityError: A link, no regular file, or more than `limit` bytes.
        FileNotFoundError: No such file.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # non-blocking: a FIFO must not hang us
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise IntegrityError(f"{source} is a link: expected a file inside the catalog") from error
        raise
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise IntegrityError(f"{source} is no regular file")
        if status.st_size > limit:
            raise IntegrityError(f"{source}: {status.st_size} bytes, expected at most {limit}")
        return file.read(limit)


class BlobStore:
    """The folder `blobs/sha256` of a layout."""

    def __init__(self, layout: Path):
        self.folder = layout / "blobs" / "sha256"
        for folder in (self.folder.parent, self.folder):
            if folder.is_symlink():
                raise IntegrityError(f"{folder} is a link: expected a folder inside the catalog")

    def path(self, digest_: str) -> Path:
        """Where the blob of this digest lies (whether it exists or not)."""
        algorithm, _, value = digest_.partition(":")
        assert algorithm == "sha256" and len(value) == 64, digest_
        return self.folder / value

    def read(self, descriptor: Descriptor, media_type: str, limit: int = MAX_JSON_BYTES) -> bytes:
        """The bytes a descriptor promises.

        Raises:
            IntegrityError: Another media type, too large, missing, or not the promised size or digest.
        """
        if descriptor.mediaType != media_type:
            raise IntegrityError(
                f"blob {descriptor.digest}: got media type {descriptor.mediaType}, expected {media_type}"
            )
        if descriptor.size > limit:
            raise IntegrityError(f"blob {descriptor.digest}: {descriptor.size} bytes stated, expected at most {limit}")
        data = self.read_digest(descriptor.digest, limit)
        if len(data) != descriptor.size:
            raise IntegrityError(f"blob {descriptor.digest}: got {len(data)} bytes, {descriptor.size} were stated")
        return data

    def read_digest(self, digest_: str, limit: int) -> bytes:
        """The bytes of this digest.

        Raises:
            IntegrityError: Missing, too large, or with another digest than its name.
        """
        try:
            data = read_file(self.path(digest_), limit, f"blob {digest_}")
        except FileNotFoundError as error:
            raise IntegrityError(
                f"blob {digest_} is missing: export the split again or copy the catalog anew"
            ) from error
        actual = digest(data)
        if actual != digest_:
            raise IntegrityError(f"blob {digest_} is damaged: its {len(data)} bytes have the digest {actual}")
        return data

    def holds(self, descriptor: Descriptor) -> bool:
        """Whether the blob lies there and is right, however large it is: looked at, not trusted."""
        try:
            handle = os.open(self.path(descriptor.digest), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return False
        with os.fdopen(handle, "rb") as file:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode) or status.st_size != descriptor.size:
                return False
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}" == descriptor.digest

    def mentioned(self, digest_: str) -> set[str]:
        """A blob and all that it mentions, directly or not: what a document of any form may need."""
        found, waiting = set[str](), [digest_]
        while waiting:
            name = waiting.pop()
            if name in found:
                continue
            found.add(name)
            try:
                data = read_file(self.path(name), MAX_JSON_BYTES, f"blob {name}")
            except (FileNotFoundError, IntegrityError):
                continue  # not here, or a layer, which is larger than any document
            waiting += [match.decode() for match in _DIGEST.findall(data)]
        return found

    def digests(self) -> Iterator[str]:
        """Every blob that lies there."""
        if self.folder.is_dir():
            for name in sorted(entry.name for entry in self.folder.iterdir()):
                if len(name) == 64 and all(letter in "0123456789abcdef" for letter in name):
                    yield f"sha256:{name}"
