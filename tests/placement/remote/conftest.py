"""A front door in front of a broker that does what a test says, and a road to it that loses what a test says."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from splitplace.placement.http.app import FrontApp
from splitplace.placement.http.guard import Guard
from splitplace.placement.http.limits import Limits
from splitplace.placement.http.server import Certificate, HttpServer
from splitplace.placement.http.service import HttpService
from splitplace.placement.remote.remote_client import RemoteClient
from splitplace.records.split import Split


@dataclass
class DoorAhead:
    """A front door."""

    service: HttpService
    url: str


@pytest.fixture
def front(broker: Any, pixels: Split, let_go: Callable[[ExitStack], None]) -> Iterator[Callable[..., DoorAhead]]:
    """Opens front doors with limits of a test's own; they close after the test."""
    closing = ExitStack()

    def make(tokens: Path | None = None, certificate: Certificate | None = None, **limits: Any) -> DoorAhead:
        service = HttpService(broker, lambda: {"pixels": pixels}, replace(Limits(), **limits), Guard(tokens), "0.0")
        server = HttpServer(FrontApp(service), "127.0.0.1", 0, certificate)
        return DoorAhead(service, closing.enter_context(server).url)

    yield make
    let_go(closing)


@pytest.fixture
def door(front: Callable[..., DoorAhead]) -> DoorAhead:
    """One with the usual limits."""
    return front()


@pytest.fixture
def client(door: DoorAhead) -> Iterator[RemoteClient]:
    """Of the usual one."""
    with RemoteClient(door.url) as made:
        yield made


@dataclass
class Road:
    """Connections to a front door, handed on byte by byte; those whose number is in `losing` answer by an end."""

    ahead: tuple[str, int]
    losing: set[int] = field(default_factory=set)
    opened: int = 0
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    @property
    def url(self) -> str:
        """Of its near end."""
        return "http://{}:{}".format(*self.listener.getsockname())

    def run(self) -> None:
        """Until the listener is closed."""
        with suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                far = socket.create_connection(self.ahead)
                for way in ((near, far, None), (far, near, self.opened)):
                    threading.Thread(target=self._carry, args=way, daemon=True).start()
                self.opened += 1

    def _carry(self, here: socket.socket, there: socket.socket, number: int | None) -> None:
        with suppress(OSError):
            while (data := here.recv(2**16)) and number not in self.losing:
                there.sendall(data)
        for end in (here, there):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def road(door: DoorAhead) -> Iterator[Road]:
    """To the usual one."""
    host, _, port = door.url.removeprefix("http://").rpartition(":")
    made = Road((host, int(port)))
    threading.Thread(target=made.run, daemon=True).start()
    yield made
    made.listener.shutdown(socket.SHUT_RDWR)
    made.listener.close()
