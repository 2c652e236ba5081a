"""Many connections, each with one generated request after another, and what became of each, in a file.

A line is [number, kind, outcome, milliseconds]. The outcome is the answer's status, over gRPC by its name; or

    ended       the connection was, and no answer came; of changed bytes that is one
    left        its client hung up, as it was to do
    hung        nothing came in `PATIENCE_S`
    unanswered  the connection ended before the answer, or there was none to be had
    garbled     what came is no HTTP, or an error that is not {"error": "why"}
    wrong       another answer than the model's
"""

import asyncio
import json
import re
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TextIO

import grpc
import grpc.aio
import numpy as np

from splitplace.benchmarks import requests_made
from splitplace.benchmarks.requests_parts import HEADER_LENGTH, GeneratedRequest
from splitplace.placement.grpc.protocol import message

PATIENCE_S = 60.0
"""Longer than any bound of the front door's that a generated request may run into."""
MOMENT_S = 0.2
"""How long one waits for a word about changed bytes, before it says that this was all."""
HEAD_BYTES = 2**20
ENDED, LEFT, HUNG, UNANSWERED, GARBLED, WRONG = "ended", "left", "hung", "unanswered", "garbled", "wrong"
STATUS = re.compile(rb"HTTP/1\.1 ([1-5]\d\d)(?: [^\r\n]*)?\r\n")


class GarbledError(Exception):
    """What came is not what a server says."""


@dataclass(frozen=True)
class HttpAnswer:
    """What came back over HTTP."""

    status: int
    headers: dict[str, str]
    body: bytes
    ends: bool
    """Whether its connection is of no more use."""


class RequestAsker:
    """Asks generated requests of one server.

    Args:
        port: Of this machine, for HTTP.
        address: For gRPC.
        seed: Of the requests.
        history: Where each is written down.
    """

    def __init__(self, port: int, address: str, seed: int, history: TextIO):
        self._port, self._address, self._seed, self._history = port, address, seed, history
        self.done = 0

    async def ask(self, numbers: Iterator[int], connections: int) -> None:
        """Those of these numbers, so many at once."""
        async with grpc.aio.insecure_channel(self._address) as channel:
            await asyncio.gather(*(self._ask_some(numbers, channel) for _ in range(connections)))

    async def _ask_some(self, numbers: Iterator[int], channel: Any) -> None:
        kept = KeptConnection(self._port)
        for number in numbers:
            made = requests_made.make(self._seed, number)
            begun_s = time.perf_counter()
            try:
                async with asyncio.timeout(PATIENCE_S):
                    outcome = await self._outcome(made, kept, channel)
            except TimeoutError:
                kept.drop()
                outcome = HUNG
            except GarbledError:
                kept.drop()
                outcome = GARBLED
            except (OSError, EOFError):
                kept.drop()
                outcome = UNANSWERED
            took_ms = round(1e3 * (time.perf_counter() - begun_s), 1)
            self._history.write(json.dumps([number, made.kind, outcome, took_ms]) + "\n")
            self.done += 1
        kept.drop()

    async def _outcome(self, made: GeneratedRequest, kept: "KeptConnection", channel: Any) -> str:
        if made.kind == "grpc":
            return await _over_grpc(made, channel)
        if made.kind in ("bytes", "left"):
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=HEAD_BYTES)
            try:
                return await (_bytes if made.kind == "bytes" else _leave)(made, reader, writer)
            finally:
                writer.transport.abort()
        answer = await kept.ask(made)
        return _judged(made, answer)


class KeptConnection:
    """One connection that goes on from request to request, for as long as the server keeps it.

    Args:
        port: Of this machine.
    """

    def __init__(self, port: int):
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, made: GeneratedRequest) -> HttpAnswer:
        """One request, and its answer.

        Raises:
            OSError: The connection broke, or there was none to be had.
            EOFError: It ended in the middle of the answer.
            GarbledError: What came is no answer.
        """
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=HEAD_BYTES)
        reader, writer = self._streams
        writer.write(made.data)
        with suppress(ConnectionError):  # an answer that came before all was said is there all the same
            await writer.drain()
        answer = await read_answer(reader, made.method)
        if answer.ends:
            self.drop()
        return answer

    def drop(self) -> None:
        """The next request takes another one."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None


async def read_answer(reader: asyncio.StreamReader, method: str) -> HttpAnswer:
    """One answer of a connection; of one that never ends, its first piece.

    Args:
        reader: The connection.
        method: That was asked with.

    Raises:
        EOFError: The connection ended before.
        GarbledError: It is no HTTP.
    """
    while True:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError as error:
            raise GarbledError from error
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise GarbledError from error
            raise
        found = STATUS.match(head)
        if found is None:
            raise GarbledError(head[:100])
        status = int(found[1])
        if status >= 200:
            break
    headers: dict[str, str] = {}
    for line in head[found.end() : -4].decode("latin-1").split("\r\n"):
        name, colon, value = line.partition(":")
        if line and not colon:
            raise GarbledError(line[:100])
        headers[name.strip().lower()] = value.strip()
    ends = headers.get("connection", "").lower() == "close"
    if method == "HEAD" or status in (204, 304):
        return HttpAnswer(status, headers, b"", ends)
    try:
        if "content-length" in headers:
            return HttpAnswer(status, headers, await reader.readexactly(int(headers["content-length"])), ends)
        if headers.get("transfer-encoding") != "chunked":
            raise GarbledError("an answer of no length")
        first = await reader.readexactly(int(await reader.readline(), 16))
    except ValueError as error:
        raise GarbledError from error
    return HttpAnswer(status, headers, first, True)


def _judged(made: GeneratedRequest, answer: HttpAnswer) -> str:
    if answer.status >= 400 and made.method != "HEAD":
        check_error(answer)
    if made.logits and answer.status == 200 and not _right(made, answer):
        return WRONG
    return str(answer.status)


def check_error(answer: HttpAnswer) -> None:
    """Hold an error against its form.

    Raises:
        GarbledError: It is not {"error": "why"}.
    """
    try:
        told = json.loads(answer.body)
    except ValueError as error:
        raise GarbledError(answer.body[:100]) from error
    if not isinstance(told, dict) or set(told) != {"error"} or not isinstance(told["error"], str) or not told["error"]:
        raise GarbledError(answer.body[:100])


def _right(made: GeneratedRequest, answer: HttpAnswer) -> bool:
    """Whether the logits are the model's, in whichever form they came."""
    body, coding = answer.body, answer.headers.get("content-encoding", "")
    try:
        if coding:
            body = zlib.decompress(body, 16 + zlib.MAX_WBITS if coding == "gzip" else zlib.MAX_WBITS)
        stated = answer.headers.get(HEADER_LENGTH)
        if stated is not None:
            json.loads(body[: int(stated)])
            return body[int(stated) :] == made.logits
        (output,) = json.loads(body)["outputs"]
        return np.array(output["data"], np.float32).tobytes() == made.logits
    except (ValueError, KeyError, TypeError, zlib.error):
        return False


async def _bytes(made: GeneratedRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    """Say them; where nothing is said to that for a moment, say that it was all; then hear whatever is said."""
    told = b""
    with suppress(ConnectionError):
        writer.write(made.data)
        await writer.drain()
        if made.patient:
            told = await reader.read(2**16)
        else:
            with suppress(TimeoutError):
                async with asyncio.timeout(MOMENT_S):
                    told = await reader.read(2**16)
        writer.write_eof()
        while piece := await reader.read(2**16):
            told += piece
    if not told:
        return ENDED
    found = STATUS.match(told)
    if found is None:
        raise GarbledError(told[:100])
    # Each of several answers counts; the worst is told.
    worst: str = max((status.decode() for status in STATUS.findall(told)), key=int)
    return worst


async def _leave(made: GeneratedRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    with suppress(ConnectionError):
        writer.write(made.data)
        await writer.drain()
    return LEFT


async def _over_grpc(made: GeneratedRequest, channel: Any) -> str:
    """A call of one message; of a stream of answers, the first.

    The message goes out with the call: else a client whose call is refused meanwhile makes an error of its own of it.
    """
    streams = made.path.endswith("/ModelStreamInfer")
    kind = channel.unary_stream if streams else channel.unary_unary
    call = kind(made.path)(made.data, timeout=PATIENCE_S, metadata=made.metadata)
    try:
        answers = [one async for one in call] if streams else [await call]
    except grpc.aio.AioRpcError as error:
        status = error.code()
        return HUNG if status is grpc.StatusCode.DEADLINE_EXCEEDED else str(status.name)
    if not made.logits:
        return "OK"
    if not answers:
        return UNANSWERED
    if streams:
        told = message("ModelStreamInferResponse").FromString(answers[0]).infer_response
    else:
        told = message("ModelInferResponse").FromString(answers[0])
    logits = b"".join(told.raw_output_contents)
    return "OK" if bytes(logits) == made.logits else WRONG
