"""`splitplace fleet`: a live fleet of devices, and what its users ask of it."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from splitplace.cli.output import emit, err, step
from splitplace.errors import NotReadyError, UsageError

if TYPE_CHECKING:
    from splitplace import FleetStatus
    from splitplace.records.fleet_status import ResourceUse

DATA = Path("splitplace-fleet")
WATCH_EVERY_S = 1.0


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

    if detach:
        step("starting the devices", 0.0)
        with sp.start_fleet(
            devices,
            catalog,
            splits=splits,
            policy=policy,
            state=state,
            interval_s=interval,
            retain_s=retain,
            data=data,
            seed=seed,
            precedence=precedence,
            inputs=inputs,
            micro_batch=micro_batch,
            engine=engine,
            image=image,
            listen=listen,
            registry=registry,
        ) as client:
            _started(client.status(), data, client.pid, json)
        return
    import os

    fleet = sp.Fleet(
        devices,
        catalog,
        splits=splits,
        policy=policy,
        state=state,
        interval_s=interval,
        retain_s=retain,
        data=data,
        seed=seed,
        precedence=precedence,
        inputs=inputs,
        micro_batch=micro_batch,
        engine=engine,
        image=image,
        listen=listen,
        registry=registry,
    )
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
        sys.stdout.flush()

    if token == "-":  # noqa: S105 - standard input
        token = sys.stdin.readline().strip().removeprefix("splitplace fleet join ")
    elif token is not None and token.startswith("-"):
        raise UsageError(f"Unknown option: {token}. See --help.")
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


def status(
    *,
    data: Path = DATA,
    watch: bool = False,
    json: bool = False,
) -> None:
    """Show a fleet's devices and tasks.

    Args:
        data: Folder of the fleet.
        watch: Show it again every second, until Ctrl-C or the fleet's end.
        json: Print one JSON document.
    """
    import splitplace as sp

    if watch and json:
        raise UsageError("--watch and --json exclude each other")
    with sp.Client(data) as client:
        if not watch:
            found = client.status()
            emit(found.model_dump(mode="json") | {"pid": client.pid}, _shown(found), json)
            return
        try:
            with _board() as show:
                while True:
                    show(_shown(client.status()))
                    time.sleep(WATCH_EVERY_S)
        except NotReadyError as error:
            err.print(str(error))
        except KeyboardInterrupt:
            return


@contextmanager
def _board() -> Iterator[Callable[[RenderableType], None]]:
    """What shows one thing in place of the former; in a file or a pipe, below it."""
    if not sys.stdout.isatty():
        yield _print
        return
    with Live(auto_refresh=False) as live:
        yield lambda thing: live.update(thing, refresh=True)


def _print(thing: RenderableType) -> None:
    emit({}, thing, False)
    sys.stdout.flush()


def _shown(status: "FleetStatus") -> RenderableType:
    mode = "" if status.interval_s is None else f", every {status.interval_s:g} s"
    mode += "" if status.inputs == "broadcast" else f", inputs by {status.inputs}"
    mode += "" if status.accepting else ", draining"
    joins = status.engine in ("joined", "ray")  # then it is a machine of its own, of no share and no process here
    table = Table(
        "device", "labels" if joins else "pid", "state", "speed" if joins else "share", "busy", "memory", "cpu",
        "resident", "network", "disk", "fragments", "runs",
    )  # fmt: skip
    mode = ("" if status.engine == "local" else f", engine {status.engine}") + mode
    table.title = f"{status.policy}, up {status.uptime_s:.0f} s{mode}"
    for device in status.devices:
        state = "suspected" if device.suspected else "up" if device.up else _gone(device.machine)
        table.add_row(
            device.name,
            " ".join(f"{name}={value}" for name, value in device.labels.items()) if joins else str(device.pid or ""),
            state,
            f"{device.core_speed if joins else device.cpu_share:.2f}",
            f"{device.busy_share:.0%}",
            f"{device.memory_used_bytes / 1e6:.0f} of {device.memory_bytes / 1e6:.0f} MB",
            *_measured(device.measured),
            str(len(device.fragments)),
            str(device.micro_batches_run),
        )
    relayed = [f"{device.name} to {peer}" for device in status.devices for peer in device.through_broker]
    lines = [f"through the broker: {', '.join(relayed)}"] if relayed else []
    lines += _supplied(status)
    tasks = status.tasks
    return Group(
        table,
        *map(Text, lines),
        f"tasks: {tasks.waiting} waiting, {tasks.running} running; {tasks.answered} answered, {tasks.failed} failed, "
        f"{tasks.cancelled} cancelled",
    )


def _supplied(status: "FleetStatus") -> list[str]:
    """Whose fragments came from the registry, and whose did not, though they were to."""
    pulled = {device.name: device.loaded_from.get("registry", 0) for device in status.devices}
    came = ", ".join(f"{count} to {name}" for name, count in pulled.items() if count)
    lines = [f"fragments from the registry: {came}"] if came else []
    return lines + [
        f"fragments from the broker to {device.name}, not from the registry: {device.registry_problem}"
        for device in status.devices
        if device.registry_problem
    ]


def _gone(machine: str) -> str:
    return {"here": "down", "silent": "silent"}.get(machine, "not joined")


def _measured(use: "ResourceUse | None") -> tuple[str, str, str, str]:
    if use is None:
        return "", "", "", ""
    moved, disk = use.sent_bytes_per_s + use.received_bytes_per_s, use.disk_read_bytes_per_s
    return (
        f"{use.cpu:.0%}",
        f"{use.memory_bytes / 1e6:.0f} MB",
        f"{moved / 1e6:.1f} MB/s",
        "" if disk is None else f"{disk / 1e6:.1f} MB/s",
    )


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


def history(*, data: Path = DATA, json: bool = False) -> None:
    """Print what happened to a fleet, event by event, as its journal has it.

    Args:
        data: Folder of the fleet.
        json: Print one JSON document.
    """
    import splitplace as sp

    events = [event.model_dump(mode="json") for event in sp.fleet_history(data)]
    table = Table("at s", "event", "what", title=f"{len(events)} events")
    for event in events:
        told = ", ".join(
            f"{name} {value!s:.60}"
            for name, value in event.items()
            if name not in ("at_s", "kind") and value not in (None, [], False)
        )
        table.add_row(f"{event['at_s']:.3f}", event["kind"], told)
    emit({"events": events}, table, json)
