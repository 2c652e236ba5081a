"""Connections taken on within their bounds before anything is heard of them, a TLS handshake least of all."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any


class AcceptedSocket(socket.socket):
    """One connection, which counts until it is closed."""

    over: Callable[[], None] | None = None
    """Called then, once."""

    def close(self) -> None:
        """As the base; a second time: nothing."""
        super().close()
        over, self.over = self.over, None
        if over is not None:
            over()


class BoundedListener(socket.socket):
    """A listening socket that hands out so many connections at once; one more is closed as soon as it is there.

    Args:
        listening: What listens; it is taken over.
        most: Connections that may be open.
    """

    def __init__(self, listening: socket.socket, most: int):
        super().__init__(listening.family, listening.type, listening.proto, listening.detach())
        self._most, self._open = most, 0

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection.

        Raises:
            ConnectionAbortedError: There was one too many; asyncio goes on with what else there is to do.
        """
        connection, address = super().accept()
        if self._open >= self._most:
            connection.close()
            raise ConnectionAbortedError(f"{self._most} connections are open, which are all that are taken on")
        taken = AcceptedSocket(connection.family, connection.type, connection.proto, connection.detach())
        taken.over, self._open = self._close_one, self._open + 1
        return taken, address

    def _close_one(self) -> None:
        self._open -= 1


class ServingLoop(asyncio.SelectorEventLoop):
    """asyncio's, whose servers give a TLS handshake as long as headers have: uvicorn has no setting for that.

    Args:
        handshake_s: What a handshake may take, and likewise the end of TLS when a connection is closed.
    """

    def __init__(self, handshake_s: float):
        super().__init__()
        self._handshake_s = handshake_s

    async def create_server(self, *args: Any, **kwargs: Any) -> asyncio.Server:
        """As the base."""
        if kwargs.get("ssl") is not None:
            kwargs |= {"ssl_handshake_timeout": self._handshake_s, "ssl_shutdown_timeout": self._handshake_s}
        opened: asyncio.Server = await super().create_server(*args, **kwargs)
        return opened
