"""A request's body, read in bounds: bytes, time in all, time between two pieces, and bytes over all requests."""

import asyncio
import io
import threading
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from starlette.types import Receive

from splitplace.errors import ContractError, OverloadedError, TooLargeError, TooSlowError
from splitplace.placement.http.limits import Limits

T = TypeVar("T")


class ClientGoneError(Exception):
    """The client hung up: nobody is there to be answered."""


class Coming:
    """Bytes of bodies that the fleet has not taken yet, over all requests of one front door; from any thread."""

    def __init__(self, most: int):
        self._most, self._held = most, 0
        self._counting = threading.Lock()

    @contextmanager
    def hold(self) -> "Iterator[Hold]":
        """Room for one request's bytes, given back at the end."""
        hold = Hold(self)
        try:
            yield hold
        finally:
            hold.let_go()

    def take(self, size: int) -> None:
        """Room for so many more.

        Raises:
            OverloadedError: There is none.
        """
        with self._counting:
            if self._held + size > self._most:
                raise OverloadedError(
                    f"the requests that come in hold {self._held} of {self._most} bytes: try again when some were taken"
                )
            self._held += size

    def give(self, size: int) -> None:
        """So many are held no more."""
        with self._counting:
            self._held -= size


class Hold:
    """What one request has of it."""

    def __init__(self, coming: Coming):
        self._coming, self.size = coming, 0

    def add(self, size: int) -> None:
        """More of it; `OverloadedError` where there is no room."""
        self._coming.take(size)
        self.size += size

    def hand_on(self) -> "Hold":
        """The same room, for who holds the bytes when the request has ended."""
        other = Hold(self._coming)
        other.size, self.size = self.size, 0
        return other

    def let_go(self) -> None:
        """The fleet has the bytes, or nobody wants them any more."""
        self._coming.give(self.size)
        self.size = 0


def announced(stated: str | None, most: int) -> None:
    """Hold what `Content-Length` says against the bound, before anything is read.

    Raises:
        TooLargeError: It is more.
        ContractError: It is no number.
    """
    if stated is None:
        return
    if not (stated.isascii() and stated.isdigit()):
        raise ContractError(f"Content-Length {stated[:40]!r}, expected a number")
    if len(stated) > 18 or int(stated) > most:
        raise TooLargeError(f"a body of {stated[:40]} bytes, expected at most {most}")


async def read_body(receive: Receive, length: str | None, limits: Limits, hold: Hold) -> bytes:
    """All of a body; in bytes, which nobody can change, so that whoever takes tensors of it need not copy them.

    Raises:
        TooLargeError: It is more than may be.
        TooSlowError: It takes too long.
        OverloadedError: There is no room for it now.
        ClientGoneError: The client hung up.
    """
    announced(length, limits.body_bytes)
    body, size = io.BytesIO(), 0
    try:
        async with asyncio.timeout(limits.body_s):
            while True:
                async with asyncio.timeout(limits.still_s):
                    message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGoneError
                piece: bytes = message.get("body", b"")
                size += len(piece)
                if size > limits.body_bytes:
                    raise TooLargeError(
                        f"a body of more than {limits.body_bytes} bytes, expected at most so many: send it as several "
                        "requests"
                    )
                hold.add(len(piece))
                body.write(piece)
                if not message.get("more_body", False):
                    return body.getvalue()
    except TimeoutError:
        raise TooSlowError(f"{size} bytes of the body came in, and no more in time: send it faster") from None


async def unless_gone(work: Awaitable[T], gone: Awaitable[None]) -> T:
    """What comes of some work, which ends when the client has hung up.

    Raises:
        ClientGoneError: It has.
    """
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(gone)
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGoneError
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()
