"""Where a front door is and what shows who asks: a URL, a bearer token, and whose word is taken for the certificate."""

import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from splitplace.children import TOKEN_VARIABLE
from splitplace.errors import NotFoundError, UsageError, of_system
from splitplace.placement.http.guard import is_loopback

MOST_TOKEN_BYTES = 4096


@dataclass(frozen=True)
class FrontDoorAddress:
    """Of one front door."""

    host: str
    port: int
    path: str
    """Before every path that is asked for; empty where the door is not behind another server."""
    tls: ssl.SSLContext | None

    @property
    def url(self) -> str:
        """As one reads it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'http' if self.tls is None else 'https'}://{host}:{self.port}{self.path}"


def read_address(url: str, ca: str | Path | None, token: str | None) -> FrontDoorAddress:
    """A URL as it is dialled.

    Args:
        url: http://HOST:PORT, or https.
        ca: PEM file of the certificates that vouch for the server's; none: those that the system has.
        token: That is to be sent.

    Raises:
        UsageError: It is no such URL; a token would go out in the clear; or the PEM file is none.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        host.encode("idna")
        url.encode("ascii")
    except ValueError as error:
        raise UsageError(f"--url {url!r:.200}: no URL: expected http://HOST:PORT or https://HOST:PORT") from error
    beside = parts.username is not None or parts.query or parts.fragment
    if parts.scheme not in ("http", "https") or not host or beside or any(letter <= " " for letter in url):
        raise UsageError(f"--url {url!r:.200}: expected http://HOST:PORT or https://HOST:PORT")
    if parts.scheme == "http":
        if ca is not None:
            raise UsageError(f"--ca goes with https, got --url {url:.200}")
        if token is not None and not is_loopback(host):
            raise UsageError(f"--url {url:.200}: a token would go out unencrypted: give an https URL")
    tls = _trusting(ca) if parts.scheme == "https" else None
    return FrontDoorAddress(host, port or (80 if tls is None else 443), parts.path.rstrip("/"), tls)


def _trusting(ca: str | Path | None) -> ssl.SSLContext:
    if ca is not None:
        _check_file("--ca", Path(ca))
    try:
        return ssl.create_default_context(cafile=None if ca is None else str(ca))
    except ssl.SSLError as error:
        raise UsageError(f"--ca {ca}: no PEM file of certificates: {error.reason or error}") from error
    except OSError as error:
        raise of_system(error, f"--ca {ca}") from error


def read_token(token: str | None, token_file: str | Path | None) -> str | None:
    """The token: as it is given, what the file holds, or else what the environment does.

    Raises:
        UsageError: Both are given, others may read the file, or it holds no token.
        NotFoundError: There is no such file.
    """
    if token is not None and token_file is not None:
        raise UsageError("token and token_file: expected one of them")
    where = "token"
    if token_file is not None:
        token, where = _in_file(Path(token_file)), f"--token-file {token_file}"
    elif token is None:
        token, where = os.environ.get(TOKEN_VARIABLE), TOKEN_VARIABLE
        if not token:
            return None
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError(f"{where}: no token: expected what `splitplace token add` printed")
    return token


def _check_file(option: str, path: Path) -> None:
    """Refuse what is none: a pipe or a device would be waited for, or read without end."""
    if not path.exists():
        raise NotFoundError(f"{option} {path}: no such file")
    if not path.is_file():
        raise UsageError(f"{option} {path}: no regular file stands there")


def _in_file(path: Path) -> str:
    _check_file("--token-file", path)
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if mode & 0o077:
                raise UsageError(f"--token-file {path}: other users may read it (mode {mode & 0o777:o}): chmod 600 it")
            return file.read(MOST_TOKEN_BYTES).decode("ascii", "replace")
    except OSError as error:
        raise of_system(error, "--token-file") from error
