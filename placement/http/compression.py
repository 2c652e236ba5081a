"""gzip and deflate: bodies that clients compressed, bounded while they are decompressed, and answers for those who ask.

"deflate" is a zlib stream (RFC 9110, 8.4.1.2), as Triton's clients send it.
"""

import zlib
from collections.abc import Callable

from splitplace.errors import ContractError, TooLargeError

WINDOWS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
"""By coding, zlib's word for its container."""
WORTH_BYTES = 1024
"""Smaller answers go as they are."""
PIECE_BYTES = 2**20


def coding_of(stated: str) -> str:
    """What a body is compressed by, as `Content-Encoding` has it; empty: not at all.

    Raises:
        ContractError: By something else.
    """
    coding = stated.strip().lower()
    coding = {"x-gzip": "gzip", "identity": ""}.get(coding, coding)
    if coding and coding not in WINDOWS:
        raise ContractError(f"Content-Encoding {stated[:40]!r}, expected gzip or deflate")
    return coding


def decompress(data: bytes | bytearray, coding: str, most: int, room: Callable[[int], None]) -> bytearray:
    """What was compressed, piece by piece; stops as soon as it is more than `most` bytes.

    Args:
        data: A whole stream.
        coding: Its own.
        most: Bytes that it may come to.
        room: Called with the size of each piece; raises where there is no room for it.

    Raises:
        TooLargeError: It is.
        ContractError: It is no such stream, or not one alone.
    """
    stream, found = zlib.decompressobj(WINDOWS[coding]), bytearray()
    rest = bytes(data)
    try:
        while not stream.eof:
            piece = stream.decompress(rest, min(PIECE_BYTES, most + 1 - len(found)))
            room(len(piece))
            found += piece
            if len(found) > most:
                raise TooLargeError(
                    f"a body of more than {most} bytes when it is decompressed, expected at most so many"
                )
            rest = stream.unconsumed_tail
            if not rest and not piece:
                break
    except zlib.error as error:
        raise ContractError(f"the body is no {coding} stream: {error}") from error
    if not stream.eof or stream.unused_data:
        raise ContractError(f"the body is no whole {coding} stream, or has something behind it")
    return found


def wanted(accept: str) -> str:
    """Which coding an answer may have, by `Accept-Encoding`; empty: none."""
    weights = {}
    for part in accept.lower().split(",")[:32]:
        name, _, parameters = part.partition(";")
        weight = parameters.strip().removeprefix("q=") or "1"
        try:
            weights[name.strip()] = float(weight)
        except ValueError:
            weights[name.strip()] = 0.0
    best = max(WINDOWS, key=lambda coding: weights.get(coding, 0.0))
    return best if weights.get(best, 0.0) > 0 else ""


def compress(data: bytes, coding: str) -> bytes:
    """As fast as zlib can."""
    stream = zlib.compressobj(1, zlib.DEFLATED, WINDOWS[coding])
    return stream.compress(data) + stream.flush()
