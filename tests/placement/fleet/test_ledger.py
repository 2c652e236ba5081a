"""The broker's account of memory."""

import numpy as np
import pytest

from splitplace.placement.broker.setup import Setup


@pytest.fixture
def ledger(toy):
    """One device with memory for two fragments of a chain of three."""
    return Setup(toy.demand_of(toy.chain()), (toy.make_device("a", 2),), "pipelined", 4, 100.0).first().ledger


def test_the_base_is_taken_off_once(ledger, toy):
    """What fragments may use is the device's memory less the runtime's."""
    assert ledger.capacity_bytes == (2 * toy.fragment_bytes,)


def test_residency_counts_once(ledger, toy):
    """Two jobs share one loaded fragment."""
    assert ledger.reserve(1, 0, 0, 1000.0, 0.0)
    assert not ledger.reserve(2, 0, 0, 1000.0, 0.0)
    assert ledger.used_bytes(0) == toy.fragment_bytes


def test_memory_is_never_exceeded(ledger):
    """A placement that does not fit is a broken placer: an assertion, not an overrun."""
    ledger.reserve(1, 0, 0, 1000.0, 0.0)
    ledger.reserve(1, 1, 0, 1000.0, 0.0)
    with pytest.raises(AssertionError, match="would hold 3000 of 2000"):
        ledger.reserve(1, 2, 0, 1000.0, 0.0)


def test_only_idle_fragments_are_evicted(ledger):
    """As long as a job needs it, it stays; afterwards it stays until it is evicted."""
    ledger.reserve(1, 0, 0, 1000.0, 0.0)
    assert not ledger.evict(0, 0, 0.0)
    ledger.release(1, 0, 0)
    assert ledger.resident_FD(3)[0, 0]
    assert ledger.evict(0, 0, 0.0)
    assert ledger.used_bytes(0) == 0


def test_utilisation_is_a_mean_over_time(ledger):
    """Half full for one of two seconds, then full: (0 + 1/2 ... ) by hand."""
    ledger.reserve(1, 0, 0, 1000.0, 1.0)
    ledger.reserve(1, 1, 0, 1000.0, 2.0)
    assert ledger.utilisation(4.0) == pytest.approx((0 * 1 + 0.5 * 1 + 1.0 * 2) / 4)
    assert ledger.peak_bytes[0] <= ledger.capacity_bytes[0]


def test_who_asks_for_the_utilisation_changes_nothing(ledger):
    """Another thread may have a later clock than the loop: what it read is not booked, and the mean stays the same."""
    assert ledger.utilisation(100.0) == 0.0
    ledger.reserve(1, 0, 0, 1000.0, 1.0)
    ledger.reserve(1, 1, 0, 1000.0, 2.0)
    assert ledger.utilisation(4.0) == ledger.utilisation(4.0) == pytest.approx((0 * 1 + 0.5 * 1 + 1.0 * 2) / 4)


def test_who_asks_sees_one_moment(ledger, monkeypatch):
    """A reading in the middle of a change is of before it: nothing half booked is seen, no table changes under it."""
    ledger.reserve(1, 0, 0, 1000.0, 1.0)
    seen = []
    real = ledger.used_bytes

    def used_bytes(device):
        seen.append(ledger.utilisation(2.0))
        return real(device)

    monkeypatch.setattr(ledger, "used_bytes", used_bytes)
    ledger.reserve(1, 1, 0, 1000.0, 2.0)
    assert seen
    assert all(share == pytest.approx(0.25) for share in seen)


def test_idle_is_what_no_job_needs(ledger):
    """Loaded and used is not idle; released is; evicted is neither."""
    ledger.reserve(1, 0, 0, 1000.0, 0.0)
    assert not ledger.idle_FD(3).any()
    ledger.release(1, 0, 0)
    assert np.argwhere(ledger.idle_FD(3)).tolist() == [[0, 0]]
    ledger.evict(0, 0, 1.0)
    assert not ledger.idle_FD(3).any()
