"""Requests that nobody thought of, each made of a seed and its own number: any one of them can be made again.

Most begin as a valid request to the model `small`; what is done to it is its kind's.

    valid    as the protocol has it: JSON, binary, raw, compressed; the answer is known
    mutated  some values of its document replaced, left out or put beside; then its body, too
    route    any path, method, query, headers and body
    form     image files, whole and damaged, in forms, whole and damaged
    chunked  in pieces, with what may stand between them
    bytes    bytes of a whole request cut, put in and replaced: it may not be HTTP any more
    left     the beginning of one, and then nobody
    grpc     messages of every call, whole and damaged
"""

import copy
import gzip
import io
import json
import random
import zlib
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from splitplace.benchmarks import requests_grpc
from splitplace.benchmarks.requests_parts import (
    HEADER_LENGTH,
    IMAGE_BYTES,
    INFER,
    MODEL,
    OTHER,
    SHAPE,
    GeneratedRequest,
    changed,
    logits_of,
)
from splitplace.placement.http.routes import TABLE

PATIENT_SHARE = 0.005
"""Of requests of changed bytes, those whose client waits for the server's own patience to end."""
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 1e308, 1e-320, float("nan"), float("inf"), "", "x",
    "x" * 300, "\0", "\ud7ff", [], {}, [[]], [None], {"a": {}}, [[[[[]]]]], "UINT8", "FP32", "FP16", "BYTES", "image",
    "logits", "labels", [1, *SHAPE], [2**62, 2**62], [-1], [0], [0, *SHAPE], 0.5, "0", "1024",
)  # fmt: skip
BESIDE = ("binary_data_size", "shared_memory_region", "classification", "labels", "detach", "late", "deadline_s", "x")
NAMES = (MODEL, MODEL, MODEL, "nobody", "%00", "..", "1", "0", "-1", "%F0%9F%98%80", "%ff", "x" * 200, "main.js")
ASKED = (
    *((method, path) for method, path, _ in TABLE),
    *(("GET", path) for path in ("/", "/v2/", "/v3", "/v2/models", "*", "//", "/v2/models//infer")),
)
QUERIES = (
    "", "", "", "?wait_s=0", "?wait_s=0.01", "?wait_s=x", "?wait_s=1e9", "?binary=true", "?classification=2", "?%",
    "?a=b&a=c",
)  # fmt: skip
METHODS = ("GET", "GET", "POST", "POST", "DELETE", "PUT", "HEAD", "OPTIONS", "PATCH", "TRACE")
HEADERS: Mapping[str, tuple[str, ...]] = {
    HEADER_LENGTH: ("0", "-1", "100000", "9" * 30, "1e2", "x", "", "+4", "0x4"),
    "content-encoding": ("gzip", "deflate", "br", "identity", "GZIP", "gzip, gzip", "x" * 300),
    "accept-encoding": ("gzip", "deflate", "*", "gzip;q=0", "x;q=y", "gzip;q=nan", "," * 500),
    "content-type": ("application/json", "multipart/form-data; boundary=x", "multipart/form-data", "x", "text/html"),
    "authorization": ("Bearer x", "Bearer", "Basic eA==", "Bearer " + "x" * 5000),
    "cookie": ("splitplace=x", "=", ";;;", "a=" + "b" * 3000),
    "origin": ("http://localhost", "https://evil.example", "null", "x", "http://[::1"),
    "host": ("localhost", "127.0.0.1", "evil.example", "[::1]", "[::1", ""),
    "expect": ("100-continue", "x"),
    "connection": ("close", "keep-alive", "upgrade", "x"),
    "upgrade": ("websocket", "h2c"),
    "splitplace-elapsed-s": ("0", "1e9", "-1", "nan", "x"),
    "accept": ("text/html", "text/event-stream", "*/*"),
    "x-more": ("y", "y" * 9000, "\t", "\u00e4"),
    "last-event-id": ("7", "x"),
    "range": ("bytes=0-1", "x"),
}


def make(seed: int, number: int) -> GeneratedRequest:
    """The request of this number.

    Args:
        seed: Of the run.
        number: Which.
    """
    rng = random.Random(f"{seed}/{number}")  # noqa: S311 - to be the same again
    (kind,) = rng.choices(list(KINDS), [share for share, _ in KINDS.values()])
    return KINDS[kind][1](rng, number)


def _question(rng: random.Random, number: int) -> tuple[dict[str, Any], bytes, bytes]:
    """A valid request's document, the bytes behind it, and its images."""
    images = rng.randbytes(IMAGE_BYTES * rng.choice((1, 1, 1, 2, 5)))
    tensor: dict[str, Any] = {"name": "image", "datatype": "UINT8", "shape": [len(images) // IMAGE_BYTES, *SHAPE]}
    document: dict[str, Any] = {"inputs": [tensor], "parameters": {"deadline_s": 30.0}}
    tail = images if rng.random() < 0.5 else b""
    if tail:
        tensor["parameters"] = {"binary_data_size": len(images)}
    else:
        tensor["data"] = list(images)
    if rng.random() < 0.5:
        document["outputs"] = [{"name": "logits", "parameters": {"binary_data": rng.random() < 0.5}}]
    if rng.random() < 0.1:
        document["id"] = f"request {number}"
    return document, tail, images


def _compressed(body: bytes, coding: str) -> bytes:
    return gzip.compress(body, 1, mtime=0) if coding == "gzip" else zlib.compress(body, 1)


def _http(path: str, body: bytes, headers: Mapping[str, str], method: str = "POST") -> bytes:
    stated = {"host": "127.0.0.1", "content-length": str(len(body)), **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in stated.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1", "replace") + body


def _valid(rng: random.Random, number: int) -> GeneratedRequest:
    document, tail, images = _question(rng, number)
    if rng.random() < 0.2:
        body, headers = images, {HEADER_LENGTH: "0"}
    else:
        text = json.dumps(document).encode()
        body, headers = text + tail, {HEADER_LENGTH: str(len(text))} if tail else {}
    coding = rng.choice(("", "", "gzip", "deflate"))
    if coding:
        body, headers["content-encoding"] = _compressed(body, coding), coding
    if rng.random() < 0.3:
        headers["accept-encoding"] = rng.choice(("gzip", "deflate"))
    return GeneratedRequest("valid", _http(INFER, body, headers), logits=logits_of(images))


def _places(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every path into a document, but into the many numbers of a tensor."""
    found = [here]
    pairs = value.items() if isinstance(value, dict) else enumerate(value[:8]) if isinstance(value, list) else ()
    for key, below in pairs:
        found += _places(below, (*here, key))
    return found


def _mutate(rng: random.Random, document: dict[str, Any]) -> None:
    places = _places(document)[1:]
    if not places:
        return
    *above, last = rng.choice(places)
    parent: Any = document
    for step in above:
        parent = parent[step]
    odd, what = copy.deepcopy(rng.choice(ODD)), rng.randrange(4)  # the next mutation may change it
    if what == 0 and isinstance(parent, dict):
        del parent[last]
    elif what == 1 and isinstance(parent, dict):
        parent[rng.choice(BESIDE)] = odd
    else:
        parent[last] = odd


def _mutated_body(rng: random.Random, number: int) -> tuple[bytes, dict[str, str]]:
    document, tail, _ = _question(rng, number)
    for _ in range(rng.randint(1, 3)):
        _mutate(rng, document)
    text = json.dumps(document).encode()
    body, headers = text + tail, {HEADER_LENGTH: str(len(text))} if tail else {}
    match rng.randrange(12):
        case 0:
            body += rng.randbytes(rng.randint(1, 40))
        case 1:
            body = body[: rng.randrange(len(body) + 1)]
        case 2:
            headers[HEADER_LENGTH] = str(rng.randint(-2, len(body) + 2))
        case 3:
            coding = rng.choice(("gzip", "deflate"))
            body, headers["content-encoding"] = _compressed(body, coding), coding
        case 4:  # said to be what it is not, or cut off
            packed = _compressed(body, "gzip")
            body, headers["content-encoding"] = packed[: rng.randrange(len(packed))], rng.choice(("gzip", "deflate"))
        case 5:  # a small bomb
            body, headers["content-encoding"] = _compressed(bytes(rng.choice((10**4, 10**6, 10**7))), "gzip"), "gzip"
        case 6:
            body = rng.choice((b"[", b'{"inputs":', b'{"a":[')) * rng.choice((50, 500, 5000))
        case 7:
            body = rng.choice((b"", b"{}", b"[]", b"null", b"\xff", b'{"inputs": [NaN]}', rng.randbytes(100)))
    return body, headers


def _mutated(rng: random.Random, number: int) -> GeneratedRequest:
    body, headers = _mutated_body(rng, number)
    for name in rng.sample(list(HEADERS), rng.choice((0, 0, 0, 1, 2))):
        headers[name] = rng.choice(HEADERS[name])
    return GeneratedRequest("mutated", _http(INFER, body, headers))


def _route(rng: random.Random, number: int) -> GeneratedRequest:
    method, path = rng.choice(ASKED)
    if rng.random() < 0.3:
        method = rng.choice(METHODS)
    while "{" in path:
        name = rng.choice(NAMES)
        if path.endswith("/unload") and name == MODEL:
            name = OTHER
        path = path[: path.index("{")] + name + path[path.index("}") + 1 :]
    headers = {name: rng.choice(HEADERS[name]) for name in rng.sample(list(HEADERS), rng.choice((0, 1, 1, 2, 4)))}
    body = _mutated_body(rng, number)[0] if rng.random() < 0.3 else rng.choice((b"", b"{}", b'{"ready": true}', b"x"))
    return GeneratedRequest("route", _http(path + rng.choice(QUERIES), body, headers, method), method)


@cache
def _pictures() -> tuple[bytes, ...]:
    """Image files of several formats, modes and sizes."""
    from PIL import Image

    found = []
    for kind, mode, size in (
        ("PNG", "L", (32, 32)), ("PNG", "RGBA", (7, 90)), ("PNG", "P", (1, 1)), ("PNG", "I;16", (40, 40)),
        ("JPEG", "RGB", (64, 48)), ("GIF", "P", (32, 32)), ("BMP", "RGB", (20, 20)), ("WEBP", "RGB", (33, 33)),
        ("TIFF", "L", (32, 32)), ("PPM", "RGB", (16, 16)),
    ):  # fmt: skip
        file = io.BytesIO()
        Image.new(mode, size).save(file, kind)
        found.append(file.getvalue())
    return tuple(found)


def _form(rng: random.Random, number: int) -> GeneratedRequest:
    boundary, parts = rng.choice(("x", "-" * 60, "a b", "")), []
    for row in range(rng.choice((0, 1, 1, 1, 2, 5))):
        file = rng.choice(_pictures())
        if rng.random() < 0.5:
            file = changed(rng, file)
        name = rng.choice((f"{row}.png", "", "../../x", "\u00e4", "x" * 500, 'a"b'))
        parts.append((f'name="image"; filename="{name}"', file))
    for _ in range(rng.choice((0, 0, 1, 2, 20))):
        name = rng.choice(("deadline_s", "late", "degrade", "detach", "more", ""))
        parts.append((f'name="{name}"', rng.choice((b"30", b"true", b"x", b"-1", b"nan", b"", b"x" * 5000))))
    body = b"".join(
        f"--{boundary}\r\ncontent-disposition: form-data; {said}\r\n\r\n".encode() + content + b"\r\n"
        for said, content in parts
    )
    body += f"--{boundary}--\r\n".encode()
    if rng.random() < 0.3:
        body = changed(rng, body)
    kind = {"content-type": f"multipart/form-data; boundary={boundary}"} if rng.random() < 0.95 else {}
    return GeneratedRequest("form", _http(f"/v2/splitplace/apps/{MODEL}/classify", body, kind))


def _chunked(rng: random.Random, number: int) -> GeneratedRequest:
    if rng.random() < 0.5:
        document, tail, images = _question(rng, number)
        text, logits = json.dumps(document).encode(), logits_of(images)
        body, headers = text + tail, {HEADER_LENGTH: str(len(text))} if tail else {}
    else:
        (body, headers), logits = _mutated_body(rng, number), b""
    pieces, at = [], 0
    while at < len(body):
        piece = body[at : at + rng.choice((1, 7, 100, 1000, 10**5))]
        extension = rng.choice(("", "", "", ";a=b", ";x"))
        pieces.append(f"{len(piece):{rng.choice('xX')}}{extension}\r\n".encode() + piece + b"\r\n")
        at += len(piece)
    pieces.append(b"0\r\n" + rng.choice((b"", b"", b"x-trailer: y\r\n")) + b"\r\n")
    stated = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"POST {INFER} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n{stated}\r\n"
    return GeneratedRequest("chunked", head.encode() + b"".join(pieces), logits=logits)


def _whole(rng: random.Random, number: int) -> GeneratedRequest:
    return rng.choice((_valid, _mutated, _route, _form, _chunked))(rng, number)


def _bytes(rng: random.Random, number: int) -> GeneratedRequest:
    data = _whole(rng, number).data
    # Most of a request's bytes are of its body; it is by those before it that a connection is read.
    head = data.find(b"\r\n\r\n") + 4
    data = changed(rng, data[:head]) + data[head:] if rng.random() < 0.7 else changed(rng, data)
    return GeneratedRequest("bytes", data, "?", patient=rng.random() < PATIENT_SHARE)


def _left(rng: random.Random, number: int) -> GeneratedRequest:
    data = _whole(rng, number).data
    return GeneratedRequest("left", data[: rng.randint(1, len(data))])


Maker = Callable[[random.Random, int], GeneratedRequest]
KINDS: dict[str, tuple[float, Maker]] = {
    "valid": (0.1, _valid),
    "mutated": (0.3, _mutated),
    "route": (0.25, _route),
    "form": (0.05, _form),
    "chunked": (0.06, _chunked),
    "bytes": (0.14, _bytes),
    "left": (0.05, _left),
    "grpc": (0.05, requests_grpc.any_call),
}
"""Shares of all, and what makes them."""
