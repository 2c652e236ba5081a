"""Requests that nobody thought of: 0 tracebacks, no 5xx but 503, an answer to each, nothing held afterwards.

The long form of this is `splitplace bench requests`, against a front door in a process of its own.
"""

import gzip
import http.client
import json
import os
import socket
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from splitplace.benchmarks.requests_described import document
from splitplace.placement.http.guard import EVENTS
from splitplace.placement.http.routes import TABLE

FEW, EXAMPLES = 100, int(os.environ.get("EXAMPLES", 300))
"""Requests of a test in the fast tests, and in all."""
PATIENCE_S = 240.0
VALID = {
    "id": "",
    "inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, 1, 2, 2], "data": [0, 1, 2, 200]}],
    "outputs": [{"name": "logits", "parameters": {"binary_data": True, "classification": 2}}],
    "parameters": {"deadline_s": 5.0, "late": True, "binary_data_output": False},
}
ODD = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 1e308, 1e-320, "", "x", "x" * 300, "\x00", "\ud7ff", [],
    {}, [[]], [None], {"a": {}},
    "UINT8", "FP32", "BYTES", "image", "logits", [1, 1, 2, 2], [2**62, 2**62], [-1], [0], 0.5,
)  # fmt: skip
often = pytest.mark.parametrize("examples", [FEW, pytest.param(EXAMPLES, marks=pytest.mark.slow)])


def tried(examples):
    """The settings of so many, the same in every run."""
    return settings(
        max_examples=examples, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip


def places(value, here=()):
    """Every path into a document."""
    yield here
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in pairs:
        yield from places(below, (*here, key))


@st.composite
def requests(draw):
    """A valid request with some of its values replaced, left out or put beside."""
    document = json.loads(json.dumps(VALID))
    for _ in range(draw(st.integers(0, 3))):
        found = list(places(document))[1:]
        if not found:
            break
        *above, last = draw(st.sampled_from(found))
        parent = document
        for step in above:
            parent = parent[step]
        odd = json.loads(json.dumps(draw(st.sampled_from(ODD))))
        match draw(st.integers(0, 3)):
            case 0 if isinstance(parent, dict):
                del parent[last]
            case 1 if isinstance(parent, dict):
                parent[
                    draw(st.sampled_from(["binary_data_size", "shared_memory_region", "classification", "more"]))
                ] = odd
            case _:
                parent[last] = odd
    return json.dumps(document).encode()


bodies = st.one_of(
    requests(),
    st.tuples(requests(), st.binary(max_size=40)).map(b"".join),
    requests().map(gzip.compress),
    requests().flatmap(lambda text: st.integers(0, len(text)).map(lambda cut: text[:cut])),
    st.binary(max_size=100),
    st.sampled_from([b"", b"{}", b"[]", b"null", b"[" * 5000, b'{"ready": true}', b'{"parameters": {"a": 1}}']),
)
words = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=";,"), min_size=1, max_size=20)
headers = st.fixed_dictionaries(
    {},
    optional={
        "inference-header-content-length": st.one_of(st.integers(-2, 400).map(str), words),
        "content-encoding": st.sampled_from(["gzip", "deflate", "br", "identity", "GZIP", "x"]),
        "accept-encoding": st.sampled_from(["gzip", "deflate", "*", "gzip;q=0", "x;q=y"]),
        "content-type": st.sampled_from(
            ["application/json", "multipart/form-data; boundary=x", "multipart/form-data", "x"]
        ),
        "authorization": words,
        "origin": st.sampled_from(["http://localhost", "https://evil.example", "null", "x"]),
        "expect": st.just("100-continue"),
        "x-" + "y" * 20: words,
    },
)


@st.composite
def paths(draw):
    """A route with its names filled in, or something else."""
    name = st.sampled_from(
        ["pixels", "pixels", "pixels", "nobody", "%00", "..", "1", "0", "-1", "%F0%9F%98%80", "x" * 200]
    )
    path = draw(st.sampled_from([path for _, path, _ in TABLE] + ["/", "/v2/", "/v3", "/v2/models"]))
    while "{" in path:
        path = path[: path.index("{")] + draw(name) + path[path.index("}") + 1 :]
    query = st.sampled_from(["", "", "?wait_s=0", "?wait_s=x", "?binary=true", "?%", "?a=b&a=c"])
    return path + draw(query)


@pytest.fixture
def quiet(door, caplog):
    """A front door that has nothing to be sorry for, and holds nothing, when the test is over."""
    yield door
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
    assert door.ask("GET", "/v2/health/live").status == 200
    end_s = time.monotonic() + PATIENCE_S
    while door.service.coming._held:  # of who hung up it is given back when that is heard of
        assert time.monotonic() < end_s, "it holds what came in"
        time.sleep(0.01)


@often
def test_requests_by_any_route(quiet, pixels, examples):
    """Each is answered: with what was asked for, or why not."""
    connection = http.client.HTTPConnection("127.0.0.1", quiet.port, timeout=PATIENCE_S)

    @tried(examples)
    @given(
        st.sampled_from(["GET", "POST", "POST", "POST", "DELETE", "PUT", "HEAD", "OPTIONS"]), paths(), bodies, headers
    )
    def ask(method, path, body, stated):
        connection.request(method, path, body, stated)
        answer = connection.getresponse()
        if method == "GET" and answer.getheader("content-type", "").startswith("text/event-stream"):
            assert answer.readline()
            connection.close()  # it would go on for ever
            return
        said = answer.read()
        assert answer.status < 500 or answer.status == 503
        if answer.status >= 400 and method != "HEAD":
            assert set(json.loads(said)) == {"error"} and json.loads(said)["error"]
        quiet.service.unloaded.clear()

    ask()
    connection.close()


@pytest.fixture(scope="module")
def operations():
    """What our description has, as Schemathesis asks for it; it takes as long to import as torch, so not at the top."""
    from schemathesis import openapi

    return [found.ok() for found in openapi.from_dict(document("pixels")).get_all_operations()]


def test_every_route_is_described(operations):
    """So that the tool below makes requests of all of them, but of the one whose answer never ends."""
    described = {(operation.method.upper(), operation.path) for operation in operations}
    assert described == {(method, path) for method, path, _ in TABLE if path != EVENTS}


@often
@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_requests_by_our_description(quiet, operations, mode, examples):
    """Schemathesis makes them: by the description, and against it where it asks for anything."""
    from schemathesis import GenerationMode

    asking = [each for each in operations if mode == "positive" or each.body or each.query]

    @tried(examples // 2)
    @given(st.one_of([operation.as_strategy(generation_mode=GenerationMode(mode)) for operation in asking]))
    def ask(case):
        answer = case.call(base_url=quiet.url, timeout=PATIENCE_S)
        assert answer.status_code < 500 or answer.status_code == 503
        if answer.status_code >= 400:
            assert set(answer.json()) == {"error"} and answer.json()["error"]
        quiet.service.unloaded.clear()

    ask()


@often
def test_infer_requests(quiet, broker, examples):
    """Of the one route that computes: answered by the protocol, or refused before anybody is asked."""
    connection = http.client.HTTPConnection("127.0.0.1", quiet.port, timeout=PATIENCE_S)

    @tried(examples)
    @given(bodies, headers.map(lambda found: {name: value for name, value in found.items() if name != "origin"}))
    def ask(body, stated):
        before = len(broker.tasks)
        connection.request("POST", "/v2/models/pixels/infer", body, stated)
        answer = connection.getresponse()
        said = answer.read()
        assert answer.status in (200, 400, 409, 413) or (answer.status == 503 and b"deadline had passed" in said)
        assert answer.status == 200 or len(broker.tasks) == before

    ask()
    connection.close()


@often
def test_bytes_that_are_hardly_http(quiet, examples):
    """A valid request with bytes cut, put in and replaced; the connection is answered or ended."""
    text = json.dumps(VALID).encode()
    head = (
        b"POST /v2/models/pixels/infer HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
    )
    whole = head % len(text) + text

    @tried(examples)
    @given(st.integers(0, len(whole) - 1), st.integers(0, 20), st.binary(max_size=20))
    def ask(at, cut, other):
        with socket.create_connection(("127.0.0.1", quiet.port), PATIENCE_S) as guest:
            guest.sendall(whole[:at] + other + whole[at + cut :])
            told = b""
            guest.settimeout(0.05)
            try:
                told = guest.recv(2**16)  # where it has nothing to say yet, it waits for more
                guest.settimeout(PATIENCE_S)
                guest.shutdown(socket.SHUT_WR)
                while piece := guest.recv(2**16):
                    told += piece
            except TimeoutError:
                assert not told
            except OSError:
                pass  # it has ended the connection
        assert not told or told.startswith((b"HTTP/1.1 2", b"HTTP/1.1 4", b"HTTP/1.1 503", b"HTTP/1.1 100"))

    ask()
