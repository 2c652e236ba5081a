"""Who asks: as docker and podman leave it, and as registries ask for it."""

import base64
import json
import stat
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from splitplace.distribution.docker_config import Login, read_login
from splitplace.distribution.mirrors import registries_path
from splitplace.distribution.tokens import Challenge, TokenRequest, parse_challenge
from splitplace.errors import IntegrityError, SplitPlaceError, UnknownCallerError, UsageError
from tests.distribution.conftest import REFERENCE, pull_from, push_to

HOST = "registry.example.com"


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Writes config.json."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)

    def write(document):
        (tmp_path / "config.json").write_text(document if isinstance(document, str) else json.dumps(document))

    return write


def encoded(user, secret):
    """As `docker login` has it."""
    return base64.b64encode(f"{user}:{secret}".encode()).decode()


def helper(folder, monkeypatch, body):
    """A credential helper called docker-credential-test, of these lines of shell."""
    path = folder / "docker-credential-test"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


@pytest.mark.parametrize("name", [HOST, f"https://{HOST}", f"https://{HOST}/v1/", f"http://{HOST}/v2/"])
def test_a_login_is_found_by_host(config, name):
    """Under all the names that docker has given it over the years; colons belong to the password."""
    config({"auths": {"other.example.com": {}, name: {"auth": encoded("ann", "a:b")}}, "psFormat": "x"})
    assert read_login(HOST) == Login("ann", "a:b")
    assert read_login("example.com") is None
    assert read_login(f"{HOST}:5000") is None


def test_a_login_for_a_part_of_a_registry(config):
    """A key with a path is for what lies below it, the longest first; not for its neighbours, nor for the host."""
    keys = {HOST: "host", f"{HOST}/team-a": "team", f"https://{HOST}/team-a/nets/": "nets"}
    config({"auths": {key: {"auth": encoded(user, "x")} for key, user in keys.items()}})
    found = {name: read_login(HOST, name).user for name in ("x", "team-ab/x", "team-a/x", "team-a/nets")}
    assert found == {"x": "host", "team-ab/x": "host", "team-a/x": "team", "team-a/nets": "nets"}
    config({"auths": {f"{HOST}/team-a": {"auth": encoded("team", "x")}}})
    assert read_login(HOST, "team-b/x") is None
    assert read_login(HOST) is None


def test_the_credentials_of_a_repository_go_to_it(small_registry, catalog, config):
    """The transport says for which one it asks."""
    registry = small_registry()
    config({"auths": {f"{registry.host}/{name}": {"auth": encoded(name, "x")} for name in ("other", "team")}})
    registry.before = lambda method, path, body: (
        None if registry.seen[-1][2].get("Authorization") else (401, {"WWW-Authenticate": 'Basic realm="x"'}, b"")
    )
    push_to(registry.host, catalog)
    shown = {headers["Authorization"] for _, _, headers in registry.seen if "Authorization" in headers}
    assert shown == {f"Basic {encoded('team', 'x')}"}


def test_what_podman_login_leaves_is_read_after_dockers(config, tmp_path, monkeypatch):
    """In $XDG_RUNTIME_DIR/containers/auth.json."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "containers").mkdir()
    stored = {name: {"auth": encoded("podman", "x")} for name in (HOST, "other.example.com")}
    (tmp_path / "containers" / "auth.json").write_text(json.dumps({"auths": stored}))
    assert read_login(HOST) == Login("podman", "x")
    config({"auths": {HOST: {"auth": encoded("docker", "x")}}})
    assert read_login(HOST) == Login("docker", "x")
    assert read_login("other.example.com") == Login("podman", "x")


def test_who_has_no_home_is_not_logged_in(monkeypatch):
    """A user id of which the system knows nothing."""
    for name in ("DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", dict[int, None]().__getitem__)
    assert read_login(HOST) is None
    monkeypatch.delenv("CONTAINERS_REGISTRIES_CONF", raising=False)
    assert registries_path() in (None, Path("/etc/containers/registries.conf"))


def test_nobody_is_logged_in(config):
    """No file; a file without the host."""
    assert read_login(HOST) is None
    config({})
    assert read_login(HOST) is None


def test_podmans_file_comes_first(config, tmp_path, monkeypatch):
    """$REGISTRY_AUTH_FILE names it."""
    config({"auths": {HOST: {"auth": encoded("docker", "x")}}})
    (tmp_path / "auth.json").write_text(json.dumps({"auths": {HOST: {"auth": encoded("podman", "x")}}}))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
    assert read_login(HOST) == Login("podman", "x")


def test_a_helper_is_asked_for_its_host(config, tmp_path, monkeypatch):
    """By docker-credential-helpers' protocol: the host on stdin; what the file says of it does not count."""
    helper(tmp_path, monkeypatch, 'read host; echo "{\\"Username\\": \\"$1-$host\\", \\"Secret\\": \\"s\\"}"')
    config({"auths": {HOST: {"auth": encoded("file", "x")}}, "credHelpers": {HOST: "test"}})
    assert read_login(HOST) == Login(f"get-{HOST}", "s")
    config({"credsStore": "test"})
    assert read_login("any.example.com") == Login("get-any.example.com", "s")


def test_a_helper_that_knows_nobody(config, tmp_path, monkeypatch):
    """Then the file is asked."""
    helper(tmp_path, monkeypatch, "echo credentials not found in native keychain; exit 1")
    config({"auths": {HOST: {"auth": encoded("file", "x")}}, "credsStore": "test"})
    assert read_login(HOST) == Login("file", "x")


def test_an_identity_token_has_no_user(config, tmp_path, monkeypatch):
    """From the file, and from a helper, which calls its user <token>."""
    config({"auths": {HOST: {"auth": encoded("ann", ""), "identitytoken": "t"}}})
    assert read_login(HOST) == Login("", "t")
    helper(tmp_path, monkeypatch, """echo '{"Username": "<token>", "Secret": "t"}'""")
    config({"credsStore": "test"})
    assert read_login(HOST) == Login("", "t")


@pytest.mark.parametrize(
    ("document", "error", "message"),
    [
        ("{", IntegrityError, "not a docker config"),
        ({"auths": []}, IntegrityError, "not a docker config: auths"),
        ({"auths": {HOST: {"auth": "secret!"}}}, IntegrityError, "auth is not base64 of USER:PASSWORD: log in again"),
        ({"auths": {HOST: {"auth": "c2VjcmV0"}}}, IntegrityError, "auth is not base64 of USER:PASSWORD: log in again"),
        ({"credsStore": "nobody"}, UsageError, "docker-credential-'nobody', which is not installed"),
        ({"credsStore": "../../bin/sh"}, UsageError, "is not installed"),
    ],
)
def test_a_config_that_is_none(config, document, error, message):
    """Named, in one line, without a word of what may be a secret."""
    config(document)
    with pytest.raises(error, match=message) as raised:
        read_login(HOST)
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("exit 3", "exit 3 for"),
        ("echo secret", "expected JSON with Username"),
        ("echo '{\"Username\": 1}'", "expected JSON"),
    ],
)
def test_a_helper_that_fails(config, tmp_path, monkeypatch, body, message):
    """Its name and what was expected; nothing of what it said."""
    helper(tmp_path, monkeypatch, body)
    config({"credsStore": "test"})
    with pytest.raises(SplitPlaceError, match=message) as raised:
        read_login(HOST)
    assert "secret" not in str(raised.value)


def test_a_login_shows_no_secret():
    """Not in a traceback either."""
    assert "pass" not in repr(Login("ann", "pass"))


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        (
            ['Bearer realm="https://a.example.com/token",service="reg",scope="repository:x:pull,push"'],
            Challenge("bearer", "https://a.example.com/token", "reg", "repository:x:pull,push"),
        ),
        (['Basic realm="x"', 'Bearer realm="https://a.example.com"'], Challenge("bearer", "https://a.example.com")),
        (['bearer realm="nowhere"', 'BASIC realm="x"'], Challenge("basic", "x")),
        (['Bearer realm="https://["'], None),
        (['Bearer realm="https://h:x/"'], None),
        (['Bearer realm="http://localhost:1@h.example.com/"'], None),
        (['Bearer realm="https://a..b/"'], None),
        (["Negotiate abc"], None),
        ([], None),
    ],
)
def test_what_a_registry_asks_for(headers, found):
    """Bearer before basic, names in any case; what we cannot do is none."""
    assert parse_challenge(headers) == found


def test_how_a_token_is_asked_for():
    """With user and password by GET; with an identity token by OAuth2's refresh; by nobody without a word of who."""
    challenge = Challenge("bearer", "https://a.example.com/t?x=1", "reg", "repository:x:pull")
    asked = TokenRequest.of(challenge, Login("ann", "s"))
    assert asked.url == "https://a.example.com/t?x=1&service=reg&scope=repository%3Ax%3Apull"
    assert asked.headers == {"Authorization": f"Basic {encoded('ann', 's')}"}
    assert TokenRequest.of(challenge, None).headers == {}
    refresh = TokenRequest.of(challenge, Login("", "identity"))
    assert refresh.method == "POST"
    assert parse_qs(refresh.body.decode())["refresh_token"] == ["identity"]
    assert "identity" not in refresh.url


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"token": 1}', b'{"token": "a\\nb"}', b"[" * 10_000])
def test_an_answer_without_a_token(data):
    """What would be no header is none."""
    with pytest.raises(IntegrityError, match=r"expected JSON with a token"):
        TokenRequest("GET", "https://a.example.com", {}, None).token(data)


@pytest.mark.parametrize("is_known", [True, False])
def test_a_token_is_had_for_what_is_asked(small_registry, catalog, tmp_path, monkeypatch, is_known):
    """Challenge, token, and the same request once more with it; a token that has run out is had anew."""
    registry, tokens = small_registry(), small_registry()
    monkeypatch.setattr(
        "splitplace.distribution.transport.read_login", lambda *place: Login("ann", "s") if is_known else None
    )
    given = []

    def token(method, path, body):
        who = tokens.seen[-1][2].get("Authorization")
        if who != f"Basic {encoded('ann', 's')}":
            return 401, {}, b'{"errors": [{"code": "UNAUTHORIZED", "message": "who?"}]}'
        given.append(path)
        return 200, {}, json.dumps({"token": f"t{len(given)}"}).encode()

    def before(method, path, body):
        if registry.seen[-1][2].get("Authorization") == f"Bearer t{len(given)}" and len(registry.seen) % 7:
            return None
        asked = f'Bearer realm="http://{tokens.host}/token",service="s",scope="repository:team/nets:pull,push"'
        return 401, {"WWW-Authenticate": asked}, b""

    tokens.before, registry.before = token, before
    if not is_known:
        with pytest.raises(UnknownCallerError, match=r"answers 401 UNAUTHORIZED: who\?: log in with"):
            push_to(registry.host, catalog)
        return
    push_to(registry.host, catalog)
    assert pull_from(registry.host, tmp_path / "new").reference == REFERENCE
    assert len(given) > 3
    assert set(given) == {"/token?service=s&scope=repository%3Ateam%2Fnets%3Apull%2Cpush"}


def test_no_password_goes_in_the_clear_to_where_a_registry_here_sends_it(small_registry, catalog, monkeypatch):
    """A registry of this machine, spoken to without TLS, names a place for tokens elsewhere, without TLS too."""
    registry = small_registry()
    monkeypatch.setattr("splitplace.distribution.transport.read_login", lambda *place: Login("ann", "s"))
    asked = 'Bearer realm="http://tokens.example.com/token"'
    registry.before = lambda method, path, body: (401, {"WWW-Authenticate": asked}, b"")
    with pytest.raises(UsageError, match=r"would go unencrypted to 'http://tokens.example.com/token': expected"):
        push_to(registry.host, catalog)
