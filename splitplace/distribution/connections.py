"""Connections whose time is bounded by what comes, not by each call to the system.

A socket's timeout is for one call: a byte a minute satisfies it for ever, and a piece of an upload in one `sendall` is
too much for it on a slow uplink.
"""

import http.client
import io
import socket
import time
from collections.abc import Callable
from typing import Any

TIMEOUT_S = 60.0
"""For a reply in all, head and document; of a blob, what it may be behind LEAST_BYTES_PER_S; for each piece sent."""
LEAST_BYTES_PER_S = 64 * 2**10
SENT_BYTES = 64 * 2**10
"""Of one piece."""

Clock = Callable[[], float]


class DrippingError(TimeoutError):
    """A reply that keeps coming, but not in its time."""


class _Bounded(io.RawIOBase):
    """What a socket receives, until the reply's time is over."""

    def __init__(self, sock: socket.socket, clock: Clock):
        self._socket, self._raw, self._clock = sock, sock.makefile("rb", buffering=0), clock
        self._end_s = clock() + TIMEOUT_S
        self.s_per_byte = 0.0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left_s = self._end_s - self._clock()
        if left_s <= 0:
            raise DrippingError("it came too slowly")
        self._socket.settimeout(min(left_s, TIMEOUT_S))
        try:
            size = self._raw.readinto(buffer)
        except TimeoutError as error:
            if left_s < TIMEOUT_S:
                raise DrippingError("it came too slowly") from error
            raise
        self._end_s += (size or 0) * self.s_per_byte
        return size

    def close(self) -> None:
        self._raw.close()
        super().close()

    def makefile(self, mode: str) -> io.BufferedReader:
        """As `http.client` asks a socket for it."""
        return io.BufferedReader(self)


class Response(http.client.HTTPResponse):
    """A reply that must be there in TIMEOUT_S, or, once `at_pace` was called, go on with LEAST_BYTES_PER_S."""

    def __init__(self, sock: socket.socket, *arguments: Any, clock: Clock = time.monotonic, **named: Any):
        self._bounded = _Bounded(sock, clock)
        super().__init__(self._bounded, *arguments, **named)  # type: ignore[arg-type]  # it asks for `makefile` alone

    def at_pace(self) -> None:
        """Give what comes from now on its time by its size."""
        self._bounded.s_per_byte = 1 / LEAST_BYTES_PER_S


class RegistryConnection(http.client.HTTPConnection):
    """Without TLS."""

    clock: Clock = staticmethod(time.monotonic)

    def response_class(self, sock: socket.socket, *arguments: Any, **named: Any) -> Response:  # type: ignore[override]
        """What `http.client` makes of an answer."""
        return Response(sock, *arguments, clock=self.clock, **named)

    def send(self, data: Any) -> None:
        """Bytes in pieces, each with a time of its own."""
        if self.sock is not None:
            self.sock.settimeout(TIMEOUT_S)  # the reply before may have left less
        for start in range(0, len(data), SENT_BYTES):
            super().send(data[start : start + SENT_BYTES])


class TlsConnection(RegistryConnection, http.client.HTTPSConnection):
    """With TLS."""
