"""Which share of this machine's cores a stated device gets, and how fast that makes each of its own."""

from types import SimpleNamespace

import pytest

from splitplace.errors import UsageError
from splitplace.placement.engines import emulated
from splitplace.records.device import Device

pytestmark = pytest.mark.base


@pytest.fixture(autouse=True)
def _machine(monkeypatch):
    """Two cores of speed .8."""
    monkeypatch.setattr(emulated.probe, "core_speed", lambda: 0.8)
    monkeypatch.setattr(emulated.provenance, "machine", lambda: SimpleNamespace(cores=2))


def given(*devices):
    """Their shares, and the speeds of their cores here; each stated by cores, speed and label."""
    stated = [
        Device(
            name=f"d{row}", kind="k", cores=cores, core_speed=speed, memory_bytes=1, disk_bytes=1, disk_bytes_per_s=1.0,
            up_bytes_per_s=1.0, down_bytes_per_s=1.0, rtt_s=0.0, power_w=(0.0,) * 11,
            labels={emulated.LABEL: share} if share else {},
        )
        for row, (cores, speed, share) in enumerate(devices)
    ]  # fmt: skip
    found, shares = emulated.emulated(stated)
    return list(shares.values()), [device.core_speed for device in found]


def test_a_device_gets_what_makes_its_cores_as_slow_as_stated():
    """A fourth of a core's speed, on one core or two."""
    assert given((1, 0.2, None), (2, 0.4, None)) == ([0.25, 0.5], [pytest.approx(0.2), pytest.approx(0.4)])


def test_a_device_faster_than_this_machine_slows_all_down():
    """In proportion."""
    shares, speeds = given((1, 1.6, None), (1, 0.8, None))
    assert (shares, speeds) == ([1.0, 0.5], [pytest.approx(0.8), pytest.approx(0.4)])


def test_so_does_one_of_more_cores_than_there_are():
    """Four of speed .8 on two: each half as fast, and a device of one core of as much gets half of one."""
    shares, speeds = given((4, 0.8, None), (1, 0.8, None))
    assert (shares, speeds) == ([0.5, 0.5], [pytest.approx(0.4), pytest.approx(0.4)])


def test_a_labelled_share_stands_and_threads_without_cores_are_slower():
    """Half of four cores is all of the two; a fourth is what it says."""
    shares, speeds = given((4, 9.0, "1.0"), (4, 9.0, "0.25"))
    assert (shares, speeds) == ([1.0, 0.25], [pytest.approx(0.4), pytest.approx(0.2)])


def test_no_share_is_refused():
    """Named."""
    with pytest.raises(UsageError, match="d0: label cpu_share '2': expected a share above 0 and at most 1"):
        given((1, 1.0, "2"))
