"""Who may be which device of a fleet: keys that are enrolled, invitations that are open, and the fleet's own identity.

Kept in one file of the data folder, for this user alone: the next broker there is the same one to its devices.
"""

import hashlib
import os
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from threading import Lock
from typing import Annotated, BinaryIO, ClassVar, Literal

from pydantic import Field

from splitplace.errors import NotFoundError, UsageError, unknown
from splitplace.files import replace_file
from splitplace.placement.protocol.fields import Key
from splitplace.placement.protocol.keys import new_pair
from splitplace.records import formats
from splitplace.records.base import Name, Positive, Record
from splitplace.records.formats import Format

MAX_OPEN = 1000
"""Invitations that are open at once."""
MAX_VALID_S = 30 * 86_400.0


class Invitation(Record):
    """One machine may become this device, once."""

    device: Name
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Of the secret, which is kept nowhere."""
    expires_s: Positive
    """Since 1970, by the clock of the broker that made it (`steady_clock`)."""
    by_engine: bool = False
    """Whether an engine made it for a machine that it sends for itself; else somebody was given it."""


class RosterFile(Record):
    """As it is kept."""

    file_format: ClassVar[Format | None] = formats.ROSTER
    noun: ClassVar[str | None] = "roster"
    format: Literal[1] = 1
    public_key: Key
    secret_key: Annotated[Key, Field(repr=False)]
    port: Annotated[int, Field(ge=0, lt=2**16)] = 0
    """Where the fleet was joined last, so that who joined then finds it again; 0 before the first time."""
    keys: dict[Name, Key] = Field(default_factory=dict)
    """The public key of each device that has joined."""
    invitations: tuple[Invitation, ...] = ()
    out: tuple[Name, ...] = ()
    """Devices that were revoked, and nobody was invited as since: an engine that finds them does not, either."""


def steady_clock() -> Callable[[], float]:
    """Seconds since 1970 as this machine's clock has them now, and from here on as they pass.

    That the clock is set later, by hand or when a machine without a battery has found the time, neither ends an
    invitation nor makes it last longer. Who comes after a restart goes by the clock as it is then.
    """
    origin_s = time.time() - time.monotonic()
    return lambda: origin_s + time.monotonic()


class Roster:
    """Of one fleet; for any thread.

    Args:
        path: Of its file; made if there is none.
        devices: The names that there may be.
        now_s: The clock of invitations; `steady_clock` if not stated.

    Raises:
        IntegrityError: The file is damaged.
    """

    def __init__(self, path: Path, devices: Iterable[str], now_s: Callable[[], float] | None = None):
        self.path, self.devices, self._now_s, self._lock = path, tuple(devices), now_s or steady_clock(), Lock()
        if path.exists():
            self._file = RosterFile.parse(path.read_bytes(), str(path))
        else:
            public, secret = new_pair()
            self._keep(RosterFile(public_key=public, secret_key=secret))

    @property
    def public_key(self) -> str:
        """The fleet's, which every device holds it to."""
        return self._file.public_key

    @property
    def secret_key(self) -> str:
        """The fleet's."""
        return self._file.secret_key

    @property
    def port(self) -> int:
        """Where it was joined last."""
        return self._file.port

    def listens(self, port: int) -> None:
        """It is joined there now."""
        with self._lock:
            if port != self._file.port:
                self._keep(self._file.model_copy(update={"port": port}))

    @property
    def keys(self) -> Mapping[str, str]:
        """The public key of each device that has joined, those among them whose names the fleet no longer has."""
        return self._file.keys

    def key(self, device: str) -> str | None:
        """Of a device that has joined."""
        return self._file.keys.get(device)

    def device(self, key: str) -> str | None:
        """Which device a key is; one whose name the fleet no longer has is none."""
        return next((name for name, known in self._file.keys.items() if known == key and name in self.devices), None)

    def is_out(self, device: str) -> bool:
        """Whether it was revoked, and nobody was invited as it since."""
        return device in self._file.out

    def is_awaited(self, device: str) -> bool:
        """Whether somebody was given an invitation to be it that is still open."""
        return any(one.device == device and not one.by_engine for one in self._open())

    def invite(self, device: str, valid_s: float, *, by_engine: bool = False) -> str:
        """Let one machine become this device.

        Args:
            device: Its name.
            valid_s: How long.
            by_engine: For a machine that an engine sends for: in place of those that it made before, not of those that
                somebody was given.

        Returns:
            The secret that it has to say.

        Raises:
            NotFoundError: The fleet has no such device.
            UsageError: Too long, or too many are open; or an engine is about to bring back who was put out.
        """
        if device not in self.devices:
            raise unknown("device", device, self.devices)
        if not 0 < valid_s <= MAX_VALID_S:
            raise UsageError(f"an invitation for {valid_s:g} s: expected more than 0 and at most {MAX_VALID_S:.0f}")
        secret = secrets.token_hex(32)
        with self._lock:
            still = tuple(one for one in self._open() if not (by_engine and one.by_engine and one.device == device))
            if len(still) >= MAX_OPEN:
                raise UsageError(f"{len(still)} invitations are open, expected at most {MAX_OPEN}: wait, or revoke")
            new = Invitation(
                device=device, sha256=_hash(secret), expires_s=self._now_s() + valid_s, by_engine=by_engine
            )
            if by_engine and device in self._file.out:
                raise UsageError(f"{device} was put out: invite it first")
            out = tuple(name for name in self._file.out if name != device)
            self._keep(self._file.model_copy(update={"invitations": (*still, new), "out": out}))
        return secret

    def redeem(self, secret: str, key: str) -> str:
        """A machine says the secret of an invitation: its key is that device from now on, and no other is.

        Returns:
            The device.

        Raises:
            NotFoundError: No invitation, or not any more.
        """
        with self._lock:
            still = self._open()
            found = next((one for one in still if one.sha256 == _hash(secret)), None)
            if found is None or found.device not in self.devices:
                raise NotFoundError(
                    "the token was used or revoked, or is too old: ask for another, by `splitplace fleet invite`"
                )
            rest = tuple(one for one in still if one is not found)
            keys = {name: known for name, known in self._file.keys.items() if known != key} | {found.device: key}
            self._keep(self._file.model_copy(update={"keys": keys, "invitations": rest}))
        return found.device

    def revoke(self, device: str) -> str | None:
        """A device's key opens nothing any more, nor does an invitation to be it.

        Returns:
            The key, if it had joined.

        Raises:
            NotFoundError: The fleet has no such device.
        """
        if device not in self.devices:
            raise unknown("device", device, self.devices)
        with self._lock:
            key = self._file.keys.get(device)
            keys = {name: known for name, known in self._file.keys.items() if name != device}
            rest = tuple(one for one in self._open() if one.device != device)
            out = (*(name for name in self._file.out if name != device), device)
            self._keep(self._file.model_copy(update={"keys": keys, "invitations": rest, "out": out}))
        return key

    def _open(self) -> tuple[Invitation, ...]:
        return tuple(one for one in self._file.invitations if one.expires_s > self._now_s())

    def _keep(self, file: RosterFile) -> None:
        """On the disk before anybody acts on it: who was revoked stays so, whatever dies."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(self.path, lambda out: _write(out, file))
        self._file = file


def _write(out: BinaryIO, file: RosterFile) -> None:
    os.fchmod(out.fileno(), 0o600)
    out.write(file.model_dump_json().encode())


def _hash(secret: str) -> str:
    """A secret of 256 random bits needs no salt, and none can be told from another by how long it takes."""
    return hashlib.sha256(secret.encode()).hexdigest()
