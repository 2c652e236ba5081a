"""The machines of a fleet that join it: what each is to run, what it says that it runs, and what follows from both.

No socket and no thread is in here: `gate.py` hands in what machines say, the broker what it wants.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Condition
from typing import Literal

from splitplace.errors import SplitPlaceError
from splitplace.placement.device import joining
from splitplace.placement.device.config import DeviceConfig
from splitplace.placement.engines.engine import EngineEvent, Exited, MachineJoined, MachineLeft
from splitplace.placement.engines.roster import Roster
from splitplace.placement.protocol.fields import text

log = logging.getLogger(__name__)

SILENT_S = 3.0
"""Without a word, and a machine counts as silent: its key may then speak for any other session of it."""

Presence = Literal["absent", "silent", "here"]


@dataclass(eq=False)
class _Machine:
    session: int | None = None
    route: bytes = b""
    """Where an answer to what it said last goes."""
    heard_s: float = 0.0
    here: bool = False
    """Whether the broker was told that it joined, and not that it left."""
    wanted: DeviceConfig | None = None
    grace_s: float = 0.0
    """Of what runs and is not wanted."""
    running: int | None = None
    """By its last word."""


class Machines:
    """Of one fleet; for any thread.

    Args:
        roster: Who may be which device.
        wake: Called when something is to be told (`to_tell`).
        now_s: A clock.
    """

    def __init__(self, roster: Roster, wake: Callable[[], None], now_s: Callable[[], float] = time.monotonic):
        self.roster, self._wake, self._now_s = roster, wake, now_s
        self._machines = {device: _Machine() for device in roster.devices}
        self._events: list[EngineEvent] = []
        self._to_tell: list[tuple[bytes, joining.Told]] = []
        self._changed = Condition()

    # What the broker wants.

    def launch(self, config: DeviceConfig) -> None:
        """Have this run on the device's machine, now or when it is there."""
        with self._changed:
            machine = self._machines[config.name]
            machine.wanted = config
            self._tell(config.name)

    def stop(self, device: str, timeout_s: float) -> None:
        """Have nothing run there; returns when nothing does, or nobody says so for `timeout_s`."""
        with self._changed:
            machine = self._machines.get(device)
            if machine is None or (machine.wanted is None and machine.running is None):
                return
            machine.wanted, machine.grace_s = None, max(timeout_s - 1.0, 0.0)
            self._tell(device)
            self._changed.wait_for(lambda: machine.running is None or not self._talks(machine), timeout_s)

    def health(self) -> dict[str, bool]:
        """Of those that were launched: whether their machines say that they run."""
        with self._changed:
            return {
                name: machine.running == machine.wanted.incarnation and self._talks(machine)
                for name, machine in self._machines.items()
                if machine.wanted is not None
            }

    def events(self) -> list[EngineEvent]:
        """What happened since the last call."""
        with self._changed:
            found, self._events = self._events, []
            return found

    def presence(self) -> dict[str, Presence]:
        """Whether each device's machine is there."""
        with self._changed:
            return {
                name: "absent" if not machine.here else "here" if self._talks(machine) else "silent"
                for name, machine in self._machines.items()
            }

    def revoke(self, device: str) -> None:
        """A device is out, and its machine is told so; it may be invited anew.

        Raises:
            NotFoundError: There is none of this name.
        """
        with self._changed:
            self._forget(device, "revoked", self.roster.revoke(device))

    # What machines say.

    def hear(self, route: bytes, key: str, message: joining.Enrol | joining.Here | joining.GoingAway) -> None:
        """Take in what whoever has proven this key says; what to answer is in `to_tell`."""
        with self._changed:
            if isinstance(message, joining.Enrol | joining.Here):
                problem = joining.version_problem(message.protocol)
                if problem:
                    self._to_tell.append((route, joining.Dismissed(reason=problem, for_good=False)))
                    return
            if isinstance(message, joining.Enrol):
                self._enrol(route, key, message)
                return
            device = self.roster.device(key)
            if device is None:
                self._to_tell.append((route, dismissal(self.roster, key)))
            elif isinstance(message, joining.Here):
                self._here(device, route, key, message)
            else:
                self._left(device, "its machine left")
            self._changed.notify_all()

    def to_tell(self) -> list[tuple[bytes, joining.Told]]:
        """What is to be sent, and where, since the last call."""
        with self._changed:
            found, self._to_tell = self._to_tell, []
            return found

    def _enrol(self, route: bytes, key: str, message: joining.Enrol) -> None:
        device = self.roster.device(key)
        if device is None:  # else it says it again, for the answer was lost
            former = dict(self.roster.keys)
            try:
                device = self.roster.redeem(message.secret, key)
            except (SplitPlaceError, OSError) as error:
                self._to_tell.append((route, joining.Dismissed(reason=text(error))))
                return
            self._forget(device, "another machine joined in its place", former.get(device))
            log.info("a machine joined as %s", device)
        self._to_tell.append((route, joining.Enrolled(device=device)))

    def _here(self, device: str, route: bytes, key: str, here: joining.Here) -> None:
        machine = self._machines[device]
        if machine.session != here.session:
            if machine.session is not None and self._talks(machine) and machine.session not in here.former:
                return  # one at a time: it asks again, and is heard when the other one is silent
            if machine.session is not None:
                self._left(device, "its machine began anew")
                machine = self._machines[device]
            machine.session = here.session
        machine.route, machine.heard_s = route, self._now_s()
        if not machine.here:
            machine.here = True
            self._events.append(MachineJoined(device, key))
        machine.running = here.running
        if machine.wanted is not None and here.ended == machine.wanted.incarnation:
            self._exited(device, here.reason)
        self._tell(device)

    def _tell(self, device: str) -> None:
        machine = self._machines[device]
        if machine.session is None:
            return
        wanted, config = machine.wanted, ""
        if wanted is not None and wanted.incarnation != machine.running:
            config = wanted.model_dump_json()
        told = joining.Wanted(
            incarnation=None if wanted is None else wanted.incarnation, config=config, grace_s=machine.grace_s
        )
        self._to_tell.append((machine.route, told))
        self._wake()

    def _exited(self, device: str, reason: str) -> None:
        self._machines[device].wanted = None
        self._events.append(Exited(device, reason))

    def _left(self, device: str, reason: str, revoked: bool = False) -> None:
        """Told of one that is away as well, if it is revoked: its key is let go of everywhere."""
        machine = self._machines[device]
        if machine.here or revoked:
            self._events.append(MachineLeft(device, reason, revoked))
        self._machines[device] = _Machine()

    def _forget(self, device: str, reason: str, key: str | None) -> None:
        """Whoever was this device, if anybody was, by this key, is so no more."""
        machine = self._machines[device]
        if machine.route:
            self._to_tell.append((machine.route, joining.Dismissed(reason=reason)))
            self._wake()
        self._left(device, reason, revoked=key is not None)
        self._changed.notify_all()

    def _talks(self, machine: _Machine) -> bool:
        return machine.session is not None and self._now_s() - machine.heard_s < SILENT_S


def dismissal(roster: Roster, key: str) -> joining.Dismissed:
    """What to say to a key that is no device of the fleet; one that was enrolled may be so again, by its fleet file."""
    name = next((name for name, known in roster.keys.items() if known == key), None)
    if name is not None:
        reason = f"the fleet file names no device {name} at present: this machine keeps its key, for when it does again"
        return joining.Dismissed(reason=reason, for_good=False)
    return joining.Dismissed(
        reason="this machine is none of this fleet's: it was revoked, or another one joined in its place"
    )
