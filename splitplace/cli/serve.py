"""`splitplace serve`: a live fleet over HTTP and gRPC; and `splitplace token`, who may call it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.table import Table

from splitplace.children import tell_crashes
from splitplace.cli.output import emit, step
from splitplace.errors import UsageError

if TYPE_CHECKING:
    from splitplace import FrontDoor


def serve(
    catalog: str | None = None,
    /,
    *,
    devices: str = "azure10:3",
    fleet: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    grpc_port: int | None = None,
    tokens: Path | None = None,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    default_deadline: float = 60.0,
    policy: str = "joint",
    retain: float | None = None,
    wire: Literal["raw", "encoded"] = "raw",
    data: Path = Path("splitplace-fleet"),
    json: bool = False,
) -> None:
    """Serve a catalog's applications over HTTP (and gRPC) by the Open Inference Protocol v2, until SIGTERM or Ctrl-C.

    Args:
        catalog: Folder of the catalog, or oci://HOST/REPOSITORY[:TAG][@DIGEST]: a fleet with all of its profiled splits
            is started on this machine.
        devices: A TOML file, or a shipped fleet.
        fleet: Data folder of a fleet that runs already: serve that one.
        host: Address to listen on; beyond this machine it takes tokens and a certificate.
        port: 0 takes a free one.
        grpc_port: Answer over gRPC as well, at this port of the same address; 0 takes a free one.
        tokens: Token file, as `splitplace token add` makes it.
        tls_cert: PEM file of the certificate and those that vouch for it.
        tls_key: PEM file of its key.
        default_deadline: Seconds that a request has which states no deadline.
        policy: joint; DECIDER+PLACER, as mab+least-loaded; or module:Class for one of your own.
        retain: Seconds for which a result may be asked for again; by default as long as there is room.
        wire: Images travel to the devices as their pixels, or each as a lossless PNG, which devices undo.
        data: Folder for the fleet's socket, log and history; yours alone.
        json: Print one JSON document when it is up.
    """
    import splitplace as sp
    from splitplace.api.front_door import check_front_door

    asked: dict[str, Any] = {
        "host": host,
        "port": port,
        "grpc_port": grpc_port,
        "tokens": tokens,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "default_deadline": default_deadline,
    }
    check_front_door(**asked)
    if (catalog is None) == (fleet is None):
        raise UsageError("expected a catalog to serve, or --fleet with the data folder of a fleet that runs")
    if fleet is not None and retain is not None:
        raise UsageError("--retain with --fleet: results are kept by that fleet, expected it at its `fleet start`")
    if fleet is not None and wire != "raw":
        raise UsageError("--wire with --fleet: that fleet sends images as its `fleet start` said, expected it there")
    tell_crashes()
    if fleet is not None:
        with _telling_accesses(), sp.FrontDoor(fleet, **asked) as door:
            _up(door, fleet, json)
            door.serve()
        return
    assert catalog is not None
    step("starting the devices", 0.0)
    with (
        _telling_accesses(),
        sp.Fleet(devices, catalog, policy=policy, retain_s=retain, wire=wire, data=data) as own,
        sp.FrontDoor(own, **asked) as door,
    ):
        _up(door, data, json)
        own.serve()


def _up(door: "FrontDoor", data: Path, json: bool) -> None:
    models, beside = sorted(door.applications()), door.grpc_address
    document = {"url": door.url, "grpc": beside, "models": models, "data": str(data.absolute())}
    over = f" (gRPC: {beside})" if beside else ""
    emit(document, f"{door.url}{over} serves {', '.join(models)}", json)


@contextmanager
def _telling_accesses() -> Iterator[None]:
    """The access log goes to standard error, a JSON document a line, until the front door is closed.

    The handler has the standard error of this moment. Left behind in a program that goes on, it would write what its
    next front door says to a stream that may have been closed since.
    """
    logger = logging.getLogger("splitplace.access")
    level, propagate, handlers = logger.level, logger.propagate, logger.handlers
    logger.setLevel(logging.INFO)
    logger.propagate, logger.handlers = False, [logging.StreamHandler()]
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.propagate, logger.handlers = propagate, handlers


def token_add(name: str, /, *, tokens: Path, rate: float = 100.0, json: bool = False) -> None:
    """Make a token for somebody, and print it, this once: the file keeps its digest only.

    Args:
        name: Of who is to have it: what the access log and the metrics say.
        tokens: The token file; made where there is none.
        rate: Requests a second that it may make.
        json: Print one JSON document.
    """
    import splitplace as sp

    token = sp.add_token(tokens, name, rate)
    emit({"name": name, "token": token, "tokens": str(tokens.absolute())}, token, json)


def token_ls(*, tokens: Path, json: bool = False) -> None:
    """List who has a token.

    Args:
        tokens: The token file.
        json: Print one JSON document.
    """
    import splitplace as sp

    found = sp.read_tokens(tokens).tokens
    table = Table("name", "made", "requests/s")
    for entry in found:
        table.add_row(entry.name, entry.created, f"{entry.rate_per_s:g}")
    emit({"tokens": [entry.model_dump(mode="json", exclude={"sha256"}) for entry in found]}, table, json)


def token_revoke(name: str, /, *, tokens: Path, json: bool = False) -> None:
    """Take a token away; a front door that runs refuses it from its next request on.

    Args:
        name: Whose.
        tokens: The token file.
        json: Print one JSON document.
    """
    import splitplace as sp

    sp.revoke_token(tokens, name)
    emit({"name": name, "revoked": True}, f"{name} is revoked", json)
