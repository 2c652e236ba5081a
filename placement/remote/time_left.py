"""How long one request may still take: each piece that is sent or comes in has what is left, and no more."""

import http.client
import io
from collections.abc import Callable
from dataclasses import dataclass
from socket import socket
from typing import Any


@dataclass
class TimeLeft:
    """Of one request: until an instant, in which the server may be silent for so long at a time."""

    clock: Callable[[], float]
    end_s: float
    silent_s: float

    def seconds(self) -> float:
        """For the next piece that is sent or comes in.

        Raises:
            TimeoutError: There are none.
        """
        left_s = self.end_s - self.clock()
        if left_s <= 0:
            raise TimeoutError("it took too long")
        return min(left_s, self.silent_s)


class TimedResponse(http.client.HTTPResponse):
    """An answer of which each piece comes in within the time left: a server that trickles cannot prolong it."""

    def __init__(self, left: TimeLeft, sock: socket, **more: Any):
        super().__init__(sock, **more)
        self.fp = io.BufferedReader(_Pieces(sock, self.fp.detach(), left))


class _Pieces(io.RawIOBase):
    def __init__(self, sock: socket, raw: io.RawIOBase, left: TimeLeft):
        self._sock, self._raw, self._left = sock, raw, left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._left.seconds())
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()
