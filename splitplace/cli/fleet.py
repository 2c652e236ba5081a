"""`splitplace fleet`: starts one, lets machines in and out, ends it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from splitplace.children import tell_crashes
from splitplace.cli.output import emit, err, step
from splitplace.cli.verb import named, options_of
from splitplace.errors import UsageError

if TYPE_CHECKING:
    from splitplace import FleetStatus

DATA = Path("splitplace-fleet")


@options_of(
    "start_fleet",
    positional=0,
    state=Path,
    data=Path,
    interval_s=named("--interval", float),
    retain_s=named("--retain", float),
)
def start(asked: dict[str, Any], *, data: Path, detach: bool = False, json: bool = False) -> None:  # noqa: D417 - `asked`
    """Start a fleet, and serve until it is stopped: by `fleet stop`, SIGTERM or Ctrl-C.

    Args:
        detach: Serve in a process of its own, with a log in the data folder; return when it is up.
        json: Print one JSON document when it is up.
    """
    import splitplace as sp

    if detach:
        step("starting the devices", 0.0)
        with sp.start_fleet(**asked) as client:
            _started(client.status(), data, client.pid, json)
        return
    import os

    tell_crashes()
    fleet = sp.Fleet(**asked)
    step("starting the devices", 0.0)
    with fleet:
        _started(fleet.status(), data, os.getpid(), json)
        fleet.serve()


def _started(status: "FleetStatus", data: Path, pid: int, json: bool) -> None:
    document = {"data": str(data.absolute()), "pid": pid, "devices": [device.name for device in status.devices]}
    told = f"{len(status.devices)} devices are up (process {pid}, in {data.absolute()})"
    if status.engine != "local":
        there = sum(device.machine == "here" for device in status.devices)
        told = f"{there} of {len(status.devices)} machines are there (process {pid}, in {data.absolute()})"
    emit(document, told, json)


def invite(device: str, *, valid: float = 3600.0, data: Path = DATA, json: bool = False) -> None:
    """Print a token by which one machine may become a device of a fleet, once.

    Args:
        device: Its name in the fleet.
        valid: Seconds that it may be used within.
        data: Folder of the fleet.
        json: Print one JSON document.
    """
    import splitplace as sp

    with sp.Client(data) as client:
        token = client.invite(device, valid)
    if json:
        emit({"device": device, "token": token, "valid_s": valid}, "", json)
    else:
        sys.stdout.write(f"splitplace fleet join {token}\n")  # not through a table, which would break the line


def join(
    token: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    /,
    *,
    data: Path = Path("splitplace-device"),
    catalog: str | None = None,
    address: str | None = None,
    json: bool = False,
) -> None:
    """Make this machine a device of a fleet, and be that until SIGTERM or Ctrl-C.

    Args:
        token: What `fleet invite` printed, or - to read it from standard input, where no other user of this machine
            sees it; without one, this machine comes back as what it was.
        data: Folder for what this machine is, its key and its fragments; yours alone.
        catalog: Folder or oci://HOST/REPOSITORY that has fragments; what is not there comes from the broker.
        address: Of this machine, where the other devices find it; by default the one that leads to the broker.
        json: Print one JSON document when it is in the fleet.
    """
    import os

    import splitplace as sp

    def joined(device: str) -> None:
        document = {"device": device, "data": str(data.absolute()), "pid": os.getpid()}
        emit(document, f"this machine is {device} (process {os.getpid()}, in {data.absolute()})", json)

    if token == "-":  # noqa: S105 - standard input
        token = sys.stdin.readline().strip().removeprefix("splitplace fleet join ")
    elif token is not None and token.startswith("-"):
        raise UsageError(f"Unknown option: {token}. See --help.")
    tell_crashes()
    sp.join_fleet(token, data=data, catalog=catalog, address=address, told=err.print, joined=joined)


def revoke(device: str, *, data: Path = DATA, json: bool = False) -> None:
    """Put a device out of a fleet: its key opens nothing any more. It may be invited anew.

    Args:
        device: Its name in the fleet.
        data: Folder of the fleet.
        json: Print one JSON document.
    """
    import splitplace as sp

    with sp.Client(data) as client:
        client.revoke(device)
    emit({"revoked": device}, f"{device} is out", json)


def drain(*, data: Path = DATA, json: bool = False) -> None:
    """Have a fleet take no more tasks, and wait until all have ended.

    Args:
        data: Folder of the fleet.
        json: Print one JSON document.
    """
    import splitplace as sp

    with sp.Client(data) as client:
        client.drain()
        tasks = client.status().tasks
    document = {"drained": True, "tasks": tasks.model_dump(mode="json")}
    emit(document, f"drained: {tasks.answered} answered, {tasks.failed} failed, {tasks.cancelled} cancelled", json)


def stop(*, data: Path = DATA, json: bool = False) -> None:
    """End a fleet; returns when its devices are gone.

    Args:
        data: Folder of the fleet.
        json: Print one JSON document.
    """
    import splitplace as sp

    with sp.Client(data) as client:
        pid = client.pid
        client.stop()
    emit({"stopped": True, "pid": pid, "data": str(data.absolute())}, f"stopped (process {pid})", json)
