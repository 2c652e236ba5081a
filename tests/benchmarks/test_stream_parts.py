"""What a history says of a stream: parts of responses, runs over profiles and the time between them, by hand."""

import pytest

from splitplace.benchmarks.stream_parts import stream_parts
from splitplace.placement.history import MicroBatchRun, Send
from splitplace.placement.outcome import TaskOutcome
from splitplace.placement.simulator.demands import load_demand
from splitplace.placement.simulator.shipped import load_fleet
from splitplace.records.demand import Demand

MEASURED = load_demand("measured")
ENTRY = next(each for each in MEASURED.splits if each.split.strategy == "full")
DEMAND = Demand(splits=(ENTRY,), provenance=MEASURED.provenance)
HOSTS = load_fleet("azure10").units()[:2]
DEVICE, OTHER = (host.name for host in HOSTS)


def outcome(id_, response_s=10.0, wait_s=1.0):
    """A task of two micro-batches."""
    return TaskOutcome(
        id=id_, application=ENTRY.split.application, split=ENTRY.split.reference, strategy="full",
        n=2 * ENTRY.micro_batch, deadline_s=99.0, arrival_s=0.0, wait_s=wait_s, execute_s=response_s - wait_s,
        transfer_s=0.0, response_s=response_s, p=1.0, p_source="prior",
    )  # fmt: skip


def ran(task, micro_batch, start_s, end_s, ready_s=0.0, device=DEVICE):
    """A micro-batch of the whole model."""
    return MicroBatchRun(
        device=device, task=task, split=ENTRY.split.reference, strategy="full", fragment="full",
        micro_batch=micro_batch, samples=ENTRY.micro_batch, ready_s=ready_s, start_s=start_s, end_s=end_s,
    )  # fmt: skip


def sent(task, start_s, end_s, device=DEVICE):
    """Its inputs, or its answer."""
    return Send(task=task, dst="full", device=device, micro_batch=0, bytes=1, start_s=start_s, end_s=end_s)


def parts(outcomes, *events):
    """Of these."""
    return stream_parts(outcomes, events, HOSTS, DEMAND)


def test_a_tensor_whose_device_computes_waits_for_it():
    """On its way from 1 to 5 s while the device runs another's from 2 to 4: two seconds are the link's, seven not."""
    mine, others = outcome(0), outcome(1)
    events = [ran(0, 0, 5.0, 6.0), ran(0, 1, 6.0, 7.0), ran(1, 0, 2.0, 3.0), ran(1, 1, 3.0, 4.0), sent(0, 1.0, 5.0)]
    found = parts([mine, others], *events)
    assert found.transfer_s.tolist() == pytest.approx([2.0, 0.0])
    assert found.execute_s.tolist() == pytest.approx([7.0, 9.0])


def test_what_goes_elsewhere_or_while_the_task_itself_runs_counts_as_before():
    """An answer to the broker while its device computes is under way; what its own run covers is no transfer."""
    events = [ran(0, 0, 2.0, 3.0), ran(0, 1, 3.0, 4.0), sent(0, 2.5, 6.0, "@broker"), sent(0, 2.0, 4.0, OTHER)]
    assert parts([outcome(0)], *events).transfer_s.tolist() == pytest.approx([2.0])


def test_runs_over_profiles_by_device():
    """Of two micro-batches, one on each device: what they took over what both profiles say together."""
    told_s = [ENTRY.latency_s("full", host) for host in HOSTS]
    found = parts([outcome(0)], ran(0, 0, 0.0, 2 * told_s[0]), ran(0, 1, 0.0, told_s[1], device=OTHER))
    assert found.run_over_profile == pytest.approx((2 * told_s[0] + told_s[1]) / sum(told_s))


def test_between_runs_counts_where_the_next_one_was_ready():
    """A quarter of a second after the first; what became ready later was not waited for by anybody but its sender."""
    events = [ran(0, 0, 1.0, 2.0), ran(0, 1, 2.25, 3.0, ready_s=1.5), ran(1, 0, 5.0, 6.0, ready_s=4.0)]
    events.append(ran(1, 1, 5.0, 6.0, device=OTHER))
    assert parts([outcome(0), outcome(1)], *events).between_s == pytest.approx(0.25)


@pytest.mark.parametrize("events", [(), (ran(0, 0, 1.0, 2.0),)])
def test_a_history_that_lacks_runs_says_nothing(events):
    """It keeps the last events only."""
    assert parts([outcome(0)], *events) is None
