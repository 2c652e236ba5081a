"""What `fleet status` shows of a status, as text."""

from rich.console import Console

from splitplace.cli.fleet import _shown
from splitplace.records.fleet_status import DeviceStatus, FleetStatus, TaskTally


def shown(**through):
    """The text for devices of these names, which go through the broker to those."""
    devices = tuple(
        DeviceStatus(
            name=name, up=True, suspected=False, cpu_share=1.0, busy_share=0.0, memory_bytes=1, memory_used_bytes=0,
            fragments=(), micro_batches_run=0, through_broker=peers, measured_fragments={},
        )
        for name, peers in through.items()
    )  # fmt: skip
    status = FleetStatus(
        policy="p", uptime_s=1.0, accepting=True, devices=devices,
        tasks=TaskTally(waiting=0, running=0, answered=0, failed=0, cancelled=0),
    )  # fmt: skip
    console = Console(width=200)
    with console.capture() as capture:
        console.print(_shown(status))
    return capture.get()


def test_pairs_that_go_through_the_broker_are_named():
    """Who sends first; in JSON they are each device's `through_broker`."""
    assert "through the broker: a to b, a to c, b to a\n" in shown(a=("b", "c"), b=("a",), c=())


def test_a_fleet_that_goes_directly_says_nothing_of_it():
    """As nearly all do."""
    assert "through the broker" not in shown(a=(), b=())
