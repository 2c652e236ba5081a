"""A task's input that goes from device to device: on a fake network, and in a fleet whose broker's bytes are counted.

On the fake network whatever is under way may come next, and any device may work next; what one says to another stays in
order. Splits are random graphs, in which some of those that take the input wait for others as well.
"""

import os
import random
from collections import Counter, defaultdict, deque
from concurrent.futures import Future
from types import SimpleNamespace

import numpy as np
import pytest

from splitplace.inference.executor import Executor
from splitplace.placement import history as book
from splitplace.placement.broker import stuck
from splitplace.placement.broker.attempt import assignments
from splitplace.placement.broker.feed import Feed
from splitplace.placement.broker.history import read_history
from splitplace.placement.broker.ring import handed_on
from splitplace.placement.broker.state import Attempt
from splitplace.placement.device.config import DeviceConfig
from splitplace.placement.device.container import Container
from splitplace.placement.device.fragments import TimedWork
from splitplace.placement.device.host import DeviceRuntime
from splitplace.placement.device.worker import SessionWorker
from splitplace.placement.protocol import codec, fields, messages
from splitplace.placement.protocol.fields import ANSWER, BROKER
from splitplace.placement.protocol.keys import curve_accesses
from splitplace.placement.protocol.stream import Received
from splitplace.records.fragment import Fragment, TensorSpec
from splitplace.records.split import INPUT, Edge, Merge, Split
from tests.placement.fleet.conftest import MICRO_BATCH, InTurn, broker_bytes, demand_of, forest, tree
from tests.placement.fleet.conftest import SplitFiles as Files
from tests.placement.fleet.test_fleet import WAIT_S, of_kind

FAST, ALL, BATCH = 100, 3000, 50
"""Histories in every run of the fast tests, in all, and in one test."""
IN, BETWEEN = 3, 2
"""Values of an input sample, and of what fragments give each other."""


def random_split(rng, most=7):
    """A graph of so many fragments, in any order: each takes the input, what others give, or both."""
    count = rng.randint(2, most)
    names = [f"f{i}" for i in range(count)]
    sources = {names[0]: [INPUT]}
    for i, name in enumerate(names[1:], 1):
        parents = rng.sample(names[:i], rng.randint(0, min(i, 2)))
        sources[name] = parents + ([INPUT] if not parents or rng.random() < 0.3 else [])
    sinks = [name for name in names if not any(name in of for of in sources.values())]
    width = {INPUT: IN} | {name: 1 if name in sinks else BETWEEN for name in names}
    spec = {src: TensorSpec(name=f"{src}.out", dtype="float32", shape=("batch", size)) for src, size in width.items()}
    rng.shuffle(names)
    classes = {name: (c,) for c, name in enumerate(name for name in names if name in sinks)}
    fragments = tuple(
        Fragment(
            name=name, inputs=tuple(spec[src] for src in sources[name]), outputs=(spec[name],),
            classes=classes.get(name, ()), params=1, flops_per_sample=1, weight_bytes=1,
            digest=f"sha256:{int(name[1:]):064d}",
        )
        for name in names
    )  # fmt: skip
    edges = tuple(
        Edge(src=src, dst=name, tensor=f"{src}.out", bytes_per_sample=4 * width[src])
        for name in names
        for src in sources[name]
    )
    merge = Merge(kind="concat" if len(sinks) > 1 else "identity", class_order=tuple(range(len(sinks))))
    return Split(
        application="toy", model="any", strategy="semantic", variant="x", fragments=fragments, edges=edges, merge=merge
    )


def computed(fragment, values):
    """What a fragment makes of its inputs: whole numbers, so that no order of sums matters."""
    (spec,) = fragment.outputs
    total = sum((row + 1) * values[one.name].sum(axis=1) for row, one in enumerate(fragment.inputs))
    column = (total % 1009 + int(fragment.name[1:])).astype(np.float32)
    return {spec.name: np.repeat(column[:, None], spec.shape[1], axis=1)}


class FakeFragments:
    """All of a split's, loaded; they take no time."""

    def __init__(self, split, ran):
        self.by_digest, self.ran_there = {fragment.digest: fragment for fragment in split.fragments}, ran

    def contract(self, digest):
        """Of one of them."""
        return self.by_digest[digest]

    def work(self, digest, values):
        """What runs it."""
        fragment = self.by_digest[digest]
        self.ran_there[fragment.name] += 1
        return lambda: TimedWork(computed(fragment, values), 0.0, 0.0, 0.0)

    def ran(self, digest, took):
        """Nothing is counted."""

    def moved(self, digest, **values):
        """Nor here."""


class AtOnce:
    """A worker that is done when it begins."""

    def submit(self, work):
        """Do it now."""
        done = Future()
        done.set_result(work())
        return done


class Never:
    """A worker that hangs in the first thing that it is given."""

    def submit(self, work):
        """It never comes back."""
        return Future()


class WireEnd:
    """A device's node on the fake network."""

    unreachable = relayed = frozenset()

    def __init__(self, name, ways):
        self.name, self.ways = name, ways

    def watch(self, descriptor):
        """Nothing is waited for."""

    def send(self, name, message, values=()):
        """Behind what it said to this one before."""
        frames = message.frames if isinstance(message, messages.Tensors) else ()
        named = {frame.name: value for frame, value in zip(frames, values, strict=True)}
        self.ways[self.name, name].append((message, named))


ACCESS = curve_accesses(("a", BROKER))["a"]


def fake_device(name, ways, split, ran):
    """A real one, but for its network, its files and its threads."""
    config = DeviceConfig(
        name=name, catalog="/nowhere", threads=1, access=ACCESS, incarnation=1,
        broker_endpoint="tcp://127.0.0.1:1", broker_incarnation=2,
    )  # fmt: skip
    device = DeviceRuntime(config, WireEnd(name, ways), None)
    device.fragments, device.worker = FakeFragments(split, ran), SessionWorker(lambda: None)
    device.worker._thread = AtOnce()
    return device


class RingWorld:
    """One attempt on devices of a fake network, from its assignment to its answer."""

    def __init__(self, seed, inputs, degrade=False):
        rng = self.rng = random.Random(seed)
        self.split = random_split(rng)
        self.names = tuple("abcd"[: rng.randint(1, 4)])
        self.precedence, self.window = rng.choice(["pipelined", "strict"]), rng.choice([1, 2, 4])
        devices = {fragment.name: rng.randrange(len(self.names)) for fragment in self.split.fragments}
        size, n = rng.randint(1, 3), rng.choice([1, 7, 40, 300])
        total = -(-n // size)
        rows = sorted(rng.sample(range(total), rng.randint(1, total)))
        x = np.array([[rng.randrange(100) for _ in range(IN)] for _ in range(n)], np.float32)
        (entry,) = demand_of(Files(self.split, {})).splits
        self.entry = entry.model_copy(update={"micro_batch": size})
        self.attempt = Attempt(
            1, 1, 0, devices, tuple(rows), 0.0, set(devices),
            handed_on=handed_on(self.split, devices, inputs, self.precedence, degrade), started_s=0.0,
            ran={name: {} for name in devices},
        )  # fmt: skip
        self.x, self.ways, self.ran = x, defaultdict(deque), Counter()
        self.answers, self.sent = {}, Counter()
        self.devices = {name: fake_device(name, self.ways, self.split, self.ran) for name in self.names}
        how = self.names, self.precedence, self.window
        for row, assign in assignments(self.attempt, self.entry, n, *how):
            self.ways[BROKER, self.names[row]].append((assign, {}))
        while any(self.ways.values()):
            self.deliver()
        self.feed = Feed(self.attempt, self.entry, x, *how)
        self.feed.flush(self.send)

    def close(self):
        """Give the pipes back."""
        for device in self.devices.values():
            os.close(device._woken)
            os.close(device._wake)

    def send(self, flow, micro_batch, values):
        """The broker sends a micro-batch of the input."""
        self.sent[micro_batch] += 1
        header = codec.tensors(flow.job, flow.src, flow.outlet.dst, micro_batch, 0.0, values)
        self.ways[BROKER, flow.outlet.device].append((header, values))

    def deliver(self):
        """One message of all that are under way."""
        src, dst = self.rng.choice([way for way, waiting in self.ways.items() if waiting])
        message, values = self.ways[src, dst].popleft()
        if dst != BROKER:
            self.devices[dst]._handle(Received(src, message, values))
            return
        match message:
            case messages.Tensors(src=sink, dst=fields.ANSWER, micro_batch=row):
                assert (sink, row) not in self.answers
                (self.answers[sink, row],) = values.values()
                self.ways[BROKER, src].append((messages.Credit(job=1, src=sink, dst=ANSWER, count=1), {}))
            case messages.Credit(dst=fragment, count=count):
                assert self.feed.takes(fragment, src)
                self.feed.grant(fragment, count)
                self.feed.flush(self.send)
            case messages.Ran(fragment=fragment, micro_batch=row):
                self.attempt.ran[fragment][row] = 0.0
            case messages.Assigned():
                pass
            case _:
                raise AssertionError(message)

    def work(self):
        """A device looks whether it can do something."""
        self.devices[self.rng.choice(self.names)]._advance()

    def check(self):
        """What is true at every moment."""
        for device in self.devices.values():
            held = list(device.containers)
            assert device.containers.held_bytes == sum(container.held_bytes for container in held)
            for container in held:
                waiting = set(container._gathered) | container._unpassed
                assert container._sizes.keys() == waiting and (container.held_bytes > 0) == bool(waiting)
                for src, window in container._windows.items():
                    assert container._credited[src] <= container._through(src)
                    assert container._received[src] - container._credited[src] <= window

    def run(self):
        """Until nothing is left to do."""
        idle = 0
        while idle < 20 * len(self.names):
            before = sum(self.ran.values())
            busy = any(self.ways.values())
            if busy and self.rng.random() < 0.6:
                self.deliver()
            else:
                self.work()
            self.check()
            busy |= any(device._own for device in self.devices.values())
            idle = 0 if busy or sum(self.ran.values()) > before else idle + 1

    def expected(self):
        """What each sink makes of each micro-batch."""
        by_name = self.split.by_name
        made = self.split.walk({f"{INPUT}.out": self.x}, lambda name, values: computed(by_name[name], values))
        size = self.entry.micro_batch
        return {
            (sink, row): made[sink, f"{sink}.out"][row * size : (row + 1) * size]
            for sink in self.split.sinks
            for row in self.attempt.micro_batches
        }


@pytest.mark.parametrize(
    "first",
    [pytest.param(n, marks=[] if n < FAST else [pytest.mark.slow]) for n in range(0, ALL, BATCH)],
)
def test_whatever_comes_next_everything_is_run_once_and_right(first):
    """Nobody waits for ever, nothing is held beyond the windows; in a ring the broker sends each micro-batch once."""
    for seed in range(first, first + BATCH):
        inputs = "broadcast" if seed % 4 == 0 else "ring"
        world = RingWorld(seed, inputs)
        world.run()
        expected, rows = world.expected(), world.attempt.micro_batches
        assert world.answers.keys() == expected.keys(), f"seed {seed}: it hangs"
        for place, logits in expected.items():
            np.testing.assert_array_equal(world.answers[place], logits, f"seed {seed}")
        assert world.ran == dict.fromkeys(world.split.by_name, len(rows)), f"seed {seed}"
        assert not any(len(device.containers) for device in world.devices.values()), f"seed {seed}"
        roots = world.split.roots
        late = [name for name in roots if world.precedence == "strict" and world.split.parents(name)]
        times = len(roots) if inputs == "broadcast" else 1 + len(late)
        assert world.sent == dict.fromkeys(rows, times), f"seed {seed}"
        world.close()


@pytest.mark.parametrize("first", [0, BATCH])
def test_a_device_whose_worker_hangs_is_the_one_that_has_work(first):
    """It talks, passes on and runs nothing; when all others are done as far as they can be, it is found out."""
    for seed in range(first, first + BATCH):
        world = RingWorld(seed, "ring")
        row = world.rng.choice(sorted(set(world.attempt.devices.values())))
        world.devices[world.names[row]].worker._thread = Never()
        world.run()
        setup = SimpleNamespace(entry=lambda split, found=world.entry: found, precedence=world.precedence)
        waiting = [
            name
            for name, of in world.attempt.devices.items()
            if of == row and stuck._has_work(setup, None, world.attempt, name)
        ]
        assert waiting, f"seed {seed}"
        world.close()


def beside(world, hanging):
    """Fragments that neither wait for one of a device nor are waited for by one, nor by who does."""
    held = {name for name, device in world.attempt.devices.items() if world.names[device] == hanging}
    while (
        more := {
            name
            for edge in world.split.edges
            if edge.src != INPUT and held & {edge.src, edge.dst}
            for name in (edge.src, edge.dst)
        }
        - held
    ):
        held |= more
    return world.attempt.devices.keys() - held


def test_a_slow_branch_holds_up_no_other_where_a_degraded_answer_will_do():
    """One that hangs, to be sure: whatever is not bound to it by tensors is done, in a ring for all others not."""
    held_up = done = 0
    for seed in range(50, 75):
        for degrade in (False, True):
            world = RingWorld(seed, "ring", degrade)
            hanging = world.names[world.attempt.devices[world.split.roots[0]]]
            world.devices[hanging].worker._thread = Never()
            world.run()
            free, rows = beside(world, hanging), len(world.attempt.micro_batches)
            if degrade:
                assert all(world.ran[name] == rows for name in free), f"seed {seed}"
                done += bool(free)
            else:
                held_up += any(world.ran[name] < rows for name in free)
            world.close()
    assert done >= held_up > 0


def test_a_device_has_the_input_once_however_many_of_its_fragments_take_it():
    """In fragment order, but what is on one device one after another."""
    split = forest().split
    assert handed_on(split, {"trunk0": 0, "trunk1": 1, "trunk2": 2}, "ring", "pipelined", False) == {
        "trunk1": "trunk0",
        "trunk2": "trunk1",
    }
    assert handed_on(split, {"trunk0": 5, "trunk1": 1, "trunk2": 5}, "ring", "strict", False) == {
        "trunk2": "trunk0",
        "trunk1": "trunk2",
    }
    assert handed_on(split, {"trunk0": 0, "trunk1": 1, "trunk2": 2}, "broadcast", "pipelined", False) == {}
    assert handed_on(tree().split, dict.fromkeys(tree().split.by_name, 0), "ring", "pipelined", False) == {}


def test_what_a_fragment_passes_on_is_among_the_bytes_that_it_sends():
    """As its results are: what the Resource Monitor says of its network."""
    ways, split, moved = defaultdict(deque), forest().split, Counter()
    devices = {f"trunk{row}": row for row in range(3)} | dict.fromkeys(("leaf0", "leaf1", "leaf2", "leaf3"), 0)
    (entry,) = demand_of(Files(split, {})).splits
    handed = handed_on(split, devices, "ring", "pipelined", False)
    attempt = Attempt(1, 1, 0, devices, (0,), 0.0, set(devices), handed_on=handed)
    device = fake_device("a", ways, split, Counter())
    device.fragments.moved = lambda digest, sent=None, received=None: moved.update({digest: len(sent or ())})
    for row, assign in assignments(attempt, entry, MICRO_BATCH, ("a", "b", "c"), "pipelined", 4):
        if row == 0:
            device._handle(Received(BROKER, assign, {}))
    x = np.zeros((MICRO_BATCH, 16), np.float32)
    device._handle(Received(BROKER, codec.tensors(1, INPUT, "trunk0", 0, 0.0, {"x": x}), {"x": x}))
    assert [message.dst for message, _ in ways["a", "b"]] == ["trunk1"]
    assert moved[split.by_name["trunk0"].digest] == 1
    os.close(device._woken)
    os.close(device._wake)


def test_a_fragment_that_takes_no_input_passes_none_on(toy):
    """An order of nonsense is refused when it is given."""
    fragment = toy.chain().split.by_name["f1"]
    order = messages.Assign(
        job=1, fragment="f1", digest=fragment.digest, n=4, micro_batch=4, precedence="pipelined", window=2,
        inlets=(fields.Inlet(src="f0", tensors=("f0.out",)),), senders={"f0": "a"},
        outlets=(fields.Outlet(dst="f2", device="c", tensors=("f1.out",)),),
        onward=fields.Outlet(dst="f9", device="c", tensors=("x",)),
    )  # fmt: skip
    with pytest.raises(ValueError, match="is to pass"):
        Container(order, fragment)


@pytest.mark.slow
@pytest.mark.parametrize("precedence", ["pipelined", "strict"])
@pytest.mark.parametrize("inputs", ["ring", "broadcast"])
def test_a_brokers_bytes_are_the_inputs_once(start, toy, images, inputs, precedence, undisturbed):
    """A tree of three trunks on three devices: by broadcast it sends them three times; the answers are the same."""
    graph, x = forest(), images(200)
    devices = [toy.make_device(name, 10) for name in "abc"]
    with start(graph, devices=devices, placer=InTurn(), inputs=inputs, precedence=precedence) as broker:
        assert broker.status().inputs == inputs
        counted = broker_bytes(broker)
        result = broker.submit("toy", x, 1000.0).result(WAIT_S)
        placed = {event.fragment: event.device for event in of_kind(broker, book.FragmentPlaced)}
    assert len({placed[root] for root in graph.split.roots}) == 3
    assert +counted == ({placed["trunk0"]: x.nbytes} if inputs == "ring" else dict.fromkeys("abc", x.nbytes))
    expected = Executor(graph.split, graph.models.__getitem__).run({"x": x}, MICRO_BATCH)
    np.testing.assert_allclose(result.logits, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("victim", range(3))
def test_a_device_of_the_ring_that_is_killed_costs_no_task(
    start, toy, tmp_path, victim, undisturbed, kill_at_first_answer
):
    """The first, the middle or the last: the input comes from the broker again, what was answered stays."""
    graph, journal = forest(width=1024, layers=8), tmp_path / "journal.jsonl"
    x = np.random.default_rng(1).standard_normal((800, 1024)).astype(np.float32)
    devices = [toy.make_device(name, 10) for name in "abc"]
    with start(graph, devices=devices, placer=InTurn(), inputs="ring", journal=journal) as broker:
        kill_at_first_answer(broker, lambda: "abc"[victim])
        result = broker.submit("toy", x, 1000.0).result(WAIT_S)
    assert result.outcome.error is None
    expected = Executor(graph.split, graph.models.__getitem__).run({"x": x}, MICRO_BATCH)
    np.testing.assert_allclose(result.logits, expected, rtol=1e-5, atol=1e-6)
    events = read_history(journal)
    assert [event.device for event in events if isinstance(event, book.DeviceDown)] == ["abc"[victim]]
    assert {event.attempt for event in events if isinstance(event, book.FragmentPlaced)} == {0, 1}
    answered = Counter(event.micro_batch for event in events if isinstance(event, book.Send) and event.dst == ANSWER)
    assert answered == dict.fromkeys(range(200), len(graph.split.sinks))
