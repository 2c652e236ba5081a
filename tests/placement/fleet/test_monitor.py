"""The Resource Monitor of a live fleet: rates from what pongs say, in the view and in the status."""

import dataclasses
import time

import numpy as np
import pytest

from splitplace.placement.broker.monitor import Monitor, utilisation
from splitplace.placement.protocol import fields, messages
from splitplace.records.view import Utilisation
from tests.placement.fleet.conftest import make_device

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
PATIENCE_S = 240.0


def used(digest, cpu_s=0.0, sent=0, received=0, disk=0, resident=0):
    """What a fragment has used so far."""
    return fields.FragmentUsage(
        digest=digest, micro_batches=1, busy_s=cpu_s, cpu_s=cpu_s, resident_bytes=resident, sent_bytes=sent,
        received_bytes=received, disk_read_bytes=disk,
    )  # fmt: skip


def pong(cpu_s=0.0, *fragments, rss=1, sent=0, received=0, disk=0):
    """What a process has used so far."""
    return messages.Pong(
        sequence=1, rss_bytes=rss, cpu_s=cpu_s, sent_bytes=sent, received_bytes=received, disk_read_bytes=disk,
        held_bytes=0, containers=0, fragments=fragments,
    )  # fmt: skip


def test_rates_are_between_the_pongs_of_the_last_two_seconds():
    """2 cores: 1.5 s of CPU in 2 s are 3/8 of them; what was before is forgotten."""
    monitor = Monitor(2, 1.0)
    for at_s, cpu_s, sent in [(0.0, 0.0, 0), (1.0, 100.0, 9999), (2.0, 100.5, 9999), (3.0, 101.5, 10_099)]:
        monitor.heard(at_s, pong(cpu_s, used(A, cpu_s / 2, received=sent), sent=sent, rss=int(at_s)))
    found = monitor.measured(3.1)
    assert (found.device.cpu, found.device.memory_bytes, found.device.sent_bytes_per_s) == (0.375, 3, 50.0)
    assert (found.fragments[A].cpu, found.fragments[A].received_bytes_per_s) == (0.1875, 50.0)


def test_the_time_that_images_take_to_decode_is_told_apart():
    """Of a device that of all its fragments."""
    monitor = Monitor(2, 1.0)
    for at_s, a_s, b_s in [(0.0, 1.0, 0.0), (2.0, 1.5, 1.0)]:
        usage = (used(A).model_copy(update={"decode_s": a_s}), used(B).model_copy(update={"decode_s": b_s}))
        monitor.heard(at_s, pong(0.0, *usage))
    found = monitor.measured(2.0)
    assert (found.fragments[A].decoding, found.fragments[B].decoding, found.device.decoding) == (0.25, 0.5, 0.75)


def test_an_emulated_device_is_busy_by_its_own_share():
    """A quarter of one core, used whole, is all it has."""
    monitor = Monitor(1, 0.25)
    monitor.heard(0.0, pong(0.0))
    monitor.heard(2.0, pong(0.5))
    assert monitor.measured(2.0).device.cpu == 1.0


def test_a_fragment_that_was_just_loaded_counts_from_nothing():
    """And one that is gone is not told of."""
    monitor = Monitor(1, 1.0)
    monitor.heard(0.0, pong(0.0, used(B, 5.0)))
    monitor.heard(2.0, pong(1.0, used(A, 1.0, disk=200)))
    fragments = monitor.measured(2.0).fragments
    assert fragments.keys() == {A}
    assert (fragments[A].cpu, fragments[A].disk_read_bytes_per_s) == (0.5, 100.0)


@pytest.mark.parametrize("again", ["another process", "sums that fall"])
def test_no_rate_is_below_nothing(again):
    """A process that starts again begins at 0; one that says nonsense does no harm."""
    monitor = Monitor(1, 1.0)
    monitor.heard(0.0, pong(5.0, sent=1000))
    if again == "another process":
        monitor.forget()
        assert monitor.measured(0.0) is None
    monitor.heard(1.0, pong(0.0 if again == "another process" else 5.0, sent=10))
    monitor.heard(2.0, pong(0.5 if again == "another process" else 5.0, sent=0))
    assert monitor.measured(2.0).device.sent_bytes_per_s == 0.0
    assert monitor.measured(2.0).device.cpu == (0.5 if again == "another process" else 0.0)


def test_what_was_heard_long_ago_says_nothing():
    """A device that fell silent is not shown as busy as it was."""
    monitor = Monitor(1, 1.0)
    monitor.heard(0.0, pong(0.0))
    monitor.heard(1.0, pong(1.0))
    assert monitor.measured(4.9).device.cpu == 1.0
    assert monitor.measured(5.1) is None


def test_a_system_that_does_not_tell_is_not_guessed_at():
    """Of the disk; to a policy it is idle."""
    monitor = Monitor(1, 1.0)
    monitor.heard(0.0, pong(disk=None))
    assert monitor.measured(0.0).device.disk_read_bytes_per_s is None
    assert utilisation([make_device("a")], [monitor.measured(0.0)], [{}]).disk_D.tolist() == [0.0]


def test_a_policy_is_shown_shares_of_what_devices_have():
    """Of memory, of the link in the busier direction, of the disk; a silent device and an unknown file: nothing."""
    device = make_device("a").model_copy(
        update={"memory_bytes": 1000, "up_bytes_per_s": 100.0, "down_bytes_per_s": 10.0, "disk_bytes_per_s": 50.0}
    )
    monitor = Monitor(1, 1.0)
    monitor.heard(0.0, pong())
    monitor.heard(2.0, pong(1.0, used(A, 0.5, 40, 4, 20, 300), used(B), rss=500, sent=100, received=10, disk=1000))
    seen = utilisation([device, device], [None, monitor.measured(2.0)], [{}, {A: 3}])
    shares = [seen.cpu_D, seen.memory_D, seen.net_D, seen.disk_D]
    assert [share.tolist() for share in shares] == [[0.0, 0.5], [0.0, 0.5], [0.0, 0.5], [0.0, 1.0]]
    assert (seen.fragment_U.tolist(), seen.device_U.tolist()) == ([3], [1])
    assert [share.tolist() for share in (seen.cpu_U, seen.memory_U, seen.net_U, seen.disk_U)] == [
        *([0.25], [0.3], [0.2], [0.2])
    ]


def test_energy_is_the_curves_power_at_the_cpu_of_each_span():
    """1 s at half load of 10 to 20 W: 15 J; 2 s idle: 20 J; the process is another one: nothing is known of the gap."""
    monitor = Monitor(2, 1.0, tuple(10.0 + row for row in range(11)))
    for at_s, cpu_s in [(0.0, 5.0), (1.0, 6.0), (3.0, 6.0)]:
        monitor.heard(at_s, pong(cpu_s))
    assert monitor.energy_j == pytest.approx(35.0)
    monitor.forget()
    for at_s, cpu_s in [(10.0, 0.0), (11.0, 2.0)]:
        monitor.heard(at_s, pong(cpu_s))
    assert monitor.energy_j == pytest.approx(55.0) and monitor.power_at(0.25) == pytest.approx(12.5)


def test_an_emulated_devices_energy_is_that_of_what_it_stands_for():
    """All of its share of a core is full load; more than all is no more than that."""
    monitor = Monitor(1, 0.25, (0.0,) * 10 + (8.0,))
    for at_s, cpu_s in [(0.0, 0.0), (1.0, 0.25), (2.0, 9.0)]:
        monitor.heard(at_s, pong(cpu_s))
    assert monitor.energy_j == pytest.approx(16.0)


@pytest.mark.slow
def test_a_fragment_that_computes_is_seen_to(toy, start):
    """On real devices: CPU and memory of the device and the fragment, and the bytes that went in and out."""
    graph = toy.chain(width=1024, layers=8)
    views = []

    class Looker(type(toy.policy(0).placer)):
        def place(self, state, view, requests, rng):
            views.append(view.utilisation)
            return super().place(state, view, requests, rng)

    with start(graph, devices=[toy.make_device("a")], placer=Looker()) as broker:
        rng, end_s = np.random.default_rng(0), time.monotonic() + PATIENCE_S
        while time.monotonic() < end_s:
            x = rng.standard_normal((200, 1024)).astype(np.float32)
            assert broker.submit("toy", x, 1000.0).result(PATIENCE_S).outcome.error is None
            (status,) = broker.status().devices
            use = status.measured_fragments.get(f"{graph.split.reference}/f0")
            if use is not None and use.cpu > 0 and use.received_bytes_per_s > 0 and views[-1].cpu_U.any():
                break
        else:
            pytest.fail("nothing was measured")
    assert 0 < use.cpu <= status.measured.cpu <= 1
    assert 0 < use.memory_bytes < status.measured.memory_bytes
    assert status.measured_fragments.keys() == set(status.fragments)
    assert status.measured.received_bytes_per_s > 0 and status.measured.sent_bytes_per_s > 0
    seen = views[-1]
    assert set(seen.fragment_U.tolist()) == {0, 1, 2} and set(seen.device_U.tolist()) == {0}
    assert seen.cpu_U.sum() > 0 and 0 < seen.memory_U.sum() < seen.memory_D[0]
    # What goes from one fragment to the next on the same device passes no link.
    assert seen.net_U[seen.fragment_U == 1].tolist() == [0.0]


def test_simulator_and_fleet_fill_the_same_fields(toy, start):
    """Every field of the view's utilisation, in the same shapes and units: shares, one a device or one a pair."""
    monitor = Monitor(1, 1.0)
    monitor.heard(0.0, pong(0.0, used(A)))
    live = utilisation([make_device("a"), make_device("b")], [monitor.measured(0.0), None], [{A: 0}, {}])
    simulated = _simulated()
    for field in dataclasses.fields(Utilisation):
        mine, other = getattr(live, field.name), getattr(simulated, field.name)
        assert mine.dtype == other.dtype, field.name
        assert len(other) == (2 if field.name.endswith("_D") else len(simulated.fragment_U)), field.name
        assert len(mine) == (2 if field.name.endswith("_D") else 1), field.name


def _simulated():
    """Of a fleet of two."""
    from splitplace.placement.registry import parse_policy
    from splitplace.placement.simulator.run import simulate
    from splitplace.placement.simulator.scenario import Workload
    from splitplace.records.device import FleetSpec
    from tests.placement.simulator.conftest import constants, device, scenario

    seen = []
    chosen = scenario(workload=Workload(rate=3.0, batch=(10, 20), deadline_intervals={"a": (1, 1)}))
    fleet = FleetSpec(name="two", devices=(device(count=2),))
    simulate(
        chosen, fleet, constants({"core_s": (1e5,)}), parse_policy("layer+random"), 5,
        watch=lambda view, _: seen.append(view.utilisation),
    )  # fmt: skip
    assert len(seen[-1].fragment_U)
    return seen[-1]
