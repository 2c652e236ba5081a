"""A front door over gRPC in front of a broker that does what a test says, and Triton's client of it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import tritonclient.grpc as triton

from splitplace.placement.grpc.server import GrpcServer
from splitplace.placement.http.app import FrontApp
from splitplace.placement.http.guard import Guard
from splitplace.placement.http.limits import Limits
from splitplace.placement.http.server import Certificate, HttpServer
from splitplace.placement.http.service import HttpService
from splitplace.records.split import Split


@dataclass
class GrpcOpened:
    """A front door over both."""

    service: HttpService
    address: str
    url: str
    """Over HTTP."""
    server: GrpcServer


@pytest.fixture
def front(broker: Any, pixels: Split, let_go: Callable[[ExitStack], None]) -> Iterator[Callable[..., GrpcOpened]]:
    """Opens front doors with limits of a test's own; they close after the test."""
    closing = ExitStack()

    def make(
        tokens: Path | None = None, certificate: Certificate | None = None, host: str = "127.0.0.1", **limits: Any
    ) -> GrpcOpened:
        guard = Guard(tokens)
        service = HttpService(broker, lambda: {"pixels": pixels}, replace(Limits(), **limits), guard, "0.0")
        beside = GrpcServer(service, guard, host, 0, certificate)
        server = closing.enter_context(HttpServer(FrontApp(service), host, 0, certificate, beside))
        return GrpcOpened(service, f"127.0.0.1:{beside.port}", server.url, beside)

    yield make
    let_go(closing)


@pytest.fixture
def door(front: Callable[..., GrpcOpened], broker: Any) -> GrpcOpened:
    """One with the usual limits; tasks are answered at once."""
    broker.at_once = True
    return front()


@pytest.fixture
def connect() -> Iterator[Callable[..., triton.InferenceServerClient]]:
    """Triton's client of a front door."""
    made = []

    def client(door: GrpcOpened, **options: Any) -> triton.InferenceServerClient:
        made.append(triton.InferenceServerClient(door.address, **options))
        return made[-1]

    yield client
    for one in made:
        one.stop_stream(cancel_requests=True)  # else it waits for what a failed test left open
        one.close()


@pytest.fixture
def client(door: GrpcOpened, connect: Callable[..., Any]) -> triton.InferenceServerClient:
    """Of the usual one."""
    return connect(door)


@pytest.fixture
def tensor() -> Callable[..., triton.InferInput]:
    """Makes an input of `pixels`."""

    def make(x: Any, name: str = "image", datatype: str = "UINT8") -> triton.InferInput:
        made = triton.InferInput(name, x.shape, datatype)
        made.set_data_from_numpy(x)
        return made

    return make
