"""What a registry answers: read within bounds, and what is no answer, or a refusal, told in one line."""

import http.client
import json
import re
import time
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

from splitplace.distribution.connections import DrippingError, Response
from splitplace.errors import (
    ForbiddenError,
    NotFoundError,
    NotReadyError,
    OverloadedError,
    SplitPlaceError,
    TooLargeError,
    UnknownCallerError,
)

_BUSY = frozenset({429, 500, 502, 503, 504})


class UnreachableError(NotReadyError):
    """A connection that could not be made, or that ended too early: what was asked may be asked again."""


class SlowError(UnreachableError):
    """A reply that was too slow; more of the same is no progress."""


class BusyError(OverloadedError):
    """A registry that takes no more just now; `after_s` is when it says it will, in seconds."""

    after_s: float | None = None


def after_s(error: SplitPlaceError) -> float | None:
    """When a registry that is busy says it will not be."""
    return error.after_s if isinstance(error, BusyError) else None


@dataclass(frozen=True)
class WholeReply:
    """An answer that was read to its end."""

    status: int
    headers: http.client.HTTPMessage
    data: bytes
    url: str


@dataclass
class Reply:
    """An answer that is being read."""

    url: str
    response: Response
    left: int | None = field(init=False)

    def __post_init__(self) -> None:
        self.left = self.response.length  # none stated: to the end of the connection, or in chunks that say when

    @property
    def status(self) -> int:
        """By HTTP."""
        return self.response.status

    @property
    def headers(self) -> http.client.HTTPMessage:
        """Their names in any case."""
        return self.response.headers

    def read(self, most: int) -> bytes:
        """Some bytes, none at the end.

        Raises:
            UnreachableError: The end came before what was stated, or nothing for too long.
            SlowError: Not that, but all in all too little.
        """
        try:
            data = self.response.read1(most)  # what is there, so that time is looked at between
            if self.response.length == 0:
                self.response.read()  # so that the connection is free for the next request
        except (OSError, http.client.HTTPException) as error:
            kind = SlowError if isinstance(error, DrippingError) else UnreachableError
            raise kind(f"{shown(self.url)}: the connection ended in the middle ({reason(error)})") from error
        left_of_chunk = getattr(self.response, "chunk_left", None)
        if isinstance(left_of_chunk, int) and left_of_chunk < 0:
            raise SplitPlaceError(f"{shown(self.url)}: the registry states a chunk of a negative size: expected HTTP")
        if self.left is not None:
            self.left -= len(data)
            if not data and self.left > 0:
                raise UnreachableError(f"{shown(self.url)}: the connection ended {self.left} bytes too early")
        return data

    def read_whole(self, limit: int) -> bytes:
        """All of it.

        Raises:
            TooLargeError: More than `limit` bytes, stated or sent.
            UnreachableError: As `read`.
        """
        found = bytearray()
        if (self.left or 0) <= limit:
            while piece := self.read(min(limit + 1 - len(found), 2**20)):
                found += piece
                if len(found) > limit:
                    break
            else:
                return bytes(found)
        size = f"{self.left} bytes" if not found else f"more than {limit} bytes"
        raise TooLargeError(
            f"{shown(self.url)}: the registry answers with {size}, expected at most {limit}: nothing was kept"
        )


def refusal(host: str, method: str, reply: Reply | WholeReply, data: bytes) -> SplitPlaceError:
    """What a status means, with what the registry says of it, in one line."""
    said = f"{method} {shown(reply.url)}: the registry answers {reply.status}{_message(data)}"
    if reply.status == 401:
        return UnknownCallerError(f"{said}: log in with `docker login {host}` or `podman login {host}`")
    if reply.status == 403:
        return ForbiddenError(f"{said}: whoever is logged in at {host} may not do this: ask for the right to")
    if reply.status == 404:
        return NotFoundError(f"{said}: expected a repository, tag or digest that is there")
    if reply.status in _BUSY:
        stated_s = _after_s(reply.headers.get("Retry-After", ""))
        when = "later" if stated_s is None else f"in {stated_s:.0f} s"
        error = BusyError(f"{said}: the registry is busy or broken: try again {when}")
        error.after_s = stated_s
        return error
    return SplitPlaceError(f"{said}: not what the distribution specification has")


def shown(url: str) -> str:
    """A URL as messages have it: what stands behind the ?, or before an @, may be a key to it."""
    return re.sub(r"//[^/]*@", "//", url.partition("?")[0])


def reason(error: Exception) -> str:
    """Why something failed, by the system's word."""
    strerror = getattr(error, "strerror", None)
    return str(strerror or error or type(error).__name__)[:200]


def _message(data: bytes) -> str:
    """What a registry says went wrong, if it says so as the specification has it."""
    try:
        first = json.loads(data)["errors"][0]
        said = f" {first.get('code', '')}: {first.get('message', '')}"
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return ""
    return "".join(letter if letter.isprintable() else " " for letter in said)[:200]


def _after_s(stated: str) -> float | None:
    if stated.isascii() and stated.isdecimal():
        return float(stated[:9])
    try:
        return max(parsedate_to_datetime(stated).timestamp() - time.time(), 0.0)
    except (ValueError, TypeError, OverflowError):
        return None
