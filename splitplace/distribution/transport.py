"""Requests to one registry: TLS, redirections, challenges, bounds, and patience with what is down for a moment.

The base install has no HTTP library, and none is needed: `http.client` streams, and keeps a connection open.
"""

import http.client
import ssl
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from urllib.parse import urljoin, urlsplit

from splitplace.catalog.oci import MAX_JSON_BYTES
from splitplace.distribution.connections import TIMEOUT_S, Clock, RegistryConnection, Response, TlsConnection
from splitplace.distribution.docker_config import read_login
from splitplace.distribution.reference import is_host, is_loopback
from splitplace.distribution.replies import (
    BusyError,
    Reply,
    UnreachableError,
    WholeReply,
    after_s,
    reason,
    refusal,
    shown,
)
from splitplace.distribution.tokens import Challenge, TokenRequest, parse_challenge
from splitplace.errors import NotFoundError, SplitPlaceError, UsageError, of_system

MOST_REDIRECTIONS = 5
_REDIRECTIONS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True)
class Patience:
    """How often and how long is waited for a registry; `sleep` takes seconds."""

    attempts: int = 5
    first_s: float = 0.5
    longest_s: float = 60.0
    sleep: Callable[[float], None] = time.sleep
    then: str = "run the same command again to go on"
    """What comes after it, as the end of a sentence."""

    def wait(self, attempt: int, stated_s: float | None = None) -> None:
        """Before trying once more: as long as the registry says, else twice as long each time."""
        self.sleep(min(self.first_s * 2**attempt if stated_s is None else stated_s, self.longest_s))


class Transport:
    """Speaks with one registry, and with where it redirects to.

    Args:
        host: HOST[:PORT].
        plain_http: Without TLS; if not stated, where the host is this machine and no `ca` is given.
        ca: PEM file of who vouches for the registry's certificate; else those that the system trusts.
        patience: With connections that break and registries that are busy.
        clock: Tells seconds, of which a reply may take only so many.
    """

    def __init__(
        self,
        host: str,
        *,
        plain_http: bool | None = None,
        ca: Path | None = None,
        patience: Patience | None = None,
        clock: Clock = time.monotonic,
    ):
        self.host = host
        self.repository = ""
        """For which credentials are looked up, where they are not the same for the whole host."""
        self.patience = patience or Patience()
        self.clock = clock
        self.plain = (is_loopback(host) and ca is None) if plain_http is None else plain_http
        if self.plain and ca is not None:
            raise UsageError("--ca goes with TLS: leave out --plain-http")
        self.url = f"{'http' if self.plain else 'https'}://{host}"
        self._tls = trusting(ca)
        self._kept: dict[tuple[str, str], RegistryConnection] = {}
        self._authorization = ""
        self._reached = False

    @property
    def reached(self) -> bool:
        """Whether it ever answered: one that did may be waited for."""
        return self._reached

    def close(self) -> None:
        """End the connections."""
        for connection in self._kept.values():
            connection.close()
        self._kept.clear()

    def call(
        self,
        method: str,
        url: str,
        expected: Collection[int],
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        limit: int = MAX_JSON_BYTES,
    ) -> WholeReply:
        """Ask, as often as patience allows, and read the answer whole.

        Raises:
            SplitPlaceError: By cause: unreachable, too large, or a status that is not expected.
        """
        attempt = 0
        while True:
            try:
                with self.exchange(method, url, headers, body) as reply:
                    data = reply.read_whole(limit if reply.status in expected else 2**16)
                    if reply.status in expected:
                        return WholeReply(reply.status, reply.headers, data, reply.url)
                    raise self.refused(method, reply, data)
            except (UnreachableError, BusyError) as error:
                attempt += 1
                stated_s = after_s(error)
                if attempt >= self.patience.attempts or not self._reached or (stated_s or 0) > self.patience.longest_s:
                    raise
                self.patience.wait(attempt - 1, stated_s)

    @contextmanager
    def exchange(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Iterator[Reply]:
        """Ask once; redirections of what only reads are followed, and a challenge is answered once.

        Raises:
            UnreachableError: No connection, or none any more.
            SplitPlaceError: A certificate that is not trusted; no credentials for who asks for some.
        """
        reply = self._ask(method, url, headers, body, self._authorization)
        challenge = parse_challenge(reply.headers.get_all("WWW-Authenticate", [])) if reply.status == 401 else None
        if challenge and urlsplit(reply.url).netloc == self.host:
            self._drop(reply)
            self._authorization = self._answer(challenge)
            reply = self._ask(method, url, headers, body, self._authorization)
        for _ in range(MOST_REDIRECTIONS):
            if reply.status not in _REDIRECTIONS or method not in ("GET", "HEAD"):
                break
            target = self.joined(reply.url, reply.headers.get("Location", ""))
            self._drop(reply)
            reply = self._ask(method, target, headers, body, self._authorization)
        try:
            yield reply
        finally:
            self._drop(reply)

    def joined(self, url: str, location: str) -> str:
        """Where a Location leads; of the registry itself always by the scheme that is spoken with it.

        Raises:
            SplitPlaceError: Nowhere, or from TLS to a place without.
        """
        try:
            target = urljoin(url, location)
            parts = urlsplit(target)
            meant = bool(location) and parts.port != 0 and is_host(parts.netloc)
            meant = meant and target.isascii() and target.isprintable() and " " not in target
        except ValueError:
            meant = False
        if not meant or parts.scheme not in ("http", "https"):
            raise SplitPlaceError(f"{shown(url)}: the registry sends on to {shown(location)!r:.200}: expected a URL")
        if parts.netloc == self.host:  # a registry behind a server that ends TLS may not know that there is one
            return parts._replace(scheme=urlsplit(self.url).scheme).geturl()
        if parts.scheme == "http" and not self.plain:
            raise SplitPlaceError(
                f"{shown(url)}: the registry sends on to {shown(target)!r:.200}, without TLS: not followed"
            )
        return target

    def refused(self, method: str, reply: Reply | WholeReply, data: bytes) -> SplitPlaceError:
        """What a status means, with what the registry says of it, in one line."""
        return refusal(self.host, method, reply, data)

    def _ask(self, method: str, url: str, headers: Mapping[str, str] | None, body: bytes | None, auth: str) -> Reply:
        parts = urlsplit(url)
        place = (parts.scheme, parts.netloc)
        sent = {"User-Agent": "splitplace", **(headers or {})}
        if auth and place == (urlsplit(self.url).scheme, self.host):  # not to whom the registry redirects to
            sent["Authorization"] = auth
        if body is None and method in ("POST", "PUT", "PATCH"):
            body = b""
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        for is_kept in (True, False):
            connection = self._kept.pop(place, None) if is_kept else self._connect(*place)
            if connection is None:
                continue
            try:
                connection.request(method, path, body, sent)
                response = cast(Response, connection.getresponse())
            except ssl.SSLCertVerificationError as error:
                connection.close()
                raise SplitPlaceError(
                    f"{self.url}: the certificate is not trusted ({error.verify_message}): name who vouches for it "
                    "by --ca FILE or SSL_CERT_FILE"
                ) from error
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if is_kept and method in ("GET", "HEAD"):
                    continue  # it may have been closed for being idle
                raise UnreachableError(
                    f"{parts.scheme}://{parts.netloc}: the registry cannot be reached ({reason(error)}): "
                    f"expected one that speaks {parts.scheme} there"
                ) from error
            self._kept[place] = connection
            self._reached = True
            return Reply(url, response)
        raise AssertionError("a fresh connection answers or raises")

    def _connect(self, scheme: str, netloc: str) -> RegistryConnection:
        if scheme == "https":
            connection: RegistryConnection = TlsConnection(netloc, timeout=TIMEOUT_S, context=self._tls)
        else:
            connection = RegistryConnection(netloc, timeout=TIMEOUT_S)
        connection.clock = self.clock
        return connection

    def _drop(self, reply: Reply) -> None:
        """A connection with bytes that nobody read is of no use."""
        if not reply.response.isclosed():
            parts = urlsplit(reply.url)
            connection = self._kept.pop((parts.scheme, parts.netloc), None)
            reply.response.close()
            if connection is not None:
                connection.close()

    def _answer(self, challenge: Challenge) -> str:
        """The Authorization that a challenge asks for; none where nobody is logged in."""
        login = read_login(self.host, self.repository)
        if login and self.plain and not is_loopback(self.host):
            raise UsageError(
                f"{self.url}: the credentials for {self.host} would go out unencrypted: leave out --plain-http"
            )
        if challenge.scheme == "basic":
            return login.basic if login and not login.is_token else ""
        request = TokenRequest.of(challenge, login)
        parts = urlsplit(request.url)
        if parts.scheme != "https" and not (parts.scheme == "http" and self.plain):
            raise SplitPlaceError(f"{self.url}: tokens are to be had at {shown(request.url)!r:.200}: expected https")
        if login and parts.scheme != "https" and not is_loopback(parts.netloc):
            raise UsageError(
                f"{self.url}: the credentials for {self.host} would go unencrypted to {shown(request.url)!r:.200}: "
                "expected a registry whose tokens are to be had by https"
            )
        reply = self._ask(request.method, request.url, request.headers, request.body, "")
        try:
            data = reply.read_whole(2**20)
        finally:
            self._drop(reply)
        if reply.status != 200:
            raise self.refused(request.method, reply, data)
        return f"Bearer {request.token(data)}"


def trusting(ca: Path | None) -> ssl.SSLContext:
    """Whose word is taken for a registry's certificate.

    Raises:
        UsageError: No PEM file of certificates.
    """
    if ca is not None and not ca.is_file():
        raise NotFoundError(f"--ca {ca}: expected a PEM file of certificates")
    try:
        return ssl.create_default_context(cafile=None if ca is None else str(ca))
    except ssl.SSLError as error:
        raise UsageError(f"--ca {ca}: no PEM file of certificates: {error.reason or error}") from error
    except OSError as error:
        raise of_system(error, f"--ca {ca}") from error
