"""What `fleet status` shows of a status, as text."""

from rich.console import Console

from splitplace.placement.broker.events import DeviceLoaded, PlanMade, SinkAnswered
from splitplace.records.action import Place
from splitplace.records.fleet_status import DeviceStatus, FleetStatus, TaskTally
from splitplace.tables.fleet import event_fields, status_shown


def device(name, **said):
    """One that is up."""
    return DeviceStatus(
        name=name, up=True, suspected=False, cpu_share=1.0, busy_share=0.0, memory_bytes=1, memory_used_bytes=0,
        fragments=(), micro_batches_run=0, measured_fragments={}, **said,
    )  # fmt: skip


def shown(**through):
    """The text for devices of these names, which go through the broker to those."""
    return text(*(device(name, through_broker=peers) for name, peers in through.items()))


def text(*devices):
    """Of a fleet of these."""
    status = FleetStatus(
        policy="p", uptime_s=1.0, accepting=True, devices=devices,
        tasks=TaskTally(waiting=0, running=0, answered=0, failed=0, cancelled=0),
    )  # fmt: skip
    console = Console(width=200)
    with console.capture() as capture:
        console.print(status_shown(status))
    return capture.get()


def test_pairs_that_go_through_the_broker_are_named():
    """Who sends first; in JSON they are each device's `through_broker`."""
    assert "through the broker: a to b, a to c, b to a\n" in shown(a=("b", "c"), b=("a",), c=())


def test_a_fleet_that_goes_directly_says_nothing_of_it():
    """As nearly all do."""
    assert "through the broker" not in shown(a=(), b=())


def test_where_fragments_come_from_is_said_where_a_registry_is_asked():
    """How many of each device's from there; whose not, and why, whatever the registry calls it."""
    found = text(
        device("a", loaded_from={"registry": 2, "here": 1}),
        device("b", loaded_from={"broker": 1}, registry_problem="oci://x/y: answers 500 [/bold]"),
        device("c", loaded_from={"broker": 1}),
    )
    assert "fragments from the registry: 2 to a\n" in found
    assert "fragments from the broker to b, not from the registry: oci://x/y: answers 500 [/bold]\n" in found
    assert " to c" not in found and "the registry" not in text(device("a", loaded_from={"broker": 1}))


def test_an_event_names_its_device_the_first_one_too_and_keeps_no_bytes():
    """Number 0 is a number; a clock's digits beyond the microsecond, a digest's end and logits tell nobody anything."""
    placed = Place(task=0, fragment=2, device=0)
    planned = PlanMade(at_s=1.0, decision_s=0.05517342800158076, placed=(placed, Place(task=0, fragment=3, device=1)))
    loaded = DeviceLoaded(at_s=1.0, device=0, digest=f"sha256:{'ab' * 32}", start_s=8.193736901997909, end_s=9.0)
    answered = SinkAnswered(at_s=1.0, job=0, sink="f1", micro_batch=0, logits=b"1234", sent_s=2.0)
    assert list(event_fields(planned.model_dump(), ("pi", "nuc"))) == [
        "decision_s 0.0551734", "placed task 0 fragment 2 device pi; task 0 fragment 3 device nuc", "told 0"
    ]  # fmt: skip
    assert list(event_fields(loaded.model_dump(), ("pi",))) == [
        "device pi",
        "digest sha256:abababababab",
        "start_s 8.19374",
        "end_s 9",
    ]
    assert list(event_fields(answered.model_dump(), ())) == ["job 0", "sink f1", "micro_batch 0", "sent_s 2"]
