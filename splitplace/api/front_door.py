"""`FrontDoor`: a live fleet over HTTP and gRPC, by the Open Inference Protocol v2."""

import threading
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from splitplace.api.ending import LOOK_EVERY_S, asked_to_end
from splitplace.api.fleet import Fleet
from splitplace.errors import UsageError, explained
from splitplace.extras import needs
from splitplace.placement.serve.client import Client
from splitplace.placement.serve.standing_client import StandingClient
from splitplace.records.split import Split

if TYPE_CHECKING:
    from splitplace.placement.grpc.server import GrpcServer

HOST, PORT = "127.0.0.1", 8000


class FrontDoor:
    """Answers HTTP requests with what a fleet says, in a thread of its own; a context manager.

    Each application is a model by its name, to which every client of Triton's HTTP protocol may send tensors. Without
    a token file it is open to programs of this machine, and listens on a loopback address; beyond that, it takes
    tokens and a certificate.

    Args:
        fleet: A `Fleet` of this process, within its context; a `Client` of another one; or the data folder of one that
            runs, which may end and be started anew.
        host: Address to listen on.
        port: 0 takes a free one, which `url` tells.
        tokens: The token file, as `add_token` makes it: whoever calls states a token of it.
        tls_cert: PEM file of the certificate and those that vouch for it.
        tls_key: PEM file of its key.
        default_deadline: Seconds that a request has which states no deadline.
        grpc_port: Answer over gRPC as well, at this port of the same address; 0 takes a free one, which `grpc_address`
            tells.

    Raises:
        UsageError: An address beyond this machine without tokens and a certificate; no such file, port or address.
        MissingExtraError: The packages of the extra `serve`, or those of `grpc`, are not installed.
    """

    @explained()
    def __init__(
        self,
        fleet: Fleet | Client | str | Path,
        *,
        host: str = HOST,
        port: int = PORT,
        tokens: str | Path | None = None,
        tls_cert: str | Path | None = None,
        tls_key: str | Path | None = None,
        default_deadline: float = 60.0,
        grpc_port: int | None = None,
    ):
        check_front_door(
            host=host,
            port=port,
            tokens=tokens,
            tls_cert=tls_cert,
            tls_key=tls_key,
            default_deadline=default_deadline,
            grpc_port=grpc_port,
        )
        from importlib.metadata import version

        from splitplace.placement.http.app import FrontApp
        from splitplace.placement.http.guard import Guard
        from splitplace.placement.http.limits import Limits
        from splitplace.placement.http.server import Certificate, HttpServer
        from splitplace.placement.http.service import HttpService

        certificate = Certificate(Path(tls_cert), Path(tls_key)) if tls_cert and tls_key else None
        guard = Guard(None if tokens is None else Path(tokens))
        limits = Limits(deadline_s=default_deadline)
        self._own = StandingClient(fleet) if isinstance(fleet, str | Path) else None
        self._stopping = threading.Event()
        behind = self._own or fleet
        assert not isinstance(behind, str | Path)
        self._applications = behind.applications
        service = HttpService(behind, behind.applications, limits, guard, version("splitplace"))
        self._grpc: GrpcServer | None = None
        if grpc_port is not None:
            from splitplace.placement.grpc import server

            self._grpc = server.GrpcServer(service, guard, host, grpc_port, certificate)
        self._server: HttpServer = HttpServer(FrontApp(service), host, port, certificate, self._grpc)

    @explained()
    def __enter__(self) -> Self:
        """Open it.

        Raises:
            UsageError: The address cannot be taken, or the certificate not be read.
        """
        self._server.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.__exit__(kind, error, at)
        if self._own is not None:
            self._own.close()

    def applications(self) -> dict[str, Split]:
        """What it serves."""
        return self._applications()

    def stop(self) -> None:
        """Have `serve` return; from any thread."""
        self._stopping.set()

    def serve(self) -> None:
        """Wait for `stop`; in the main thread SIGTERM, Ctrl-C and SIGHUP (the terminal goes) ask for the end, too."""
        with asked_to_end(self.stop):
            while not self._stopping.wait(LOOK_EVERY_S):
                pass

    @property
    def url(self) -> str:
        """Where it answers, as http://127.0.0.1:8000."""
        return self._server.url

    @property
    def grpc_address(self) -> str | None:
        """Where it answers over gRPC, as 127.0.0.1:8001; None where it does not."""
        return None if self._grpc is None else self._grpc.address


def check_front_door(
    *,
    host: str,
    port: int,
    tokens: str | Path | None,
    tls_cert: str | Path | None,
    tls_key: str | Path | None,
    default_deadline: float,
    grpc_port: int | None = None,
) -> None:
    """What can be said against a front door before there is a fleet; arguments and errors as `FrontDoor`'s."""
    needs("splitplace serve", "serve")
    if grpc_port is not None:
        needs("splitplace serve --grpc-port", "grpc")
    from splitplace.placement.http.guard import is_loopback
    from splitplace.placement.http.tokens import read_tokens

    for option, number in (("--port", port), ("--grpc-port", grpc_port or 0)):
        if not 0 <= number < 2**16:
            raise UsageError(f"{option} {number}: expected 0 to 65535")
    if not 0 < default_deadline <= 10**7:
        raise UsageError(f"--default-deadline {default_deadline}: expected seconds above 0")
    if (tls_cert is None) != (tls_key is None):
        raise UsageError("--tls-cert and --tls-key belong together: give both")
    for option, path in (("--tls-cert", tls_cert), ("--tls-key", tls_key)):
        if path is not None and not Path(path).is_file():
            raise UsageError(f"{option} {path}: expected a PEM file")
    if not is_loopback(host) and (tokens is None or tls_cert is None):
        raise UsageError(
            f"--host {host}: reached from other machines, which takes --tokens, --tls-cert and --tls-key: give them, "
            "or listen on 127.0.0.1"
        )
    if tokens is not None:
        read_tokens(Path(tokens))
