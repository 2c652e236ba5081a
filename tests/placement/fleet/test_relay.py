"""What the broker hands on for devices that do not reach each other: over real sockets, and what it holds of it."""

import random
import shutil
import time
from collections import deque
from contextlib import ExitStack

import numpy as np
import pytest

from splitplace.errors import ContractError
from splitplace.placement.protocol import codec, envelope, messages, relay, route
from splitplace.placement.protocol.envelope import Envelope
from splitplace.placement.protocol.fields import BROKER
from splitplace.placement.protocol.keys import curve_accesses, local_accesses, new_pair, socket_folder
from splitplace.placement.protocol.relay import Backlog, Relay
from splitplace.placement.protocol.stream import Malformed, StreamNode
from tests.placement.fleet.proxy import Proxy

PATIENCE_S = 240.0
MANY = 10_000
"""Messages of which one at last passes a relay that is at rest."""


def said(number):
    """Something that has a number."""
    return messages.Cancel(job=number)


class Fleet:
    """Nodes of devices, and a relay between them; the roads from each to each may be stalled."""

    def __init__(self, stack, accesses, names):
        self.accesses, self.relay = accesses, Relay(accesses[BROKER], 2**22)
        stack.callback(self.relay.close)
        self.nodes = {
            name: stack.enter_context(StreamNode(accesses[name], relay=self.relay.endpoint)) for name in names
        }
        for name, node in self.nodes.items():
            self.relay.meet(name, node.endpoint)

    def connect(self, src, dst, endpoint=None):
        """Where the other one is found."""
        self.nodes[src].connect(dst, endpoint or self.nodes[dst].endpoint)

    def until(self, holds):
        """Let all listen until it is so; answers with what each was told, and by whom."""
        end_s, found = time.monotonic() + PATIENCE_S, []
        while not holds(found):
            assert time.monotonic() < end_s, f"it never came about: {found}"
            for name, node in self.nodes.items():
                found += [(name, received) for received in node.receive(0.01)]
        return found


@pytest.fixture(params=["curve", "local"])
def fleet(request):
    """Of a, b and c, as between machines or as on one."""
    names, folder = (BROKER, "a", "b", "c"), socket_folder()
    accesses = curve_accesses(names) if request.param == "curve" else local_accesses(names, folder)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        yield Fleet(stack, accesses, "abc")


def nowhere(fleet, dst):
    """An endpoint of this kind at which nobody listens."""
    endpoint = fleet.nodes[dst].endpoint
    return "tcp://127.0.0.1:1" if endpoint.startswith("tcp") else endpoint + "x"


def raw(fleet, src, stack):
    """A device's connection to the relay, to say anything on."""
    inbox = fleet.nodes[src].inbox
    return stack.enter_context(inbox.pipe_to(BROKER, fleet.relay.endpoint, 1000))


def test_tensors_get_to_whom_a_device_does_not_reach(fleet):
    """With the name of who sent them, whole, once and in order; both sides know that it goes through the broker."""
    fleet.connect("a", "b", nowhere(fleet, "b"))
    fleet.connect("b", "a")
    for number in range(40):
        x = np.full((1, 2**16), number, np.float32)
        fleet.nodes["a"].send("b", codec.tensors(number, "f0", "f1", 0, 0.0, {"x": x}), [x])
        fleet.nodes["b"].send("a", messages.Credit(job=number, src="f0", dst="f1", count=1))
    found = fleet.until(lambda found: len(found) >= 80)
    heard = [(r.peer, r.message.job, r.values["x"][0, -1]) for name, r in found if name == "b"]
    assert heard == [("a", number, number) for number in range(40)]
    assert [(r.peer, r.message.job) for name, r in found if name == "a"] == [("b", number) for number in range(40)]
    assert fleet.nodes["a"].relayed == {"b"} and fleet.nodes["b"].relayed == {"a"}
    assert fleet.nodes["c"].relayed == frozenset() and fleet.relay.handed_on >= 40


def test_a_tensor_of_many_pieces_is_handed_on(fleet):
    """Where messages are encrypted it comes in more frames than a message has tensors."""
    fleet.connect("a", "b", nowhere(fleet, "b"))
    fleet.connect("b", "a")
    x = np.arange(2**20 - 3, dtype=np.float32)[None]
    most = {f"t{number}": x if number == 63 else x[:, : number + 1] for number in range(64)}
    fleet.nodes["a"].send("b", codec.tensors(0, "f0", "f1", 0, 0.0, most), list(most.values()))
    ((name, received),) = fleet.until(lambda found: found)
    assert name == "b" and received.values.keys() == most.keys()
    np.testing.assert_array_equal(received.values["t63"], x)


def test_it_goes_directly_again_when_the_road_is_whole(monkeypatch):
    """Nothing is lost or comes twice, and then nothing more is handed on."""
    with ExitStack() as stack, monkeypatch.context() as patient:
        patient.setattr(route, "DETOUR_S", 1e9)  # however slow the machine, as long as the road is whole
        fleet = Fleet(stack, curve_accesses((BROKER, "a", "b")), "ab")
        road = Proxy(fleet.nodes["b"].endpoint)
        stack.callback(road.close)
        fleet.connect("a", "b", road.endpoint)
        fleet.connect("b", "a")
        fleet.nodes["a"].send("b", said(0))
        found = fleet.until(lambda found: found)
        assert fleet.relay.handed_on == 0
        road.stall()
        patient.undo()
        fleet.nodes["a"].send("b", said(1))
        found += fleet.until(lambda found: found)
        assert fleet.nodes["a"].relayed == {"b"}
        road.heal()
        found += fleet.until(lambda _: not (fleet.nodes["a"].relayed or fleet.nodes["b"].relayed))
        handed_on, number = -1, 1
        while handed_on != fleet.relay.handed_on:  # something is still handed on, or nothing any more
            assert number < MANY
            handed_on, number = fleet.relay.handed_on, number + 1
            fleet.nodes["a"].send("b", said(number))
            found += fleet.until(lambda found: found)
        assert [(r.peer, r.message.job) for _, r in found] == [("a", number) for number in range(number + 1)]


def test_who_sent_it_is_who_proved_it(fleet):
    """Whatever stands in it: the broker puts the name there, by the connection on which it came."""
    fleet.connect("b", "c")
    sealed = Envelope(fleet.nodes["a"].incarnation, 0, 1, 1).encode()  # as if it were of a's process
    with ExitStack() as stack:
        parts = [envelope.address("b"), sealed + codec.encode(said(7))[0]]
        raw(fleet, "c", stack).send_multipart(parts)
        ((_, received),) = fleet.until(lambda found: found)
    assert (received.peer, received.message) == ("c", said(7))


def test_a_device_that_hands_on_is_refused(fleet):
    """Only the broker may say who said something."""
    fleet.connect("b", "a")
    fleet.connect("c", "b")
    parts = [envelope.address("a"), Envelope(1, 0, 1, 1).encode() + codec.encode(said(7))[0]]
    fleet.nodes["c"].pipes.direct["b"].send_multipart(parts)
    ((_, received),) = fleet.until(lambda found: found)
    assert isinstance(received, Malformed) and received.peer == "c" and "only the broker may" in received.error


def test_what_cannot_be_handed_on_harms_nobody(fleet, caplog):
    """Noise, nobody's names, more frames than a message has: dropped, told of once, and the next gets through."""
    fleet.connect("b", "a")
    message = Envelope(fleet.nodes["a"].incarnation, 0, 1, 1).encode() + codec.encode(said(1))[0]
    with ExitStack() as stack:
        pipe = raw(fleet, "a", stack)
        for parts in (
            [b"noise"], [b""], [envelope.address("b")], [envelope.address("b"), *[b"x"] * 100],
            [envelope.address("nobody"), message], [envelope.address("a"), message],
            [envelope.address(BROKER), message],
            [envelope.address("x" * 500), message], [b"SR\x00b", message], [envelope.address("b"), message],
        ):  # fmt: skip
            pipe.send_multipart(parts)
        ((name, received),) = fleet.until(lambda found: found)
    assert (name, received.peer, received.message) == ("b", "a", said(1))
    assert caplog.text.count("cannot be handed on") == 1


def test_what_comes_of_one_that_a_device_was_not_told_of_is_dropped(fleet):
    """Or not any more; it is said again, and heard when it is known."""
    fleet.connect("a", "b", nowhere(fleet, "b"))
    fleet.nodes["a"].send("b", said(1))
    fleet.until(lambda _: fleet.relay.handed_on > 1)
    fleet.connect("b", "a")
    found = fleet.until(lambda found: found)
    assert [(name, r.peer, r.message) for name, r in found] == [("b", "a", said(1))]


def test_who_is_put_out_is_not_handed_on_for_nor_to():
    """Its key opens nothing here either; whoever has it next under its name is heard."""
    with ExitStack() as stack:
        accesses = curve_accesses((BROKER, "a", "b"))
        fleet = Fleet(stack, accesses, "ab")
        fleet.connect("a", "b", nowhere(fleet, "b"))
        fleet.connect("b", "a")
        fleet.nodes["a"].send("b", said(1))
        fleet.until(lambda found: found)
        fleet.relay.part("a")
        fleet.relay.know("a", None)
        fleet.nodes["a"].send("b", said(2))
        end_s = time.monotonic() + 1.0
        assert fleet.until(lambda _: time.monotonic() > end_s) == []
        public, secret = new_pair()
        fleet.relay.know("a", public)
        fleet.nodes["b"].admit("a", public)
        again = accesses["a"].model_copy(update={"public_key": public, "secret_key": secret})
        fleet.nodes["a"] = stack.enter_context(StreamNode(again, relay=fleet.relay.endpoint))
        fleet.relay.meet("a", fleet.nodes["a"].endpoint)
        fleet.connect("a", "b", nowhere(fleet, "b"))
        fleet.nodes["b"].disconnect("a")
        fleet.connect("b", "a")
        fleet.nodes["a"].send("b", said(3))
        found = fleet.until(lambda found: found)
        assert [(name, r.peer, r.message) for name, r in found] == [("b", "a", said(3))]


def test_who_does_not_read_holds_up_nobody_else(fleet):
    """What goes to a device that takes nothing in is dropped beyond a bound; another hears what is for it meanwhile."""
    fleet.connect("c", "a")
    full = np.zeros(2**20, np.uint8)
    with ExitStack() as stack:
        pipe, other = raw(fleet, "a", stack), raw(fleet, "a", stack)
        fleet.relay.meet("b", nowhere(fleet, "b"))
        for number in range(40):
            pipe.send_multipart([envelope.address("b"), Envelope(1, 0, 1, number).encode(), full], copy=False)
        fleet.until(lambda _: fleet.relay._backlog.held_bytes > relay.PAIR_BYTES - 2 * len(full))
        sealed = Envelope(fleet.nodes["a"].incarnation, 0, 1, 1).encode()
        other.send_multipart([envelope.address("c"), sealed + codec.encode(said(1))[0]])
        found = fleet.until(lambda found: found)
        assert [(name, r.peer, r.message) for name, r in found] == [("c", "a", said(1))]
        assert fleet.relay._backlog.held_bytes <= relay.PAIR_BYTES


# What waits, without sockets.


def test_of_one_sender_nothing_overtakes_and_senders_take_turns():
    """Random puts and takes against queues that a test keeps."""
    rng, backlog = random.Random(1), Backlog()
    queues, taken, number = {(src, dst): deque() for src in "abc" for dst in "xy"}, [], 0
    for _ in range(5000):
        src, dst = rng.choice("abc"), rng.choice("xy")
        if rng.random() < 0.5:
            number += 1
            if backlog.put(src, dst, (b"%d" % number, src.encode()), 10):
                queues[src, dst].append(number)
        elif (parts := backlog.first(dst)) is not None:
            backlog.done(dst)
            assert int(parts[0]) == queues[parts[1].decode(), dst].popleft()
            taken.append((dst, parts[1].decode()))
        waiting = {dst for (_, dst), queue in queues.items() if queue}
        assert set(backlog.awaited) == waiting
        assert backlog.held_bytes == 10 * sum(map(len, queues.values()))
    assert len(taken) > 1000
    for src in "abc":
        for _ in range(30):
            backlog.put(src, "z", (b"", src.encode()), 1)
    order = []
    while (parts := backlog.first("z")) is not None:
        order.append(parts[1])
        backlog.done("z")
    assert order == [b"a", b"b", b"c"] * 30


def test_what_waits_of_a_pair_is_bounded():
    """In messages and in bytes; one goes at any size, and another pair's has room still."""
    backlog = Backlog()
    taken = sum(backlog.put("a", "x", (b"",), 1) for _ in range(10 * relay.PAIR_MESSAGES))
    assert taken == relay.PAIR_MESSAGES
    assert backlog.put("b", "x", (b"",), relay.PAIR_BYTES + 1) and not backlog.put("b", "x", (b"",), 1)
    assert backlog.put("c", "x", (b"",), relay.PAIR_BYTES) and not backlog.put("c", "x", (b"",), 1)
    assert backlog.put("a", "y", (b"",), 1)


def test_what_waits_for_one_receiver_is_bounded():
    """However many send to it: one that hangs leaves room for all others, and is told more once it takes something."""
    backlog = Backlog()
    taken = sum(backlog.put(f"d{row}", "hangs", (b"",), relay.PAIR_BYTES) for row in range(1000))
    assert taken == relay.RECEIVER_BYTES // relay.PAIR_BYTES and relay.RECEIVER_BYTES < relay.ALL_BYTES
    assert backlog.put("a", "x", (b"",), relay.PAIR_BYTES)
    backlog.done("hangs")
    assert backlog.put("d999", "hangs", (b"",), relay.PAIR_BYTES)
    backlog.drop("hangs")
    backlog.drop("x")
    assert not backlog._receiver_bytes and backlog.held_bytes == 0


def test_what_waits_of_all_is_bounded():
    """However many pairs there are; what goes to one that is gone makes room."""
    backlog = Backlog()
    taken = sum(backlog.put("a", f"d{row}", (b"",), relay.PAIR_BYTES) for row in range(1000))
    assert taken == relay.ALL_BYTES // relay.PAIR_BYTES
    assert backlog.held_bytes == relay.ALL_BYTES
    backlog.drop("d0")
    assert backlog.put("a", "d999", (b"",), relay.PAIR_BYTES) and not backlog.put("a", "d0", (b"",), 1)
    for device in backlog.awaited:
        backlog.drop(device)
    assert backlog.held_bytes == 0 and not backlog.awaited and not backlog._pair_bytes


OLDER, OURS = bytes([messages.PROTOCOL - 1]), bytes([messages.PROTOCOL])


@pytest.mark.parametrize(
    "frame", [b"", b"SR", b"SR" + OURS, b"SP" + OURS + b"b", b"SR" + OLDER + b"b", b"SR" + OURS + b"x" * 129]
)
def test_what_is_no_address_is_told(frame):
    """Too short or long, without the mark, or of another version."""
    with pytest.raises(ContractError, match=r"not an address|update the other side, it is older"):
        envelope.addressed(frame)


def test_addresses_come_out_as_they_went_in():
    """Of a device and of the broker."""
    for name in ("pi-0.kitchen", BROKER, "x" * 128):
        assert envelope.is_address(envelope.address(name)) and envelope.addressed(envelope.address(name)) == name
