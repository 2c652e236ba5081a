"""The bench of generated requests: each is its number's, every kind of fault is seen, and a run of some hundred."""

import asyncio
import io
import json
from collections import Counter
from contextlib import asynccontextmanager

import numpy as np
import pytest

from splitplace import provenance
from splitplace.benchmarks import requests, requests_asked, requests_check, requests_made, requests_parts, serve_models
from splitplace.benchmarks.requests_made import KINDS, make
from splitplace.benchmarks.requests_parts import GeneratedRequest
from splitplace.errors import UsageError
from splitplace.placement.http import codec, models
from splitplace.placement.http.limits import Limits

KIB = b"x" * requests_parts.IMAGE_BYTES


def test_a_request_is_its_numbers():
    """The same again; another of the next number, and of another seed."""
    assert make(1, 7) == make(1, 7)
    assert len({make(seed, number).data for seed in (1, 2) for number in range(50)}) > 90


def test_every_kind_comes_as_often_as_its_share():
    """Of 4,000, within five standard deviations."""
    kinds = Counter(make(3, number).kind for number in range(4000))
    assert sum(share for share, _ in KINDS.values()) == pytest.approx(1)
    for kind, (share, _) in KINDS.items():
        assert abs(kinds[kind] - 4000 * share) < 5 * (4000 * share) ** 0.5


def test_valid_requests_are_valid_and_their_answers_the_models():
    """By the front door's own codec, for every form and coding."""
    served = models.served(serve_models.build("small").split)
    seen = 0
    for number in range(3000):
        made = make(4, number)
        if made.kind != "valid":
            continue
        head, _, body = made.data.partition(b"\r\n\r\n")
        stated = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        assert len(body) == int(stated["content-length"])
        if coding := stated.get("content-encoding"):
            from splitplace.placement.http.compression import decompress

            body = decompress(body, coding, 10**7, lambda size: None)
        question = codec.decode(body, stated.get(requests_parts.HEADER_LENGTH), served, Limits())
        assert serve_models.answer(question.inputs["image"]).tobytes() == made.logits
        seen += 1
    assert seen > 200


# What clients see.


@asynccontextmanager
async def server(talk):
    """On a port of its own, with what each connection is told."""

    async def connected(reader, writer):
        try:
            await talk(reader, writer)
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    made = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with made:
        yield made.sockets[0].getsockname()[1]


def outcomes(monkeypatch, made, said, patience_s=30.0):
    """What becomes of such requests, at a server that says this to each."""
    monkeypatch.setattr(requests_made, "make", lambda seed, number: made)
    monkeypatch.setattr(requests_asked, "PATIENCE_S", patience_s)
    history = io.StringIO()

    async def talk(reader, writer):
        while await reader.read(2**16):
            if said is None:
                await asyncio.sleep(60)
            writer.write(said)
            await writer.drain()
            if not said:
                return

    async def run():
        async with server(talk) as port:
            await requests_asked.RequestAsker(port, "127.0.0.1:9", 1, history).ask(iter(range(2)), 1)

    asyncio.run(run())
    return [json.loads(line)[2] for line in history.getvalue().splitlines()]


def answer(status, body, **headers):
    """As a server says it."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n{lines}\r\n".encode() + body


LOGITS = np.array([120.0] * 4, np.float32).tobytes()
JSON = json.dumps({"outputs": [{"name": "logits", "data": [120.0] * 4}]}).encode()
WHOLE = GeneratedRequest("valid", b"POST", logits=LOGITS)
BROKEN = GeneratedRequest("bytes", b"POST")


@pytest.mark.parametrize(
    ("made", "said", "outcome"),
    [
        (WHOLE, answer(200, JSON), "200"),
        (WHOLE, answer(200, b"{}" + LOGITS, inference_header_content_length=2), "200"),
        (WHOLE, answer(200, JSON.replace(b"120.0", b"121.0", 1)), "wrong"),
        (WHOLE, answer(200, b"{}"), "wrong"),
        (WHOLE, answer(503, b'{"error": "later"}'), "503"),
        (WHOLE, answer(500, b'{"error": "sorry"}'), "500"),
        (WHOLE, answer(500, b"Internal Server Error"), "garbled"),
        (WHOLE, answer(400, b'{"error": ""}'), "garbled"),
        (WHOLE, answer(400, b'{"error": "x", "more": 1}'), "garbled"),
        (WHOLE, b"HTTP/2 200\r\n\r\n", "garbled"),
        (WHOLE, b"HTTP/1.1 200 OK\r\n\r\n", "garbled"),
        (WHOLE, b"", "unanswered"),
        (BROKEN, b"", "ended"),
        (BROKEN, answer(400, b"{}"), "400"),
        (BROKEN, answer(200, b"{}") + answer(502, b"{}"), "502"),
        (BROKEN, b"traceback", "garbled"),
        (GeneratedRequest("left", b"POST"), b"", "left"),
    ],
)
def test_what_clients_see_is_told_apart(monkeypatch, made, said, outcome):
    """Twice, over one connection where it is kept."""
    assert outcomes(monkeypatch, made, said) == [outcome] * 2


def test_a_server_that_says_nothing_hangs(monkeypatch):
    """Told after one's patience, not earlier and not never."""
    assert outcomes(monkeypatch, WHOLE, None, 0.1) == ["hung"] * 2


def test_an_answer_in_pieces_that_never_ends_is_one():
    """Of server-sent events the first is heard, and its connection is used no more."""

    async def read():
        reader = asyncio.StreamReader()
        reader.feed_data(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\ndata\r\n")
        return await requests_asked.read_answer(reader, "GET")

    found = asyncio.run(read())
    assert (found.status, found.body, found.ends) == (200, b"data", True)


# What the files come to.


@pytest.fixture
def checked(tmp_path):
    """What a run is counted as, from what its files hold."""

    def check(asked=(), log="", held=(), described=1):
        lines = [[number, "valid", outcome, 1.0] for number, outcome in enumerate(asked)]
        of_schema = [[number, requests_check.DESCRIBED, "200", 1.0] for number in range(described)]
        for name, rows in (("asked", lines), ("described", of_schema), ("memory", held)):
            (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (tmp_path / "serve.log").write_text(log)
        found = requests_check.check(tmp_path)
        return requests.results_of(found, 0.0, 1.0, len(lines) + described, 1, True, 1)

    return check


def failed(results):
    """The claims that do not hold."""
    return [claim for claim, holds in requests.verdict(results).items() if holds is not True]


LOGGED = '{"at": "x", "status": %d, "seconds": 0.1}\n'


def test_a_run_without_a_fault(checked):
    """Refusals are none, nor is what the server remarks on, nor a status of a document that is no line of the log."""
    held = [[done, {"front": 10**8, "device 0": 10**7}] for done in (1000, 6000, 9000)]
    found = checked(["200", "400", "503", "ended", "left", "OK"], LOGGED % 200 + "a remark\n" + LOGGED % 503, held)
    assert failed(found) == [] and found.logged == {"200": 1, "503": 1} and found.remarks == {"a remark": 1}


@pytest.mark.parametrize(
    ("asked", "log", "claim"),
    [
        (["500"], "", "answers of 5xx but 503: 0"),
        (["UNKNOWN"], "", "answers of 5xx but 503: 0"),
        (["200"], LOGGED % 500, "answers of 5xx but 503: 0"),
        (["200"], "Traceback (most recent call last):\n", "tracebacks in the server's log: 0"),
        (["hung"], "", "requests hanging: 0"),
        (["unanswered"], "", "whole requests without an answer: 0"),
        (["garbled"], "", "answers that are no HTTP, or errors that are not one line of JSON: 0"),
        (["wrong"], "", "valid requests answered otherwise than by the model: 0"),
    ],
)
def test_each_claim_can_fail(checked, asked, log, claim):
    """By what the clients or the log say."""
    assert failed(checked(asked, log)) == [claim]


def test_memory_is_held_against_what_was_held_when_warm(checked):
    """The rise before that is none, nor a peak in the middle; what stays is, of all processes together."""
    begin = [[100, {"front": 10**6}], *([5000 + row, {"front": 10**8, "device": 10**8}] for row in range(10))]
    peak = [[9000, {"front": 10**9, "device": 10**8}]]
    end = [[20000 + row, {"front": 10**8, "device": 10**8}] for row in range(10)]
    assert failed(checked(["200"], held=[*begin, *peak, *end])) == []
    more = [[20000 + row, {"front": 10**8 + 2**25, "device": 10**8 + 2**25 + 1}] for row in range(10)]
    found = checked(["200"], held=[*begin, *peak, *more])
    assert failed(found) == ["memory grows by at most 64 MiB"] and found.growth_bytes == 2**26 + 1
    assert [(one.process, one.first_bytes) for one in found.memory] == [("front", 10**8), ("device", 10**8)]
    assert found.memory[0].peak_bytes == 10**9


def test_what_was_not_made_is_said(checked):
    """Too few requests; none of Schemathesis'; a server that is not there in the end."""
    found = checked(["200"], described=0)
    assert requests.verdict(found)["Schemathesis' requests among them"] == "not run"
    few = found.model_copy(update={"count": 2, "lived": False, "provenance": provenance.collect(1)})
    assert failed(few)[:1] == ["requests made: 2"] and "the same server is ready at the end" in failed(few)


@pytest.mark.slow
def test_a_short_run(tmp_path, monkeypatch):
    """A real front door, 1,500 requests of every kind, Schemathesis' among them: no fault; the file says it."""
    monkeypatch.setattr(requests, "GROWTH_BYTES", 2**40)  # within seconds one sample would be held against another
    file = tmp_path / "requests.json"
    found = requests.run(file, tmp_path / "work", 1500, 0.1, 16, 1, lambda said: None)
    assert failed(found) == [], found
    assert {cell.kind for cell in found.cells} == {*KINDS, requests_check.DESCRIBED}
    assert found.described == 150 and found.made == 1500
    section = requests.section(file.read_bytes(), file)
    assert set(section.verdict.values()) == {"holds"} and len(section.tables[0]) == len(KINDS) + 1


def test_a_folder_that_is_none_of_its_runs_is_left_alone(tmp_path):
    """Refused by name."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("x")
    with pytest.raises(UsageError, match="no run of this bench"):
        requests.run(tmp_path / "requests.json", tmp_path, 10, 0.0, 1, 1, lambda said: None)
    assert (tmp_path / "run" / "thesis.txt").exists()
