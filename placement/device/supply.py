"""Where a device has its fragments from, by digest, verified, and kept: here, the catalog's registry, or the broker."""

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from splitplace.catalog.blobs import BlobStore, read_file
from splitplace.catalog.oci import digest
from splitplace.errors import ContractError, IntegrityError, NotFoundError, NotReadyError, SplitPlaceError
from splitplace.placement.device import joining
from splitplace.placement.device.config import DeviceConfig
from splitplace.placement.protocol.fields import text
from splitplace.placement.protocol.keys import CurveAccess
from splitplace.records.fragment import FragmentSource

if TYPE_CHECKING:
    from splitplace.placement.device.from_registry import FragmentRegistry

AHEAD = 32
"""Pieces that are asked for before the first of them is there: 2 MiB, more than a link between two machines holds."""
PATIENCE_S = 10.0
"""Without a piece; then what is missing is asked for again."""
TRIES = 6


@dataclass(frozen=True)
class FragmentOrigin:
    """Where the file of a fragment was had from."""

    source: FragmentSource = "here"
    problem: str = ""
    """Why not from the registry, where there is one."""


def fragment_store(config: DeviceConfig) -> BlobStore:
    """What a device reads its fragments from."""
    if config.gate is None:
        return BlobStore(Path(config.catalog))
    return SuppliedBlobs(config, config.gate)


def origin(store: BlobStore, digest_: str) -> FragmentOrigin:
    """Where what was read of this digest last came from."""
    return store.origins.get(digest_, FragmentOrigin()) if isinstance(store, SuppliedBlobs) else FragmentOrigin()


class SuppliedBlobs(BlobStore):
    """Blobs that lie in a folder of this machine, where those that do not are brought to.

    Args:
        config: Of the device; its key opens the gate, and its registry, if it names one, is asked first.
        gate: Who has the others.
    """

    def __init__(self, config: DeviceConfig, gate: joining.GateAddress):
        super().__init__(Path(config.catalog))
        assert isinstance(config.access, CurveAccess) and config.access.secret_key is not None
        self._kept = BlobStore(Path(config.kept or config.catalog))
        self._places = (BlobStore(Path(config.catalog)), self._kept)
        self._gate, self._public_key, self._secret_key = gate, config.access.public_key, config.access.secret_key
        self._registry = None if config.registry is None else _registry(config.registry, self._kept)
        self.origins: dict[str, FragmentOrigin] = {}
        """Of those that were brought when they were read last, by digest."""

    def read_digest(self, digest_: str, limit: int) -> bytes:
        """The bytes of this digest, from here if they are here and right, else from the registry, else from the broker.

        Raises:
            IntegrityError: Too large, or the broker has others.
            SplitPlaceError: The broker has none, or does not answer; and why the registry does not give it.
        """
        for store in self._places:
            with suppress(IntegrityError):  # missing here, or damaged
                data = store.read_digest(digest_, limit)
                self.origins.pop(digest_, None)
                return data
        problem = ""
        if self._registry is not None:
            try:
                self._registry.bring(digest_, limit)
                data = self._kept.read_digest(digest_, limit)
                self._part(digest_).path.unlink(missing_ok=True)
                self.origins[digest_] = FragmentOrigin("registry")
                return data
            except SplitPlaceError as error:
                problem = text(error)
        try:
            data = self._bring(digest_, limit)
        except SplitPlaceError as error:
            if problem:
                raise type(error)(f"{error}; nor from the registry: {problem}") from error
            raise
        if self._registry is not None:
            self._registry.drop(digest_)
        self.origins[digest_] = FragmentOrigin("broker", problem)
        return data

    def _part(self, digest_: str) -> "_Part":
        return _Part(self._kept.folder.parent.parent / "parts" / digest_.partition(":")[2])

    def _bring(self, digest_: str, limit: int) -> bytes:
        """What came before this process was ended, and the rest."""
        part = self._part(digest_)
        resumed = part.size > 0
        try:
            self._pull(digest_, limit, part)
            data = read_file(part.path, limit, digest_)
            if (actual := digest(data)) != digest_:
                raise IntegrityError(f"{digest_}: the broker's {len(data)} bytes have the digest {actual}")
        except NotReadyError:  # what came of it stays
            raise
        except SplitPlaceError as error:
            part.path.unlink(missing_ok=True)
            if resumed and isinstance(error, IntegrityError):
                return self._bring(digest_, limit)  # from the beginning: what lay here may be what is damaged
            raise
        self._kept.path(digest_).parent.mkdir(parents=True, exist_ok=True)
        part.path.replace(self._kept.path(digest_))
        return data

    def _pull(self, digest_: str, limit: int, part: "_Part") -> None:
        context, socket = joining.knock(self._gate, self._public_key, self._secret_key)
        try:
            pieces: dict[int, bytes] = {}
            """That came before one that is to come first."""
            total, waiting, tries = None, {part.size}, 0
            socket.send(joining.Want(digest=digest_, offset=part.size).model_dump_json().encode())
            deadline_s = time.monotonic() + PATIENCE_S
            while total is None or part.size < total:
                if not socket.poll(max(round(1000 * (deadline_s - time.monotonic())), 0)):
                    tries += 1
                    if tries >= TRIES:
                        raise NotReadyError(f"{digest_}: the broker gave no piece of it for {tries * PATIENCE_S:.0f} s")
                    waiting = {min(waiting, default=part.size)}
                    socket.send(joining.Want(digest=digest_, offset=min(waiting)).model_dump_json().encode())
                    deadline_s = time.monotonic() + PATIENCE_S
                    continue
                frames = socket.recv_multipart()
                match joining.told(frames[0]):
                    case joining.FilePiece() as piece if piece.digest == digest_ and len(frames) == 2:
                        if total is None:
                            total = piece.total
                            if total > limit:
                                raise IntegrityError(f"{digest_}: {total} bytes, expected at most {limit}")
                        _check(piece, len(frames[1]), total)
                        if piece.offset >= part.size:  # else it was asked for twice
                            pieces[piece.offset] = frames[1]
                        waiting.discard(piece.offset)
                        while part.size in pieces:
                            part.append(pieces.pop(part.size))
                        tries, deadline_s = 0, time.monotonic() + PATIENCE_S
                    case joining.Missing(reason=reason) | joining.Dismissed(reason=reason):
                        raise NotFoundError(f"{digest_}: the broker gives no such fragment: {reason}")
                    case other:
                        raise ContractError(f"{digest_}: the gate answered {other.type}")
                ahead = (
                    offset for offset in range(part.size, total, joining.PIECE_BYTES)
                    if offset not in pieces and offset not in waiting
                )  # fmt: skip
                while len(waiting) < AHEAD and (offset := next(ahead, None)) is not None:
                    waiting.add(offset)
                    socket.send(joining.Want(digest=digest_, offset=offset).model_dump_json().encode())
        finally:
            socket.close()
            context.term()


def _registry(place: str, kept: BlobStore) -> "FragmentRegistry":
    from splitplace.placement.device.from_registry import FragmentRegistry  # others load no TLS

    return FragmentRegistry(place, kept)


class _Part:
    """The beginning of a file, in whole pieces: a device that is ended while it pulls need not begin anew.

    The last piece that lies there is asked for again, for how large the file is comes with it.
    """

    def __init__(self, path: Path):
        self.path = path
        found = path.stat().st_size if path.exists() else 0
        self.size = max(found // joining.PIECE_BYTES - 1, 0) * joining.PIECE_BYTES

    def append(self, piece: bytes) -> None:
        """What comes next."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "wb") as out:
            out.truncate(self.size)
            out.seek(self.size)
            out.write(piece)
        self.size += len(piece)


def _check(piece: joining.FilePiece, size: int, total: int) -> None:
    expected = min(joining.PIECE_BYTES, total - piece.offset)
    if piece.total != total or piece.offset % joining.PIECE_BYTES or size != expected:
        raise ContractError(f"{piece.digest}: {size} bytes at {piece.offset} of {piece.total}, expected {expected}")
