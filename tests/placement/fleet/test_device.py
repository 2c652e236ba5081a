"""One device process, driven directly: what it refuses, and what a slow consumer does to it."""

import resource
import socket
import struct
import subprocess
import sys
import time
import zlib
from collections import defaultdict, deque
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from splitplace.inference.encoded_images import EncodedImages, encode_images
from splitplace.inference.executor import Executor
from splitplace.placement.device.config import DeviceConfig
from splitplace.placement.engines.local import LocalEngine
from splitplace.placement.protocol import codec, fields, messages
from splitplace.placement.protocol.keys import CurveAccess, curve_accesses
from splitplace.placement.protocol.stream import StreamNode
from tests.placement.fleet.proxy import Proxy

pytestmark = pytest.mark.slow
PATIENCE_S = 240.0
"""Waiting ends when the thing is there; so long only if it never comes."""


class Bench:
    """This test as the broker and as the peer `peer` of one device called `dut`."""

    def __init__(self, catalog, peer: StreamNode, broker: StreamNode, access: CurveAccess, engine: LocalEngine):
        self.catalog, self.peer, self.broker, self.access, self.engine = catalog, peer, broker, access, engine
        self._unread, self._loaded = defaultdict(deque), deque()

    def hear(self, kind, node=None, seconds=PATIENCE_S):
        """The next message of this kind; others are skipped, but that something was loaded: it may come at any time."""
        if kind is messages.Loaded and self._loaded:
            return self._loaded.popleft()
        node, end = node or self.broker, time.monotonic() + seconds
        unread = self._unread[node]
        while time.monotonic() < end:
            unread.extend(node.receive(0.0 if unread else 0.1))
            while unread:
                received = unread.popleft()
                if isinstance(received.message, kind):
                    return received
                if isinstance(received.message, messages.Loaded):
                    self._loaded.append(received)
        raise AssertionError(f"no {kind.__name__} within {seconds} s")

    def peers(self, endpoint):
        """Where the peer is met."""
        return messages.Peers(peers=(fields.Peer(name="peer", endpoint=endpoint, incarnation=self.peer.incarnation),))

    def prepare(self, graph, n=400, window=4, micro_batches=None):
        """Load fragment f0 and have it read the task's input from us and send to the peer."""
        fragment = graph.split.by_name["f0"]
        self.broker.send("dut", messages.Load(fragment=fragment))
        self.broker.send(
            "dut",
            messages.Assign(
                job=1,
                fragment="f0",
                digest=fragment.digest,
                n=n,
                micro_batch=4,
                precedence="pipelined",
                window=window,
                inlets=(fields.Inlet(src="input", tensors=("x",)),),
                senders={"input": fields.BROKER},
                outlets=(fields.Outlet(dst="f1", device="peer", tensors=("f0.out",)),),
                micro_batches=micro_batches,
            ),
        )
        self.taken()

    def taken(self, seconds=PATIENCE_S):
        """The device has taken in all that the broker told it: that is acknowledged."""
        end = time.monotonic() + seconds
        while "dut" in self.broker._busy:
            assert time.monotonic() < end, f"not acknowledged within {seconds} s"
            self._unread[self.broker].extend(self.broker.receive(0.1))

    def give(self, micro_batch, value=None, sender=None):
        """One micro-batch of input."""
        x = np.ones((4, 16), np.float32) if value is None else value
        (sender or self.broker).send("dut", codec.tensors(1, "input", "f0", micro_batch, 0.0, {"x": x}), [x])


@pytest.fixture
def bench(catalog, toy):
    """A device that is up."""

    @contextmanager
    def run(*graphs, **config):
        accesses = curve_accesses((fields.BROKER, "peer", "dut"))
        engine = LocalEngine()
        with StreamNode(accesses[fields.BROKER]) as broker, StreamNode(accesses["peer"]) as peer:
            engine.launch(
                DeviceConfig(
                    name="dut",
                    catalog=str(catalog(*graphs)),
                    threads=1,
                    access=accesses["dut"],
                    incarnation=1,
                    broker_endpoint=broker.endpoint,
                    broker_incarnation=broker.incarnation,
                    **config,
                )
            )
            try:
                it = Bench(catalog(), peer, broker, accesses["dut"], engine)
                hello = it.hear(messages.Hello)
                for node in (broker, peer):
                    node.connect("dut", hello.message.endpoint)
                broker.send("dut", it.peers(peer.endpoint))
                yield it
            finally:
                engine.stop("dut")

    return run


def test_noise_does_not_stop_a_device(bench, toy):
    """Malformed bytes, a header without its frames, a foreign order: each is refused by name; then it works on."""
    with bench(toy.chain()) as it:
        it.broker.pipes.direct["dut"].send_multipart([b"\x80\x04noise"])
        assert it.hear(messages.Refused).message.peer == fields.BROKER
        it.peer.pipes.direct["dut"].send_multipart([b'{"type":"tensors"}', b"1234"])
        assert it.hear(messages.Refused).message.peer == "peer"
        it.peer.send("dut", messages.Stop())
        assert it.hear(messages.Refused).message.error == "only the broker may send stop"
        it.broker.send("dut", messages.Probed(core_speed=1.0))
        assert "a device takes no probed" in it.hear(messages.Refused).message.error
        it.prepare(toy.chain())
        it.give(0)
        assert it.hear(messages.Tensors, it.peer).message.micro_batch == 0


def test_an_oversized_tensor_does_not_stop_a_device(bench, toy):
    """The connection of whoever sends it is dropped before the frame is read."""
    with bench(toy.chain(), max_frame_bytes=2**16) as it:
        it.prepare(toy.chain())
        big = np.zeros((4, 2**16), np.float32)
        it.peer.send("dut", codec.tensors(1, "input", "f0", 0, 0.0, {"x": big}), [big])
        it.give(0)
        assert it.hear(messages.Tensors, it.peer).message.micro_batch == 0


@pytest.mark.parametrize("value", [np.ones((4, 17), np.float32), np.ones((4, 16)), np.ones((3, 16), np.float32)])
def test_a_tensor_that_is_not_by_contract_fails_the_job(bench, toy, value):
    """Another shape, dtype or batch: refused, and the broker hears which job cannot go on."""
    with bench(toy.chain()) as it:
        it.prepare(toy.chain())
        it.give(0, value)
        failed = it.hear(messages.Failed).message
        assert (failed.job, failed.fragment) == (1, "f0") and "expected" in failed.error


def test_images_that_are_none_fail_their_job_and_no_other(bench, toy):
    """A file that is cut off, one that says it is 30,000 pixels wide: by name, in bounded memory; then it works on."""
    graph, x = toy.of_pictures(toy.chain(width=784), (1, 28, 28)), toy.digits(4)
    good = encode_images(x)
    bomb = bytearray(good.data)
    bomb[16:20], bomb[29:33] = (
        struct.pack(">I", 30_000),
        struct.pack(">I", zlib.crc32(b"IHDR" + struct.pack(">I", 30_000) + bomb[20:29])),
    )
    cut = np.concatenate([good.sizes_N[:3], good.sizes_N[3:] - 30])
    hostile = [EncodedImages(x.shape, good.sizes_N, bytes(bomb)), EncodedImages(x.shape, cut, good.data[:-30])]
    with bench(graph, wire="encoded") as it:
        for images, said in zip(
            hostile,
            ("image 0: a PNG of 30000x28 L, expected 28x28 L", "image 3: not a PNG that can be read"),
            strict=True,
        ):
            it.prepare(graph)
            it.give(0, images)
            failed = it.hear(messages.Failed).message
            assert (failed.job, failed.fragment) == (1, "f0") and failed.error.startswith(said)
        it.prepare(graph)
        it.give(0, good)
        expected = Executor(graph.split, graph.models.__getitem__).sessions["f0"].run({"x": x})["f0.out"]
        np.testing.assert_array_equal(it.hear(messages.Tensors, it.peer).values["f0.out"], expected)


def test_a_job_takes_inputs_from_its_sender_only(bench, toy):
    """A fellow device that was not named as the source cannot slip a tensor in."""
    with bench(toy.chain()) as it:
        it.prepare(toy.chain())
        it.give(0, sender=it.peer)
        assert "sent by peer, expected @broker" in it.hear(messages.Refused).message.error


def test_a_slow_consumer_bounds_the_senders_queue(bench, toy):
    """The peer gives no credits: the device sends a window, runs one more, and stops; a credit moves it on by one."""
    window = 3
    with bench(toy.chain()) as it:
        it.prepare(toy.chain(), window=window)
        given = taken = 0

        def give_until(enough, end):  # as fast as its credits allow
            nonlocal given, taken
            while not enough() and time.monotonic() < end:
                while given < 100 and given - taken < window:
                    it.give(given)
                    given += 1
                taken += sum(isinstance(r.message, messages.Credit) for r in it.broker.receive(0.05))

        give_until(lambda: taken > window, time.monotonic() + PATIENCE_S)
        give_until(lambda: False, time.monotonic() + 1)  # what comes now would be too much
        assert taken == window + 1  # micro-batches taken to run
        sent, end = [], time.monotonic() + PATIENCE_S
        while len(sent) < window and time.monotonic() < end:
            sent += [r.message.micro_batch for r in it.peer.receive(0.1)]
        sent += [r.message.micro_batch for r in it.peer.receive(0.5)]
        assert sent == list(range(window))
        it.peer.send("dut", messages.Credit(job=1, src="f0", dst="f1", count=1))
        assert it.hear(messages.Tensors, it.peer).message.micro_batch == window


def test_a_device_tells_whom_it_does_not_reach(bench, toy):
    """Its results stay unacknowledged behind a road that is stalled: the broker hears of it, and when it is over."""
    with bench(toy.chain()) as it:
        road = Proxy(it.peer.endpoint)
        it.broker.send("dut", it.peers(road.endpoint))
        it.prepare(toy.chain())
        it.give(0)
        it.hear(messages.Tensors, it.peer)
        road.stall()
        it.give(1)
        assert it.hear(messages.Unreachable).message.peer == "peer"
        road.heal()
        it.hear(messages.Tensors, it.peer)
        end, told = time.monotonic() + PATIENCE_S, []
        while not told and time.monotonic() < end:
            next(it.peer.receive(0.05), None)  # for it acknowledges in its own time
            told = [r.message.peer for r in it.broker.receive(0.05) if isinstance(r.message, messages.Reachable)]
        assert told == ["peer"]
        road.close()


def test_what_waits_for_a_lost_peer_is_dropped(bench, toy):
    """The broker says that it is gone: it is not tried any more; named again, it hears what is new."""
    with bench(toy.chain()) as it:
        road = Proxy(it.peer.endpoint)
        behind = it.peers(road.endpoint)
        it.broker.send("dut", behind)
        it.prepare(toy.chain())
        it.give(0)
        it.hear(messages.Tensors, it.peer)
        road.stall()
        it.give(1)
        it.hear(messages.Unreachable)
        it.broker.send("dut", messages.Gone(peer="peer"))
        it.broker.send("dut", messages.Ping(sequence=1))
        it.hear(messages.Pong)
        road.reset()
        road.heal()
        it.broker.send("dut", behind)
        it.give(2)
        assert it.hear(messages.Tensors, it.peer).message.micro_batch == 2
        road.close()


def test_a_device_says_that_it_is_ready_where_others_send_to_it(bench, toy):
    """Of a fragment to which the broker alone sends, nothing is said: its inputs come behind the order."""
    with bench(toy.chain()) as it:
        it.prepare(toy.chain())
        fragment = toy.chain().split.by_name["f1"]
        it.broker.send("dut", messages.Load(fragment=fragment))
        order = messages.Assign(
            job=2, fragment="f1", digest=fragment.digest, n=4, micro_batch=4, precedence="pipelined", window=4,
            inlets=(fields.Inlet(src="f0", tensors=("f0.out",)),), senders={"f0": "peer"},
            outlets=(fields.Outlet(dst=fields.ANSWER, device=fields.BROKER, tensors=("f1.out",)),),
        )  # fmt: skip
        it.broker.send("dut", order)
        assert it.hear(messages.Assigned).message == messages.Assigned(job=2, fragment="f1")


def test_a_pong_says_what_the_device_has_used(bench, toy):
    """CPU, memory, network and disk of the process, and of each fragment: what ran, and how long."""
    with bench(toy.chain()) as it:
        it.broker.send("dut", messages.Ping(sequence=1))
        before = it.hear(messages.Pong).message
        assert (before.sequence, before.fragments, before.containers) == (1, (), 0)
        assert before.rss_bytes > 10**6 and before.cpu_s > 0
        it.prepare(toy.chain())
        for micro_batch in range(3):
            it.give(micro_batch)
            it.hear(messages.Tensors, it.peer)
        it.broker.send("dut", messages.Ping(sequence=2))
        after = it.hear(messages.Pong).message
        (usage,) = after.fragments
        assert usage.digest == toy.chain().split.by_name["f0"].digest
        assert usage.micro_batches == 3 and usage.busy_s > 0 and usage.cpu_s > 0
        assert after.containers == 1
        assert after.received_bytes - before.received_bytes > 3 * 4 * 16 * 4
        assert after.sent_bytes - before.sent_bytes > 3 * 4 * 16 * 4
        assert after.cpu_s > before.cpu_s and (after.disk_read_bytes or 0) >= (before.disk_read_bytes or 0)


def test_only_the_assigned_part_of_a_task_is_run(bench, toy):
    """Micro-batches 1 and 5 of a hundred: both are answered under their own numbers, then the container is gone."""
    with bench(toy.chain()) as it:
        it.prepare(toy.chain(), micro_batches=((1, 2), (5, 6)))
        for micro_batch in (1, 5):
            it.give(micro_batch)
            assert it.hear(messages.Tensors, it.peer).message.micro_batch == micro_batch
        it.broker.send("dut", messages.Ping(sequence=1))
        assert it.hear(messages.Pong).message.containers == 0


def test_a_cancelled_job_is_not_worked_on(bench, toy):
    """What waited for the worker is forgotten: only what was under way is finished, and nobody is told of it."""
    with bench(toy.chain()) as it:
        it.prepare(toy.chain(), window=50)
        it.hear(messages.Loaded)
        for micro_batch in range(50):
            it.give(micro_batch)
        it.broker.send("dut", messages.Cancel(job=1))
        it.broker.send("dut", messages.Ping(sequence=1))
        pong = it.hear(messages.Pong).message
        while pong.containers:  # a ping may overtake
            it.broker.send("dut", messages.Ping(sequence=1))
            pong = it.hear(messages.Pong).message
        assert pong.held_bytes == 0
        ran = pong.fragments[0].micro_batches
        it.broker.send("dut", messages.Ping(sequence=2))
        assert it.hear(messages.Pong).message.fragments[0].micro_batches <= ran + 1


def test_a_device_without_a_descriptor_left_works_on(bench, toy):
    """Strangers who only connect take all it may have: it answers pings, runs what it has, and gets them back."""
    with bench(toy.chain()) as it, ExitStack() as held:
        it.prepare(toy.chain())
        it.hear(messages.Loaded)
        pid = it.engine.pid("dut")
        limit = len(list(Path("/proc", str(pid), "fd").iterdir())) + 8
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, limit))
        host, port = it.broker.pipes.endpoints["dut"].removeprefix("tcp://").rsplit(":", 1)
        with suppress(OSError):  # the listener's queue is full: it takes in no more
            for _ in range(limit):
                held.enter_context(socket.create_connection((host, int(port)), 0.5))
        it.broker.send("dut", messages.Ping(sequence=1))
        assert it.hear(messages.Pong).message.rss_bytes > 10**6
        it.give(0)
        assert it.hear(messages.Tensors, it.peer).message.micro_batch == 0


def leave_no_descriptor(pid):
    """From now on a process may open no more files than it has open."""
    highest = max(int(found.name) for found in Path("/proc", str(pid), "fd").iterdir())
    for limit in (highest + 1, len(list(Path("/proc", str(pid), "fd").iterdir()))):
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]))


def test_a_device_that_cannot_be_probed_works_on(bench, toy):
    """The probe is a file: without a descriptor it says so, and answers the probe when it has one again."""
    with bench(toy.chain()) as it:
        it.prepare(toy.chain())
        it.hear(messages.Loaded)
        pid = it.engine.pid("dut")
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        leave_no_descriptor(pid)
        it.broker.send("dut", messages.ProbeOrder(trim=1.0))
        assert "the probe failed" in it.hear(messages.Refused).message.error
        it.give(0)
        assert it.hear(messages.Tensors, it.peer).message.micro_batch == 0
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        it.broker.send("dut", messages.ProbeOrder(trim=1.0))
        assert it.hear(messages.Probed).message.core_speed > 0


def test_a_device_without_a_descriptor_sees_images(bench, toy):
    """What came as PNG is decoded by what it loaded at its start."""
    graph, x = toy.of_pictures(toy.chain(width=784), (1, 28, 28)), toy.digits(4)
    with bench(graph, wire="encoded") as it:
        it.prepare(graph)
        it.hear(messages.Loaded)
        leave_no_descriptor(it.engine.pid("dut"))
        it.give(0, encode_images(x))
        assert it.hear(messages.Tensors, it.peer).message.micro_batch == 0


def test_secrets_are_neither_in_arguments_nor_environment_nor_files(bench, toy):
    """What anyone on the machine could list does not hold the key."""
    with bench(toy.chain()) as it:
        pid = it.engine.pid("dut")
        for name in ("cmdline", "environ"):
            assert it.access.secret_key.encode() not in Path("/proc", str(pid), name).read_bytes()
        assert it.access.secret_key not in repr(it.access)


def test_a_bad_configuration_ends_with_one_line():
    """No traceback: which field, and exit 1."""
    done = subprocess.run(
        [sys.executable, "-m", "splitplace.placement.device.__main__"],
        input=b'{"name":"a"}\n',
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.decode().startswith("standard input: not a deviceconfig")
    assert len(done.stderr.decode().splitlines()) == 1
