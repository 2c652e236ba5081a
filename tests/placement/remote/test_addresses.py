"""Whom a remote client trusts, and whom it shows its token: URLs, tokens, certificates, and servers that are others."""

import http.server
import threading

import pytest

from splitplace.errors import (
    ForbiddenError,
    IntegrityError,
    NotFoundError,
    NotReadyError,
    SplitPlaceError,
    UnknownCallerError,
    UsageError,
)
from splitplace.placement.http.tokens import add_token, revoke_token
from splitplace.placement.remote.address import read_address
from splitplace.placement.remote.remote_client import RemoteClient

PATIENCE_S = 240.0


@pytest.mark.parametrize(
    "url",
    [
        "", "x", "localhost:8000", "ftp://localhost", "http://", "http://:1", "http://localhost:99999", "http://a:b",
        "http://u:p@localhost", "http://localhost?x=1", "http://localhost#x", "http://local host", "http://[::1",
        "http://ünïcödé/x", "http://" + "x" * 300, "http://localhost/\n",
    ],
)  # fmt: skip
def test_a_url_that_is_none(url):
    """One line: what was got, and what is expected."""
    with pytest.raises(UsageError, match=r"expected http://HOST:PORT or https://HOST:PORT") as raised:
        RemoteClient(url)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "host", "port", "path"),
    [
        ("http://localhost", "localhost", 80, ""),
        ("https://Example.org/fleet/", "example.org", 443, "/fleet"),
        ("http://[::1]:8000", "::1", 8000, ""),
        ("http://127.0.0.1:8000/", "127.0.0.1", 8000, ""),
    ],
)
def test_a_url_s_parts(url, host, port, path):
    """The scheme's own port where none is stated; a path is what the door is behind."""
    found = read_address(url, None, None)
    assert (found.host, found.port, found.path) == (host, port, path)
    assert (found.tls is not None) == url.startswith("https")


def test_a_token_never_goes_out_in_the_clear():
    """But on this machine: refused before anybody is called."""
    with pytest.raises(UsageError, match="a token would go out unencrypted: give an https URL"):
        RemoteClient("http://192.0.2.1:8000", "sp_x")
    assert read_address("http://127.0.0.1:8000", None, "sp_x").tls is None


def test_nobody_answers():
    """At once, where nobody was heard yet; with what to do."""
    with pytest.raises(NotReadyError, match=r"127.0.0.1:9 does not answer: .*: is `splitplace serve` up there\?"):
        RemoteClient("http://127.0.0.1:9")


def test_a_token_is_given_in_a_file_or_the_environment(front, broker, images, tmp_path, monkeypatch):
    """Or as it is; both are too many; without one, or with a revoked one, nobody comes in."""
    tokens, file = tmp_path / "tokens.json", tmp_path / "token"
    ann, bob = add_token(tokens, "ann"), add_token(tokens, "bob")
    url = front(tokens=tokens).url
    file.write_text(ann + "\n")
    file.chmod(0o600)
    with RemoteClient(url, token_file=file) as client:
        future = client.submit("pixels", images(1), 1000.0, keep=True)
        task, ticket = future.task_id, future.ticket
        assert ticket.startswith(f"{task}-") and client.answer(ticket).task_id == task
        with pytest.raises(ForbiddenError, match="its ticket is not whole"):
            client.answer(task)
    monkeypatch.setenv("SPLITPLACE_TOKEN", bob)
    with RemoteClient(url) as client, pytest.raises(ForbiddenError, match=f"task {task} is not of the token bob"):
        client.answer(ticket)
    broker.finish(task)
    with RemoteClient(url, ann) as client:
        assert client.answer(ticket).result(PATIENCE_S).logits is not None
    with pytest.raises(UsageError, match="expected one of them"):
        RemoteClient(url, ann, token_file=file)
    revoke_token(tokens, "bob")
    with pytest.raises(UnknownCallerError, match="was revoked"):
        RemoteClient(url)
    monkeypatch.delenv("SPLITPLACE_TOKEN")
    with pytest.raises(UnknownCallerError, match="no token"):
        RemoteClient(url)


def test_files_that_hold_no_token(tmp_path):
    """Not there, for others to read, empty, more than a token; none is told."""
    file = tmp_path / "token"
    with pytest.raises(NotFoundError, match="no such file"):
        RemoteClient("http://127.0.0.1:9", token_file=file)
    file.write_text("secret")
    file.chmod(0o644)
    with pytest.raises(UsageError, match="chmod 600"):
        RemoteClient("http://127.0.0.1:9", token_file=file)
    file.chmod(0o600)
    for text in ("", "secret words", "sécret", "a\nb"):
        file.write_text(text)
        with pytest.raises(UsageError, match="no token: expected what `splitplace token add` printed") as raised:
            RemoteClient("http://127.0.0.1:9", token_file=file)
        assert "secret" not in str(raised.value)
    with pytest.raises(UsageError, match="no regular file"):
        RemoteClient("http://127.0.0.1:9", token_file=tmp_path)


def test_tls(front, certificate, broker, images, tmp_path):
    """Who vouches for the certificate is named by `ca`; without, nothing is sent; a file that is none is refused."""
    broker.at_once = True
    door = front(certificate=certificate)
    with RemoteClient(door.url, ca=certificate.chain) as client:
        assert client.url.startswith("https://")
        assert client.submit("pixels", images(2), 1000.0).result(PATIENCE_S).outcome.n == 2
    with pytest.raises(ForbiddenError, match=r"its certificate is not trusted: .*--ca"):
        RemoteClient(door.url)
    with pytest.raises(NotReadyError, match="does not answer"):
        RemoteClient(door.url.replace("https", "http"))
    (tmp_path / "x.pem").write_text("x")
    with pytest.raises(UsageError, match="no PEM file of certificates"):
        RemoteClient(door.url, ca=tmp_path / "x.pem")
    with pytest.raises(NotFoundError, match="no such file"):
        RemoteClient(door.url, ca=tmp_path / "missing.pem")
    with pytest.raises(UsageError, match="--ca goes with https"):
        RemoteClient("http://127.0.0.1:9", ca=certificate.chain)


class Other(http.server.BaseHTTPRequestHandler):
    """A server that is no front door."""

    said = (200, b"")

    def do_GET(self):
        """Says what it is told to."""
        status, body, *more = self.said
        self.send_response(status)
        self.send_header("content-length", str(len(body) + sum(more)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        """Nothing."""


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ((200, b"<html>"), IntegrityError),
        ((200, b"{}"), IntegrityError),
        ((200, b'{"apps": [{}]}'), IntegrityError),
        ((404, b"not here"), IntegrityError),
        ((500, b'{"error": "broken"}'), SplitPlaceError),
        ((302, b""), IntegrityError),
        ((200, b"{}", 5), NotReadyError),
        ((503, b'{"error": "later"}'), NotReadyError),
        ((502, b"<html>bad gateway"), NotReadyError),
        ((404, b'{"error": ["odd"]}'), NotFoundError),
    ],
)
def test_a_server_that_is_no_front_door(said, error):
    """One line, whatever it says."""
    handler = type("Saying", (Other,), {"said": said})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        with pytest.raises(error) as raised:
            RemoteClient(f"http://127.0.0.1:{server.server_address[1]}")
        server.shutdown()
        thread.join()
    assert type(raised.value) is error and "\n" not in str(raised.value)
