"""The way to a peer, directly or through the broker, over two networks that lose, repeat, reorder and cut.

The clock is the test's. A connection that was cut stays dead until it is made anew, as TCP's does for longer than
anybody wants to wait.
"""

import heapq
import random
from collections import Counter
from functools import partial
from itertools import count

import pytest

from splitplace.placement.protocol import envelope, reliable, route
from splitplace.placement.protocol.envelope import Envelope
from splitplace.placement.protocol.route import Route
from tests.placement.fleet.test_reliable import blocks

STEP_S = 0.02
DIRECT_AGAIN_S = 5.0
"""After which it goes directly again, once it can."""
DIRECTLY, RELAY = "directly", "relay"
A, B = 1, 2
"""Their incarnations."""
BOTH = {(A, B), (B, A)}


class Roads:
    """Two nodes with a route to each other, and what is under way on both ways.

    Args:
        seed: Of everything that happens by chance.
        loss: Chance that something is dropped; of being repeated likewise.
        delay_s: The longest time under way: what is sent later may come first.
        largest: Bytes of what the direct way lets through.
        held_s: What the broker keeps everything for besides, in order.
    """

    def __init__(self, seed=0, loss=0.0, repeat=0.0, delay_s=0.0, largest=10**9, relay=True, held_s=0.0):
        self.rng, self.held_s = random.Random(seed), held_s
        self.loss, self.repeat, self.delay_s, self.largest = loss, repeat, delay_s, largest
        self.now_s, self.order, self.way, self.numbers = 0.0, count(), [], count(1)
        self.cut = {DIRECTLY: set(), RELAY: set()}
        self.dead = set()
        """Direct connections that nothing goes through until they are made anew."""
        self.heard = {A: [], B: []}
        self.carried, self.reopened, self.detours = Counter(), Counter(), Counter()
        self.routes = {}
        for own, peer in sorted(BOTH):
            way = self.road(RELAY, own, peer) if relay else None
            anew = partial(self.reopen, own, peer)
            self.routes[own] = Route(own, self.road(DIRECTLY, own, peer), way, anew)

    def road(self, kind, src, dst):
        """What hands over on a way."""

        def transmit(sealed, frames):
            if self.rng.random() < self.loss / 4:
                return False  # the pipe is full now and then
            self.carried[kind, src, "try" if sealed.flags & envelope.TRY else "said" if frames else "told"] += 1
            for _ in range(1 + (self.rng.random() < self.repeat)):
                at_s = self.now_s + self.rng.random() * self.delay_s + (self.held_s if kind == RELAY else 0.0)
                if self.passes(kind, src, dst, frames) and self.rng.random() >= self.loss:
                    heapq.heappush(self.way, (at_s, next(self.order), kind, src, dst, sealed.encode(), tuple(frames)))
            return True

        return transmit

    def passes(self, kind, src, dst, frames):
        """Whether the way is whole."""
        if kind == DIRECTLY and ((src, dst) in self.dead or sum(map(len, frames)) > self.largest):
            return False
        return (src, dst) not in self.cut[kind]

    def break_off(self, kind, pairs):
        """Cut, one way or both; a direct connection does not mend by itself."""
        self.cut[kind] |= set(pairs)
        self.dead |= set(pairs) if kind == DIRECTLY else set()
        self.way = [one for one in self.way if self.passes(one[2], one[3], one[4], ())]
        heapq.heapify(self.way)

    def reopen(self, src, dst):
        """Another connection; what was under way on the former is lost."""
        self.reopened[src] += 1
        self.way = [one for one in self.way if one[2:5] != (DIRECTLY, src, dst)]
        heapq.heapify(self.way)
        self.dead.discard((src, dst))
        if (src, dst) in self.cut[DIRECTLY]:
            self.dead.add((src, dst))

    def say(self, own):
        """The next number, to the other one."""
        number = next(self.numbers)
        self.routes[own].put([b"%d" % number], 8, self.now_s)
        return number

    def run(self, seconds):
        """Time passes; what is due arrives, and both do what they must."""
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.now_s += STEP_S
            while self.way and self.way[0][0] <= self.now_s:
                _, _, kind, _, dst, sealed, frames = heapq.heappop(self.way)
                was = self.routes[dst].relayed
                if self.routes[dst].take(envelope.decode(sealed), 8, self.now_s, kind == RELAY) and frames:
                    self.heard[dst].append(int(frames[0]))
                self.detours[dst] += self.routes[dst].relayed and not was
            for own, one in self.routes.items():
                was = one.relayed
                one.tick(self.now_s)
                self.detours[own] += one.relayed and not was

    def until(self, holds, seconds):
        """How long it takes; no longer than so long."""
        begun_s = self.now_s
        while not holds():
            assert self.now_s - begun_s <= seconds, "it did not come about"
            self.run(STEP_S)
        return self.now_s - begun_s

    @property
    def relayed(self):
        """Who goes through the broker."""
        return {own for own, one in self.routes.items() if one.relayed}

    def heal(self):
        """All roads are whole, and lose nothing any more."""
        self.loss = self.repeat = 0.0
        for cut in self.cut.values():
            cut.clear()

    def settle(self):
        """And there is time enough."""
        self.heal()
        self.run(DIRECT_AGAIN_S + 4 * reliable.LONGEST_WAIT_S)


def test_what_gets_through_goes_directly():
    """Nothing through the broker, nothing tried, no connection made anew."""
    roads = Roads()
    said = [roads.say(A) for _ in range(200)]
    roads.run(20.0)
    assert roads.heard[B] == said and not roads.relayed and not roads.reopened
    assert not any(kind == RELAY or what == "try" for kind, _, what in roads.carried)


@pytest.mark.parametrize("cut", [{(A, B)}, {(B, A)}, BOTH], ids=["there", "back", "both"])
def test_what_does_not_get_through_goes_through_the_broker(cut):
    """Also where only the answers are lost: a second later, in both directions; nobody is unreachable for it."""
    roads = Roads()
    roads.break_off(DIRECTLY, cut)
    said, back = [roads.say(A) for _ in range(5)], [roads.say(B)]
    roads.run(route.DETOUR_S + 0.2)
    assert roads.relayed == {A, B}
    roads.run(1.0)
    said += [roads.say(A) for _ in range(5)]
    roads.run(10.0)
    assert roads.heard == {A: back, B: said}
    assert not any(one.unreachable(roads.now_s) for one in roads.routes.values())


def test_who_is_reached_by_no_way_is_unreachable():
    """Two seconds after it began to go through the broker; when either way is whole, all arrives."""
    roads = Roads()
    for kind in (DIRECTLY, RELAY):
        roads.break_off(kind, BOTH)
    said = [roads.say(A)]
    roads.run(route.DETOUR_S + reliable.UNREACHABLE_S - 0.2)
    assert not roads.routes[A].unreachable(roads.now_s)
    roads.run(0.4)
    assert roads.routes[A].unreachable(roads.now_s)
    roads.cut[RELAY].clear()
    roads.run(2 * reliable.LONGEST_WAIT_S)
    assert roads.heard[B] == said and not roads.routes[A].unreachable(roads.now_s)


def test_what_is_lost_on_the_direct_way_is_said_again_each_time():
    """What a peer says directly between two losses is no reason to forget which probes it was asked."""
    roads = Roads(relay=False)
    for lost, cut_s in enumerate((6.0, 0.1, 0.1), 1):
        roads.cut[DIRECTLY] = {(A, B)}
        roads.routes[A].put([b"%d" % lost], reliable.SAID_AGAIN_BYTES + 1, roads.now_s)
        roads.run(cut_s)
        roads.heal()
        roads.until(lambda lost=lost: roads.heard[B] == list(range(1, lost + 1)), 4 * reliable.LONGEST_WAIT_S)
        roads.run(2 * reliable.LONGEST_WAIT_S)


def test_without_a_relay_a_peer_is_reached_directly_or_not_at_all():
    """And what waited arrives when the connection is mended, by whoever mends it."""
    roads = Roads(relay=False)
    roads.break_off(DIRECTLY, BOTH)
    said = [roads.say(A)]
    roads.run(reliable.UNREACHABLE_S + 0.2)
    assert roads.routes[A].unreachable(roads.now_s) and not roads.relayed and not roads.reopened
    roads.heal()
    roads.dead.clear()
    roads.run(2 * reliable.LONGEST_WAIT_S)
    assert roads.heard[B] == said


@pytest.mark.parametrize("block", blocks(10))
def test_whatever_carries_it_each_message_arrives_once_and_in_order(block):
    """100 random histories: either way cut, one way or both, losing, repeating, overtaken, and changed at any time."""
    detours = 0
    for seed in range(100 * block, 100 * block + 100):
        rng = random.Random(seed)
        roads = Roads(seed, rng.choice((0, 0.1, 0.4)), rng.choice((0, 0.3)), rng.choice((0, 0.2)))
        said = {A: [], B: []}
        for _ in range(rng.randint(1, 12)):
            for _ in range(rng.randint(0, 8)):
                own, peer = rng.choice(sorted(BOTH))
                said[peer].append(roads.say(own))
            match rng.randrange(7):
                case 0 | 1:
                    kind = rng.choice((DIRECTLY, DIRECTLY, RELAY))
                    roads.break_off(kind, rng.sample(sorted(BOTH), rng.randint(1, 2)))
                case 2:
                    roads.cut[rng.choice((DIRECTLY, RELAY))].clear()
                case 3:
                    roads.way.clear()  # all that is under way is lost
                case 4:
                    roads.routes[rng.choice((A, B))]._detour(roads.now_s)  # whatever the roads are like
            roads.run(rng.choice((STEP_S, 0.1, 1.0, 3.0)))
        roads.settle()
        assert roads.heard == said, f"seed {seed}"
        assert not roads.relayed and all(one.idle for one in roads.routes.values()), f"seed {seed}"
        detours += sum(roads.detours.values())
    assert detours > 100


@pytest.mark.parametrize("cut", [{(A, B)}, {(B, A)}, BOTH], ids=["there", "back", "both"])
def test_it_goes_directly_again_within_five_seconds_of_being_possible(cut):
    """However long it was cut, whatever is said meanwhile, in both directions, without a word lost or repeated."""
    slowest_s = 0.0
    for seed in range(60):
        rng, roads = random.Random(seed), Roads(seed, delay_s=0.2)
        roads.break_off(DIRECTLY, cut)
        said = {A: [], B: [roads.say(A)]}
        roads.until(lambda roads=roads: roads.relayed == {A, B}, 4.0)
        for _ in range(rng.randint(0, 10)):
            own, peer = rng.choice(sorted(BOTH))
            said[peer].append(roads.say(own))
            roads.run(rng.random() * 3)
        roads.heal()
        slowest_s = max(slowest_s, roads.until(lambda roads=roads: not roads.relayed, DIRECT_AGAIN_S))
        relayed = sum(number for (kind, *_), number in roads.carried.items() if kind == RELAY)
        said[B].append(roads.say(A))
        roads.run(10.0)
        assert roads.heard == said
        assert relayed == sum(number for (kind, *_), number in roads.carried.items() if kind == RELAY)
    assert slowest_s > 0.5  # it was not there all the time


def test_the_direct_way_is_tried_once_a_second_and_no_more():
    """Counted over a minute in which nothing else is said: small, and a connection every third time."""
    roads = Roads()
    roads.break_off(DIRECTLY, BOTH)
    roads.say(A)
    roads.run(60.0)
    for own in (A, B):
        assert roads.carried[DIRECTLY, own, "try"] == pytest.approx(59 / route.TRY_S, abs=2)
        assert roads.reopened[own] == pytest.approx(59 / route.TRY_S / route.ANEW_EVERY, abs=2)
    assert roads.carried[RELAY, A, "said"] <= 2 and roads.carried[RELAY, B, "told"] <= 3
    assert roads.routes[A].due_s(roads.now_s) <= route.TRY_S and not roads.routes[A].idle


def test_a_road_that_lets_small_packets_through_alone_is_no_way():
    """As where a tunnel drops what is larger than it takes: what is tried is as large as tensors are."""
    roads = Roads(largest=1500)
    roads.routes[A].put([b"1".zfill(4000)], 4000, 0.0)
    roads.until(lambda: roads.relayed == {A, B}, 4.0)
    roads.run(30.0)
    assert roads.relayed == {A, B} and roads.detours == {A: 1, B: 1}


def test_an_answer_of_before_is_none():
    """What was tried before the last detour says nothing of the road now; nor does what another process answers."""
    roads = Roads()
    roads.break_off(DIRECTLY, BOTH)
    roads.say(A)
    roads.run(5.0)
    tries = roads.carried[DIRECTLY, A, "try"]
    roads.heal()
    roads.until(lambda: not roads.relayed, DIRECT_AGAIN_S)
    roads.break_off(DIRECTLY, BOTH)
    roads.say(A)
    roads.until(lambda: A in roads.relayed, 4.0)
    one = roads.routes[A]
    here = Envelope(sender=B, receiver=A, number=roads.carried[DIRECTLY, A, "try"], flags=envelope.HERE)
    last = here.number
    for wrong in ({"number": tries}, {"number": last + 1}, {"sender": B + 1}, {"receiver": 7}):
        assert one.take(here._replace(**wrong), 0, roads.now_s) is False and one.relayed
    assert one.take(here, 0, roads.now_s, relayed=True) is False and one.relayed
    assert one.take(here, 0, roads.now_s) is False and not one.relayed


def test_what_is_late_through_the_broker_leads_nobody_back_there():
    """It waited there while the direct way was found again."""
    roads = Roads()
    roads.break_off(DIRECTLY, BOTH)
    said = [roads.say(A) for _ in range(3)]
    roads.until(lambda: roads.relayed == {A, B}, 4.0)
    said.append(roads.say(A))
    late, roads.way = [one for one in roads.way if one[2] == RELAY], []
    roads.heal()
    roads.until(lambda: not roads.relayed, DIRECT_AGAIN_S)
    roads.way = sorted(late)
    roads.run(10.0)
    assert roads.detours == {A: 1, B: 1} and roads.heard[B] == said


def test_who_asks_again_and_again_has_no_connection_made_anew_each_time():
    """As often as a node that tries the way by itself does it, and no more."""
    roads = Roads()
    for number in range(1, 601):
        roads.now_s += STEP_S
        roads.routes[A].take(Envelope(B, A, number=number, flags=envelope.TRY), 0, roads.now_s)
    assert roads.reopened[A] == 4  # in 12 s


@pytest.mark.parametrize("cut", [{(A, B)}, {(B, A)}, BOTH], ids=["there", "back", "both"])
@pytest.mark.parametrize("goes_on", [True, False], ids=["goes on", "falls silent"])
def test_what_a_slow_broker_still_holds_leads_nobody_back_there(cut, goes_on):
    """It holds everything for three seconds: both are back in time, and stay, whatever comes from there later."""
    for seed in range(20):
        rng, roads = random.Random(seed), Roads(seed, held_s=3.0)
        roads.break_off(DIRECTLY, cut)
        said = {A: [], B: []}

        def talk(roads=roads, rng=rng, said=said):
            for own, peer in sorted(BOTH):
                said[peer].append(roads.say(own))
            roads.run(rng.random() * 0.4)

        roads.until(lambda roads=roads, talk=talk: talk() or roads.relayed == {A, B}, 4.0)
        for _ in range(60):
            talk()
        roads.heal()
        roads.until(lambda roads=roads: not roads.relayed, DIRECT_AGAIN_S)
        detours = roads.detours.copy()
        for _ in range(60 if goes_on else 0):
            talk()
        roads.run(20.0)
        assert roads.detours == detours and not roads.relayed and roads.heard == said, f"seed {seed}"
        assert all(one.idle for one in roads.routes.values())


def test_a_way_that_breaks_as_the_last_word_is_heard_is_left_by_both():
    """It was heard, the answer was not, nothing new is said: asked in vain, who heard it goes through the broker."""
    roads = Roads()
    roads.routes[A].put([b"1"], 8, 0.0)
    roads.way = [one for one in roads.way if one[4] == B]
    roads.run(STEP_S)
    roads.break_off(DIRECTLY, BOTH)
    roads.until(lambda: roads.relayed == {A, B}, route.DETOUR_S + reliable.FIRST_WAIT_S + route.ASK_S + 0.1)
    roads.run(reliable.UNREACHABLE_S)
    assert roads.heard[B] == [1] and not roads.routes[A].unreachable(roads.now_s) and not roads.routes[A]._parcels


def test_less_may_be_under_way_through_the_broker():
    """It waits in the broker's memory; all of it arrives, in order."""
    roads = Roads()
    roads.break_off(DIRECTLY, BOTH)
    roads.say(A)
    roads.until(lambda: roads.relayed == {A, B}, 4.0)
    roads.run(1.0)
    before = roads.carried[RELAY, A, "said"]
    said = [roads.say(A) for _ in range(3 * reliable.WINDOW)]
    assert roads.carried[RELAY, A, "said"] - before == route.RELAY_WINDOW
    roads.run(5.0)
    assert roads.heard[B][1:] == said


def test_another_connection_is_a_direct_one():
    """A peer that is somewhere else now is tried there, whatever was so of the former; the full window is back."""
    roads = Roads()
    roads.break_off(DIRECTLY, BOTH)
    roads.say(A)
    roads.until(lambda: A in roads.relayed, 4.0)
    one = roads.routes[A]
    one.straighten()
    one.forget()
    assert not one.relayed and one.idle
    before = roads.carried[DIRECTLY, A, "said"]
    for _ in range(reliable.WINDOW + 10):
        roads.say(A)
    assert roads.carried[DIRECTLY, A, "said"] - before == reliable.WINDOW


def test_who_has_nothing_to_say_mends_the_way_for_answers():
    """One goes round, the other does not know of it, and its connection is dead: attempts that come again show it."""
    roads = Roads()
    said = [roads.say(A)]
    roads.run(1.0)
    roads.dead.add((A, B))
    roads.routes[B]._detour(roads.now_s)
    assert roads.until(lambda: not roads.relayed, DIRECT_AGAIN_S) > route.TRY_S / 2
    assert roads.reopened[A] == 1
    said.append(roads.say(A))
    roads.run(1.0)
    assert roads.heard[B] == said and not roads.relayed and not any(roads.detours.values())
