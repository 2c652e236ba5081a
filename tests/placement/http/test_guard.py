"""Who may come in: tokens at rest and in use, other sites' pages, TLS beyond this machine."""

import fcntl
import http.client
import json
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import tritonclient.http as triton

import splitplace as sp
from splitplace.errors import ConflictError, ForbiddenError, NotFoundError, UsageError
from splitplace.placement.http import tokens
from splitplace.placement.http.guard import Caller, Guard, RateError, is_loopback
from splitplace.placement.http.server import Certificate, listening
from splitplace.placement.http.tokens import add_token, digest_of, read_tokens, revoke_token


@pytest.fixture
def file(tmp_path):
    """Where tokens are kept."""
    return tmp_path / "tokens.json"


PATIENCE_S = 240.0
EVERYWHERE = "0.0.0.0"  # noqa: S104 - what is tested is that this is guarded


def bearer(token):
    """As clients state it."""
    return {"authorization": f"Bearer {token}"}


def test_a_token_is_kept_as_a_digest_for_its_user_alone(file):
    """The file has names and digests, no token, and mode 0600; two tokens differ."""
    first, second = add_token(file, "ann"), add_token(file, "bob", 5.0)
    assert first != second and first.encode() not in file.read_bytes() and len(first) > 40
    assert file.stat().st_mode & 0o777 == 0o600
    assert [(entry.name, entry.rate_per_s) for entry in read_tokens(file).tokens] == [("ann", 100.0), ("bob", 5.0)]


def test_the_secret_of_a_file_is_its_own_and_stays(file, tmp_path):
    """Else every ticket were another after a token was added or taken away, or the same at two front doors."""
    add_token(file, "ann")
    secret = read_tokens(file).secret
    add_token(file, "bob")
    revoke_token(file, "ann")
    assert read_tokens(file).secret == secret and len(secret) == 64
    add_token(tmp_path / "other.json", "ann")
    assert read_tokens(tmp_path / "other.json").secret != secret


def test_mistakes_with_tokens(file):
    """A name twice, a name that is none, a rate that is none, a file that others may read, one that is not there."""
    with pytest.raises(NotFoundError, match="splitplace token add"):
        read_tokens(file)
    add_token(file, "ann")
    with pytest.raises(ConflictError, match="has a token 'ann'"):
        add_token(file, "ann")
    with pytest.raises(UsageError, match="expected requests a second"):
        add_token(file, "bob", float("nan"))
    with pytest.raises(NotFoundError, match="unknown token 'bob': expected one of ann"):
        revoke_token(file, "bob")
    file.chmod(0o644)
    with pytest.raises(UsageError, match="chmod 600"):
        read_tokens(file)


def test_who_change_the_file_at_once_undo_nothing_of_each_other(file):
    """A token that is revoked while others are added stays revoked, and all that were added are there."""
    for number in range(8):
        add_token(file, f"thief-{number}")
    changes = [lambda n=n: [add_token(file, f"new-{n}-{i}") for i in range(8)] for n in range(2)]
    changes += [lambda n=n: [revoke_token(file, f"thief-{4 * n + i}") for i in range(4)] for n in range(2)]
    with ThreadPoolExecutor(len(changes)) as pool:
        for changed in [pool.submit(change) for change in changes]:
            changed.result(PATIENCE_S)
    assert {entry.name for entry in read_tokens(file).tokens} == {f"new-{n}-{i}" for n in range(2) for i in range(8)}


def test_a_change_waits_for_the_one_under_way(file, monkeypatch):
    """Who revokes a token while somebody writes the file waits for that, and reads what was written."""
    add_token(file, "thief")
    waits, lock, write = threading.Event(), fcntl.flock, tokens.replace_file
    with ThreadPoolExecutor(1) as pool:

        def meanwhile(*arguments):
            monkeypatch.setattr(tokens, "replace_file", write)
            monkeypatch.setattr(fcntl, "flock", lambda *where: waits.set() or lock(*where))
            revoked.append(pool.submit(revoke_token, file, "thief"))
            assert waits.wait(PATIENCE_S)
            write(*arguments)

        revoked = []
        monkeypatch.setattr(tokens, "replace_file", meanwhile)
        add_token(file, "ann")
        revoked[0].result(PATIENCE_S)
    assert [entry.name for entry in read_tokens(file).tokens] == ["ann"]
    assert list(file.parent.iterdir()) == [file]


def test_tokens_come_in_and_a_revoked_one_does_not(front, file, broker, image):
    """401 with what to send; each by its name; whoever is revoked is out with the next request."""
    ann, bob = add_token(file, "ann"), add_token(file, "bob")
    broker.at_once = True
    door = front(tokens=file)
    assert door.ask("GET", "/v2/health/live").status == 200 == door.ask("GET", "/v2/health/ready").status
    for headers in ({}, bearer("sp_nobody"), {"authorization": "Basic x"}, {"authorization": "Bearer"}):
        for method, path in (("GET", "/v2"), ("GET", "/metrics"), ("POST", "/v2/models/pixels/infer"), ("GET", "/x")):
            refused = door.ask(method, path, **headers)
            assert refused.status == 401 and refused.headers["www-authenticate"].startswith("Bearer") and refused.error
    assert door.infer({"inputs": [image]}, **bearer(ann)).status == 200
    with triton.InferenceServerClient(door.address) as client:
        assert client.get_server_metadata(headers=bearer(bob))["name"] == "splitplace"
    revoke_token(file, "bob")
    assert door.ask("GET", "/v2", **bearer(bob)).status == 401 and door.ask("GET", "/v2", **bearer(ann)).status == 200
    file.unlink()
    assert door.ask("GET", "/v2", **bearer(ann)).status == 401


def test_a_damaged_token_file_lets_nobody_in(front, file):
    """Not even those whom the file before it knew."""
    ann = add_token(file, "ann")
    door = front(tokens=file)
    assert door.ask("GET", "/v2", **bearer(ann)).status == 200
    file.write_text("{}x")
    file.chmod(0o600)
    for _ in range(2):
        assert door.ask("GET", "/v2", **bearer(ann)).status in (401, 500)


def test_a_task_is_its_tokens_own(front, file, broker, image):
    """Another one may neither see nor cancel it, nor guess how it is called; ids are each token's own."""
    ann, bob = add_token(file, "ann"), add_token(file, "bob")
    door = front(tokens=file)
    request = {"inputs": [image], "id": "a", "parameters": {"detach": True}}
    path = door.infer(request, **bearer(ann)).json["parameters"]["url"]
    assert path != "/v2/splitplace/tasks/0" and door.ask("GET", path, **bearer(ann)).status == 200
    for method in ("GET", "DELETE"):
        for wrong in (path, "/v2/splitplace/tasks/0", "/v2/splitplace/tasks/0-"):
            assert door.ask(method, wrong, **bearer(bob)).status == 403
        for secret in (digest_of(bob), "bob", ""):  # what bob could know
            forged = Caller("bob", secret).ticket(0)
            assert door.ask(method, f"/v2/splitplace/tasks/{forged}", **bearer(bob)).status == 403
    assert broker.cancelled == []
    assert door.infer(request | {"parameters": {"detach": True, "late": True}}, **bearer(bob)).status == 200
    assert len(broker.tasks) == 2


def test_a_token_has_a_rate(file):
    """A second's worth at once, then as time goes by; another token is not touched. By a clock of the test."""
    ann, bob, now = add_token(file, "ann", 2.0), add_token(file, "bob", 2.0), [0.0]
    guard = Guard(file, lambda: now[0])
    for _ in range(2):
        guard.admit(bearer(ann), "/v2")
    with pytest.raises(RateError, match="more than 2 requests a second") as raised:
        guard.admit(bearer(ann), "/v2")
    assert raised.value.http_status == 429 and raised.value.retry_after_s == 1
    guard.admit(bearer(bob), "/v2")
    now[0] = 0.5
    guard.admit(bearer(ann), "/v2")
    now[0] = 100.0
    for _ in range(2):
        guard.admit(bearer(ann), "/v2")
    with pytest.raises(RateError):
        guard.admit(bearer(ann), "/v2")


def test_a_rate_is_told_over_http(front, file):
    """429 and when to come again, without a word to the fleet."""
    ann = add_token(file, "ann", 0.01)
    door = front(tokens=file)
    assert door.ask("GET", "/v2", **bearer(ann)).status == 200
    refused = door.ask("GET", "/v2", **bearer(ann))
    assert refused.status == 429 and 90 <= int(refused.headers["retry-after"]) <= 100


@pytest.mark.parametrize(
    "headers",
    [{"host": "evil.example"}, {"host": "127.0.0.1:8000", "origin": "https://evil.example"}, {"host": "[::1"},
     {"host": "localhost", "origin": "null"}],
)  # fmt: skip
def test_a_page_of_another_site_is_kept_out(headers):
    """A browser on this machine asks for whatever page it shows: without tokens, only our own names are answered."""
    with pytest.raises(ForbiddenError, match="expected an address of this machine"):
        Guard(None).admit(headers, "/v2")


def test_a_part_of_another_sites_page_is_kept_out():
    """An image or a frame, of which a browser states no `Origin`: it would take a watcher's place. A link comes in."""
    shown = {"host": "127.0.0.1:8000", "sec-fetch-site": "cross-site"}
    for kind in ("image", "iframe", "empty"):
        with pytest.raises(ForbiddenError, match="a part of another site's page"):
            Guard(None).admit(shown | {"sec-fetch-dest": kind}, "/v2/splitplace/events")
    assert Guard(None).admit(shown | {"sec-fetch-dest": "document"}, "/dashboard").name == ""
    own = {"host": "127.0.0.1:8000", "sec-fetch-site": "same-origin", "sec-fetch-dest": "empty"}
    assert Guard(None).admit(own, "/v2/splitplace/events").name == ""


def test_programs_of_this_machine_come_in():
    """By any of its names."""
    for headers in (
        {"host": "localhost:8000"},
        {"host": "127.0.0.1"},
        {"host": "[::1]:1", "origin": "http://localhost"},
        {},
    ):
        assert Guard(None).admit(headers, "/v2").name == ""
    assert is_loopback("::1") and is_loopback("127.9.9.9") and not is_loopback(EVERYWHERE) and not is_loopback("a.b")


def test_beyond_this_machine_it_takes_tokens_and_a_certificate(file, tmp_path):
    """Refused before anything is opened, with what to give."""
    add_token(file, "ann")
    (tmp_path / "c.pem").write_text("x")
    pem = str(tmp_path / "c.pem")
    for options in ({}, {"tokens": file}, {"tls_cert": pem, "tls_key": pem}):
        with pytest.raises(UsageError, match="takes --tokens, --tls-cert and --tls-key"):
            sp.FrontDoor("nowhere", host=EVERYWHERE, **options)
    with pytest.raises(UsageError, match="belong together"):
        sp.FrontDoor("nowhere", tls_cert=pem)
    with pytest.raises(UsageError, match="expected a PEM file"):
        sp.FrontDoor("nowhere", tls_cert=pem, tls_key="missing")
    with pytest.raises(UsageError, match="--port 99999"):
        sp.FrontDoor("nowhere", port=99999)


def test_tls(front, file, certificate, pixels):
    """On every address, with a token: who trusts the certificate is answered, who speaks in plain text is not."""
    ann = add_token(file, "ann")
    door = front(tokens=file, certificate=certificate, host=EVERYWHERE)
    assert door.url.startswith("https://")
    context = ssl.create_default_context(cafile=str(certificate.chain))
    connection = http.client.HTTPSConnection("127.0.0.1", door.port, context=context, timeout=120)
    connection.request("GET", "/v2", headers=bearer(ann))
    assert json.load(connection.getresponse())["name"] == "splitplace"
    connection.close()
    with pytest.raises(ConnectionError):
        door.ask("GET", "/v2")


def test_a_certificate_that_is_none(front, tmp_path):
    """Told when the door is to be opened."""
    (tmp_path / "c.pem").write_text("x")
    with pytest.raises(UsageError, match="the certificate cannot be used"):
        front(certificate=Certificate(tmp_path / "c.pem", tmp_path / "c.pem"))


def test_a_port_that_somebody_has(front):
    """Likewise."""
    door = front()
    with pytest.raises(UsageError, match="Address already in use"):
        listening("127.0.0.1", door.port)
    with pytest.raises(UsageError):
        listening("no.such.host.invalid", 0)


def test_the_access_log_tells_no_secret(front, file, broker, image, caplog):
    """A JSON line a request: whose, which route, how it ended; no token, no query, nothing of a tensor."""
    ann = add_token(file, "ann")
    broker.at_once = True
    door = front(tokens=file)
    caplog.set_level("INFO", logger="splitplace.access")
    door.infer({"inputs": [image | {"data": [0, 1, 2, 213]}]}, **bearer(ann))
    door.ask("GET", "/v2/splitplace/tasks/0?secret=77", **bearer(ann))
    door.ask("GET", "/v2/health/live")  # what is noted of a request is noted before the next one's answer
    told = [json.loads(record.getMessage()) for record in caplog.records if record.name == "splitplace.access"][:2]
    assert [line["status"] for line in told] == [200, 403] and {line["token"] for line in told} == {"ann"}
    assert told[0]["route"] == "/v2/models/{model}/infer" and told[0]["task"] == 0 and told[0]["bytes_in"] > 0
    text = json.dumps([{name: value for name, value in line.items() if name not in ("at", "seconds")} for line in told])
    assert ann not in text and "213" not in text and "secret" not in text
