"""A device's fragments from the registry of the fleet's catalog, by digest; from the broker where it gives none."""

import base64
import json
import threading
from contextlib import closing

import pytest

from splitplace.catalog.blobs import BlobStore
from splitplace.catalog.oci import digest
from splitplace.distribution.docker_config import VARIABLES
from splitplace.errors import IntegrityError, NotFoundError, NotReadyError
from splitplace.placement.broker.stuck import LOAD_S
from splitplace.placement.device import from_registry
from splitplace.placement.device.config import DeviceConfig
from splitplace.placement.device.from_registry import AGAIN_S, PULL_S, QUIET_S, FragmentRegistry, _Pull
from splitplace.placement.device.supply import FragmentOrigin, fragment_store, origin
from splitplace.placement.engines.agent import Agent
from splitplace.placement.engines.gate import Gate
from splitplace.placement.engines.joined import JoinedEngine
from splitplace.placement.engines.local import LocalEngine
from splitplace.placement.engines.roster import Roster
from splitplace.placement.protocol.keys import new_pair
from tests.distribution.small_registry import SmallRegistry
from tests.placement.engines.test_gate import config, enrol

pytestmark = pytest.mark.base
DATA = bytes(range(256)) * 12_000
OTHER = b"another fragment" * 1000
NAME = "team/nets"


@pytest.fixture(autouse=True)
def patience(monkeypatch, tmp_path):
    """A busy machine is waited for; nobody's logins, mirrors or certificates are those of whoever runs this."""
    monkeypatch.setattr(from_registry, "QUIET_S", 120.0)
    monkeypatch.setattr(from_registry, "PULL_S", 240.0)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(tmp_path / "registries.conf"))
    (tmp_path / "registries.conf").write_text("")


@pytest.fixture
def registry():
    """With both fragments."""
    registry = SmallRegistry()
    registry.blobs[NAME] = {digest(data): data for data in (DATA, OTHER)}
    yield registry
    registry.close()


@pytest.fixture
def gate(tmp_path):
    """Of a fleet that offers both, and has them."""
    folder = tmp_path / "catalog" / "blobs" / "sha256"
    folder.mkdir(parents=True)
    for data in (DATA, OTHER):
        (folder / digest(data)[7:]).write_bytes(data)
    roster = Roster(tmp_path / "members.json", "ab")
    with closing(Gate(roster, "127.0.0.1", tmp_path / "catalog", {digest(DATA), digest(OTHER)})) as gate:
        yield gate


@pytest.fixture
def store(gate, registry, tmp_path):
    """What a device reads its fragments from, again and again a new process's."""
    pair = enrol(gate)

    def make(host=registry.host):
        asked = config(gate, pair, tmp_path / "kept")
        return fragment_store(asked.model_copy(update={"registry": f"oci://{host}/{NAME}"}))

    return make


@pytest.fixture
def given(gate, monkeypatch):
    """The digests that the broker was asked for."""
    found, piece = [], gate._piece

    def noted(key, want):
        found.append(want.digest)
        return piece(key, want)

    monkeypatch.setattr(gate, "_piece", noted)
    return found


def left(tmp_path):
    """The files of the device's folder."""
    return sorted(path.name for path in (tmp_path / "kept").rglob("*") if path.is_file())


def test_a_fragment_comes_from_the_registry_and_is_kept(store, registry, given, tmp_path):
    """By its digest; the broker is not asked, and the next process of the device asks nobody."""
    first = store()
    assert first.read_digest(digest(DATA), 2**30) == DATA
    assert origin(first, digest(DATA)) == FragmentOrigin("registry")
    assert [(method, path) for method, path, _ in registry.seen] == [
        (method, f"/v2/{NAME}/blobs/{digest(DATA)}") for method in ("HEAD", "GET")
    ]
    assert left(tmp_path) == [digest(DATA)[7:]]
    registry.close()
    again = store()
    assert again.read_digest(digest(DATA), 2**30) == DATA
    assert origin(again, digest(DATA)) == FragmentOrigin("here") and given == []


def test_a_damaged_file_is_pulled_again(store, registry, given):
    """What is read is what has the digest."""
    first = store()
    first.read_digest(digest(DATA), 2**30)
    first.path(digest(DATA)).write_bytes(DATA[::-1])
    assert store().read_digest(digest(DATA), 2**30) == DATA and given == []


def test_a_registry_that_is_not_there_is_left_for_the_broker(store, registry, given, tmp_path):
    """Why, the origin says; and the next fragment does not wait for it either."""
    registry.close()
    device = store()
    assert device.read_digest(digest(DATA), 2**30) == DATA
    found = origin(device, digest(DATA))
    assert found.source == "broker" and "the registry cannot be reached" in found.problem
    assert set(given) == {digest(DATA)} and left(tmp_path) == [digest(DATA)[7:]]


def test_one_that_did_not_answer_is_asked_again_later(store, registry, given):
    """Until then nobody waits for it; then it gives what it has."""
    device, now_s = store(), [1000.0]
    device._registry = FragmentRegistry(f"oci://{registry.host}/{NAME}", device._kept, lambda: now_s[0])
    registry.before = lambda method, path, body: (503, {"Retry-After": "0"}, b"")
    device.read_digest(digest(DATA), 2**30)
    asked = len(registry.seen)
    registry.before = lambda method, path, body: None
    device.path(digest(DATA)).unlink()
    now_s[0] += AGAIN_S - 1
    device.read_digest(digest(DATA), 2**30)
    found = origin(device, digest(DATA))
    assert found.source == "broker" and "answers 503" in found.problem and len(registry.seen) == asked
    now_s[0] += 1
    device.read_digest(digest(OTHER), 2**30)
    assert origin(device, digest(OTHER)) == FragmentOrigin("registry") and digest(OTHER) not in given


def test_a_registry_that_dies_midway(store, registry, given, tmp_path):
    """The broker gives all of it; nothing of the beginning stays."""

    def dies(method, path):
        registry.before = lambda method, path, body: (500, {}, b"")
        return len(DATA) // 2

    registry.cut_after = dies
    device = store()
    assert device.read_digest(digest(DATA), 2**30) == DATA
    found = origin(device, digest(DATA))
    assert found.source == "broker" and "answers 500" in found.problem and found.problem.endswith("it is left for now")
    assert set(given) == {digest(DATA)} and left(tmp_path) == [digest(DATA)[7:]]


def test_a_pull_that_broke_off_goes_on_where_it_was(store, registry, given, tmp_path):
    """Of a process of the device that was ended meanwhile: what came before is not sent again."""
    half = len(DATA) // 2
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / f".new-blob-{digest(DATA)[7:]}").write_bytes(DATA[:half])
    assert store().read_digest(digest(DATA), 2**30) == DATA and given == []
    assert registry.seen[-1][2]["Range"] == f"bytes={half}-" and left(tmp_path) == [digest(DATA)[7:]]


@pytest.mark.parametrize(
    "wrong", [DATA[::-1], DATA + b"x", DATA[:-1], b"", OTHER], ids=["other", "more", "fewer", "none", "anothers"]
)
def test_other_bytes_are_not_taken(store, registry, given, tmp_path, wrong):
    """Of the same size, more, fewer, none: nothing of them is kept, and the broker's are right."""
    registry.blobs[NAME][digest(DATA)] = wrong
    device = store()
    assert device.read_digest(digest(DATA), 2**30) == DATA
    found = origin(device, digest(DATA))
    assert found.source == "broker" and "nothing of it was kept" in found.problem
    assert set(given) == {digest(DATA)} and left(tmp_path) == [digest(DATA)[7:]]


def test_one_that_is_too_large_is_not_begun(registry, tmp_path, store):
    """By what it states; nor are other bytes taken from the broker, who has as many."""
    with pytest.raises(ValueError, match=r"expected at most 1000; nor from the registry: .*3072000 bytes, expected"):
        store().read_digest(digest(DATA), 1000)
    assert [method for method, _, _ in registry.seen] == ["HEAD"] and left(tmp_path) == []


def test_what_neither_has_is_said_of_both(store, registry):
    """In one line."""
    with pytest.raises(NotFoundError, match=r"of this fleet; nor from the registry: .* answers 404") as told:
        store().read_digest(digest(b"nobody's"), 2**30)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("hook", ["before", "cut_after"])
def test_one_that_says_nothing_more_is_left(store, registry, given, monkeypatch, hook):
    """Before it has answered, or after its answer's head: after a while, whatever its connection is good for."""
    monkeypatch.setattr(from_registry, "QUIET_S", 0.2)
    over = threading.Event()
    monkeypatch.setattr(registry, hook, lambda *request: over.wait(120) and None)
    device = store()
    try:
        assert device.read_digest(digest(DATA), 2**30) == DATA
        found = origin(device, digest(DATA))
        assert found.source == "broker" and "gave nothing for 0.2 s" in found.problem
        assert set(given) == {digest(DATA)}
    finally:
        over.set()
        those_that_ask_end()


@pytest.mark.parametrize(
    ("bound", "said"),
    [("QUIET_S", "gave nothing for 0.2 s"), ("PULL_S", "did not give all of it within 0.2 s")],
)
def test_one_that_gave_much_and_then_nothing_is_left(store, registry, given, monkeypatch, tmp_path, bound, said):
    """What came fast is no credit for silence; nor is it waited for without end however much comes."""
    monkeypatch.setattr(from_registry, "LEAST_BYTES_PER_S", 1)  # half of DATA would be worth weeks
    monkeypatch.setattr(from_registry, bound, 0.2)
    over = threading.Event()
    registry.cut_after = lambda method, path: len(DATA) // 2
    registry.at_cut = lambda: over.wait(120)
    device = store()
    try:
        assert device.read_digest(digest(DATA), 2**30) == DATA
        found = origin(device, digest(DATA))
        assert found.source == "broker" and said in found.problem
        assert set(given) == {digest(DATA)}
    finally:
        over.set()
        those_that_ask_end()
    assert left(tmp_path) == [digest(DATA)[7:]]


def test_credit_is_bounded_however_much_comes(tmp_path):
    """By a clock of ours: from each byte on QUIET_S are waited at most, and behind the least pace they get fewer."""
    now_s = [100.0]
    pull = _Pull("oci://registry.example/nets", BlobStore(tmp_path), digest(DATA), 2**30, lambda: now_s[0])
    for seconds, size, left_s in [(0.0, 2**25, 120.0), (30.0, 0, 90.0), (0.0, 10 * 2**16, 100.0), (1.0, 2**30, 120.0)]:
        now_s[0] += seconds
        pull._came(size)
        assert pull._behind_s - now_s[0] == pytest.approx(left_s)


def test_the_broker_has_as_much_time_as_the_registry():
    """Before it takes the device that loads for one that does nothing."""
    assert QUIET_S < PULL_S <= LOAD_S / 2


def test_a_pull_that_comes_too_late_leaves_nothing(registry, tmp_path, monkeypatch):
    """It was left before it had begun, the blob was had elsewhere meanwhile, and the registry has another one."""
    kept = BlobStore(tmp_path / "kept")
    source = FragmentRegistry(f"oci://{registry.host}/{NAME}", kept)
    monkeypatch.setattr(from_registry, "QUIET_S", 0.2)
    registry.blobs[NAME][digest(DATA)] = OTHER
    over = threading.Event()
    registry.before = lambda method, path, body: over.wait(120) and None
    with pytest.raises(NotReadyError, match=r"gave nothing for 0\.2 s"):
        source.bring(digest(DATA), 2**30)
    kept.folder.mkdir(parents=True, exist_ok=True)
    kept.path(digest(DATA)).write_bytes(DATA)
    source.drop(digest(DATA))
    over.set()
    those_that_ask_end()
    assert "GET" in [method for method, _, _ in registry.seen] and left(tmp_path) == [digest(DATA)[7:]]


def those_that_ask_end():
    """What is left behind does so by itself."""
    for thread in [one for one in threading.enumerate() if one.name == "registry"]:
        thread.join(120)
        assert not thread.is_alive()


def test_a_device_asks_as_its_own_user(store, registry, given, tmp_path, monkeypatch):
    """By the docker config of its machine; as nobody it is refused, and the broker gives the fragment."""
    login = base64.b64encode(b"pi:secret").decode()
    shown = []

    def asks_who(request_of=registry.answer):
        def answer(method, path, body, headers):
            shown.append(headers.get("Authorization", ""))
            if headers.get("Authorization") != f"Basic {login}":
                return 401, {"WWW-Authenticate": 'Basic realm="nets"'}, b""
            return request_of(method, path, body, headers)

        return answer

    registry.answer = asks_who()
    stranger = store()
    assert stranger.read_digest(digest(OTHER), 2**30) == OTHER
    assert origin(stranger, digest(OTHER)).source == "broker"
    assert "log in with `docker login" in origin(stranger, digest(OTHER)).problem and set(shown) == {""}
    folder = tmp_path / "docker"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"auths": {registry.host: {"auth": login}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    device = store()
    assert device.read_digest(digest(DATA), 2**30) == DATA
    assert origin(device, digest(DATA)) == FragmentOrigin("registry") and digest(DATA) not in given


def test_a_mirror_of_this_machine_is_asked_first(store, registry, given, tmp_path):
    """By its registries.conf; the registry itself need not be there."""
    (tmp_path / "registries.conf").write_text(
        f'[[registry]]\nprefix = "registry.example/team"\nlocation = "registry.example/team"\n'
        f'[[registry.mirror]]\nlocation = "{registry.host}/team"\n'
    )
    device = store("registry.example")
    assert device.read_digest(digest(DATA), 2**30) == DATA
    assert origin(device, digest(DATA)) == FragmentOrigin("registry") and given == []


def test_a_machine_may_refuse_to_ask(store, registry, given, tmp_path):
    """`blocked` in its registries.conf: no byte goes there."""
    (tmp_path / "registries.conf").write_text(f'[[registry]]\nprefix = "{registry.host}"\nblocked = true\n')
    device = store()
    assert device.read_digest(digest(DATA), 2**30) == DATA
    assert "is blocked" in origin(device, digest(DATA)).problem and registry.seen == []


def test_a_pull_that_is_left_ends_with_the_next_byte(registry, tmp_path, monkeypatch):
    """It does not go on beside the broker's."""
    kept = BlobStore(tmp_path / "kept")
    source = FragmentRegistry(f"oci://{registry.host}/{NAME}", kept)
    monkeypatch.setattr(from_registry, "QUIET_S", 0.2)
    waiting, over = threading.Event(), threading.Event()

    def slow(method, path, body):
        if method == "GET":
            waiting.set()
            over.wait(120)

    registry.before = slow
    with pytest.raises(ValueError, match=r"gave nothing for 0\.2 s"):
        source.bring(digest(DATA), 2**30)
    assert waiting.wait(120)
    over.set()
    those_that_ask_end()
    assert not kept.path(digest(DATA)).exists()


def test_an_engine_tells_its_machines_where_to_ask(tmp_path):
    """With what each is to run: a place, and nothing by which anybody is let in there."""
    roster = Roster(tmp_path / "members.json", "ab")
    with closing(JoinedEngine(roster, "127.0.0.1", tmp_path, (), "oci://registry.example/team/nets")) as engine:
        engine.launch(config(engine._gate, new_pair(), tmp_path))
        (machine,) = [one for one in engine._machines._machines.values() if one.wanted is not None]
        assert machine.wanted.registry == "oci://registry.example/team/nets" and machine.wanted.gate is not None


@pytest.mark.parametrize("place", ["oci://user:secret@registry.example/nets", "https://a.example/nets", "oci://a b"])
def test_what_is_no_place_in_a_registry_is_not_heeded(gate, tmp_path, place):
    """A device takes no configuration with it, least of all one that shows who asks."""
    asked = config(gate, new_pair(), tmp_path).model_dump(mode="json") | {"registry": place}
    with pytest.raises(IntegrityError, match="registry"):
        DeviceConfig.parse(json.dumps(asked), "the broker's configuration")


def test_a_machine_shows_its_devices_where_its_user_keeps_logins(tmp_path, monkeypatch):
    """The variables that say so, which no other process of ours gets; no secret is in any."""
    monkeypatch.setenv("DOCKER_CONFIG", "/etc/pi")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    agents, others = Agent(tmp_path)._engine._environment(), LocalEngine()._environment()
    assert agents["DOCKER_CONFIG"] == "/etc/pi" and "secret" not in agents.values()
    assert set(agents) - set(others) == {"DOCKER_CONFIG", "CONTAINERS_REGISTRIES_CONF"}
