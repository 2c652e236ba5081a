"""A named test for each kind of fault that public servers had to fix, and for each bound: refused, and it goes on."""

import gzip
import json
import re
import resource
import ssl
import threading
import time
import zlib

import numpy as np
import pytest

from splitplace.placement.http.connection import BoundedProtocol
from splitplace.placement.http.limits import open_files
from splitplace.placement.http.tokens import add_token
from tests.placement.http.conftest import PATIENCE_S

HEAD = "POST /v2/models/pixels/infer HTTP/1.1\r\nhost: localhost\r\n"


@pytest.fixture(autouse=True)
def it_goes_on(request):
    """After each test, whoever asks is answered, and nothing has failed inside."""
    caplog = request.getfixturevalue("caplog")
    yield
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


def said(told):
    """Status and error of what a connection was told."""
    head, _, body = told.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]


# What public servers had to fix.


def test_chunk_count(front, hear, broker):
    """A body of one-byte chunks without end costs more than its bytes: ended after so many."""
    door = front(chunks=50)
    guest = door.raw((HEAD + "transfer-encoding: chunked\r\n\r\n").encode() + b"1\r\n \r\n" * 49)
    guest.sendall(b"1\r\n \r\n" * 20)
    status, error = said(hear(guest))
    assert status == 400 and "more than 50 chunks" in error and not broker.tasks
    assert door.ask("GET", "/v2").status == 200


def test_chunked_bodies_are_taken(door, image, hear):
    """In pieces of any size, as many as may be."""
    body = json.dumps({"inputs": [image]}).encode()
    pieces = [body[i : i + 7] for i in range(0, len(body), 7)]
    data = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    guest = door.raw((HEAD + "connection: close\r\ntransfer-encoding: chunked\r\n\r\n").encode() + data)
    assert hear(guest).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_decompression_bomb(front, coding):
    """100 MB in 100 KB: refused when the bound is reached, with no more than that in memory."""
    door = front(body_bytes=10**6)
    data = gzip.compress(bytes(10**8), 6) if coding == "gzip" else zlib.compress(bytes(10**8), 6)
    assert len(data) < 10**6
    refused = door.infer(data, Content_Encoding=coding)
    assert refused.status == 413 and "more than 1000000 bytes when it is decompressed" in refused.error
    while door.service.coming._held:  # it is given back when the answer is on its way
        time.sleep(0.01)


def test_decompressed_bytes_count_for_all_requests(front):
    """What comes in is bounded over all requests, as it is when it is decompressed."""
    refused = front(coming_bytes=10**6).infer(gzip.compress(bytes(10**7), 6), Content_Encoding="gzip")
    assert refused.status == 429 and "of 1000000 bytes" in refused.error and refused.headers["retry-after"]


@pytest.mark.parametrize(
    "data",
    [b"no gzip", gzip.compress(b"{}")[:-3], gzip.compress(b"{}") + b"x", gzip.compress(b"{}") * 2, b""],
    ids=["no gzip", "cut off", "with a byte behind it", "twice", "nothing"],  # of the bytes, which hold the time, none
)
def test_streams_that_are_none(door, data):
    """No gzip, half of one, something behind it, two of them, nothing."""
    refused = door.infer(data, Content_Encoding="gzip")
    assert refused.status == 400 and "gzip" in refused.error


def test_codings_that_are_none(door):
    """Another one, or two."""
    for coding in ("br", "gzip, gzip", "x" * 500):
        assert "expected gzip or deflate" in door.infer(b"{}", Content_Encoding=coding).error


@pytest.mark.parametrize("text", [b"[" * 10**5, b'{"inputs":' * 10**5, b'{"inputs": [{"data": ' + b"[" * 10**5])
def test_deep_json(door, text):
    """Nested without end: no stack is lost over it."""
    refused = door.infer(text)
    assert refused.status == 400 and "recursion" in refused.error


@pytest.mark.parametrize(
    "shape", [[2**62, 2**62], [2**63 - 1] * 16, [2**32, 2**32, 0], [2**64], [-1, 4], [1.5], [True]]
)
@pytest.mark.parametrize("binary", [True, False])
def test_overflow_of_element_count(door, image, shape, binary, broker):
    """Products beyond 64 bits, zero among them, negative and broken sizes: no product wraps round to one that fits."""
    changed = image | {"shape": shape}
    if binary:
        del changed["data"]
        changed["parameters"] = {"binary_data_size": 4}
    refused = door.infer({"inputs": [changed]}, b"1234" if binary else b"")
    assert refused.status == 400 and refused.error and not broker.tasks


@pytest.mark.parametrize("size", [-1, 5, 2**63, 2**64 + 4, 4.0, "4", True, None])
def test_overflow_of_byte_size(door, image, size, broker):
    """Sizes beyond what came in, beyond 64 bits, below 0, or no numbers."""
    changed = {name: value for name, value in image.items() if name != "data"} | {
        "parameters": {"binary_data_size": size}
    }
    refused = door.infer({"inputs": [changed]}, b"1234")
    assert refused.status == 400 and not broker.tasks


@pytest.mark.parametrize("size", [3, 8])
def test_bytes_that_are_not_what_the_shape_says(door, image, size):
    """The tensor, what was got, what is expected."""
    changed = {name: value for name, value in image.items() if name != "data"} | {
        "parameters": {"binary_data_size": size}
    }
    refused = door.infer({"inputs": [changed]}, bytes(size))
    assert refused.error == f"input 'image': {size} bytes, expected 4 for UINT8[1, 1, 2, 2]"


@pytest.mark.parametrize("length", ["-1", "100000", "9" * 30, "1e2", "x", "", "+4", "4 4", "0x4"])
def test_header_length_out_of_range(door, image, length):
    """Of the JSON within the body: negative, longer than the body, beyond 64 bits, no number."""
    refused = door.infer(json.dumps({"inputs": [image]}).encode(), Inference_Header_Content_Length=length)
    assert refused.status == 400 and "Inference-Header-Content-Length" in refused.error


def test_header_length_that_cuts_the_json(door, image):
    """What is before it is no JSON then."""
    refused = door.infer(json.dumps({"inputs": [image]}).encode(), Inference_Header_Content_Length="7")
    assert refused.status == 400 and "not a request of the protocol" in refused.error


def test_too_many_outputs(door, image, broker):
    """More than a model can have, whatever they are called; and one twice."""
    for outputs in ([{"name": "logits"}] * 9, [{"name": f"o{i}"} for i in range(5000)], [{"name": "logits"}] * 2):
        refused = door.infer({"inputs": [image], "outputs": outputs})
        assert refused.status == 400 and not broker.tasks


def test_disconnect_in_the_middle(door, image, images, broker):
    """Of the headers, of the body, of a chunk, of the answer: nobody is asked, or the task is taken back."""
    body = json.dumps({"inputs": [image]}).encode()
    for data in (
        HEAD[:30].encode(),
        (HEAD + "content-length: 1000\r\n\r\n").encode() + body[:50],
        (HEAD + "transfer-encoding: chunked\r\n\r\n").encode() + b"ff\r\n" + body[:50],
    ):
        door.raw(data).close()
    assert door.ask("GET", "/v2").status == 200 and not broker.tasks
    x = images(400_000)  # 6 MB of answer, of which some bytes are read
    leaving = door.raw(f"{HEAD}content-length: {x.nbytes}\r\ninference-header-content-length: 0\r\n\r\n".encode())
    leaving.sendall(x.tobytes())
    assert leaving.recv(100).startswith(b"HTTP/1.1 200")
    leaving.close()
    while door.service.coming._held or door.service.metrics.under_way._value.get() > 0:
        time.sleep(0.01)


@pytest.mark.parametrize("count", ["3", 1.5, -1, True, 2**63, None])
def test_wrong_dtype_for_classification(door, image, count, broker):
    """How many classes is a whole number; a huge one is as many as there are."""
    refused = door.infer({"inputs": [image], "outputs": [{"name": "logits", "parameters": {"classification": count}}]})
    assert refused.status == (200 if count == 2**63 else 400)
    assert count == 2**63 or ("classification" in refused.error and not broker.tasks)


def test_reused_id(door, image):
    """Never run twice, and never another's answer."""
    assert door.infer({"inputs": [image], "id": "a"}).status == 200
    assert door.infer({"inputs": [image | {"data": [1, 1, 1, 1]}], "id": "a"}).status == 409


# The bounds.


def test_a_body_beyond_the_bound_is_refused_before_it_is_sent(front, hear):
    """By its Content-Length: whoever sends it hears why, at once."""
    guest = front(body_bytes=1000).raw((HEAD + "content-length: 100000000000\r\n\r\n").encode())
    status, error = said(hear(guest))
    assert status == 413 and "100000000000 bytes, expected at most 1000" in error


def test_a_client_that_waits_for_a_word_is_not_told_to_send_what_is_refused(front, hear):
    """`Expect: 100-continue`, as curl has it for large bodies: the refusal comes before the body."""
    guest = front(body_bytes=1000).raw((HEAD + "content-length: 2000\r\nexpect: 100-continue\r\n\r\n").encode())
    told = hear(guest)
    assert told.startswith(b"HTTP/1.1 413") and b"100 Continue" not in told


def test_a_body_that_nobody_asked_for_is_waited_for_a_moment(front, hear):
    """The answer is there before it: where it comes, the next request is heard; where it does not, that is the end."""
    head, told = b" HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n", b""
    with front(still_s=1000.0).raw(b"GET /v2" + head + b"xx") as guest:
        while not told.endswith(b"}"):
            told += guest.recv(2**16)
        guest.sendall(b"yyyyyyyyGET /v2/health/live" + head)
        assert guest.recv(2**16).startswith(b"HTTP/1.1 200")
    assert hear(front(still_s=0.1).raw(b"GET /v2/health/live" + head)).startswith(b"HTTP/1.1 200")


def test_a_body_that_is_longer_than_it_may_be(front, hear):
    """Chunked, it is ended at the bound; a client that sends on first hears why."""
    door = front(body_bytes=1000)
    refused = door.ask("POST", "/v2/models/pixels/infer", bytes(50_000))
    assert refused.status == 413
    guest = door.raw(
        (HEAD + "connection: close\r\ntransfer-encoding: chunked\r\n\r\n").encode()
        + (b"7d0\r\n" + bytes(2000) + b"\r\n0\r\n\r\n")
    )
    assert said(hear(guest))[0] == 413


def test_json_beyond_its_bound(front, image):
    """Large tensors are binary."""
    refused = front(json_bytes=1000).infer({"inputs": [image | {"data": [1] * 1000}]})
    assert refused.status == 413 and "send tensors as binary data" in refused.error


@pytest.mark.parametrize("head", ["x-long: " + "y" * 3000, "\r\n".join(f"x-{i}: y" for i in range(500)), "x" * 3000])
def test_headers_beyond_their_bound(front, hear, head):
    """One that is too long, too many, one that never ends: 431."""
    door = front(head_bytes=2000)
    guest = door.raw(f"GET /v2 HTTP/1.1\r\nhost: localhost\r\n{head}".encode())
    status, error = said(hear(guest))
    assert status == 431 and "more than 2000 bytes" in error
    assert door.ask("GET", "/v2").status == 200


def test_a_path_beyond_the_bound(front, hear):
    """It counts among the headers."""
    guest = front(head_bytes=2000).raw(b"GET /" + b"x" * 3000 + b" HTTP/1.1\r\nhost: localhost\r\n\r\n")
    assert said(hear(guest))[0] == 431


def test_headers_that_take_their_time(front, hear, monkeypatch):
    """A byte now and then: 408 after so long; a connection that says nothing is ended without a word."""
    have_spoken, connection_made = threading.Event(), BoundedProtocol.connection_made

    def made(protocol, transport):  # however long a client is held up between its connecting and its first words
        have_spoken.wait(PATIENCE_S)
        connection_made(protocol, transport)

    monkeypatch.setattr(BoundedProtocol, "connection_made", made)
    door = front(head_s=0.2)
    slow, silent = door.raw(b"GET /v2 HTTP/1.1\r\nhos"), door.raw()
    have_spoken.set()
    assert said(hear(slow))[0] == 408
    assert hear(silent) == b""


def test_a_body_that_takes_its_time(front, hear, broker):
    """Still for too long, or too long in all: 408, and nobody is asked."""
    head = (HEAD + "content-length: 1000\r\n\r\n").encode()
    assert said(hear(front(still_s=0.2).raw(head + b"{")))[0] == 408
    door = front(body_s=0.3)
    guest = door.raw(head)
    ended = threading.Event()

    def drip():
        while not ended.wait(0.05):
            try:
                guest.sendall(b" ")
            except OSError:
                return

    dripping = threading.Thread(target=drip)
    dripping.start()
    status, error = said(hear(guest))
    ended.set()
    dripping.join()
    assert status == 408 and "send it faster" in error and not broker.tasks


def test_an_answer_that_nobody_reads(front, broker, images):
    """The connection is ended; what it held is given back."""
    broker.at_once = True
    door = front(send_s=0.3)
    x = images(400_000)
    head = f"{HEAD}content-length: {x.nbytes}\r\ninference-header-content-length: 0\r\n\r\n"
    guest = door.raw()
    guest.setsockopt(1, 8, 4096)  # SO_RCVBUF: the 6 MB of the answer find no room
    guest.sendall(head.encode() + x.tobytes())
    assert broker.until(lambda: broker.tasks)
    while door.service.metrics.under_way._value.get() > 0:
        time.sleep(0.01)
    assert door.ask("GET", "/v2").status == 200


@pytest.mark.parametrize(
    ("allowed", "most", "asked", "connections"),
    [
        (64, 64, None, 32),
        (1024, 524_288, 4000, 2000),
        (1024, 2048, 2048, 1024),
        (4096, 4096, None, 2000),
        (1024, resource.RLIM_INFINITY, 4000, 2000),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, None, 2000),
    ],
)
def test_connections_take_no_more_than_half_of_the_open_files(monkeypatch, allowed, most, asked, connections):
    """Strangers who only connect leave the fleet its own; more are asked for where they may be had."""
    told = list[tuple[int, int]]()
    monkeypatch.setattr(resource, "getrlimit", lambda which: (allowed, most))
    monkeypatch.setattr(resource, "setrlimit", lambda which, limits: told.append(limits))
    assert open_files(2000) == connections
    assert told == ([] if asked is None else [(asked, most)])


@pytest.mark.parametrize("by", ["limits", "files"])
def test_more_connections_than_may_be(front, hear, monkeypatch, by):
    """One more is ended at once; those that are here are answered."""
    if by == "files":
        monkeypatch.setattr(resource, "getrlimit", lambda which: (4, 4))
    door = front(connections=2) if by == "limits" else front()
    here = [door.raw() for _ in range(2)]
    for guest in here:
        guest.sendall(b"GET /v2/health/live HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert guest.recv(100).startswith(b"HTTP/1.1 200")
    assert hear(door.raw(b"GET /v2 HTTP/1.1\r\nhost: localhost\r\n\r\n")) == b""
    for guest in here:
        guest.close()
    while True:
        try:
            assert door.ask("GET", "/v2").status == 200
            break
        except ConnectionError:  # their ends have not been heard of
            time.sleep(0.01)


def test_connections_count_before_their_handshake(front, hear, certificate):
    """Who says nothing at all takes one of as many as may be, over TLS as well: one more is ended at once."""
    door = front(certificate=certificate, connections=2, head_s=1000.0)
    silent = [door.raw() for _ in range(2)]
    assert hear(door.raw()) == b""
    trusted = ssl.create_default_context(cafile=certificate.chain)
    silent.pop().close()
    while True:
        try:
            with trusted.wrap_socket(door.raw(), server_hostname="127.0.0.1") as guest:
                guest.sendall(b"GET /v2/health/live HTTP/1.1\r\nhost: localhost\r\n\r\n")
                assert guest.recv(100).startswith(b"HTTP/1.1 200")
            break
        except (ConnectionError, ssl.SSLEOFError):  # of the other's end was not heard yet
            time.sleep(0.01)


def test_a_handshake_has_as_long_as_headers(front, hear, certificate):
    """Whoever never begins it, or begins it and says no more, is ended."""
    door = front(certificate=certificate, head_s=0.2)
    assert hear(door.raw()) == hear(door.raw(b"\x16\x03\x01\x02\x00\x01")) == b""


@pytest.mark.parametrize("path", ["/dashboard/login", "/v2/models/pixels/infer"])
def test_who_has_shown_no_token_takes_no_place_of_those_who_have(front, tmp_path, path):
    """However slowly he sends what he sends: of those who have one, there may be so many."""
    token = add_token(tmp_path / "tokens.json", "ann")
    door = front(tokens=tmp_path / "tokens.json", requests=1, form_s=1000.0, still_s=1000.0)
    slow = door.raw(f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n".encode())
    is_form = path.startswith("/dashboard")
    while is_form and door.service.metrics.under_way._value.get() < 1:
        time.sleep(0.01)
    assert door.ask("GET", "/v2", authorization=f"Bearer {token}").status == 200
    if is_form:
        slow.sendall(b"x" * 100)
    assert int(slow.recv(100).split()[1]) == 401


def test_the_form_for_a_token_takes_no_longer_than_it_may(front, hear, tmp_path):
    """Seconds, where what has shown its token has minutes."""
    add_token(tmp_path / "tokens.json", "ann")
    guest = front(tokens=tmp_path / "tokens.json", form_s=0.2).raw(
        b"POST /dashboard/login HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\ntoken="
    )
    assert said(hear(guest))[0] == 408


@pytest.mark.parametrize(
    "data",
    [b"no http at all\r\n\r\n",
     b"\x16\x03\x01" + bytes(50), b"GET /\xff\xfe HTTP/1.1\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
     (HEAD + "content-length: 4\r\ncontent-length: 5\r\n\r\n{}{}").encode(),
     (HEAD + "content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n{}{}").encode(),
     (HEAD + "content-length: -4\r\n\r\n{}{}").encode(),
     (HEAD + "transfer-encoding: chunked\r\n\r\nzz\r\n").encode()],
)  # fmt: skip
def test_what_is_no_http(door, hear, data, broker):
    """Another protocol, two lengths, no length, a chunk without a size: 400, and the connection ends."""
    told = hear(door.raw(data))
    assert re.match(rb"HTTP/1.1 400 ", told) and said(told)[1] and not broker.tasks


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"datatype": "FP32"}, "FP32[1, 1, 2, 2], expected UINT8[batch, 1, 2, 2]"),
        ({"datatype": "BYTES"}, "datatype 'BYTES', expected one of BOOL"),
        ({"datatype": "BF16"}, "datatype 'BF16'"),
        ({"shape": [2, 1, 2, 2]}, "4 elements, expected 8"),
        ({"shape": [4]}, "UINT8[4], expected UINT8[batch, 1, 2, 2]"),
        ({"data": [0, 1, 2, 256]}, "a value beyond 0 to 255"),
        ({"data": [0, 1, 2, -1]}, "a value beyond 0 to 255"),
        ({"data": [0, 1, 2, 2**70]}, "expected UINT8"),
        ({"data": [0, 1, 2, 0.5]}, "its data is numbers, expected UINT8"),
        ({"data": ["0", "1", "2", "3"]}, "its data is text"),
        ({"data": [0, 1, 2, None]}, "of several kinds"),
        ({"data": [[0, 1], [2]]}, "3 elements, expected 4"),
        ({"data": [[0, 1, 1], [2]]}, "no array of numbers"),
        ({"data": [[0, 1, 1], 2]}, "lists and numbers side by side"),
        ({"data": [0, 1, 1, [2]]}, "no array of numbers"),
        ({"data": {}}, "inputs.0.data"),
        ({"name": "other"}, "inputs other, expected image"),
        ({"parameters": {"binary_data_size": 4}}, "expected either data or a binary_data_size"),
        ({"parameters": {"shared_memory_region": "r"}}, "no shared memory"),
        ({"more": 1}, "inputs.0.more"),
    ],
)
def test_tensors_that_are_not_by_the_contract(door, image, change, message, broker):
    """400 with the tensor, what was got and what is expected."""
    refused = door.infer({"inputs": [image | change]})
    assert refused.status == 400 and message in refused.error and not broker.tasks


@pytest.mark.parametrize(
    ("request_", "message"),
    [(b"", "not a request"), (b"[]", "not a request"), (b"{}", "inputs"),
     ({"inputs": []}, "inputs none, expected image"),
     ({"inputs": 3}, "inputs"), (b"\xff", "not a request"), (b'{"inputs": [], "inputs": [NaN]}', "inputs"),
     ({"inputs": [], "id": 7}, "id"), ({"inputs": [], "id": "x" * 300}, "id"), ({"inputs": [], "more": 1}, "more")],
)  # fmt: skip
def test_requests_that_are_none(door, request_, message):
    """400 with the place."""
    refused = door.infer(request_)
    assert refused.status == 400 and message in refused.error


def test_a_batch_of_nothing(door, image, broker):
    """At least one image."""
    refused = door.infer({"inputs": [image | {"shape": [0, 1, 2, 2], "data": []}]})
    assert refused.status == 400 and "expected at least one" in refused.error


def test_bytes_behind_the_last_tensor(door, image):
    """Nobody knows what they are."""
    assert "1 bytes behind the last tensor" in door.infer({"inputs": [image]}, b"x").error


def test_infinite_pixels(front, broker, pixels):
    """Of a model that takes floats: NaN and infinity are no image, in either form."""
    fragment = pixels.fragments[0]
    floats = fragment.inputs[0].model_copy(update={"dtype": "float32"})
    door = front()
    edge = pixels.edges[0].model_copy(update={"bytes_per_sample": 16})
    told = pixels.model_dump() | {"fragments": (fragment.model_copy(update={"inputs": (floats,)}),), "edges": (edge,)}
    changed = type(pixels).model_validate(told | {"merge": pixels.merge})
    door.service._applications = lambda: {"pixels": changed}
    for value in (np.nan, np.inf):
        data = np.full(4, value, "<f4").tobytes()
        refused = door.ask("POST", "/v2/models/pixels/infer", data, Inference_Header_Content_Length="0")
        assert refused.status == 400 and "NaN or infinite" in refused.error
    huge = {"name": "image", "datatype": "FP32", "shape": [1, 1, 2, 2], "data": [1e300, 0.5, 1, 2]}
    assert "NaN or infinite" in door.infer({"inputs": [huge]}).error


def test_a_fault_of_ours_is_told_as_one(door, monkeypatch, caplog):
    """500 without a traceback; the log has it."""
    monkeypatch.setattr(door.service, "splits", None)
    failed = door.ask("GET", "/v2/models/pixels")
    assert failed.status == 500 and failed.error == "the front door failed: its log has why"
    assert "TypeError" in caplog.text
    caplog.clear()
