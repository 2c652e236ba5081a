"""What a job tells its devices, and how its times add up."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from splitplace.placement.broker.job import Job, length, route
from splitplace.placement.protocol import messages


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
    devices = {name: "ab"[i % 2] for i, name in enumerate(names)}
    (entry,) = toy.demand_of(graph).splits
    images = np.zeros((9, toy.width), np.float32)
    job = Job(1, entry, images, devices, "pipelined", 4, placed_s=0.0)
    orders = {assign.fragment: (device, assign) for device, assign in job.assignments()}
    assert {name: device for name, (device, _) in orders.items()} == devices
    assert set(route(graph.split, "input")) == {"trunk"}
    assert set(route(graph.split, "trunk")) == {"inner0", "inner1"}
    for name, (device, assign) in orders.items():
        for outlet in assign.outlets:
            if outlet.dst == messages.ANSWER:
                assert name in graph.split.sinks and outlet.device == messages.BROKER
            else:
                receiver_device, receiver = orders[outlet.dst]
                assert outlet.device == receiver_device
                assert receiver.senders[name] == device
                assert messages.Inlet(src=name, tensors=outlet.tensors) in receiver.inlets


def test_inputs_are_queued_only_as_credits_allow(toy):
    """A large task stays a view of its images until the first device asks for more."""
    (entry,) = toy.demand_of(toy.chain()).splits
    devices = dict.fromkeys(("f0", "f1", "f2"), "a")
    job = Job(1, entry, np.zeros((400, toy.width), np.float32), devices, "pipelined", 3, placed_s=0.0)
    sent = []
    for flow in job.fill():
        flow.flush(lambda flow, micro_batch, values: sent.append(micro_batch))
    assert sent == [0, 1, 2]
    job.inputs["f0"].grant(2)
    for flow in job.fill():
        flow.flush(lambda flow, micro_batch, values: sent.append(micro_batch))
    assert sent == [0, 1, 2, 3, 4]
