"""A fleet of machines that join: by a token, with fragments from the broker; they die, leave, are put out, return."""

import random
import shutil
import time
from contextlib import closing, contextmanager
from typing import Any

import numpy as np
import pytest

from splitplace.catalog.blobs import BlobStore
from splitplace.inference.executor import Executor
from splitplace.placement import history as book
from splitplace.placement.broker.broker import Broker
from splitplace.placement.engines.joined import JoinedEngine
from splitplace.placement.engines.roster import Roster
from splitplace.placement.placers.best_fit import BestFit
from splitplace.records.action import Place
from tests.distribution.small_registry import SmallRegistry
from tests.placement.engines.conftest import machine  # noqa: F401 - a fixture

pytestmark = pytest.mark.slow
PATIENCE_S = 240.0


class Spread(BestFit):
    """Fragment i goes to the i-th of the devices that are up, in turn; nothing is placed where none is."""

    def place(self, state, view, requests, rng):
        """One action a fragment."""
        up = np.flatnonzero(view.devices.up_D)
        return [
            Place(int(view.tasks.id_T[request.task]), fragment, int(up[i % len(up)]))
            for request in requests[: 1000 * len(up)]
            for i, fragment in enumerate(request.fragments)
        ]


class Joinable:
    """A chain's fleet of which two devices may join."""

    def __init__(self, toy, catalog, data, **options):
        self.toy, self.graph, self.data, self.options = toy, toy.chain(), data, options
        self.catalog = catalog(self.graph)

    @contextmanager
    def up(self, make=JoinedEngine, registry=None):
        """A broker over it; the next one has the same folder."""
        digests = [fragment.digest for fragment in self.graph.split.fragments]
        roster = Roster(self.data / "members.json", "ab")
        with closing(make(roster, "127.0.0.1", self.catalog, digests, registry)) as engine:
            policy = self.toy.policy(0, placer=Spread())
            devices, demand = [self.toy.make_device(name) for name in "ab"], self.toy.demand_of(self.graph)
            with Broker(devices, demand, self.catalog, policy, engine, data=self.data, **self.options) as broker:
                yield broker

    def push_to(self, registry):
        """Its fragments into a registry; answers where they are there."""
        blobs = BlobStore(self.catalog)
        registry.blobs["team/nets"] = {digest: blobs.read_digest(digest, 2**30) for digest in blobs.digests()}
        return f"oci://{registry.host}/team/nets"

    def check(self, broker, x):
        """A task is answered, as the whole model answers it."""
        expected = Executor(self.graph.split, self.graph.models.__getitem__).run({"x": x}, self.toy.micro_batch)
        result = broker.submit("toy", x, 1000.0).result(PATIENCE_S)
        assert result.outcome.error is None
        np.testing.assert_allclose(result.logits, expected, rtol=1e-5, atol=1e-6)


@pytest.fixture
def fleet(toy, catalog, tmp_path):
    """Not up yet."""
    (tmp_path / "data").mkdir(mode=0o700)
    return Joinable(toy, catalog, tmp_path / "data")


def until(broker, **up):
    """Wait until these devices are up, or not."""
    end_s = time.monotonic() + PATIENCE_S
    while (found := {device.name: device.up for device in broker.status().devices}) | up != found:
        assert time.monotonic() < end_s, (found, up)
        time.sleep(0.02)


def test_tasks_run_on_machines_that_joined(fleet, machine, images):  # noqa: F811
    """Both get their fragments from the broker, keep them, and their measured speeds are what a policy sees."""
    with fleet.up() as broker:
        assert [device.machine for device in broker.status().devices] == ["absent", "absent"]
        one, other = machine("one"), machine("other")
        one.begin(broker.invite("a", 600.0))
        other.begin(broker.invite("b", 600.0))
        until(broker, a=True, b=True)
        fleet.check(broker, images(20))
        status = broker.status()
        assert [device.machine for device in status.devices] == ["here", "here"] and status.engine == "joined"
        assert all(device.core_speed != 1.0 for device in status.devices)
        kept = {path.name for each in (one, other) for path in (each.folder / "fragments").rglob("*") if path.is_file()}
        assert kept == {fragment.digest[7:] for fragment in fleet.graph.split.fragments}
        for each in (one, other):
            assert (each.folder / "membership.json").exists() and not (each.folder / "joining.json").exists()


def until_loaded(fleet, broker, x, **sources):
    """Give tasks until each of these devices has had a fragment from there: a doubted one is given none for a while."""
    end_s = time.monotonic() + PATIENCE_S
    while True:
        fleet.check(broker, x)
        found = {device.name: device.loaded_from for device in broker.status().devices}
        if all(source in found[name] for name, source in sources.items()):
            return
        assert time.monotonic() < end_s, (found, sources)


def test_fragments_come_from_the_catalogs_registry(fleet, machine, images):  # noqa: F811
    """And stay: a machine that dies has them when it is back, the registry being gone; others have the broker."""
    with closing(SmallRegistry()) as registry, fleet.up(registry=fleet.push_to(registry)) as broker:
        one, other = machine("one"), machine("other")
        one.begin(broker.invite("a", 600.0))
        other.begin(broker.invite("b", 600.0))
        until(broker, a=True, b=True)
        until_loaded(fleet, broker, images(20), a="registry", b="registry")
        one.kill()
        until(broker, a=False)
        registry.close()
        one.begin()
        until(broker, a=True)
        until_loaded(fleet, broker, images(20), a="here")
        one.kill()
        until(broker, a=False)
        shutil.rmtree(one.folder / "fragments")
        one.begin()
        until(broker, a=True)
        until_loaded(fleet, broker, images(20), a="broker")
        assert registry.host in broker.status().devices[0].registry_problem


def test_a_machine_that_is_revoked_is_out(fleet, machine, images):  # noqa: F811
    """It ends, saying why; the other one goes on alone; another machine may be invited as that device."""
    with fleet.up() as broker:
        one, other = machine("one"), machine("other")
        one.begin(broker.invite("a", 600.0))
        other.begin(broker.invite("b", 600.0))
        until(broker, a=True, b=True)
        broker.revoke("a")
        until(broker, a=False)
        fleet.check(broker, images(20))
        assert one.process.wait(PATIENCE_S) == 1
        one.end()
        assert "revoked: this machine is no device of that fleet now" in one.said
        assert [event.reason for event in broker.events if isinstance(event, book.DeviceDown)] == ["revoked"]
        third = machine("third")
        third.begin(broker.invite("a", 600.0))
        until(broker, a=True, b=True)
        fleet.check(broker, images(20))


def test_a_machine_that_dies_comes_back_as_what_it_was(fleet, machine, images):  # noqa: F811
    """Without a token; and one that leaves does, too."""
    with fleet.up() as broker:
        one, other = machine("one"), machine("other")
        one.begin(broker.invite("a", 600.0))
        other.begin(broker.invite("b", 600.0))
        until(broker, a=True, b=True)
        one.kill()
        until(broker, a=False)
        fleet.check(broker, images(20))
        one.begin()
        until(broker, a=True)
        fleet.check(broker, images(20))
        other.end()
        until(broker, b=False)
        assert broker.status().devices[1].machine == "absent"
        other.begin()
        until(broker, b=True)
        fleet.check(broker, images(20))


def test_the_next_broker_finds_its_machines_again(fleet, machine, images):  # noqa: F811
    """They knock until it is there, and hold it to its key."""
    with fleet.up() as broker:
        one, other = machine("one"), machine("other")
        one.begin(broker.invite("a", 600.0))
        other.begin(broker.invite("b", 600.0))
        until(broker, a=True, b=True)
    with fleet.up() as broker:
        until(broker, a=True, b=True)
        fleet.check(broker, images(20))


def test_random_steps_of_real_machines(fleet, machine, images):  # noqa: F811
    """As in test_membership.py, with processes and sockets: after each step the status comes to what there is."""
    rng, holders, alive, number = random.Random(5), dict[str, Any](), set[str](), 0
    with fleet.up() as broker:
        for _ in range(14):
            name = rng.choice("ab")
            steps = ["join"] + (["leave", "kill", "revoke"] if name in alive else [])
            step = rng.choice(steps if name in alive else [*steps, *(["rejoin"] * 3 if name in holders else [])])
            if step == "join":
                number += 1
                former, holders[name] = holders.get(name), machine(f"machine-{number}")
                holders[name].begin(broker.invite(name, 600.0))
                until(broker, **{name: True})
                if name in alive:  # whoever was it is told
                    assert former.process.wait(PATIENCE_S) == 1
                alive.add(name)
            elif step == "rejoin":
                holders[name].begin()
                alive.add(name)
            else:
                alive.remove(name)
                if step == "revoke":
                    broker.revoke(name)
                    assert holders.pop(name).process.wait(PATIENCE_S) == 1
                elif step == "leave":
                    holders[name].end()
                else:
                    holders[name].kill()
            until(broker, **{other: other in alive for other in "ab"})
        until(broker, **{other: other in alive for other in "ab"})
        if not alive:
            machine("last").begin(broker.invite("a", 600.0))
            until(broker, a=True)
        fleet.check(broker, images(20))
