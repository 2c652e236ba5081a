"""What a machine is to a fleet: its folder, with its key pair and the name that it joined by, and how it joins.

The key pair is made here and never leaves.
"""

import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from splitplace import lock_files
from splitplace.errors import ForbiddenError, NotReadyError, UsageError
from splitplace.files import replace_file
from splitplace.placement.device import joining
from splitplace.placement.protocol.fields import Incarnation, Key
from splitplace.placement.protocol.keys import new_pair
from splitplace.placement.protocol.messages import PROTOCOL
from splitplace.records import formats
from splitplace.records.base import Name, Record
from splitplace.records.formats import Format

log = logging.getLogger(__name__)

JOIN_S = 30.0
"""How long the gate may take to answer a token."""
LOOK_S = 0.1
"""How often it is looked meanwhile whether to go on."""


class Membership(Record):
    """Which device of which fleet this machine is."""

    file_format: ClassVar[Format | None] = formats.MEMBERSHIP
    format: Literal[1] = 1
    gate: joining.GateAddress
    device: Name
    public_key: Key
    secret_key: Annotated[Key, Field(repr=False)]
    sessions: tuple[Incarnation, ...] = ()
    """The latest that this folder has had; none of one that never spoke."""


class _Trial(Record):
    """The key pair that a token is tried with, until it is known whether it was taken."""

    secret: Annotated[str, Field(repr=False)]
    public_key: Key
    secret_key: Annotated[Key, Field(repr=False)]


class MachineFolder:
    """Of this user alone."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.path = folder / "membership.json"
        self._tried = folder / "joining.json"

    def membership(self) -> Membership:
        """Who this machine is.

        Raises:
            UsageError: It has never joined, by what lies in the folder.
        """
        if not self.path.exists():
            raise UsageError(f"{self.folder}: this machine has joined no fleet: join one with a token")
        return Membership.parse(self.path.read_bytes(), str(self.path))

    def is_member(self, token: str) -> bool:
        """Whether this machine is, as far as it knows, a device of the fleet that a token is for."""
        ticket = joining.Ticket.read(token)
        return self.path.exists() and self.membership().gate == joining.GateAddress(
            endpoint=ticket.endpoint, key=ticket.key
        )

    def join(self, token: str, stopping: Callable[[], bool] = lambda: False) -> Membership:
        """Become a device of a fleet, in place of what this folder was before.

        Raises:
            UsageError: No token.
            ForbiddenError: The fleet does not take it.
            NotReadyError: The fleet does not answer, or not before this was to end.
        """
        ticket = joining.Ticket.read(token)
        gate = joining.GateAddress(endpoint=ticket.endpoint, key=ticket.key)
        self.prepare()
        public, secret = self._pair(ticket)
        context, knocking = joining.knock(gate, public, secret)
        try:
            knocking.send(joining.Enrol(protocol=PROTOCOL, secret=ticket.secret).model_dump_json().encode())
            deadline_s = time.monotonic() + JOIN_S
            while not knocking.poll(round(1000 * LOOK_S)):
                if stopping():
                    raise NotReadyError(f"told to end before {gate.endpoint} answered: the token may still be good")
                if time.monotonic() >= deadline_s:
                    raise NotReadyError(
                        f"nobody who has the fleet's key answers at {gate.endpoint} within {JOIN_S:.0f} s: is it up, "
                        "and does the network let this machine through?"
                    )
            told = joining.told(knocking.recv_multipart()[0])
        finally:
            knocking.close()
            context.term()
        if isinstance(told, joining.Dismissed) and not told.for_good:
            raise NotReadyError(told.reason)
        if not isinstance(told, joining.Enrolled):
            raise ForbiddenError(told.reason if isinstance(told, joining.Dismissed) else f"the gate said {told.type}")
        found = Membership(gate=gate, device=told.device, public_key=public, secret_key=secret)
        self._write(self.path, found)
        self._tried.unlink(missing_ok=True)
        return found

    def forget(self, member: Membership) -> None:
        """It is no device by this key any more; what it has become by another one meanwhile, it stays."""
        if self.path.exists() and self.membership().public_key == member.public_key:
            self.path.unlink()

    def begin(self, member: Membership, session: Incarnation) -> tuple[Incarnation, ...]:
        """A session begins, in a folder that is claimed; answers those before it, all of which have ended."""
        former = member.sessions[-joining.MAX_FORMER :]
        try:
            if self.path.exists() and self.membership().public_key == member.public_key:
                self._write(self.path, member.model_copy(update={"sessions": (*former, session)}))
        except OSError as error:  # a full disk, say: it is a device all the same
            log.warning("%s: this session is not remembered, so the next is let in later: %s", self.path, error)
        return former

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Be the one process that is this device, on this machine."""
        with lock_files.opened(self.folder / "lock") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise NotReadyError(f"{self.folder}: another process is this device: end that first") from error
            yield

    def prepare(self) -> None:
        """Make the folder.

        Raises:
            UsageError: It is not this user's alone.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = self.folder.stat()
        if about.st_uid != os.geteuid() or about.st_mode & 0o077:
            raise UsageError(f"{self.folder}: others may enter it: chmod 700 it, or name one that is not there yet")

    def _pair(self, ticket: joining.Ticket) -> tuple[str, str]:
        """A key pair for this token: the same if it is tried again, for it may have been taken the first time."""
        if self._tried.exists():
            former = _Trial.parse(self._tried.read_bytes(), str(self._tried))
            if former.secret == ticket.secret:
                return former.public_key, former.secret_key
        public, secret = new_pair()
        self._write(self._tried, _Trial(secret=ticket.secret, public_key=public, secret_key=secret))
        return public, secret

    def _write(self, path: Path, record: Record) -> None:
        replace_file(path, record.model_dump_json())  # in a folder that nobody else may enter
