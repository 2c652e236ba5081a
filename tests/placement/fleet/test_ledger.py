"""The broker's account of memory."""

import numpy as np
import pytest

from splitplace.placement import tables
from splitplace.placement.broker.ledger import Ledger


@pytest.fixture
def ledger(toy):
    """One device with memory for two fragments of a chain of three."""
    demand, devices = toy.demand_of(toy.chain()), (toy.make_device("a", 2),)
    return Ledger(demand, devices, tables.fragments_table(demand, devices))


def test_the_base_is_taken_off_once(ledger, toy):
    """What fragments may use is the device's memory less the runtime's."""
    assert ledger.capacity_bytes_D.tolist() == [2 * toy.fragment_bytes]


def test_residency_counts_once(ledger, toy):
    """Two jobs share one loaded fragment."""
    assert ledger.reserve(1, fragment=0, device=0, now_s=0.0)
    assert not ledger.reserve(2, fragment=0, device=0, now_s=0.0)
    assert ledger.used_bytes(0) == toy.fragment_bytes


def test_memory_is_never_exceeded(ledger):
    """A placement that does not fit is a broken placer: an assertion, not an overrun."""
    ledger.reserve(1, 0, 0, 0.0)
    ledger.reserve(1, 1, 0, 0.0)
    with pytest.raises(AssertionError, match="would hold 3000 of 2000"):
        ledger.reserve(1, 2, 0, 0.0)


def test_only_idle_fragments_are_evicted(ledger):
    """As long as a job needs it, it stays; afterwards it stays until it is evicted."""
    ledger.reserve(1, 0, 0, 0.0)
    with pytest.raises(AssertionError, match="in use"):
        ledger.evict(0, 0, 0.0)
    ledger.release(1)
    assert ledger.resident_FD()[0, 0]
    assert ledger.evict(0, 0, 0.0)
    assert ledger.used_bytes(0) == 0


def test_utilisation_is_a_mean_over_time(ledger):
    """Half full for one of two seconds, then full: (0 + 1/2 ... ) by hand."""
    ledger.reserve(1, 0, 0, now_s=1.0)
    ledger.reserve(1, 1, 0, now_s=2.0)
    assert ledger.utilisation(4.0) == pytest.approx((0 * 1 + 0.5 * 1 + 1.0 * 2) / 4)
    assert np.all(ledger.peak_bytes_D <= ledger.capacity_bytes_D)


def test_who_asks_for_the_utilisation_changes_nothing(ledger):
    """Another thread may have a later clock than the loop: what it read is not booked, and the mean stays the same."""
    assert ledger.utilisation(100.0) == 0.0
    ledger.reserve(1, 0, 0, now_s=1.0)
    ledger.reserve(1, 1, 0, now_s=2.0)
    assert ledger.utilisation(4.0) == ledger.utilisation(4.0) == pytest.approx((0 * 1 + 0.5 * 1 + 1.0 * 2) / 4)


def test_who_asks_sees_one_moment(ledger, monkeypatch):
    """A reading in the middle of a change is of before it: nothing half booked is seen, no table changes under it."""
    ledger.reserve(1, 0, 0, now_s=1.0)
    seen = []
    real = ledger.used_bytes_D
    monkeypatch.setattr(ledger, "used_bytes_D", lambda: seen.append(ledger.utilisation(2.0)) or real())
    ledger.reserve(1, 1, 0, now_s=2.0)
    assert seen == [pytest.approx(0.25)]


def test_idle_is_what_no_job_needs(ledger):
    """Loaded and used is not idle; released is; evicted is neither."""
    ledger.reserve(1, 0, 0, 0.0)
    assert not ledger.idle_FD().any()
    ledger.release(1)
    assert np.argwhere(ledger.idle_FD()).tolist() == [[0, 0]]
    ledger.evict(0, 0, 1.0)
    assert not ledger.idle_FD().any()
