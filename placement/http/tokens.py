"""The token file: who may call the front door, by name; of each token only its digest is kept.

A token is 256 bits of the system's randomness, so that one round of SHA-256 keeps it from whoever reads the file.
"""

import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, BinaryIO

from pydantic import Field, StringConstraints

from splitplace.errors import ConflictError, NotFoundError, UsageError, explained, of_system, unknown
from splitplace.files import replace_file
from splitplace.records.base import Name, Positive, Record

PREFIX = "sp_"
"""So that a token in a log or a repository is found by what looks for secrets."""
RATE_PER_S = 100.0
"""Requests of a token that states no rate."""


class TokenEntry(Record):
    """One token."""

    name: Name
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    created: str
    rate_per_s: Positive = RATE_PER_S


class TokenFile(Record):
    """All of them."""

    noun = "token file"

    tokens: Annotated[tuple[TokenEntry, ...], Field(max_length=10_000)] = ()
    secret: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    """What the front door signs the names of tasks with: whoever has a token knows its digest, and not this."""


def digest_of(token: str) -> str:
    """By which a token is known."""
    return hashlib.sha256(token.encode()).hexdigest()


@explained()
def read_tokens(path: str | Path) -> TokenFile:
    """The token file as it is.

    Args:
        path: The token file.

    Returns:
        Names, digests and rates (requests a second), and the front door's own secret.

    Raises:
        NotFoundError: There is none.
        UsageError: Others may read or write it.
        IntegrityError: It is no token file.
    """
    path = Path(path)
    try:
        about = path.stat()
        if about.st_mode & 0o077:
            raise UsageError(f"{path}: other users may read it (mode {about.st_mode & 0o777:o}): chmod 600 it")
        return TokenFile.parse(path.read_bytes(), str(path))
    except FileNotFoundError as error:
        raise NotFoundError(
            f"no token file {path}: make one with `splitplace token add NAME --tokens {path}`"
        ) from error
    except OSError as error:
        raise of_system(error) from error


@explained()
def add_token(path: str | Path, name: str, rate_per_s: float = RATE_PER_S) -> str:
    """Make a token, and note its digest; the file is made where there is none.

    Args:
        path: The token file.
        name: Of whoever is to have the token: what the access log and the metrics call him.
        rate_per_s: Requests a second that it may make, and as many at once.

    Returns:
        The token, which nothing keeps.

    Raises:
        ConflictError: The name has one.
        UsageError: No such name or rate can be.
    """
    path = Path(path)
    if not 0 < rate_per_s < float("inf"):
        raise UsageError(f"--rate {rate_per_s}: expected requests a second, above 0")
    with _changing(path):
        before = read_tokens(path) if path.exists() else TokenFile(secret=secrets.token_hex(32))
        if any(entry.name == name for entry in before.tokens):
            raise ConflictError(f"{path} has a token {name!r}: revoke it first, or take another name")
        token = PREFIX + secrets.token_urlsafe(32)
        created = datetime.now(UTC).isoformat(timespec="seconds")
        entry = TokenEntry(name=name, sha256=digest_of(token), created=created, rate_per_s=float(rate_per_s))
        _write(path, before.model_copy(update={"tokens": (*before.tokens, entry)}))
    return token


@explained()
def revoke_token(path: str | Path, name: str) -> None:
    """Take a token away: who has it is refused from the next request on.

    Args:
        path: The token file.
        name: Of who had it.

    Raises:
        NotFoundError: No token of this name.
    """
    path = Path(path)
    read_tokens(path)  # or there is nothing to lock
    with _changing(path):
        before = read_tokens(path)
        left = tuple(entry for entry in before.tokens if entry.name != name)
        if len(left) == len(before.tokens):
            raise unknown("token", name, (entry.name for entry in before.tokens))
        _write(path, before.model_copy(update={"tokens": left}))


@contextmanager
def _changing(path: Path) -> Iterator[None]:
    """One who changes the file at a time: what another one reads and writes meanwhile would bring a revoked token back.

    The file is itself replaced, so that the lock is its folder's, which the kernel releases when a process dies.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _write(path: Path, tokens: TokenFile) -> None:
    def write(file: BinaryIO) -> None:
        os.fchmod(file.fileno(), 0o600)
        file.write(tokens.model_dump_json(indent=2).encode() + b"\n")

    replace_file(path, write)
