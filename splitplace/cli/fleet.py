"""`splitplace fleet`: starts one, lets machines in and out, ends it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from splitplace.children import tell_crashes
from splitplace.cli.output import emit, err, step
from splitplace.errors import UsageError

if TYPE_CHECKING:
    from splitplace import FleetStatus

DATA = Path("splitplace-fleet")


def start(
    *,
    devices: str,
    catalog: str,
    splits: tuple[str, ...] = (),
    policy: str = "joint",
    state: Path | None = None,
    interval: float | None = None,
    retain: float | None = None,
    data: Path = DATA,
    seed: int = 0,
    precedence: Literal["pipelined", "strict"] = "pipelined",
    inputs: Literal["broadcast", "ring"] = "broadcast",
    wire: Literal["raw", "encoded"] = "raw",
    micro_batch: int = 64,
    engine: str = "local",
    image: str = "",
    listen: str = "127.0.0.1",
    registry: str | None = None,
    detach: bool = False,
    json: bool = False,
) -> None:
    """Start a fleet, and serve until it is stopped: by `fleet stop`, SIGTERM or Ctrl-C.

    Args:
        devices: A TOML file, or a shipped fleet: processes or containers as slow as their core_speed says, or what
            machines join as.
        catalog: Folder of the catalog that holds the splits, or oci://HOST/REPOSITORY[:TAG][@DIGEST] of a registry.
        splits: References of those that may be chosen; by default all that were profiled.
        policy: joint; DECIDER+PLACER, as mab+least-loaded; or module:Class for one of your own.
        state: Folder of trained states, as `policy train` writes it. A data folder that has seen a fleet goes on with
            what was learned there.
        interval: Seconds: decide and place once in so many, as the paper does; by default at once.
        retain: Seconds for which a result may be asked for again; by default as long as there is room.
        seed: Of the policy's randomness.
        precedence: By micro-batch, or a fragment starts when the former has finished the task.
        inputs: A task's images go to each fragment that takes them, or to the first, whose device passes them on.
        wire: A task's images travel as their pixels, or each as a lossless PNG, which devices undo; it takes the extra
            `images` here and on each of them.
        micro_batch: Samples a device runs at once.
        engine: local, a process a device; podman, a container a device, limited to its memory; joined, machines that
            `fleet join`; ray, those and a cluster's nodes; or a package's.
        image: Of podman's images the one to run, as `splitplace image` makes them; by default one of this machine's own
            Python.
        listen: Address of this machine where machines that join find it.
        registry: oci://HOST/REPOSITORY where these pull fragments before they ask the broker; by default the catalog's.
        detach: Serve in a process of its own, with a log in the data folder; return when it is up.
        data: Folder for the socket, the log and the history; yours alone.
        json: Print one JSON document when it is up.
    """
    import splitplace as sp

    wanted: dict[str, Any] = {
        "splits": splits,
        "policy": policy,
        "state": state,
        "interval_s": interval,
        "retain_s": retain,
        "data": data,
        "seed": seed,
        "precedence": precedence,
        "inputs": inputs,
        "wire": wire,
        "micro_batch": micro_batch,
        "engine": engine,
        "image": image,
        "listen": listen,
        "registry": registry,
    }
    if detach:
        step("starting the devices", 0.0)
        with sp.start_fleet(devices, catalog, **wanted) as client:
            _started(client.status(), data, client.pid, json)
        return
    import os

    tell_crashes()
    fleet = sp.Fleet(devices, catalog, **wanted)
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
