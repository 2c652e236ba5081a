"""Who may come in: a bearer token of the file, at its rate; or, without a file, programs of this machine alone.

A browser cannot state a token with each request. It hands it in once and has a cookie for it, which opens the dashboard
and no more.
"""

import hashlib
import hmac
import ipaddress
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from splitplace.errors import ForbiddenError, NotFoundError, OverloadedError, SplitPlaceError, UnknownCallerError
from splitplace.placement.http.sessions import Sessions
from splitplace.placement.http.tokens import TokenEntry, digest_of, read_tokens

OPEN = ("/v2/health/live", "/v2/health/ready")
"""What anyone may ask: whether there is a server, and whether it takes work."""
ROOT, PAGE, LOGIN, LOGOUT = "/", "/dashboard", "/dashboard/login", "/dashboard/logout"
LOGIN_FILES = ("/dashboard/style.css", "/dashboard/icon.svg")
"""What the form looks like."""
FREE = (*OPEN, LOGIN, *LOGIN_FILES)
"""What is answered to whoever asks: it takes no place among the requests of those who may come in."""
EVENTS = "/v2/splitplace/events"
"""What the page is told."""


class RateError(OverloadedError):
    """A token beyond its rate."""

    def __init__(self, message: str, retry_after_s: int):
        super().__init__(message)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True)
class Caller:
    """Who asks: the name of his token, empty without; and what his tasks' tickets are made with, unknown to him."""

    name: str = ""
    secret: str = ""

    def ticket(self, task: int) -> str:
        """What a task is called in a path: a number, and for a token the proof that the task is its own."""
        return f"{task}-{self._proof(task)}" if self.secret else str(task)

    def task(self, ticket: str) -> int:
        """The task of a ticket.

        Raises:
            NotFoundError: It is none.
            ForbiddenError: It is another token's.
        """
        number, _, proof = ticket.partition("-")
        if not (number.isascii() and number.isdigit()) or len(number) > 18:
            raise NotFoundError(f"no task {ticket[:60]!r}: expected what the answer to its request called it")
        if self.secret and not hmac.compare_digest(proof.encode(), self._proof(int(number)).encode()):
            raise ForbiddenError(f"task {number} is not of the token {self.name}, or its ticket is not whole")
        return int(number)

    def _proof(self, task: int) -> str:
        return hmac.new(self.secret.encode(), f"task {task}".encode(), hashlib.sha256).hexdigest()[:32]


@dataclass
class _Bucket:
    """What a token may still ask for now; as much as a second's worth is saved up."""

    left: float
    at_s: float


@dataclass
class Guard:
    """Asked with every request; the token file is read again whenever it has changed, so that a revoked token is out.

    Args:
        tokens: The token file; none: whoever reaches the address, which is of this machine then.
        clock: Seconds.
    """

    tokens: Path | None
    clock: Callable[[], float] = time.monotonic
    sessions: Sessions = field(init=False)
    """Of browsers that have handed in a token."""
    _known: dict[str, TokenEntry] = field(default_factory=dict)
    _secret: str = ""
    _version: tuple[int, ...] = ()
    _buckets: dict[str, _Bucket] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sessions = Sessions(self.clock)

    def admit(self, headers: Mapping[str, str], path: str) -> Caller:
        """Who asks, from the headers by their names in small letters.

        Raises:
            UnknownCallerError: No token, or one that is not known any more.
            RateError: The token asks too often.
            ForbiddenError: Without tokens, a page of another site has a browser ask.
        """
        if path in OPEN:
            return Caller()
        if self.tokens is None:
            _check_own(headers)
            return Caller()
        if path in (LOGIN, *LOGIN_FILES):  # what asks for a token, and shows nothing
            return Caller()
        entry = self._entry(self._digest(headers, path))
        if not path.startswith(f"{PAGE}/"):  # of the page's files there are some, and they cost nothing
            self._count(entry)
        return self._caller(entry)

    def begin_session(self, token: str) -> str:
        """What the cookie of a browser that hands in a token is to say.

        Raises:
            UnknownCallerError: The token is not known.
            RateError: It asks too often.
        """
        self._count(self._entry(digest_of(token)))
        return self.sessions.begin(digest_of(token))

    def still_admits(self, headers: Mapping[str, str], path: str) -> bool:
        """Whether who was admitted would be again: his token may have been revoked, his session have ended."""
        if self.tokens is None:
            return True
        try:
            self._entry(self._digest(headers, path))
        except SplitPlaceError:
            return False
        return True

    def _digest(self, headers: Mapping[str, str], path: str) -> str:
        """Of the token that is stated, or that a browser's session stands for."""
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and token.strip():
            return digest_of(token.strip())
        if _by_cookie(path) and (found := self.sessions.digest(headers.get("cookie", ""))) is not None:
            return found
        raise UnknownCallerError("no token, expected the header Authorization: Bearer TOKEN")

    def _caller(self, entry: TokenEntry) -> Caller:
        return Caller(entry.name, hmac.new(self._secret.encode(), entry.sha256.encode(), hashlib.sha256).hexdigest())

    def _entry(self, digest: str) -> TokenEntry:
        """A token of the file."""
        assert self.tokens is not None
        self._read(self.tokens)
        entry = self._known.get(digest)
        if entry is None:
            raise UnknownCallerError("a token that is not known, or was revoked: ask for another one")
        return entry

    def _read(self, path: Path) -> None:
        try:
            about = path.stat()
        except FileNotFoundError:
            raise UnknownCallerError("no token is known here any more: its file is gone") from None
        version = (about.st_mtime_ns, about.st_size, about.st_ino)
        if version != self._version:
            self._known = {}  # whatever is wrong with the file, who was revoked does not come in
            found = read_tokens(path)
            self._known, self._secret = {entry.sha256: entry for entry in found.tokens}, found.secret
            self._version = version

    def _count(self, entry: TokenEntry) -> None:
        now_s, most = self.clock(), max(entry.rate_per_s, 1.0)
        bucket = self._buckets.setdefault(entry.name, _Bucket(most, now_s))
        bucket.left = min(bucket.left + (now_s - bucket.at_s) * entry.rate_per_s, most)
        bucket.at_s = now_s
        if bucket.left < 1.0:
            raise RateError(
                f"token {entry.name}: more than {entry.rate_per_s:g} requests a second: ask more slowly",
                math.ceil((1.0 - bucket.left) / entry.rate_per_s),
            )
        bucket.left -= 1.0


def _by_cookie(path: str) -> bool:
    """Whether a browser's session is enough: to look, and for nothing that does something."""
    return path == ROOT or any(path == place or path.startswith(f"{place}/") for place in (PAGE, EVENTS))


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _check_own(headers: Mapping[str, str]) -> None:
    """A browser runs other sites' pages, which may ask any address of this machine: by name, or by what they send."""
    for name in ("host", "origin"):
        stated = headers.get(name)
        if stated is None:
            continue
        try:
            host = urlsplit(stated if name == "origin" else f"//{stated}").hostname
        except ValueError:
            host = None
        if host is None or not is_loopback(host):
            raise ForbiddenError(
                f"{name.capitalize()} {stated[:100]!r}, expected an address of this machine: use tokens"
            )
    # What a page only shows, as an image, is asked for without an `Origin`; so asked for, the events go on for ever.
    shown = "origin" not in headers and headers.get("sec-fetch-dest") != "document"
    if shown and headers.get("sec-fetch-site") == "cross-site":
        raise ForbiddenError("a part of another site's page, expected what is asked for on this machine: use tokens")
