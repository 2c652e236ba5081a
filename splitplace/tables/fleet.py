"""What a live fleet does, and what happened to it, for people."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from splitplace import FleetStatus
    from splitplace.records.fleet_status import ResourceUse


def status_shown(status: "FleetStatus") -> Group:
    """A row a device; who goes through the broker, where fragments come from, and how tasks stand below."""
    mode = "" if status.interval_s is None else f", every {status.interval_s:g} s"
    mode += "" if status.inputs == "broadcast" else f", inputs by {status.inputs}"
    mode += "" if status.wire == "raw" else ", images as PNG"
    mode += "" if status.accepting else ", takes no tasks"
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


def event_fields(event: Mapping[str, object], devices: Sequence[str]) -> Iterator[str]:
    """What an event states, but its time, its kind and bytes: a device by its name, of a digest the beginning."""
    for name, value in event.items():
        if (
            name in ("at_s", "kind", "event")
            or isinstance(value, bytes)
            or value is None
            or value is False
            or value in ((), "")
        ):
            continue
        if name in ("device", "by") and isinstance(value, int) and value < len(devices):
            value = devices[value]
        yield f"{name} {_brief(value, devices)}"


def _brief(value: object, devices: Sequence[str]) -> str:
    match value:
        case float():
            return f"{value:.6g}"
        case str() if value.startswith("sha256:"):
            return value[:19]
        case Mapping():
            return " ".join(event_fields(value, devices))
        case tuple():
            return "; ".join(_brief(one, devices) for one in value)
    return f"{value!s:.60}"
