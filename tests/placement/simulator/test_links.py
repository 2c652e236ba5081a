"""Transfers that share links, against a fluid model that looks at every transfer at every event; and what it costs."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitplace.placement.simulator.links import SharedLinks

pytestmark = pytest.mark.base


class Run:
    """Plays a list of orders (when, what) on links, as an engine would."""

    def __init__(self, up, down):
        self.links, self.due, self.announced = SharedLinks(np.array(up), np.array(down)), [], 0
        self.ended = {}
        self.flow_of = {}

    def settle(self, now):
        """Hear of the next ends."""
        announced = self.links.settle(now)
        self.announced += len(announced)
        self.due += announced

    def until(self, end_s):
        """Let transfers end up to then."""
        while self.due and min(self.due)[0] <= end_s:
            now, route, version = min(self.due)
            self.due.remove((now, route, version))
            for flow in self.links.over(route, version, now):
                self.ended[self.links.payload[flow]] = now
                self.links.end(flow, now)
            self.settle(now)

    def play(self, orders, end_s):
        """In order of time."""
        for at, what, *rest in orders:
            self.until(at)
            if what == "start":
                name, src, dst, size = rest
                self.flow_of[name] = self.links.start(src, dst, size, name, at)
            elif what == "capacity":
                self.links.set_capacity(*rest, at)
            elif rest[0] not in self.ended:
                self.links.end(self.flow_of[rest[0]], at)
            self.settle(at)
        self.until(end_s)
        return self.ended


def fluid(up, down, orders, end_s):
    """The rule, transfer by transfer: an equal share of each end, the smaller one of the two."""
    capacity, orders, now = [*up, *down], list(orders), 0.0
    flows, ended, moved = {}, {}, np.zeros(2 * len(up))
    while True:
        links = {name: (src, len(up) + dst) for name, (src, dst, _) in flows.items()}
        count = np.bincount([link for pair in links.values() for link in pair], minlength=len(capacity))
        rate = {name: min(capacity[link] / count[link] for link in pair) for name, pair in links.items()}
        ends = [now + left / rate[name] for name, (_, _, left) in flows.items() if rate[name] > 0]
        then = min([end_s, *ends, *(order[0] for order in orders[:1])])
        for name, (src, dst, left) in flows.items():
            flows[name] = src, dst, left - rate[name] * (then - now)
            moved[list(links[name])] += rate[name] * (then - now)
        now = then
        for name in [name for name, flow in flows.items() if flow[2] <= 1e-9 * max(now, 1.0)]:
            ended[name] = now
            del flows[name]
        if orders and orders[0][0] <= now:
            _, what, *rest = orders.pop(0)
            if what == "start":
                flows[rest[0]] = tuple(rest[1:])
            elif what == "capacity":
                capacity[rest[0]] = rest[1]
            else:
                flows.pop(rest[0], None)
        elif now >= end_s:
            return ended, moved


@st.composite
def orders_drawn(draw):
    """Transfers between four nodes of unequal links, some given up, and links that change, to nothing too."""
    orders, nodes = [], st.integers(0, 3)
    times = sorted(draw(st.lists(st.integers(0, 60), min_size=1, max_size=25)))
    for number, at in enumerate(times):
        kind = draw(st.sampled_from(["start", "start", "start", "capacity", "give up"]))
        if kind == "start":
            src, dst = draw(nodes), draw(nodes)
            orders.append((float(at), kind, number, src, (src + 1 + dst % 3) % 4, draw(st.integers(1, 500)) + 0.5))
        elif kind == "capacity":
            orders.append((float(at), kind, draw(st.integers(0, 7)), draw(st.sampled_from([0.0, 3.0, 10.0, 40.0]))))
        elif started := {order[2] for order in orders if order[1] == "start"} - {
            order[2] for order in orders if order[1] == "give up"
        }:
            orders.append((float(at), kind, draw(st.sampled_from(sorted(started)))))
    return orders


@given(orders_drawn())
@settings(max_examples=300, deadline=None)
def test_every_transfer_ends_when_the_fluid_has_it_end(orders):
    """Whoever begins, ends or is given up meanwhile; and the links have carried as many bytes."""
    up, down = [10.0, 20.0, 7.0, 100.0], [10.0, 5.0, 30.0, 12.0]
    run = Run(up, down)
    ended = run.play(orders, 1000.0)
    expected, moved = fluid(up, down, orders, 1000.0)
    assert ended.keys() == expected.keys()
    assert [ended[name] for name in expected] == pytest.approx(list(expected.values()), rel=1e-9)
    assert run.links.moved_bytes(1000.0) == pytest.approx(moved, rel=1e-6, abs=1e-3)


def test_a_transfer_more_on_a_link_is_no_look_at_all_others():
    """1,000 transfers of unequal size at once on one link: an announcement for each, and the ends of processor sharing.

    Who needs s of n in all waits for the shorter ones whole and for s of each longer one.
    """
    sizes = [float(1 + (7 * k) % 1000) for k in range(1000)]
    run = Run([1e9, 1.0], [1.0, 8.0])
    ended = run.play([(0.0, "start", k, 0, 1, size) for k, size in enumerate(sizes)], 1e9)
    done = [sum(min(size, other) for other in sizes) / 8.0 for size in sizes]
    assert [ended[k] for k in range(1000)] == pytest.approx(done)
    assert run.announced <= 2 * len(sizes)


def test_a_transfer_more_on_the_brokers_card_is_no_look_at_all_devices():
    """1,000 transfers to as many devices, a half of them held up by their own links: an announcement or two for each.

    The card has 8,000 bytes/s. Slow devices take 100 s of 400 bytes at 4 bytes/s; the card's share, 8 bytes/s of 1,000,
    falls below that of no one, and the others have what it gives to each, first 8.
    """
    nodes = 1001
    down = [4.0 if k % 2 else 1e6 for k in range(1000)]
    run = Run([1.0] * 1000 + [8000.0], [*down, 1.0])
    ended = run.play([(0.0, "start", k, nodes - 1, k, 400.0 + k / 2000) for k in range(1000)], 1e3)
    slow = [(400.0 + k / 2000) / 4.0 for k in range(1, 1000, 2)]
    assert [ended[k] for k in range(1, 1000, 2)] == pytest.approx(slow)
    assert ended[0] == pytest.approx(50.0)
    assert run.announced <= 4 * 1000


@pytest.mark.parametrize("card", [8.0, 100.0, math.inf])
def test_what_is_under_way_is_seen(card):
    """Two transfers from the broker, whoever holds them up: their rates, the use of the links, the bytes so far."""
    run = Run([1.0, 1.0, card], [20.0, 5.0, 1.0])
    run.play([(0.0, "start", 7, 2, 0, 1e3), (0.0, "start", 8, 2, 1, 1e3)], 1.0)
    rates = {8.0: (4.0, 4.0), 100.0: (20.0, 5.0), math.inf: (20.0, 5.0)}[card]
    assert run.links.moving() == [(7, 2, 0, rates[0]), (8, 2, 1, rates[1])]
    used = [0.0, 0.0, sum(rates) / card, rates[0] / 20.0, rates[1] / 5.0, 0.0]
    assert run.links.shares().tolist() == pytest.approx(used)
    assert run.links.moved_bytes(2.0).tolist() == pytest.approx([0, 0, 2 * sum(rates), 2 * rates[0], 2 * rates[1], 0])


def test_an_unlimited_broker_holds_nobody_up():
    """Its transfers move as the devices' own links have it, and end in the order they began where all are equal."""
    run = Run([math.inf, 1.0, 1.0], [math.inf, 10.0, 20.0])
    orders = [(0.0, "start", k, 0, 1 + k % 2, 100.0) for k in range(6)]
    assert run.play(orders, 1e3) == {1: 15.0, 3: 15.0, 5: 15.0, 0: 30.0, 2: 30.0, 4: 30.0}
    assert list(run.ended) == [1, 3, 5, 0, 2, 4]


def test_what_is_over_leaves_nothing_behind():
    """Ten thousand transfers, one after another, each between two nodes that have not met before or long ago."""
    run = Run([10.0] * 101, [10.0] * 101)
    for k in range(10_000):
        run.links.start(k % 101, (k + 1 + k // 101 % 100) % 101, 1.0, k, float(k))
        run.settle(float(k))
        run.until(k + 0.5)
    assert len(run.ended) == 10_000
    assert len(run.links.version) == 1
    assert sum(len(heap) for hub in run.links._hubs.values() for heap in (hub.ends, hub.held, hub.free)) < 300
