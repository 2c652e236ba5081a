"""The server: the application on a TCP socket, in a thread of its own, until it is closed."""

import asyncio
import logging
import socket
import threading
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import uvicorn
from starlette.types import Receive, Scope, Send

from splitplace.errors import SplitPlaceError, UsageError
from splitplace.placement.http.accepting import BoundedListener, ServingLoop
from splitplace.placement.http.connection import bounded
from splitplace.placement.http.limits import Limits, open_files
from splitplace.placement.http.spare_memory import SpareMemory

LAST_WORDS_S = 5
"""How long requests may go on when the front door closes."""
WAITING = 512
"""Connections that the system keeps for a server that is busy."""


@dataclass(frozen=True)
class Certificate:
    """What proves to clients who the server is: PEM files."""

    chain: Path
    key: Path


class ServedApp(Protocol):
    """What it serves."""

    limits: Limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        ...

    def leave(self) -> None:
        """End what would go on for as long as its client listens; from any thread."""
        ...

    def close(self) -> None:
        """Nobody will ask any more."""
        ...


class HttpServer:
    """Serves an application: a context manager.

    Args:
        app: It.
        host: An address of this machine, or a name for one.
        port: 0 takes a free one.
        certificate: For TLS; none: plain HTTP.
        beside: Another server of the same front door, open as long as this one, in its event loop.
        last_words_s: How long requests may go on when it closes.
    """

    def __init__(
        self,
        app: ServedApp,
        host: str,
        port: int,
        certificate: Certificate | None = None,
        beside: AbstractAsyncContextManager[Any] | None = None,
        last_words_s: float = LAST_WORDS_S,
    ):
        self._app, self._host, self._port, self._certificate = app, host, port, certificate
        self._beside, self._last_words_s = beside or nullcontext(), last_words_s
        self._failure: BaseException | None = None

    def __enter__(self) -> Self:
        """Open.

        Raises:
            UsageError: The address cannot be taken, or the certificate not be read.
        """
        self._spare = SpareMemory()
        limits = self._app.limits
        config = uvicorn.Config(
            self._app,
            http=bounded(limits),
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=int(limits.idle_s),
            timeout_graceful_shutdown=self._last_words_s,  # type: ignore[arg-type]  # fractions will do
            ssl_certfile=None if self._certificate is None else str(self._certificate.chain),
            ssl_keyfile=None if self._certificate is None else str(self._certificate.key),
        )
        self._socket = BoundedListener(listening(self._host, self._port), open_files(limits.connections))
        try:
            config.load()
            self._server = uvicorn.Server(config)
            self._up = threading.Event()
            self._thread = threading.Thread(target=self._run, name="http", daemon=True)
            self._thread.start()
            self._up.wait()
        except OSError as error:  # ssl.SSLError is one
            self._socket.close()
            raise UsageError(f"the certificate cannot be used: {error}: give its PEM files") from error
        if isinstance(self._failure, SplitPlaceError):
            self._socket.close()
            raise self._failure
        if self._failure is not None:
            raise SplitPlaceError(f"the front door did not open: {self._failure!r}") from self._failure
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._app.leave()
        self._server.should_exit = True
        self._thread.join()
        self._app.close()

    @property
    def url(self) -> str:
        """Where it is."""
        host, port = self._socket.getsockname()[:2] if self._socket.fileno() != -1 else (self._host, self._port)
        scheme = "http" if self._certificate is None else "https"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=partial(ServingLoop, self._app.limits.head_s)) as runner:
                runner.run(self._serve())
        except SplitPlaceError as error:  # handed to the thread that opens the server
            self._failure = error
        except BaseException as error:
            self._failure = error
            logging.getLogger(__name__).exception("the front door has failed")
        finally:
            self._up.set()

    async def _serve(self) -> None:
        async with self._beside:
            serving = asyncio.create_task(self._server.serve(sockets=[self._socket]))
            while not self._server.started and not serving.done():
                await asyncio.sleep(0.01)
            self._up.set()
            watching = asyncio.create_task(self._spare.watch())
            try:
                await serving
            finally:
                watching.cancel()


def listening(host: str, port: int) -> socket.socket:
    """A socket at an address.

    Raises:
        UsageError: No such address is here, or somebody has the port.
    """
    if not 0 <= port < 2**16:
        raise UsageError(f"--port {port}: expected 0 to 65535")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        # Of stated protocol, or asyncio does not see that it is TCP, and lets the kernel wait with small writes.
        made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(address)
            made.listen(WAITING)
        except BaseException:
            made.close()
            raise
    except UnicodeError as error:
        raise UsageError(f"--host {host!r}: no name of a machine") from error
    except OSError as error:
        raise UsageError(f"--host {host} --port {port}: {error.strerror}: give another one") from error
    return made
