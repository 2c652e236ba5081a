"""A blob out of a registry into an image layout: resumed by ranges, held against its digest, then given its name.

What came in so far lies in the layout under a name of its own, where no reader looks, and is gone on with by whoever
asks for the same blob next, in this process or another.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedRandom
from pathlib import Path

from splitplace.catalog.blobs import BlobStore
from splitplace.catalog.oci import Descriptor
from splitplace.distribution.replies import BusyError, Reply, SlowError, UnreachableError, after_s
from splitplace.distribution.repository import Repository, Sent
from splitplace.errors import IntegrityError
from splitplace.files import SCRATCH, sync

_AT_ONCE = 2**20


def download(repository: Repository, blobs: BlobStore, descriptor: Descriptor, came: Sent) -> None:
    """Bring a blob into the blobs of a layout, unless it is there.

    Args:
        repository: Where from.
        blobs: Where to; their folder is there.
        descriptor: Its digest and size.
        came: Told of bytes that came in.

    Raises:
        IntegrityError: Other bytes than those of the digest; nothing of them stays.
        SplitPlaceError: The registry refuses it, or cannot be reached for as long as patience goes.
    """
    if blobs.holds(descriptor):
        return
    with _unfinished(blobs, descriptor.digest) as (file, path):
        if blobs.holds(descriptor):  # whoever held it before us was at the same blob
            path.unlink()
            return
        _fill(repository, file, descriptor, came)
        file.flush()
        os.fsync(file.fileno())
        path.replace(blobs.path(descriptor.digest))
        sync(blobs.folder)


def unfinished(blobs: BlobStore, digest: str) -> Path:
    """Where lies what there is of a blob, as long as that is not all."""
    return blobs.folder.parent.parent / f"{SCRATCH}blob-{digest.partition(':')[2]}"


@contextmanager
def _unfinished(blobs: BlobStore, digest: str) -> Iterator[tuple[BufferedRandom, Path]]:
    """What there is of a blob, for one at a time; gone when it is found to be wrong."""
    path = unfinished(blobs, digest)
    while True:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666), "r+b")
        fcntl.flock(file, fcntl.LOCK_EX)
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.lstat()):
            break
        file.close()  # whoever held it gave it its name, or threw it away
    with file:
        try:
            yield file, path
        except IntegrityError:
            path.unlink(missing_ok=True)
            raise


def _fill(repository: Repository, file: BufferedRandom, descriptor: Descriptor, came: Sent) -> None:
    """Until all of it is there; patience begins anew with every byte that comes, unless they come too slowly."""
    patience, attempt, offset = repository.transport.patience, 0, file.seek(0, os.SEEK_END)
    while True:
        try:
            if _ask(repository, file, descriptor, came):
                return
        except (UnreachableError, BusyError) as error:
            if (now := file.seek(0, os.SEEK_END)) > offset and not isinstance(error, SlowError):
                attempt, offset = 0, now
            attempt += 1
            if not repository.transport.reached:
                raise
            if attempt >= patience.attempts:
                raise type(error)(f"{error}: {patience.then}") from error
            patience.wait(attempt - 1, after_s(error))


def _ask(repository: Repository, file: BufferedRandom, descriptor: Descriptor, came: Sent) -> bool:
    """What is missing; True when all is there and right."""
    offset = file.seek(0, os.SEEK_END)
    if offset > descriptor.size:
        offset = file.truncate(0)
    if offset == descriptor.size and offset and _digest(file) == descriptor.digest:
        return True
    headers = {"Range": f"bytes={offset}-"} if 0 < offset < descriptor.size else {}
    url = repository.blob(descriptor.digest)
    with repository.transport.exchange("GET", url, headers) as reply:
        reply.response.at_pace()
        if reply.status == 200 or not headers:
            file.truncate(0)  # all of it comes, whatever was asked for
        if reply.status == 416 or (reply.status == 206 and not _continues(reply, offset)):
            file.truncate(0)
            raise UnreachableError(f"{repository}: cannot go on at byte {offset} of the blob {descriptor.digest}")
        if reply.status not in (200, 206):
            raise repository.transport.refused("GET", reply, reply.read_whole(2**16))
        size, stated = file.seek(0, os.SEEK_END), reply.left
        while size < descriptor.size and (piece := reply.read(min(_AT_ONCE, descriptor.size - size))):
            file.write(piece)
            size += len(piece)
            came(len(piece))
        beyond = reply.read(1) if size == descriptor.size else b""
        if size < descriptor.size and stated is None:
            raise UnreachableError(f"{repository}: the connection ended {descriptor.size - size} bytes too early")
    actual = _digest(file)
    if actual != descriptor.digest or beyond:
        got = f"more than {size} bytes" if beyond else f"{size} bytes with the digest {actual}"
        raise IntegrityError(
            f"{repository}: got {got}, expected {descriptor.size} with {descriptor.digest}: nothing of it was kept; "
            "ask who runs the registry"
        )
    return True


def _continues(reply: Reply, offset: int) -> bool:
    return reply.headers.get("Content-Range", "").replace("=", " ").startswith(f"bytes {offset}-")


def _digest(file: BufferedRandom) -> str:
    file.flush()
    file.seek(0)
    return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
