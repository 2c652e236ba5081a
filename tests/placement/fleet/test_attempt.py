"""What an attempt tells its devices, what it streams, and how a task's times add up."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from splitplace.placement.broker.attempt import assignments, length, receivers, route, spans_of
from splitplace.placement.broker.feed import Feed
from splitplace.placement.broker.state import Attempt
from splitplace.placement.device.container import Container
from splitplace.placement.protocol import fields
from splitplace.placement.protocol.outflow import STRICT_INPUT
from tests.placement.fleet.conftest import demand_of, tree


def attempt(entry, devices, rows):
    """One of task 1, placed just now."""
    return Attempt(1, 1, 0, devices, tuple(rows), 0.0, set(devices), ran={name: set() for name in devices})


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 10)), max_size=12))
def test_the_measure_of_a_union_counts_every_moment_once(rows):
    """Against marking unit cells."""
    spans = [(float(start), float(start + size)) for start, size in rows]
    cells = {cell for start, size in rows for cell in range(start, start + size)}
    assert length(spans) == len(cells)


def test_every_edge_of_a_tree_is_routed(toy):
    """Broadcast below the trunk, leaves to the answer; senders and receivers agree on every stream."""
    graph = toy.tree()
    names = [fragment.name for fragment in graph.split.fragments]
    devices = {name: i % 2 for i, name in enumerate(names)}
    (entry,) = toy.demand_of(graph).splits
    orders = {
        assign.fragment: ("ab"[device], assign)
        for device, assign in assignments(attempt(entry, devices, range(3)), entry, 9, ("a", "b"), "pipelined", 4)
    }
    assert {name: device for name, (device, _) in orders.items()} == {n: "ab"[d] for n, d in devices.items()}
    assert set(route(graph.split, "input")) == {"trunk"}
    assert set(route(graph.split, "trunk")) == {"inner0", "inner1"}
    for name, (device, assign) in orders.items():
        for outlet in assign.outlets:
            if outlet.dst == fields.ANSWER:
                assert name in graph.split.sinks and outlet.device == fields.BROKER
            else:
                receiver_device, receiver = orders[outlet.dst]
                assert outlet.device == receiver_device
                assert receiver.senders[name] == device
                assert fields.Inlet(src=name, tensors=outlet.tensors) in receiver.inlets


@given(st.lists(st.integers(0, 2), min_size=7, max_size=7))
def test_who_knows_of_tensors_from_elsewhere_knows_all_that_it_hands_them_on_to(rows):
    """Whatever order the road breaks behind: who is waited for is told of last, on each device."""
    graph = tree()
    (entry,) = demand_of(graph).splits
    devices = dict(zip((fragment.name for fragment in graph.split.fragments), rows, strict=True))
    job = attempt(entry, devices, range(3))
    orders = [(device, order.fragment) for device, order in assignments(job, entry, 9, ("a", "b", "c"), "pipelined", 4)]
    waited_for = receivers(job, graph.split)
    assert sorted(orders) == sorted((device, name) for name, device in devices.items())
    for device in set(rows):
        told = [name in waited_for for to, name in orders if to == device]
        assert told == sorted(told)


def test_inputs_are_queued_only_as_credits_allow(toy):
    """A large task stays a view of its images until the first device asks for more."""
    (entry,) = toy.demand_of(toy.chain()).splits
    job = attempt(entry, dict.fromkeys(("f0", "f1", "f2"), 0), range(100))
    feed = Feed(job, entry, np.zeros((400, toy.width), np.float32), ("a",), "pipelined", 3)
    sent = []
    feed.flush(lambda flow, micro_batch, values: sent.append(micro_batch))
    assert sent == [0, 1, 2]
    feed.grant("f0", 2)
    feed.flush(lambda flow, micro_batch, values: sent.append(micro_batch))
    assert sent == [0, 1, 2, 3, 4]


def test_a_strict_task_floods_no_device_with_its_input(toy):
    """Only what fragments give each other is as long as the task: behind a million images nobody's order would pass."""
    (entry,) = toy.demand_of(toy.chain()).splits
    job = attempt(entry, dict.fromkeys(("f0", "f1", "f2"), 0), range(1000))
    feed = Feed(job, entry, np.zeros((4000, toy.width), np.float32), ("a",), "strict", 3)
    sent = []
    feed.flush(lambda flow, micro_batch, values: sent.append(micro_batch))
    assert len(sent) == STRICT_INPUT
    orders = {assign.fragment: assign for _, assign in assignments(job, entry, 4000, ("a",), "strict", 3)}
    first, second = (Container(orders[name], entry.split.by_name[name]) for name in ("f0", "f1"))
    assert first._windows["input"] == STRICT_INPUT and second._windows["f0"] == second.total


def test_a_second_attempt_streams_what_was_not_answered(toy):
    """Under the numbers of the whole task, and its devices are told which; the last may be smaller."""
    (entry,) = toy.demand_of(toy.chain()).splits
    job = attempt(entry, dict.fromkeys(("f0", "f1", "f2"), 0), (1, 2, 5))
    x = np.arange(22 * toy.width, dtype=np.float32).reshape(22, toy.width)
    sent = {}
    Feed(job, entry, x, ("a",), "pipelined", 8).flush(
        lambda flow, micro_batch, values: sent.__setitem__(micro_batch, values["x"])
    )
    assert list(sent) == [1, 2, 5]
    np.testing.assert_array_equal(sent[1], x[4:8])
    np.testing.assert_array_equal(sent[5], x[20:])
    orders = [assign for _, assign in assignments(job, entry, 22, ("a",), "pipelined", 8)]
    assert {assign.micro_batches for assign in orders} == {((1, 3), (5, 6))}


@given(st.sets(st.integers(0, 40)))
def test_spans_are_the_numbers_they_were_made_of(rows):
    """Each once, in order, none of two spans touching."""
    spans = spans_of(sorted(rows))
    assert [row for start, stop in spans for row in range(start, stop)] == sorted(rows)
    assert all(one[1] < other[0] for one, other in itertools.pairwise(spans))
