"""Where a device has its fragments from: a catalog that lies here, or the broker, by digest, verified, and kept."""

import time
from contextlib import suppress
from pathlib import Path

from splitplace.catalog.blobs import BlobStore
from splitplace.catalog.oci import digest
from splitplace.errors import ContractError, IntegrityError, NotFoundError, NotReadyError
from splitplace.files import replace_file
from splitplace.placement.device import joining
from splitplace.placement.device.config import DeviceConfig
from splitplace.placement.protocol.keys import CurveAccess

AHEAD = 4
"""Pieces that are asked for before the first of them is there."""
PATIENCE_S = 10.0
"""Without a piece; then what is missing is asked for again."""
TRIES = 6


def fragment_store(config: DeviceConfig) -> BlobStore:
    """What a device reads its fragments from."""
    if config.gate is None:
        return BlobStore(Path(config.catalog))
    return SuppliedBlobs(config, config.gate)


class SuppliedBlobs(BlobStore):
    """Blobs that lie in a folder of this machine, where those that do not are brought to.

    Args:
        config: Of the device; its key opens the gate.
        gate: Who has the others.
    """

    def __init__(self, config: DeviceConfig, gate: joining.GateAddress):
        super().__init__(Path(config.catalog))
        assert isinstance(config.access, CurveAccess) and config.access.secret_key is not None
        self._kept = BlobStore(Path(config.kept or config.catalog))
        self._places = (BlobStore(Path(config.catalog)), self._kept)
        self._gate, self._public_key, self._secret_key = gate, config.access.public_key, config.access.secret_key

    def read_digest(self, digest_: str, limit: int) -> bytes:
        """The bytes of this digest, from here if they are here and right, else from the broker.

        Raises:
            IntegrityError: Too large, or the broker has others.
            SplitPlaceError: The broker has none, or does not answer.
        """
        for store in self._places:
            with suppress(IntegrityError):  # missing here, or damaged
                return store.read_digest(digest_, limit)
        data = self._bring(digest_, limit)
        replace_file(self._kept.path(digest_), data)
        return data

    def _bring(self, digest_: str, limit: int) -> bytes:
        context, socket = joining.knock(self._gate, self._public_key, self._secret_key)
        try:
            pieces: dict[int, bytes] = {}
            total, waiting, tries = None, {0}, 0
            socket.send(joining.Want(digest=digest_, offset=0).model_dump_json().encode())
            deadline_s = time.monotonic() + PATIENCE_S
            while total is None or sum(map(len, pieces.values())) < total:
                if not socket.poll(max(round(1000 * (deadline_s - time.monotonic())), 0)):
                    tries += 1
                    if tries >= TRIES:
                        raise NotReadyError(f"{digest_}: the broker gave no piece of it for {tries * PATIENCE_S:.0f} s")
                    waiting = {min(waiting, default=0)}
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
                        pieces[piece.offset] = frames[1]
                        waiting.discard(piece.offset)
                        tries, deadline_s = 0, time.monotonic() + PATIENCE_S
                    case joining.Missing(reason=reason) | joining.Dismissed(reason=reason):
                        raise NotFoundError(f"{digest_}: the broker gives no such fragment: {reason}")
                    case other:
                        raise ContractError(f"{digest_}: the gate answered {other.type}")
                ahead = (
                    offset for offset in range(0, total, joining.PIECE_BYTES)
                    if offset not in pieces and offset not in waiting
                )  # fmt: skip
                while len(waiting) < AHEAD and (offset := next(ahead, None)) is not None:
                    waiting.add(offset)
                    socket.send(joining.Want(digest=digest_, offset=offset).model_dump_json().encode())
        finally:
            socket.close()
            context.term()
        data = b"".join(pieces[offset] for offset in sorted(pieces))
        if (actual := digest(data)) != digest_:
            raise IntegrityError(f"{digest_}: the broker's {len(data)} bytes have the digest {actual}")
        return data


def _check(piece: joining.FilePiece, size: int, total: int) -> None:
    expected = min(joining.PIECE_BYTES, total - piece.offset)
    if piece.total != total or piece.offset % joining.PIECE_BYTES or size != expected:
        raise ContractError(f"{piece.digest}: {size} bytes at {piece.offset} of {piece.total}, expected {expected}")
