"""Links over a network that drops, repeats, reorders, resets and cuts, on a clock that the test moves."""

import heapq
import random
from collections import Counter
from itertools import count

import pytest

from splitplace.errors import ContractError
from splitplace.placement.protocol import envelope, reliable
from splitplace.placement.protocol.envelope import Envelope
from splitplace.placement.protocol.reliable import Link
from splitplace.placement.protocol.road import QUEUED_S

STEP_S = 0.01
LARGE = reliable.SAID_AGAIN_BYTES + 1


def blocks(count, fast=2):
    """Of 200 random histories each; the first ones are tried in the fast tests, too."""
    return [pytest.param(block, marks=[] if block < fast else [pytest.mark.slow]) for block in range(count)]


class Network:
    """Nodes by name, each with a link to each other, and what is under way between them.

    Args:
        seed: Of everything that happens by chance.
        loss: Chance that something is dropped; of being repeated likewise.
        delay_s: The longest time under way: what is sent later may come first.
    """

    def __init__(self, seed=0, names="ab", loss=0.0, repeat=0.0, delay_s=0.0):
        self.rng, self.names = random.Random(seed), names
        self.loss, self.repeat, self.delay_s = loss, repeat, delay_s
        self.now_s = self.way_s = 0.0
        """The time; how long everything is under way at least."""
        self.large = 0
        """Every so many messages is a large one; none if 0."""
        self.bytes_per_s = float("inf")
        """Of each road, one message after another."""
        self.sizes, self.free_s = {}, Counter()
        """Of what was said; when each road has carried all that it was given."""
        self.cut = set()
        self.way, self.order, self.incarnations = [], count(), count(1)
        self.said = count(1)
        self.heard = {}
        """(receiver's incarnation, sender's incarnation): numbers, in the order in which they were delivered."""
        self.handed_over = Counter()
        self.links, self.own = {}, {}
        for name in names:
            self.start(name)

    def start(self, name):
        """A node starts, or starts again: all it knew is gone."""
        self.own[name] = next(self.incarnations)
        for peer in self.names:
            if peer != name:
                self.links[name, peer] = Link(self.own[name], self.road(name, peer))

    def road(self, src, dst):
        """What hands over from one to the other."""
        own = self.own[src]

        def transmit(sealed, frames):
            if self.rng.random() < self.loss / 4:
                return False  # the pipe is full now and then
            self.handed_over[src, dst, bool(frames)] += 1
            for _ in range(1 + (self.rng.random() < self.repeat)):
                if (src, dst) not in self.cut and self.rng.random() >= self.loss:
                    at_s = self.now_s + self.way_s + self.rng.random() * self.delay_s
                    if self.bytes_per_s < float("inf"):
                        takes_s = self.sizes[frames[0]] / self.bytes_per_s if frames else 0.0
                        self.free_s[src, dst] = max(self.free_s[src, dst], self.now_s) + takes_s
                        at_s += self.free_s[src, dst] - self.now_s
                    heapq.heappush(self.way, (at_s, next(self.order), src, dst, own, sealed.encode(), tuple(frames)))
            return True

        return transmit

    def say(self, src, dst, size_bytes=None, bulk_of=None):
        """The next number, from one to the other."""
        said = next(self.said)
        if size_bytes is None:
            size_bytes = LARGE if self.large and said % self.large == 0 else 1
        self.sizes[said] = size_bytes
        self.links[src, dst].put([said], size_bytes, self.now_s, bulk_of)
        return said

    def reset(self):
        """All connections break: what is under way is lost."""
        self.way.clear()

    def run(self, seconds):
        """Time passes; what is due arrives, and every link does what it must."""
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.now_s += STEP_S
            while self.way and self.way[0][0] <= self.now_s:
                _, _, src, dst, sender, sealed, frames = heapq.heappop(self.way)
                if self.links[dst, src].take(envelope.decode(sealed), len(frames), self.now_s) and frames:
                    self.heard.setdefault((self.own[dst], sender), []).extend(frames)
            for link in self.links.values():
                link.tick(self.now_s)

    def settle(self):
        """The network heals, and there is time enough."""
        self.loss = self.repeat = 0.0
        self.cut.clear()
        self.run(4 * reliable.LONGEST_WAIT_S)


def test_over_a_network_that_loses_nothing_nothing_is_sent_twice():
    """Counted: 1,000 messages are handed over 1,000 times, and few acknowledgements go alone."""
    network = Network()
    said = []
    for _ in range(100):
        said += [network.say("a", "b") for _ in range(10)]
        network.run(STEP_S)
    network.settle()
    assert network.heard == {(2, 1): said}
    assert network.handed_over["a", "b", True] == 1000
    assert network.handed_over["b", "a", False] <= 1000 / 25
    assert all(link.idle for link in network.links.values())


def test_acknowledgements_ride_on_what_is_said_anyway():
    """A question and an answer every step: none goes alone, but after the last."""
    network = Network()
    for _ in range(100):
        network.say("a", "b")
        network.say("b", "a")
        network.run(STEP_S)
    network.settle()
    assert network.handed_over["a", "b", False] + network.handed_over["b", "a", False] <= 2


@pytest.mark.parametrize("block", blocks(10))
def test_whatever_the_network_does_each_message_is_delivered_once_and_in_order(block):
    """200 random histories: drops, repetitions, reordering, resets, cuts one way and both; then it heals."""
    for seed in range(200 * block, 200 * block + 200):
        rng = random.Random(seed)
        network = Network(
            seed, "abc"[: rng.choice((2, 3))], rng.choice((0, 0.1, 0.4)), rng.choice((0, 0.3)), rng.choice((0, 0.2))
        )
        network.large = seed % 4
        said = {}
        for _ in range(rng.randint(1, 12)):
            for _ in range(rng.randint(0, 8)):
                src, dst = rng.sample(network.names, 2)
                said.setdefault((network.own[dst], network.own[src]), []).append(network.say(src, dst))
            match rng.randrange(6):
                case 0:
                    network.reset()
                case 1:
                    network.cut.add(tuple(rng.sample(network.names, 2)))
                case 2:
                    network.cut.clear()
            network.run(rng.choice((STEP_S, 0.1, 1.0)))
        network.settle()
        assert network.heard == said, f"seed {seed}"
        assert all(link.idle and not link.unreachable(network.now_s) for link in network.links.values())


@pytest.mark.parametrize("block", blocks(5))
def test_a_node_that_starts_again_hears_nothing_twice_nor_out_of_order(block):
    """200 histories with restarts of either side: what is said once both know each other again arrives, too."""
    for seed in range(200 * block, 200 * block + 200):
        rng = random.Random(seed)
        network = Network(seed, "ab", rng.choice((0, 0.2)), rng.choice((0, 0.3)), rng.choice((0, 0.2)))
        network.large = seed % 4
        for _ in range(rng.randint(2, 12)):
            for _ in range(rng.randint(0, 6)):
                network.say(*rng.sample("ab", 2))
            match rng.randrange(5):
                case 0:
                    network.start(rng.choice("ab"))
                case 1:
                    network.reset()
                case 2:  # one gives up what it said to the other, who is thought to be gone
                    network.links["a", "b"].restart()
            network.run(rng.choice((STEP_S, 0.1, 1.0)))
        network.settle()
        network.say("a", "b"), network.say("b", "a")  # whoever has not heard of the other does now
        network.settle()
        last = [network.say("a", "b") for _ in range(3)], [network.say("b", "a") for _ in range(3)]
        network.settle()
        for (_, sender), numbers in network.heard.items():
            assert numbers == sorted(set(numbers)), f"seed {seed}: from {sender}"
        assert network.heard[network.own["b"], network.own["a"]][-3:] == last[0], f"seed {seed}"
        assert network.heard[network.own["a"], network.own["b"]][-3:] == last[1], f"seed {seed}"


def test_what_a_former_process_left_in_the_network_is_no_news():
    """Its last words arrive after its successor's first: they are dropped, and the successor is heard on."""
    network = Network()
    first = network.say("a", "b")
    network.run(STEP_S)
    network.say("a", "b")
    left, network.way = network.way, []
    network.start("a")
    successors = [network.say("a", "b")]
    network.run(STEP_S)
    network.way = left
    network.run(STEP_S)
    successors.append(network.say("a", "b"))
    network.settle()
    assert network.heard == {(2, 1): [first], (2, 3): successors}


def test_a_leftover_that_comes_late_does_not_make_its_successor_unheard():
    """Words of a process that nobody had heard of arrive after its successor's: who lives shows it, and is heard on."""
    network = Network()
    left = network.say("a", "b")
    way, network.way = network.way, []
    network.start("a")
    said = [network.say("a", "b")]
    network.run(STEP_S)
    network.way = way
    network.run(STEP_S)
    assert network.heard == {(2, 3): said, (2, 1): [left]}
    said.append(network.say("a", "b"))
    network.settle()
    said.append(network.say("a", "b"))
    network.settle()
    assert network.heard == {(2, 3): said, (2, 1): [left]}


def test_a_reset_costs_no_more_than_what_was_under_way():
    """A gap is told at once, and only what is behind it is sent again: no waiting for the time-out."""
    network = Network(delay_s=0.0)
    for _ in range(20):
        network.say("a", "b")
    network.run(STEP_S)
    for _ in range(5):
        network.say("a", "b")
    network.reset()
    network.say("a", "b")
    network.run(4 * STEP_S)
    assert len(network.heard[2, 1]) == 26
    assert network.handed_over["a", "b", True] == 26 + 6


def test_a_peer_that_is_silent_is_probed_with_one_message_and_ever_more_rarely():
    """Counted over 60 s: not the window again and again."""
    network = Network()
    network.cut.add(("a", "b"))
    for _ in range(100):
        network.say("a", "b")
    network.run(60.0)
    probes = network.handed_over["a", "b", True] - 100
    assert probes == pytest.approx(60.0 / reliable.LONGEST_WAIT_S, abs=3)


@pytest.mark.parametrize("cut", [("a", "b"), ("b", "a")], ids=["what it is told", "what it answers"])
def test_a_peer_that_acknowledges_nothing_for_two_seconds_is_unreachable(cut):
    """Until it acknowledges again; whoever has said nothing does not know, and whoever waited for nothing neither."""
    network = Network()
    a, b = network.links["a", "b"], network.links["b", "a"]
    network.run(10.0)
    assert not a.unreachable(network.now_s)
    network.cut.add(cut)
    network.say("a", "b")
    network.run(reliable.UNREACHABLE_S - 0.1)
    assert not a.unreachable(network.now_s)
    network.run(0.2)
    assert a.unreachable(network.now_s) and not b.unreachable(network.now_s)
    assert a.due_s(network.now_s) > 0
    network.cut.clear()
    network.run(reliable.LONGEST_WAIT_S + 0.1)
    assert not a.unreachable(network.now_s)


def test_a_large_message_is_waited_for_as_long_as_a_slow_road_takes_for_it():
    """It is acknowledged when it is in; of those behind it that is no matter."""
    network = Network()
    network.cut.add(("a", "b"))
    link, size_bytes = network.links["a", "b"], 8 * reliable.SLOWEST_BYTES_PER_S
    link.put([size_bytes], size_bytes, network.now_s)
    link.put([size_bytes], size_bytes, network.now_s)
    network.run(8 + reliable.UNREACHABLE_S - 0.1)
    assert not link.unreachable(network.now_s) and link.due_s(network.now_s) > 0
    network.run(0.2)
    assert link.unreachable(network.now_s)


def test_a_road_that_was_slow_is_waited_for_at_its_pace():
    """The first large message is taken to be lost, and comes; of those after it nobody thinks so, until one is."""
    network, size_bytes = Network(), 2**22
    network.bytes_per_s = reliable.SLOWEST_BYTES_PER_S / 4
    link, found = network.links["a", "b"], []
    for _ in range(4):
        network.say("a", "b", size_bytes)
        missed = False
        for _ in range(200):
            network.run(0.1)
            missed |= link.unreachable(network.now_s)
        found.append(missed)
    assert found == [True, False, False, False] and len(network.heard[2, 1]) == 4
    network.cut.add(("a", "b"))
    network.say("a", "b", size_bytes)
    network.run(2 * size_bytes / network.bytes_per_s + 2 * reliable.UNREACHABLE_S)
    assert link.unreachable(network.now_s)


@pytest.mark.parametrize("later_s", [0.0, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("way_s", [0.7, 1.6, 4.0])
def test_what_a_slow_road_takes_long_for_is_sent_once(way_s, later_s):
    """Counted: tensors that are long under way; what answers an older probe says nothing of what was sent since."""
    network = Network()
    network.way_s, network.large = way_s, 1
    said = [network.say("a", "b")]
    for _ in range(3):
        network.run(later_s)
        said.append(network.say("a", "b"))
    network.run(20.0)
    assert network.heard == {(2, 1): said}
    assert network.handed_over["a", "b", True] == 4
    assert 1 <= network.handed_over["a", "b", False] <= 16


@pytest.mark.parametrize("way_s", [0.0, 0.7, 1.6])
def test_what_is_lost_on_a_slow_road_is_sent_twice_and_no_more(way_s):
    """Counted: a large one and what was sent behind it; answers to probes from before are no second loss."""
    network = Network()
    network.way_s, network.large = way_s, 1
    first = network.say("a", "b")
    network.run(way_s / 2)
    network.reset()
    second = network.say("a", "b")
    network.run(30.0)
    assert network.heard == {(2, 1): [first, second]}
    assert network.handed_over["a", "b", True] <= 4


def test_no_more_than_a_window_is_under_way():
    """The rest follows as acknowledgements come in, in order."""
    network = Network()
    said = [network.say("a", "b") for _ in range(3 * reliable.WINDOW)]
    assert network.handed_over["a", "b", True] == reliable.WINDOW
    network.settle()
    assert network.heard[2, 1] == said


def test_large_messages_are_bounded_by_bytes():
    """One goes at any size; a second only if both fit."""
    network = Network()
    link = network.links["a", "b"]
    for size_bytes in (reliable.WINDOW_BYTES + 1, 1, reliable.WINDOW_BYTES, 1):
        link.put([size_bytes], size_bytes, 0.0)
    assert network.handed_over["a", "b", True] == 1
    network.settle()
    assert len(network.heard[2, 1]) == 4


ROADS = [(2e5, 80_000), (1e7, 600_000), (1e8, 4_000_000)]
"""Bytes a second, and of a tensor."""


@pytest.mark.parametrize("way_s", [0.0, 0.05, 0.3])
@pytest.mark.parametrize("road", ROADS)
def test_a_road_is_kept_full_whatever_it_holds(road, way_s):
    """A hundred tensors: after some round trips, which tell how wide it is, they take as long as it does for them."""
    network = Network()
    (network.bytes_per_s, size_bytes), network.way_s = road, way_s
    said = [network.say("a", "b", size_bytes, bulk_of=1) for _ in range(100)]
    network.run(100 * size_bytes / network.bytes_per_s + 8 * way_s + 0.2)
    assert network.heard == {(2, 1): said}
    assert network.handed_over["a", "b", True] == len(said)


@pytest.mark.parametrize("road", ROADS)
def test_what_is_no_bulk_waits_for_little_of_it(road):
    """A credit, while a hundred tensors wait: in after those that are under way, two and what may stand in queues."""
    network = Network()
    network.bytes_per_s, size_bytes = road
    takes_s = size_bytes / network.bytes_per_s
    bulk = [network.say("a", "b", size_bytes, bulk_of=1) for _ in range(100)]
    network.run(20 * takes_s)
    credit = network.say("a", "b")
    network.run(2 * takes_s + QUEUED_S + 2 * STEP_S)
    assert credit in network.heard[2, 1]
    network.run(100 * takes_s)
    assert [each for each in network.heard[2, 1] if each != credit] == bulk


def test_bulk_is_in_order_and_so_is_the_rest():
    """Only between the two the order is another than the one in which things were said."""
    network = Network()
    network.bytes_per_s = 1e6
    bulk, rest = [], []
    for _ in range(100):
        bulk.append(network.say("a", "b", 50_000, bulk_of=1))
        rest.append(network.say("a", "b", 100))
        network.run(STEP_S)
    network.run(20.0)
    heard = network.heard[2, 1]
    assert [each for each in heard if each in bulk] == bulk and [each for each in heard if each in rest] == rest
    assert heard.index(rest[-1]) < heard.index(bulk[-1])


def test_of_a_job_that_is_taken_back_only_what_is_under_way_is_sent():
    """Counted: ten seconds of its tensors wait, and another job's behind them."""
    network = Network()
    network.bytes_per_s = 1e6
    for _ in range(100):
        network.say("a", "b", 100_000, bulk_of=1)
    network.run(2.0)
    other = network.say("a", "b", 100_000, bulk_of=2)
    network.links["a", "b"].take_back(1)
    network.run(1.0)
    assert network.heard[2, 1][-1] == other
    assert len(network.heard[2, 1]) <= 2.0 / 0.1 + 5
    network.settle()
    assert network.links["a", "b"].idle


def test_a_peer_that_does_not_keep_up_is_given_up(monkeypatch):
    """What waits for it is bounded; nothing of a stream is left out silently: it ends, and that can be seen."""
    monkeypatch.setattr(reliable, "MAX_UNACKNOWLEDGED", 10)
    network = Network()
    network.cut.add(("a", "b"))
    for _ in range(11):
        network.say("a", "b")
    assert network.links["a", "b"].unreachable(network.now_s)
    network.settle()
    assert network.heard == {}
    network.start("b")
    network.say("b", "a")
    network.settle()
    said = network.say("a", "b")
    network.settle()
    assert network.heard[3, 1] == [said]
    assert not network.links["a", "b"].unreachable(network.now_s)


def test_who_acknowledges_what_was_never_said_is_refused():
    """And nothing of it is believed."""
    network = Network()
    network.say("a", "b")
    link = network.links["a", "b"]
    with pytest.raises(ContractError, match=r"acknowledges message 7, of 1 that were sent"):
        link.take(Envelope(2, 1, acked_stream=1, acked=7), 0, 0.0)
    network.settle()
    assert len(network.heard[2, 1]) == 1


@pytest.mark.parametrize("frame", [b"", b"noise", b"SP", b"XX" + bytes(envelope.SIZE_BYTES)])
def test_what_has_no_envelope_is_no_message(frame):
    """Too short, or without the mark."""
    with pytest.raises(ContractError, match="not a message"):
        envelope.decode(frame)


def test_an_envelope_of_another_version_says_which_side_is_older():
    """Whatever follows in it."""
    sealed = bytearray(Envelope(1, 2).encode())
    sealed[2] += 1
    with pytest.raises(ContractError, match="update the node here, it is older"):
        envelope.decode(sealed)
    sealed[2] -= 2
    with pytest.raises(ContractError, match="update the other side, it is older"):
        envelope.decode(bytes(sealed))


def test_envelopes_come_out_as_they_went_in():
    """Every field at its largest."""
    sealed = Envelope(2**64 - 1, 2**64 - 2, 2**32 - 1, 2**64 - 3, 2**32 - 2, 2**64 - 4, 7, 2**32 - 3, 2**32 - 4)
    assert envelope.decode(sealed.encode() + b"{}") == sealed


def test_what_is_said_to_a_process_that_was_not_heard_yet_arrives():
    """A peer starts again and the pipe leads to it: all that is said from then on is delivered, and nothing before."""
    network = Network()
    network.say("a", "b")
    network.say("b", "a")
    network.settle()
    network.cut.add(("a", "b"))
    network.say("a", "b")
    network.start("b")
    network.cut.clear()
    network.links["a", "b"].forget()
    said = [network.say("a", "b") for _ in range(5)]
    network.settle()
    back = network.say("b", "a")
    network.settle()
    assert network.heard[network.own["b"], network.own["a"]] == said
    assert network.heard[network.own["a"], network.own["b"]] == [back]


@pytest.mark.parametrize("known", [True, False])
def test_a_peer_that_is_the_same_after_all_is_known_again(known):
    """The pipe was opened anew to the process that was there before: nothing twice, and from then on all of it."""
    network = Network(repeat=0.3, delay_s=0.1)
    first = network.say("a", "b")
    before = [network.say("b", "a")] if known else []
    network.settle()
    network.links["a", "b"].forget()
    lost, back = [network.say("a", "b") for _ in range(5)], [network.say("b", "a") for _ in range(5)]
    network.settle()
    said = [network.say("a", "b") for _ in range(5)]
    network.settle()
    heard = network.heard[2, 1]
    assert heard[0] == first and heard[-5:] == said
    assert heard[1:-5] == lost[: len(heard) - 6]
    assert network.heard[1, 2] == [*before, *back]
