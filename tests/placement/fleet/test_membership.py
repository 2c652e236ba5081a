"""Machines join, leave, die, return, are renamed and put out, at random: what a policy is shown is what there is.

Broker's loop, rules, fleet and machines are the real ones; the clock, the network and the machines are not.
"""

import random
from contextlib import nullcontext

import pytest

from splitplace.placement.broker import fleet as fleet_module
from splitplace.placement.broker.fleet import LiveFleet
from splitplace.placement.broker.history import History
from splitplace.placement.broker.loop import Loop
from splitplace.placement.broker.pace import pace
from splitplace.placement.broker.reports import device_statuses
from splitplace.placement.broker.setup import Setup
from splitplace.placement.device import joining
from splitplace.placement.engines.machines import Machines
from splitplace.placement.engines.roster import Roster
from splitplace.placement.protocol import messages
from splitplace.placement.protocol.keys import Accesses, CurveAccess, new_pair
from splitplace.placement.protocol.stream import Received
from tests.placement.fleet.conftest import NoRelay

NAMES = "abcd"
TICK_S = 0.1
SETTLED_S = 2.0
"""The third ping that a machine does not answer shows that it may have died; one that comes back says which of its
sessions have ended."""
DOUBTED_S = 3.5
"""Until no plan uses it either."""


class Host:
    """A machine."""

    def __init__(self, number):
        self.route, self.key, self.session = f"host{number}".encode(), new_pair()[0], random.getrandbits(60) + 1
        self.alive, self.running, self.endpoint = True, None, f"tcp://127.0.0.1:{1000 + number}"
        self.former, self.stalls = (), False

    def begin(self):
        """Once more; nothing that ran does. Its folder knows which sessions there were."""
        self.former = (*self.former, self.session)[-joining.MAX_FORMER :]
        self.alive, self.running, self.session = True, None, random.getrandbits(60) + 1


class World:
    """Machines, what passes between them and the broker, and a clock; an engine and a node to the broker's side."""

    name, same_machine = "joined", False
    endpoint, incarnation = "tcp://127.0.0.1:1", 5

    def __init__(self, folder):
        self.clock_s, self.hosts, self.number = 1000.0, [], 0
        self.roster = Roster(folder / "members.json", NAMES, lambda: self.clock_s)
        self.machines = Machines(self.roster, lambda: None, lambda: self.clock_s)
        self.stop, self.events, self.launch = self.machines.stop, self.machines.events, self.machines.launch
        self.expected, self.said, self.access = {}, [], None

    # As an engine.

    def accesses(self, names):
        """The broker's alone."""
        public, secret = new_pair()
        return Accesses({"@broker": CurveAccess(public_key=public, secret_key=secret, peers={})})

    # As the broker's node.

    def receive(self, timeout_s):
        """What processes say, of those that are who they say they are."""
        said, self.said = self.said, []
        return [
            Received(peer, message, {}) for peer, incarnation, message in said if self.expected[peer] == incarnation
        ]

    def send(self, name, message, values=()):
        """A process that lives answers."""
        for host in self.hosts:
            if host.stalls or not host.alive:
                continue
            if host.running == self.expected.get(name) and self.roster.device(host.key) == name:
                if isinstance(message, messages.Ping):
                    pong = messages.Pong(
                        sequence=message.sequence, rss_bytes=1, cpu_s=0.0, sent_bytes=0, received_bytes=0,
                        held_bytes=0, containers=0, fragments=(),
                    )  # fmt: skip
                    self.said.append((name, host.running, pong))
                elif isinstance(message, messages.ProbeOrder):
                    self.said.append((name, host.running, messages.Probed(core_speed=1.5)))

    def expect(self, name, incarnation):
        """Who a device is."""
        self.expected[name] = incarnation

    def nothing(self, *arguments):
        """Of no matter here."""

    connect = disconnect = admit = expel = nothing

    # What passes.

    def tick(self):
        """A moment: machines say how things are, and do as they are told."""
        self.clock_s += TICK_S
        for host in self.hosts:
            if host.alive:
                here = joining.Here(
                    protocol=messages.PROTOCOL, session=host.session, former=host.former, running=host.running
                )
                self.machines.hear(host.route, host.key, here)
        for route, told in self.machines.to_tell():
            host = next((host for host in self.hosts if host.route == route), None)
            if host is None or not host.alive:
                continue
            if isinstance(told, joining.Dismissed):
                host.alive = False
            elif isinstance(told, joining.Wanted) and told.incarnation != host.running:
                host.running = told.incarnation
                if told.incarnation is not None and self.roster.device(host.key) is not None:
                    hello = messages.Hello(
                        protocol=messages.PROTOCOL, endpoint=host.endpoint, pid=1, cpu_share=1.0,
                        cpu_share_method="none", rss_bytes=1,
                    )  # fmt: skip
                    self.said.append((self.roster.device(host.key), host.running, hello))

    # What happens.

    def join(self, name):
        """A new machine, in place of any that had this name."""
        self.number += 1
        host = Host(self.number)
        self.hosts.append(host)
        secret = self.roster.invite(name, 60.0)
        self.machines.hear(host.route, host.key, joining.Enrol(protocol=messages.PROTOCOL, secret=secret))

    def leave(self, host):
        """In order."""
        host.alive = False
        self.machines.hear(host.route, host.key, joining.GoingAway())

    def step(self, rng):
        """Something."""
        alive, dead = [host for host in self.hosts if host.alive], [host for host in self.hosts if not host.alive]
        kind = rng.choice(
            ["join", "leave", "kill", "kill", "rejoin", "rejoin", "rejoin", "rename", "revoke", "nothing"]
        )
        if kind == "join":
            self.join(rng.choice(NAMES))
        elif kind == "leave" and alive:
            self.leave(rng.choice(alive))
        elif kind == "kill" and alive:
            rng.choice(alive).alive = False
        elif kind == "rejoin" and self.hosts:
            known = [host for host in dead if self.roster.device(host.key)]  # else it is told that it is nobody
            rng.choice(known if known and rng.random() < 0.8 else self.hosts).begin()
        elif kind == "rename" and alive:
            self.leave(rng.choice(alive))
            self.join(rng.choice(NAMES))
        elif kind == "revoke":
            self.machines.revoke(rng.choice(NAMES))
        self.hosts = self.hosts[-12:]
        return kind

    def truth(self):
        """The devices whose machines live."""
        return {self.roster.device(host.key) for host in self.hosts if host.alive} - {None}


@pytest.fixture
def world(tmp_path, toy, monkeypatch):
    """With the broker's loop around it."""
    world = World(tmp_path)
    monkeypatch.setattr(fleet_module, "time", world)
    world.monotonic = lambda: world.clock_s
    devices, demand = tuple(toy.make_device(name) for name in NAMES), toy.demand_of(toy.chain())
    fleet = LiveFleet(devices, world, tmp_path, {}, "auto", 0)
    fleet.node.close()
    fleet.relay.close()
    fleet.node, fleet.relay = world, NoRelay()
    fleet.start(lambda: False)
    setup = Setup(demand, devices, "pipelined", 4, 300.0)
    loop = Loop(
        fleet, setup, toy.policy(0), pace(setup, None), 0, History(None), store=None, states=None,
        wake=world.nothing, leaving=lambda task: nullcontext(),
    )  # fmt: skip
    world.loop = loop
    yield world
    loop.consulting.planner.close()


def settle(world, seconds=SETTLED_S):
    """Time passes."""
    for _ in range(round(seconds / TICK_S)):
        world.tick()
        world.loop.step([])


def told(world):
    """The devices that `fleet status` says are up."""
    return {device.name for device in device_statuses(world.loop) if device.up and not device.suspected}


def shown(world):
    """The devices that a plan made now may use."""
    devices = world.loop.consulting.view([]).devices
    return {name for name, up in zip(devices.names, devices.up_D, strict=True) if up}


def walk(world, seed, rounds):
    """Some steps close together, then time for them to be known; over and over."""
    rng, patience, history, sizes, steps = random.Random(seed), random.Random(-seed), [], set(), 0
    for _ in range(rounds):
        for _ in range(rng.choice((1, 1, 2, 3))):
            history.append(world.step(rng))
            settle(world, rng.choice((0.0, TICK_S, 2 * TICK_S)))
            steps += 1
        settle(world)
        assert told(world) == world.truth(), history[-8:]
        if patience.random() < 0.3:
            settle(world, DOUBTED_S - SETTLED_S)
            assert shown(world) == told(world) == world.truth(), history[-8:]
        sizes.add(len(world.truth()))
    assert len(sizes) > 3, sizes
    return steps


@pytest.mark.parametrize("seed", range(3))
def test_a_plan_is_shown_what_there_is(world, seed):
    """No ghosts, and nobody forgotten, after each of some hundred steps: `fleet status` within 2 s, then plans too."""
    assert walk(world, seed, 100) >= 150


@pytest.mark.slow
def test_two_thousand_steps(world):
    """As long as a fleet may run without a broker that begins anew."""
    assert walk(world, 17, 1200) >= 2000


def test_the_check_can_fail(world):
    """A machine that died is shown for a moment, as nobody can know it: then the two differ."""
    world.join("a")
    settle(world)
    assert shown(world) == told(world) == {"a"} == world.truth()
    world.hosts[0].alive = False
    settle(world, TICK_S)
    assert shown(world) == told(world) == {"a"} != world.truth()


def test_a_stall_is_told_of_and_takes_nothing(world):
    """Two seconds without a word: `fleet status` suspects it meanwhile, plans go on with it, and it was never gone."""
    world.join("a")
    settle(world)
    (host,) = world.hosts
    host.stalls = True
    settle(world, 2.0)
    assert told(world) == set() and shown(world) == {"a"}
    host.stalls = False
    settle(world, 1.0)
    assert told(world) == shown(world) == {"a"} and world.loop.state.devices[0].losses == 0


def test_the_speed_that_was_measured_is_shown(world):
    """Of one that has joined; of others what is stated."""
    world.join("b")
    settle(world)
    assert world.loop.consulting.view([]).devices.core_speed_D.tolist() == [1.0, 1.5, 1.0, 1.0]


def test_a_revoked_device_is_out_at_once(world):
    """In the step that the broker makes next."""
    world.join("a")
    settle(world)
    world.machines.revoke("a")
    world.loop.step([])
    assert shown(world) == set()


def test_what_leaves_many_times_before_it_is_looked_is_lost_once(world):
    """Each loss doubles the pause before it is started again, and there was one process."""
    world.join("a")
    settle(world)
    for _ in range(5):
        world.leave(world.hosts[0])
        world.hosts[0].begin()
        world.tick()
    gone = [change for change in world.loop.fleet.check() if change.kind == "gone"]
    assert [change.member.name for change in gone] == ["a"]


def test_a_device_that_is_revoked_while_its_machine_is_away_is_no_peer_any_more(world):
    """Its key is taken from the inbox as well."""
    world.join("a")
    settle(world)
    world.leave(world.hosts[0])
    settle(world)
    expelled = []
    world.expel = expelled.append
    world.machines.revoke("a")
    world.loop.step([])
    assert expelled == ["a"] and world.loop.fleet.members["a"].key is None
