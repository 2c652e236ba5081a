"""Requests to one front door, from any thread: over connections that are kept, and again where that may help.

Every request of ours may be sent twice without harm: what asks for a task has an id, under which it is one task.
"""

import http.client
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import Message
from functools import partial
from socket import SHUT_RDWR, socket
from typing import Any

from splitplace.errors import (
    CAUSES,
    ConflictError,
    ContractError,
    ForbiddenError,
    IntegrityError,
    NotFoundError,
    NotReadyError,
    OverloadedError,
    SplitPlaceError,
    TooLargeError,
    TooSlowError,
    UnknownCallerError,
)
from splitplace.placement.remote.address import FrontDoorAddress
from splitplace.placement.remote.time_left import TimedResponse, TimeLeft

ERRORS: dict[int, type[SplitPlaceError]] = {
    CAUSES[error.cause].http_status: error
    for error in (
        ContractError, UnknownCallerError, ForbiddenError, NotFoundError, TooSlowError, ConflictError, TooLargeError,
        OverloadedError, NotReadyError,
    )
}  # fmt: skip
"""What a refusal is raised as, by its status."""
COME_AGAIN = (OverloadedError, NotReadyError)
"""Refusals of this moment: the same request may be taken later."""
NOBODY_BEHIND = (502, 503, 504)
"""What a server between says, in words of its own, while the front door is away."""
TRY_S = 30.0
"""How long a server may be silent before the connection is taken for broken."""
GRACE_S = 1.0
"""How long after its deadline a request may still be under way: what is said at the deadline has a way to go."""
SLOWEST_BYTES_PER_S = 2**16
"""At which an answer whose size is stated may come in: it has that time, too."""
PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0
"""Before a request is sent again over another connection; twice as long each time."""
MOST_BYTES = 2**30 + 2**26
"""Of an answer."""
MOST_LETTERS = 2_000
"""Of a refusal, as it is told."""
NO_WAIT = float("-inf")
"""Until when nothing is asked again."""
KEPT = 64
"""Connections that nobody uses."""


@dataclass(frozen=True)
class RemoteQuestion:
    """One request."""

    method: str
    path: str
    body: Sequence[bytes | memoryview] = ()
    headers: Callable[[], Mapping[str, str]] = dict
    """Asked each time that it is sent."""
    wait_s: float = 0.0
    """That the server may take on purpose."""


@dataclass(frozen=True)
class RemoteAnswer:
    """What was said."""

    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:
        """The body.

        Raises:
            IntegrityError: It is no JSON document.
        """
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise IntegrityError(f"an answer of {len(self.body)} bytes that is no JSON: {error}") from error


@dataclass
class HttpExchange:
    """Asks one front door.

    Args:
        address: Where it is.
        token: Sent with each request; none: without.
        clock: Seconds.
    """

    address: FrontDoorAddress
    token: str | None = None
    clock: Callable[[], float] = time.monotonic
    closing: threading.Event = field(default_factory=threading.Event)
    _locked: threading.Lock = field(default_factory=threading.Lock)
    _idle: list[http.client.HTTPConnection] = field(default_factory=list)
    _busy: set[http.client.HTTPConnection] = field(default_factory=set)

    def ask(self, question: RemoteQuestion, until_s: float) -> RemoteAnswer:
        """The answer to a request, which is sent again until then where the connection breaks or there is no room.

        Args:
            question: It.
            until_s: On the clock; what cannot be tried again before is raised, and what is under way then is given up
                `GRACE_S` later. `NO_WAIT`: it is asked once, and given up as a silent server is.

        Raises:
            SplitPlaceError: It was refused, or nobody answers.
        """
        pause_s = PAUSE_S
        end_s = self.clock() + question.wait_s + TRY_S if until_s == NO_WAIT else until_s + GRACE_S
        while True:
            try:
                answer = self._once(question, end_s)
                if answer.status == 200:
                    return answer
                error = self._refusal(answer)
                if not isinstance(error, COME_AGAIN):
                    raise error
                wait_s = _retry_after_s(answer, pause_s)
            except ssl.SSLCertVerificationError as fault:
                why = f"{self.address.url}: its certificate is not trusted: {fault.verify_message}"
                raise ForbiddenError(f"{why}: name who vouches for it with --ca") from fault
            except (OSError, http.client.HTTPException) as fault:
                error, wait_s = self._unreachable(fault), pause_s
            if self.clock() + wait_s > until_s:
                raise error
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            if self.closing.wait(wait_s):
                raise closed()

    def close(self) -> None:
        """Ask no more: whoever waits for an answer is told."""
        self.closing.set()
        with self._locked:
            idle, self._idle = self._idle, []
            busy = tuple(self._busy)
        for connection in idle:
            connection.close()
        for connection in busy:
            with suppress(OSError, AttributeError):  # it has no socket yet, or none any more
                connection.sock.shutdown(SHUT_RDWR)

    def _once(self, question: RemoteQuestion, end_s: float) -> RemoteAnswer:
        while True:
            connection, kept = self._take()
            try:
                return self._over(connection, question, TimeLeft(self.clock, end_s, question.wait_s + TRY_S))
            except (ConnectionError, http.client.BadStatusLine):
                if not kept:
                    raise  # of a kept connection it means that the server ended it while nobody used it
            finally:
                self._put_back(connection)

    def _over(self, connection: http.client.HTTPConnection, question: RemoteQuestion, left: TimeLeft) -> RemoteAnswer:
        try:
            if connection.sock is None:
                connection.timeout = left.seconds()
                connection.connect()
                if self.closing.is_set():  # else `close` saw the socket
                    raise closed()
            connection.sock.settimeout(left.seconds())
            connection.response_class = partial(TimedResponse, left)  # type: ignore[assignment]
            size = sum(len(part) for part in question.body)
            headers = {"content-length": str(size)} if question.method == "POST" else {}
            if self.token is not None:
                headers["authorization"] = f"Bearer {self.token}"
            with suppress(BrokenPipeError, ConnectionResetError):  # it may have said why before it hung up
                path = self.address.path + question.path
                body = _timed(question.body, connection.sock, left) if question.body else None  # of () it made chunks
                connection.request(question.method, path, body, {**headers, **question.headers()})
            response = connection.getresponse()
            if (response.length or 0) > MOST_BYTES:
                raise IntegrityError(f"an answer of {response.length} bytes, expected at most {MOST_BYTES}")
            left.end_s += (response.length or 0) / SLOWEST_BYTES_PER_S
            told = response.read(MOST_BYTES)
            if response.length:
                raise http.client.IncompleteRead(told, response.length)
            if response.will_close or not response.isclosed():
                connection.close()
            return RemoteAnswer(response.status, response.headers, told)
        except BaseException:
            connection.close()
            raise

    def _take(self) -> tuple[http.client.HTTPConnection, bool]:
        """A connection, and whether it was used before."""
        with self._locked:
            if self.closing.is_set():
                raise closed()
            kept = bool(self._idle)
            connection = self._idle.pop() if kept else self._new()
            self._busy.add(connection)
        return connection, kept

    def _new(self) -> http.client.HTTPConnection:
        where = self.address
        if where.tls is None:
            return http.client.HTTPConnection(where.host, where.port)
        return http.client.HTTPSConnection(where.host, where.port, context=where.tls)

    def _put_back(self, connection: http.client.HTTPConnection) -> None:
        with self._locked:
            self._busy.discard(connection)
            if connection.sock is not None and len(self._idle) < KEPT and not self.closing.is_set():
                self._idle.append(connection)
                return
        connection.close()

    def _refusal(self, answer: RemoteAnswer) -> SplitPlaceError:
        try:
            said = " ".join(str(answer.json["error"]).split())[:MOST_LETTERS]
        except (SplitPlaceError, KeyError, TypeError):
            if answer.status in NOBODY_BEHIND:
                return NotReadyError(f"{self.address.url}: status {answer.status}: is `splitplace serve` up behind it?")
            return IntegrityError(f"{self.address.url}: status {answer.status}, and no word of a front door of ours")
        return ERRORS.get(answer.status, SplitPlaceError)(said)

    def _unreachable(self, fault: Exception) -> SplitPlaceError:
        said = getattr(fault, "strerror", None) or str(fault) or type(fault).__name__
        return NotReadyError(f"{self.address.url} does not answer: {said}: is `splitplace serve` up there?")


def _timed(body: Sequence[bytes | memoryview], sock: socket, left: TimeLeft) -> Iterator[bytes | memoryview]:
    """Its pieces, each of which is sent within the time left."""
    for piece in body:
        sock.settimeout(left.seconds())
        yield piece


def closed() -> NotReadyError:
    """Of a client that has left."""
    return NotReadyError("the client was closed")


def _retry_after_s(answer: RemoteAnswer, otherwise: float) -> float:
    """When to come again; 0 states nothing, or a server that says so would be asked without a pause."""
    stated = answer.headers.get("retry-after", "")
    return float(stated if stated.isascii() and stated.isdigit() and len(stated) < 10 else 0) or otherwise
