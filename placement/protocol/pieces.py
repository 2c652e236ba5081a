"""A large tensor goes over an encrypted connection in pieces, a frame each, and is put together where it arrives.

ZeroMQ encrypts a frame as a whole before any of it leaves, and decrypts it when all of it is there: with one large
frame each end waits for the other, and works in memory that is fresh every time. In pieces one end encrypts what comes
next while the other decrypts what came before, and both take the same memory again.
"""

from collections import deque
from collections.abc import Sequence

Frame = bytes | memoryview

PIECE_BYTES = 2**18
"""What is larger is cut. The quickest of 2^15 to 2^22 bytes: `bench pipeline` in METHODOLOGY.md has the figures."""


def cut(frames: Sequence[Frame]) -> list[Frame]:
    """The same bytes in frames of no more than a piece."""
    return [
        frame[at : at + PIECE_BYTES] if len(frame) > PIECE_BYTES else frame
        for frame in frames
        for at in range(0, max(len(frame), 1), PIECE_BYTES)
    ]


def pieces_of(size_bytes: int) -> int:
    """How many pieces a tensor of so many bytes has."""
    return max(-(-size_bytes // PIECE_BYTES), 1)


def most_frames(tensors: int, size_bytes: int) -> int:
    """In how many frames so many tensors of together so many bytes may come."""
    return tensors + size_bytes // PIECE_BYTES


def taken(frames: deque[Frame], size_bytes: int) -> tuple[Frame, int]:
    """The tensor at the front, which is one frame or its pieces, and how many bytes of it are there.

    Nothing is put together that is not there in full.
    """
    first = frames.popleft()
    if len(first) != PIECE_BYTES or size_bytes <= PIECE_BYTES:
        return first, len(first)
    pieces = [first, *(frames.popleft() for _ in range(min(pieces_of(size_bytes) - 1, len(frames))))]
    there_bytes = sum(map(len, pieces))
    return b"".join(pieces) if there_bytes == size_bytes else first, there_bytes
