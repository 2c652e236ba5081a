"""The containers of a device: order, cancelling, bounds, and how much is looked at."""

import random

import numpy as np
import pytest

from splitplace.errors import OverloadedError, SplitPlaceError
from splitplace.placement.device.container import Container
from splitplace.placement.device.containers import ContainerQueue
from splitplace.placement.protocol import codec, fields, messages

BYTES = 4 * 16 * 4
"""Of one input micro-batch below."""


def assign(job=1, name="f1", src="f0", *, n=40, window=4, micro_batches=None):
    """A fragment that reads from `src` on device a and gives to f2 on device c; micro-batches of 4."""
    return messages.Assign(
        job=job,
        fragment=name,
        digest="sha256:" + "0" * 64,
        n=n,
        micro_batch=4,
        precedence="pipelined",
        window=window,
        inlets=(fields.Inlet(src=src, tensors=("f0.out",)),),
        senders={src: "a"},
        outlets=(fields.Outlet(dst="f2", device="c", tensors=("f1.out",)),),
        micro_batches=micro_batches,
    )


@pytest.fixture
def fragment(toy):
    """The middle of a chain."""
    return toy.chain().split.by_name["f1"]


def feed(containers, container, micro_batch=0, now_s=0.0):
    """Give a container a micro-batch of its input."""
    values = {"f0.out": np.zeros((max(container.samples(micro_batch), 1), 16), np.float32)}
    header = codec.tensors(container.assign.job, "f0", "f1", micro_batch, 0.0, values)
    containers.accept(container, "a", header, values, now_s)


def test_micro_batches_run_in_the_order_in_which_they_became_complete_where_nobody_was_served_more(fragment):
    """Against sorting all of them, over random arrivals."""
    rng = random.Random(0)
    containers = ContainerQueue(2**30)
    held = [Container(assign(job, window=10), fragment) for job in range(20)]
    for container in held:
        containers.add(container)
    arrivals = [(container, index) for container in held for index in range(10)]
    rng.shuffle(arrivals)
    for now_s, (container, index) in enumerate(arrivals):
        feed(containers, container, index, float(now_s))
    taken = [containers.take() for _ in arrivals]
    assert [(container, index) for container, index, *_ in taken] == arrivals
    assert containers.take() is None and containers.held_bytes == 0


def test_a_small_task_waits_for_one_micro_batch_of_a_large_one(fragment):
    """However many of the large one's were complete before it came."""
    containers = ContainerQueue(2**30)
    large, small = Container(assign(1, n=4000, window=1000), fragment), Container(assign(2, n=4), fragment)
    containers.add(large)
    for index in range(1000):
        feed(containers, large, index, now_s=0.0)
    for _ in range(10):
        containers.ran(containers.take()[0], 0.1)
    containers.add(small)
    feed(containers, small, 0, now_s=1.0)
    assert small in (containers.take()[0], containers.take()[0])


@pytest.mark.parametrize("others", [1, 2, 4])
def test_a_stream_of_small_tasks_does_not_starve_a_large_one(fragment, others):
    """Each is replaced when it ends: the large one has its share of the time, as under processor sharing."""
    containers = ContainerQueue(2**30)
    large, jobs = Container(assign(0, n=4000, window=1000), fragment), iter(range(1, 10_000))
    containers.add(large)
    for index in range(1000):
        feed(containers, large, index)

    def come():
        small = Container(assign(next(jobs), n=4), fragment)
        containers.add(small)
        feed(containers, small)

    for _ in range(others):
        come()
    served = {True: 0.0, False: 0.0}
    for _ in range(2000):
        container, *_ = containers.take()
        took_s = 0.1 if container is large else 0.02
        served[container is large] += took_s
        containers.ran(container, took_s)
        if container is not large:
            containers.drop(container)
            come()
    assert served[True] / sum(served.values()) == pytest.approx(1 / (1 + others), rel=0.1)


def test_containers_are_served_alike(fragment):
    """While two have something to run, their times of service differ by a run of each at most (SFQ, theorem 1)."""
    rng = random.Random(1)
    for _ in range(200):
        containers = ContainerQueue(2**30)
        held = [Container(assign(job, n=400, window=100), fragment) for job in range(3)]
        longest = [rng.uniform(0.01, 1.0) for _ in held]
        fed, served = [0, 0, 0], [0.0, 0.0, 0.0]
        for container in held:
            containers.add(container)
        since: dict[tuple[int, int], tuple[float, float]] = {}
        for step in range(200):
            for row, container in enumerate(held):
                while fed[row] < 100 and rng.random() < 0.3:
                    feed(containers, container, fed[row], float(step))
                    fed[row] += 1
            busy = [container.ready() is not None for container in held]
            for pair in ((0, 1), (0, 2), (1, 2)):
                a, b = pair
                if not (busy[a] and busy[b]):
                    since.pop(pair, None)
                    continue
                a_s, b_s = since.setdefault(pair, (served[a], served[b]))
                apart_s = abs((served[a] - a_s) - (served[b] - b_s))
                assert apart_s <= longest[a] + longest[b] + 1e-9
            if (taken := containers.take()) is not None:
                row = held.index(taken[0])
                took_s = rng.uniform(0.1, 1.0) * longest[row]
                served[row] += took_s
                containers.ran(taken[0], took_s)


def test_a_blocked_container_does_not_hold_up_the_others(fragment):
    """Its result found no credit: the next one's turn; with a credit its own, older micro-batch comes first again."""
    containers = ContainerQueue(2**30)
    blocked, other = (Container(assign(job, window=1), fragment) for job in (1, 2))
    containers.add(blocked)
    containers.add(other)
    (flow,) = blocked.outflows.values()
    for index in range(2):  # the first takes the only credit, the second waits for one
        feed(containers, blocked, index, now_s=float(index))
        container, micro_batch, *_ = containers.take()
        container.put(micro_batch, {"f1.out": np.zeros((4, 4), np.float32)})
        flow.flush(lambda flow, micro_batch, values: None)
    feed(containers, blocked, 2, now_s=2.0)
    feed(containers, other, 0, now_s=3.0)
    assert containers.take()[0] is other
    assert containers.take() is None
    flow.grant(1)
    flow.flush(lambda flow, micro_batch, values: None)
    containers.look(blocked)
    assert containers.take()[:2] == (blocked, 2)


def test_a_cancelled_job_leaves_at_once_and_gives_its_bytes_back(fragment):
    """What was ready of it is not run, and another job's is untouched."""
    containers = ContainerQueue(2**30)
    mine, other = (Container(assign(job), fragment) for job in (1, 2))
    for container in (mine, other):
        containers.add(container)
        feed(containers, container)
        feed(containers, container, 1)
    containers.cancel(1)
    assert (len(containers), containers.held_bytes) == (1, 2 * BYTES)
    assert containers.get(1, "f1") is None and mine.dropped
    assert [containers.take()[0] for _ in range(2)] == [other, other]
    assert containers.take() is None
    containers.cancel(1)
    containers.drop(mine)  # again: nothing
    assert len(containers) == 1


def test_cancelled_jobs_do_not_fill_the_queue(fragment):
    """A device that is busy while thousands of jobs come and are cancelled keeps none of them."""
    containers = ContainerQueue(2**30)
    for job in range(3000):
        container = Container(assign(job), fragment)
        containers.add(container)
        feed(containers, container)
        containers.cancel(job)
    assert len(containers) == 0 and len(containers._ready) <= 64


def test_what_is_looked_at_does_not_grow_with_the_containers(fragment, monkeypatch):
    """Counted: how often any container is asked whether it can run, over 3,000 of one micro-batch each."""
    asked = []
    ready = Container.ready
    monkeypatch.setattr(Container, "ready", lambda self: asked.append(self) or ready(self))
    containers = ContainerQueue(2**30)
    for job in range(3000):
        containers.add(Container(assign(job, n=4), fragment))
    for job in range(3000):
        feed(containers, containers.get(job, "f1"), now_s=float(job))
    for job in range(3000):
        container, micro_batch, *_ = containers.take()
        assert (container.assign.job, micro_batch) == (job, 0)
        containers.drop(container)
    assert len(asked) <= 4 * 3000


def test_more_bytes_than_a_device_may_hold_are_refused_by_name(fragment):
    """The container stays as it was; what is run makes room."""
    containers = ContainerQueue(max_bytes=2 * BYTES)
    container = Container(assign(), fragment)
    containers.add(container)
    feed(containers, container, 0)
    feed(containers, container, 1)
    with pytest.raises(OverloadedError, match=f"f1 micro-batch 2 from f0: .* {3 * BYTES} .* at most {2 * BYTES}"):
        feed(containers, container, 2)
    containers.take()
    feed(containers, container, 2)


def test_more_containers_than_a_device_may_have_are_refused_by_name(fragment):
    """Until one is finished."""
    containers = ContainerQueue(2**30, max_count=2)
    for job in range(2):
        containers.add(Container(assign(job), fragment))
    with pytest.raises(OverloadedError, match="2 containers here"):
        containers.add(Container(assign(2), fragment))
    containers.drop(containers.get(0, "f1"))
    containers.add(Container(assign(2), fragment))


def test_only_the_assigned_micro_batches_are_expected_and_run(fragment):
    """Of ten, numbers 2, 3 and 9: the others are refused; it is finished after those three."""
    containers = ContainerQueue(2**30)
    container = Container(assign(n=39, micro_batches=((2, 4), (9, 10))), fragment)
    containers.add(container)
    assert container.total == 3
    assert [index for index in range(12) if container.runs(index)] == [2, 3, 9]
    for index in (0, 4, 8, 10):
        with pytest.raises(SplitPlaceError, match="beyond the 3 that it is to run"):
            feed(containers, container, index)
    for index in (9, 2, 3):
        assert not container.finished
        feed(containers, container, index)
        _, micro_batch, values, *_ = containers.take()
        assert micro_batch == index and len(values["f0.out"]) == (3 if index == 9 else 4)
        container.put(index, {"f1.out": np.zeros((4, 4), np.float32)})
        for flow in container.outflows.values():
            flow.flush(lambda flow, micro_batch, values: None)
    assert container.finished


@pytest.mark.parametrize("spans", [((2, 2),), ((3, 2),), ((0, 4), (3, 5)), ((5, 6), (0, 1)), ((0, 11),)])
def test_micro_batches_that_the_task_does_not_have_are_refused(fragment, spans):
    """Empty, backwards, overlapping, out of order, beyond the end."""
    with pytest.raises(SplitPlaceError, match="expected spans in order within 10"):
        Container(assign(micro_batches=spans), fragment)


def test_a_strict_container_of_some_micro_batches_starts_when_those_are_there(fragment):
    """The former has finished what is left of the task."""
    order = assign(n=40, micro_batches=((7, 9),)).model_copy(update={"precedence": "strict"})
    container = Container(order, fragment)
    containers = ContainerQueue(2**30)
    containers.add(container)
    feed(containers, container, 8)
    assert containers.take() is None
    feed(containers, container, 7, now_s=1.0)
    assert containers.take()[1] == 8
