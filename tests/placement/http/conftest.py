"""A front door in front of a broker that does what a test says; Triton's client, and bytes from no client at all."""

import http.client
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import tritonclient.http as triton

from splitplace.placement.http.app import FrontApp
from splitplace.placement.http.guard import Guard
from splitplace.placement.http.limits import Limits
from splitplace.placement.http.server import Certificate, HttpServer
from splitplace.placement.http.service import HttpService
from splitplace.records.split import Split

PATIENCE_S = 240.0


@dataclass
class Reply:
    """What was answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """Why not."""
        assert set(self.json) == {"error"}, self.json
        return self.json["error"]


class Opened:
    """A front door, and plain requests to it."""

    def __init__(self, server: HttpServer, service: HttpService):
        self.server, self.service, self.url = server, service, server.url
        self.address = self.url.partition("://")[2]
        self.port = int(self.url.rpartition(":")[2])

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        """One request; a body that is no bytes goes as JSON, and an underscore in a header's name is a hyphen."""
        sent = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, path, sent, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            told = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, told, answer.read())
        finally:
            connection.close()

    def infer(self, request: Any, tail: bytes = b"", **headers: str) -> Reply:
        """An infer request to `pixels`; with a tail, its length is stated."""
        text = request if isinstance(request, bytes) else json.dumps(request).encode()
        stated = {"Inference_Header_Content_Length": str(len(text))} if tail else {}
        return self.ask("POST", "/v2/models/pixels/infer", text + tail, **stated | headers)

    def raw(self, data: bytes = b"") -> socket.socket:
        """A connection that has said this."""
        made = socket.create_connection(("127.0.0.1", self.port), PATIENCE_S)
        made.sendall(data)
        return made


def heard(connection: socket.socket) -> bytes:
    """All that is said until the other side ends the connection."""
    found = b""
    try:
        while piece := connection.recv(2**16):
            found += piece
    except ConnectionResetError:
        pass
    return found


@pytest.fixture
def front(broker: Any, pixels: Split, let_go: Callable[[ExitStack], None]) -> Iterator[Callable[..., Opened]]:
    """Opens front doors with limits of a test's own; they close after the test."""
    closing = ExitStack()

    def make(
        tokens: Path | None = None, certificate: Certificate | None = None, host: str = "127.0.0.1", **limits: Any
    ) -> Opened:
        service = HttpService(broker, lambda: {"pixels": pixels}, replace(Limits(), **limits), Guard(tokens), "0.0")
        server = HttpServer(FrontApp(service), host, 0, certificate)
        return Opened(closing.enter_context(server), service)

    yield make
    let_go(closing)


@pytest.fixture
def door(front: Callable[..., Opened], broker: Any) -> Opened:
    """One with the usual limits; tasks are answered at once."""
    broker.at_once = True
    return front()


@pytest.fixture
def client(door: Opened) -> Iterator[triton.InferenceServerClient]:
    """Triton's."""
    with triton.InferenceServerClient(door.address, connection_timeout=PATIENCE_S, network_timeout=PATIENCE_S) as made:
        yield made


@pytest.fixture
def image() -> dict[str, Any]:
    """One image of `pixels` as JSON: its fourth pixel is the brightest."""
    return {"name": "image", "datatype": "UINT8", "shape": [1, 1, 2, 2], "data": [0, 1, 2, 200]}


@pytest.fixture
def hear() -> Callable[[socket.socket], bytes]:
    """All that a connection is told until its end."""
    return heard
