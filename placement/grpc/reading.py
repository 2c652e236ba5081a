"""Messages read in bounds: no more at once than memory is set aside for, and none for longer than it may take.

gRPC puts a message together before anyone hears how large it is. So the largest that it may be is set aside before it
is read. Until then what its sender has said stays within HTTP/2's flow control, some 64 KiB a call.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc.aio

from splitplace.errors import ContractError, OverloadedError, TooSlowError
from splitplace.placement.http.limits import Limits

Context = Any
"""`grpc.aio.ServicerContext`, of messages that are bytes."""


class MessageReader:
    """Of one server. Its coroutines are of one event loop.

    Args:
        limits: In force.
    """

    def __init__(self, limits: Limits):
        self._limits = limits
        self.most_bytes = min(limits.message_bytes, limits.body_bytes)
        """Of one message."""
        self._room = asyncio.Semaphore(max(limits.coming_bytes // self.most_bytes, 1))
        self._streams: Counter[str] = Counter()
        """That are open, by the name of their token; that of those who need none is empty."""

    async def only(self, context: Context) -> bytes:
        """The one message of a call that has one.

        Raises:
            OverloadedError: Others are being read all the time.
            TooSlowError: It takes too long to come in.
            ContractError: There is none, or it is too large, which gRPC itself refuses.
        """
        try:
            async with asyncio.timeout(self._limits.still_s):
                await self._room.acquire()
        except TimeoutError:
            raise OverloadedError("as many messages are being read as there is room for: try again later") from None
        try:
            async with asyncio.timeout(self._limits.body_s):
                found = await context.read()
        except TimeoutError:
            raise TooSlowError(f"no whole message came in within {self._limits.body_s:g} s: send it faster") from None
        finally:
            self._room.release()
        if found is grpc.aio.EOF:
            raise ContractError(f"no message, expected one of at most {self.most_bytes} bytes")
        message: bytes = found
        return message

    async def next(self, context: Context, is_busy: Callable[[], bool]) -> bytes | None:
        """The next message of a stream; None: it has said its last.

        Args:
            context: Of the stream.
            is_busy: Whether an answer of it is waited for: then it may be silent.

        Raises:
            TooSlowError: It is silent for too long.
        """
        reading = asyncio.ensure_future(context.read())
        try:
            while not (await asyncio.wait({reading}, timeout=self._limits.stream_s))[0]:
                if not is_busy():
                    raise TooSlowError(f"a stream that asked for nothing in {self._limits.stream_s:g} s: open another")
            found: bytes = reading.result()
            return None if found is grpc.aio.EOF else found
        finally:
            reading.cancel()

    @contextmanager
    def stream(self, whose: str) -> "Iterator[None]":
        """A place for one more stream, in which a message may be read at any time.

        Args:
            whose: The name of its token; empty where none is asked for, and all are of this machine.

        Raises:
            OverloadedError: As many as may be open are, or as many of this token's.
        """
        if whose and self._streams[whose] >= self._limits.streams_of_one:
            own = f"{self._limits.streams_of_one} streams of the token {whose} are open already"
            raise OverloadedError(f"{own}: close one of them")
        if self._streams.total() >= self._limits.streams:
            raise OverloadedError(f"{self._limits.streams} streams are open already: close one of them")
        self._streams[whose] += 1
        try:
            yield
        finally:
            self._streams[whose] -= 1
            self._streams += Counter()  # without those who have left
