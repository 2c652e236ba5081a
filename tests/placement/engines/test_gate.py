"""The gate, over real connections: what a stranger may say, what a member gets, and that it is who it should be."""

import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import zmq

from splitplace.catalog.oci import digest
from splitplace.errors import IntegrityError, NotFoundError, NotReadyError, UsageError
from splitplace.placement.device import joining, supply
from splitplace.placement.device.config import DeviceConfig
from splitplace.placement.device.supply import fragment_store
from splitplace.placement.engines import machines as machines_module
from splitplace.placement.engines.engine import MachineJoined, MachineLeft
from splitplace.placement.engines.gate import UNFINISHED_BYTES, Gate
from splitplace.placement.engines.roster import Roster
from splitplace.placement.protocol.intake import LOOK_S
from splitplace.placement.protocol.keys import CurveAccess, new_pair
from splitplace.placement.protocol.listening_clock import PAUSE_S
from splitplace.placement.protocol.messages import PROTOCOL
from tests.placement.fleet.proxy import CHUNK, Proxy

pytestmark = pytest.mark.base
PATIENCE_MS = 240_000
DATA = bytes(range(256)) * 625  # three pieces, the last one short
SECRET = b"what is not offered"


@pytest.fixture
def catalog(tmp_path):
    """Two blobs."""
    folder = tmp_path / "catalog" / "blobs" / "sha256"
    folder.mkdir(parents=True)
    for data in (DATA, SECRET):
        (folder / digest(data)[7:]).write_bytes(data)
    return tmp_path / "catalog"


@pytest.fixture
def gate(tmp_path, catalog):
    """Of devices a and b, which may have one of the blobs."""
    roster = Roster(tmp_path / "members.json", "ab")
    with closing(Gate(roster, "127.0.0.1", catalog, {digest(DATA), digest(b"gone")})) as gate:
        yield gate


@contextmanager
def knocked(gate, pair, key=None):
    """What asks something of the gate, over a connection that proves this key."""
    found = gate.gate if key is None else gate.gate.model_copy(update={"key": key})
    context, socket = joining.knock(found, *pair)

    def ask(said, patience_ms=PATIENCE_MS):
        socket.send(said if isinstance(said, bytes) else said.model_dump_json().encode())
        return joining.told(socket.recv_multipart()[0]) if socket.poll(patience_ms) else None

    yield ask
    socket.close(linger=0)
    context.term()


def enrol(gate, device="a", pair=None):
    """A machine that has joined: its key pair."""
    pair = pair or new_pair()
    with knocked(gate, pair) as ask:
        told = ask(joining.Enrol(protocol=PROTOCOL, secret=gate.machines.roster.invite(device, 600.0)))
        assert told == joining.Enrolled(device=device)
    return pair


def here(session=1, **options):
    """How things are."""
    return joining.Here(protocol=PROTOCOL, session=session, **options)


def config(gate, pair, folder):
    """Of a device there."""
    access = CurveAccess(public_key=pair[0], secret_key=pair[1], peers={})
    return DeviceConfig(
        name="a", catalog=str(folder), gate=gate.gate, threads=1, access=access, incarnation=7,
        broker_endpoint="tcp://127.0.0.1:1", broker_incarnation=8,
    )  # fmt: skip


def test_a_machine_joins_and_is_told_what_to_run(gate, tmp_path):
    """Its key is the device from then on; said once more, it is the same; what is wanted comes with the next word."""
    pair = enrol(gate)
    wanted = config(gate, pair, tmp_path)
    with knocked(gate, pair) as ask:
        assert ask(joining.Enrol(protocol=PROTOCOL, secret="0" * 64)) == joining.Enrolled(device="a")
        assert ask(here()) == joining.Wanted(incarnation=None)
        gate.machines.launch(wanted)
        told = ask(here())
        assert told.incarnation == 7 and DeviceConfig.parse(told.config, "") == wanted
    assert gate.machines.events() == [MachineJoined("a", pair[0])]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (joining.Enrol(protocol=PROTOCOL, secret="0" * 64), "the token was used or revoked, or is too old"),
        (joining.Enrol(protocol=PROTOCOL - 1, secret="0" * 64), "update this machine, it is older"),
        (joining.Enrol(protocol=PROTOCOL + 1, secret="0" * 64), "update the broker, it is older"),
        (here(), "none of this fleet's"),
        (joining.GoingAway(), "none of this fleet's"),
        (joining.Want(digest=digest(DATA), offset=0), "none of this fleet's"),
    ],
)
def test_a_stranger_gets_nothing(gate, said, reason):
    """Whatever it asks; and nothing is remembered of it."""
    with knocked(gate, new_pair()) as ask:
        told = ask(said)
        assert isinstance(told, joining.Dismissed) and reason in told.reason
    assert gate.machines.events() == [] and set(gate.machines.presence().values()) == {"absent"}


def test_nonsense_is_passed_over(gate, caplog):
    """The next word is heard; the log has no line for each, for anybody may say it."""
    caplog.set_level("INFO")
    with knocked(gate, enrol(gate)) as ask:
        assert ask(b"\x00nonsense", patience_ms=100) is None
        assert ask(b'{"type": "here"}', patience_ms=100) is None
        assert isinstance(ask(here()), joining.Wanted)
    assert "no message of ours" not in caplog.text


def test_a_message_of_several_frames_is_passed_over(gate):
    """Whatever the last of them says."""
    context, socket = joining.knock(gate.gate, *enrol(gate))
    socket.send_multipart([b"", here().model_dump_json().encode()])
    assert not socket.poll(300)
    socket.send(here().model_dump_json().encode())
    assert socket.poll(PATIENCE_MS)
    socket.close(linger=0)
    context.term()


@contextmanager
def watched(gate, pair, endpoint=None):
    """A connection to the gate, and what tells when it is cut."""
    found = gate.gate if endpoint is None else gate.gate.model_copy(update={"endpoint": endpoint})
    context, socket = joining.knock(found, *pair)
    cut = socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    yield socket, cut
    cut.close(linger=0)
    socket.close(linger=0)
    context.term()


def test_a_strangers_message_without_end_is_cut_off(gate):
    """Of small frames, as one message, a chunk a time: beyond the bound, and soon; who behaves is heard."""
    permits, frame, count = threading.Semaphore(4), bytes(2**14), 4096
    with (
        closing(Proxy(gate.gate.endpoint, permits)) as road,
        watched(gate, new_pair(), road.endpoint) as (bad, cut),
    ):
        bad.send_multipart([frame] * count)
        let_bytes = 4 * CHUNK
        assert let_bytes <= UNFINISHED_BYTES and not cut.poll(500)
        while not cut.poll(150):  # the gate looks every tenth of a second
            assert let_bytes < len(frame) * count / 4, "it was never cut off"
            permits.release()
            let_bytes += CHUNK
    with knocked(gate, enrol(gate)) as ask:
        assert isinstance(ask(here()), joining.Wanted)


def test_a_key_pulls_over_one_connection_at_a_time(gate):
    """What is queued for the former one goes with it: who opens many and reads none makes the gate hold little."""
    pair, want = enrol(gate), joining.Want(digest=digest(DATA), offset=0).model_dump_json().encode()
    with watched(gate, pair) as (first, first_cut), watched(gate, pair) as (second, second_cut):
        for _ in range(2):
            first.send(want)
            assert isinstance(joining.told(first.recv_multipart()[0]), joining.FilePiece)
        second.send(want)
        assert isinstance(joining.told(second.recv_multipart()[0]), joining.FilePiece)
        assert first_cut.poll(PATIENCE_MS) and not second_cut.poll(100)


def test_who_speaks_while_nobody_listens_is_not_silent(gate, monkeypatch):
    """A gate that was held up for long finds its machines there; one that says nothing is found silent later."""
    pair = enrol(gate)
    with knocked(gate, pair) as ask:
        ask(here())
        with gate.machines._changed:  # the gate waits for it, with one round of its own to go at most
            passed_s = gate._clock.now_s - gate.machines._machines["a"].heard_s
            monkeypatch.setattr(machines_module, "SILENT_S", passed_s + 2 * PAUSE_S + LOOK_S + 0.1)
            time.sleep(2.0)
            assert gate.machines.presence()["a"] == "here"
        end_s = time.monotonic() + PATIENCE_MS / 1000
        while gate.machines.presence()["a"] == "here":
            assert time.monotonic() < end_s
            time.sleep(0.05)
    assert gate.machines.presence()["a"] == "silent"


def test_a_gate_that_cannot_listen_leaves_nothing_open(tmp_path):
    """No file, however often it is tried."""

    def trial():
        with pytest.raises(NotReadyError, match="nothing can listen"):
            Gate(Roster(tmp_path / "members.json", "ab"), "192.0.2.1", tmp_path, ())

    trial()
    gc.collect()  # what earlier tests left is closed now, not in between
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        trial()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_somebody_else_in_the_gates_place_is_not_spoken_to(gate):
    """A token pins the gate's key: who listens there with another one hears nothing of it."""
    with knocked(gate, new_pair(), key=new_pair()[0]) as ask:
        assert ask(here(), patience_ms=1000) is None


def test_a_revoked_machine_is_told_at_once_and_cannot_return(gate):
    """It need not ask."""
    pair = enrol(gate)
    context, socket = joining.knock(gate.gate, *pair)
    socket.send(here().model_dump_json().encode())
    assert isinstance(joining.told(socket.recv_multipart()[0]), joining.Wanted)
    gate.machines.revoke("a")
    assert socket.poll(PATIENCE_MS)
    assert joining.told(socket.recv_multipart()[0]) == joining.Dismissed(reason="revoked")
    socket.close(linger=0)
    context.term()
    assert gate.machines.events() == [MachineJoined("a", pair[0]), MachineLeft("a", "revoked", revoked=True)]
    with knocked(gate, pair) as ask:
        assert isinstance(ask(here()), joining.Dismissed)


def test_a_fragment_comes_in_pieces_is_verified_and_kept(gate, tmp_path, monkeypatch):
    """The second time it is read from here, though nobody is asked."""
    store = fragment_store(config(gate, enrol(gate), tmp_path / "kept"))
    assert store.read_digest(digest(DATA), 2**30) == DATA
    monkeypatch.setattr(store, "_bring", None)
    assert store.read_digest(digest(DATA), 2**30) == DATA
    assert [path.name for path in (tmp_path / "kept").rglob("*") if path.is_file()] == [digest(DATA)[7:]]


@pytest.mark.slow
def test_a_fragment_comes_over_a_link_that_takes_long_for_it(tmp_path, catalog):
    """Over one connection, piece by piece, and none is asked for twice."""
    data, permits = bytes(range(256)) * 2**14, threading.Semaphore(100)
    (catalog / "blobs" / "sha256" / digest(data)[7:]).write_bytes(data)
    with (
        closing(Gate(Roster(tmp_path / "members.json", "a"), "127.0.0.1", catalog, {digest(data)})) as gate,
        closing(Proxy(gate.gate.endpoint, back=permits)) as road,
        ThreadPoolExecutor(1) as reader,
        asked(gate) as offsets,
    ):
        wants = config(gate, enrol(gate), tmp_path / "kept")
        far = gate.gate.model_copy(update={"endpoint": road.endpoint})
        while permits.acquire(blocking=False):
            continue
        read = reader.submit(fragment_store(wants.model_copy(update={"gate": far})).read_digest, digest(data), 2**30)
        begun_s = time.monotonic()
        while time.monotonic() < begun_s + 9.0:
            permits.release()
            time.sleep(0.2)
        assert not read.done()
        permits.release(10_000)
        assert read.result(PATIENCE_MS / 1000) == data
        assert (road.connections, sorted(offsets)) == (1, list(range(0, len(data), joining.PIECE_BYTES)))


def test_a_fragment_that_lies_here_is_not_asked_for(gate, tmp_path, catalog, monkeypatch):
    """In a catalog that was pulled from a registry, say; a damaged one there is brought, and kept beside it."""
    asked = config(gate, enrol(gate), catalog).model_copy(update={"kept": str(tmp_path / "kept")})
    store = fragment_store(asked)
    with monkeypatch.context() as alone:
        alone.setattr(store, "_bring", None)
        assert store.read_digest(digest(DATA), 2**30) == DATA
    here = tmp_path / "here"
    (here / "blobs" / "sha256").mkdir(parents=True)
    (here / "blobs" / "sha256" / digest(DATA)[7:]).write_bytes(b"damaged")
    store = fragment_store(asked.model_copy(update={"catalog": str(here)}))
    assert store.read_digest(digest(DATA), 2**30) == DATA
    assert (tmp_path / "kept" / "blobs" / "sha256" / digest(DATA)[7:]).read_bytes() == DATA
    assert (here / "blobs" / "sha256" / digest(DATA)[7:]).read_bytes() == b"damaged"


def test_a_kept_fragment_that_is_damaged_is_brought_again(gate, tmp_path):
    """What is read is what has the digest."""
    store = fragment_store(config(gate, enrol(gate), tmp_path / "kept"))
    store.read_digest(digest(DATA), 2**30)
    store.path(digest(DATA)).write_bytes(b"damaged")
    assert store.read_digest(digest(DATA), 2**30) == DATA
    assert store.path(digest(DATA)).read_bytes() == DATA


def test_what_is_not_right_is_not_kept(gate, tmp_path, catalog):
    """Another file under that name in the broker's catalog, one not offered, one that is gone, one too large."""
    store = fragment_store(config(gate, enrol(gate), tmp_path / "kept"))
    with pytest.raises(IntegrityError, match="160000 bytes, expected at most 1000"):
        store.read_digest(digest(DATA), 1000)
    with pytest.raises(NotFoundError, match="no fragment of this fleet"):
        store.read_digest(digest(SECRET), 2**30)
    with pytest.raises(NotFoundError, match="No such file"):
        store.read_digest(digest(b"gone"), 2**30)
    (catalog / "blobs" / "sha256" / digest(DATA)[7:]).write_bytes(DATA[::-1])
    with pytest.raises(IntegrityError, match="have the digest"):
        store.read_digest(digest(DATA), 2**30)
    assert not [path for path in (tmp_path / "kept").rglob("*") if path.is_file()]


@contextmanager
def asked(gate):
    """The offsets that are asked for meanwhile; pieces beyond `end` are not sent."""
    piece, send = gate._piece, gate._send
    gate.offsets, gate.end = [], float("inf")

    def noted(key, want):
        gate.offsets.append(want.offset)
        return piece(key, want)

    def sent(route, told, data=None):
        if data is None or told.offset < gate.end:
            send(route, told, data)

    gate._piece, gate._send = noted, sent
    yield gate.offsets
    gate._piece, gate._send = piece, send


def test_a_pull_that_was_broken_off_goes_on_where_it_was(gate, tmp_path, monkeypatch):
    """By the next process of the device: only the last piece that is there comes again."""
    wants = config(gate, enrol(gate), tmp_path / "kept")
    with asked(gate) as offsets:
        gate.end, append = 2 * joining.PIECE_BYTES, supply._Part.append
        with monkeypatch.context() as hasty, pytest.raises(NotReadyError):

            def appended(part, piece):
                append(part, piece)
                if part.size == gate.end:  # all that comes: of the piece that does not, the gate was asked already
                    while gate.end not in offsets:
                        time.sleep(0.01)
                    hasty.setattr(supply, "PATIENCE_S", 0.1)

            hasty.setattr(supply._Part, "append", appended)
            hasty.setattr(supply, "PATIENCE_S", PATIENCE_MS / 1000)
            hasty.setattr(supply, "TRIES", 1)
            fragment_store(wants).read_digest(digest(DATA), 2**30)
        gate.end = float("inf")
        offsets.clear()
        assert fragment_store(wants).read_digest(digest(DATA), 2**30) == DATA
        assert sorted(offsets) == [joining.PIECE_BYTES, 2 * joining.PIECE_BYTES]
    assert [path.name for path in (tmp_path / "kept").rglob("*") if path.is_file()] == [digest(DATA)[7:]]


def test_the_beginning_of_a_pull_that_is_damaged_is_pulled_again(gate, tmp_path):
    """As a power cut leaves it: what is read has the digest."""
    part = tmp_path / "kept" / "parts" / digest(DATA)[7:]
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(2 * joining.PIECE_BYTES + 5))
    store = fragment_store(config(gate, enrol(gate), tmp_path / "kept"))
    assert store.read_digest(digest(DATA), 2**30) == DATA and not part.exists()


def test_a_gate_that_is_silent_is_given_up(gate, tmp_path, monkeypatch):
    """After some tries, with one line."""
    monkeypatch.setattr(supply, "PATIENCE_S", 0.05)
    asked = config(gate, enrol(gate), tmp_path / "kept")
    silent = gate.gate.model_copy(update={"key": new_pair()[0]})
    with pytest.raises(NotReadyError, match="gave no piece of it"):
        fragment_store(asked.model_copy(update={"gate": silent})).read_digest(digest(DATA), 2**30)


def test_the_next_gate_listens_where_the_former_did(tmp_path, catalog):
    """Machines that knock find it; two at once cannot."""
    with closing(Gate(Roster(tmp_path / "members.json", "ab"), "127.0.0.1", catalog, ())) as gate:
        first = gate.gate
        with pytest.raises(NotReadyError, match=r"nothing can listen at 127\.0\.0\.1, port"):
            Gate(Roster(tmp_path / "members.json", "ab"), "127.0.0.1", catalog, ())
    with closing(Gate(Roster(tmp_path / "members.json", "ab"), "127.0.0.1", catalog, ())) as gate:
        assert gate.gate == first


@pytest.mark.parametrize("token", ["", "x", "sp1-", "sp1-AAAA", "sp1-" + "A" * 2000, "sp1-\udcff", "sp2-e30"])
def test_what_is_no_token_is_one_line(token):
    """Damaged, cut off, of something else."""
    with pytest.raises(UsageError, match="no token"):
        joining.Ticket.read(token)


def test_a_token_is_one_word_and_leads_back():
    """It fits a line."""
    ticket = joining.Ticket(endpoint="tcp://[2001:db8::1]:40000", key=new_pair()[0], secret="0f" * 32)
    assert joining.Ticket.read(ticket.token) == ticket
    assert ticket.token.isascii() and not set(ticket.token) & set(" \n'\"$\\") and len(ticket.token) < 400
