"""A door in front of a broker that does what a test says, with clients and with bytes from no client of ours."""

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from splitplace.placement.serve import requests
from splitplace.placement.serve.client import Client
from splitplace.placement.serve.data_folder import DataFolder
from splitplace.placement.serve.door import Door
from splitplace.records.split import Split

PATIENCE_S = 240.0


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    """A data folder, made."""
    folder = DataFolder(tmp_path / "fleet")
    folder.prepare()
    return folder


@pytest.fixture
def stopped() -> threading.Event:
    """Set when a client asks for the end."""
    return threading.Event()


@pytest.fixture
def door(broker: Any, folder: DataFolder, stopped: threading.Event, pixels: Split) -> Iterator[Door]:
    """Open."""
    with folder.claimed(), Door(broker, [pixels], folder, stopped.set) as door:
        yield door


@pytest.fixture
def client(door: Door) -> Iterator[Client]:
    """Connected."""
    with Client(door.folder.path) as client:
        yield client


class Stranger:
    """Somebody at the socket who says what a test likes."""

    def __init__(self, folder: DataFolder):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect(str(folder.socket))

    def say(self, message: Any, data: bytes = b"") -> None:
        """A header, or bytes in its place."""
        text = message if isinstance(message, bytes) else json.dumps(message).encode()
        self.socket.sendall(struct.pack(">I", len(text)) + text + data)

    def knock(self, version: int = requests.VERSION) -> dict[str, Any]:
        """As a client begins."""
        self.say({"type": "knock", "request": 1, "version": version})
        return self.hear()

    def hear(self) -> dict[str, Any]:
        """A reply without tensors."""
        (size,) = struct.unpack(">I", self._exactly(4))
        return json.loads(self._exactly(size))

    def shown_out(self) -> bool:
        """Whether the door has ended the visit; what it still had to say is passed over."""
        try:
            while self.socket.recv(2**16):
                pass
        except ConnectionError:
            return True
        except TimeoutError:
            return False
        return True

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += (got := self.socket.recv(size - len(data)))
            assert got, "the door ended the visit"
        return data


@pytest.fixture
def stranger(door: Door) -> Iterator[Callable[[], Stranger]]:
    """Makes them; they leave with the test."""
    with ExitStack() as leaving:

        def make() -> Stranger:
            made = Stranger(door.folder)
            leaving.callback(made.socket.close)
            return made

        yield make
