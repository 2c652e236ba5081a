"""What runs on a device's machine: joins the fleet, and keeps one device runtime there as the fleet wants it.

All that is remembered lies in one folder (`membership.py`), beside the fragments that it was given.
"""

import logging
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import zmq

from splitplace.distribution.docker_config import VARIABLES
from splitplace.errors import ContractError, ForbiddenError, NotReadyError, of_system
from splitplace.placement.device import joining
from splitplace.placement.device.config import DeviceConfig
from splitplace.placement.engines.engine import Exited
from splitplace.placement.engines.local import LocalEngine
from splitplace.placement.engines.membership import MachineFolder, Membership
from splitplace.placement.protocol.fields import text
from splitplace.placement.protocol.incarnations import draw_incarnation
from splitplace.placement.protocol.keys import CurveAccess
from splitplace.placement.protocol.messages import PROTOCOL

log = logging.getLogger(__name__)

LOOK_S = 0.1
"""How often it is looked whether the device has ended."""
SILENT_S = 4.0
"""Without a word of the fleet, and whoever watches is told."""
STOP_S = 2.0
"""How long the device may take to end when this machine leaves."""
ORPHAN_S = 60.0
"""Without a word of the fleet, and what runs here is ended: the next broker would not know it."""


class Agent:
    """Of one device.

    Args:
        folder: For what is remembered and kept; of this user alone.
        catalog: Folder of a layout that has fragments already; what it has not, the broker gives.
        host: Address of this machine where the fleet's others find it; the one that leads to the broker if not stated.
    """

    def __init__(self, folder: Path, catalog: Path | None = None, host: str | None = None):
        self.folder, self._catalog, self._host = folder, catalog, host
        self.home = MachineFolder(folder)
        self._engine = LocalEngine(VARIABLES)
        self._session = draw_incarnation()
        self._former: tuple[int, ...] = ()
        self._running: int | None = None
        self._ended: int | None = None
        self._reason = ""
        self._stopping = threading.Event()

    def join(self, token: str) -> Membership:
        """Become a device of a fleet, as `MachineFolder.join`; `stop` ends it."""
        return self.home.join(token, self._stopping.is_set)

    # While it is a device.

    def stop(self) -> None:
        """Have `serve` return; from any thread or signal handler."""
        self._stopping.set()

    def serve(self, told: Callable[[str], None] = log.info, joined: Callable[[str], None] = log.info) -> None:
        """Keep the device as the fleet wants it, until told to stop; whatever becomes of the broker meanwhile.

        Args:
            told: Is told what changes, a line each.
            joined: Is told which device this machine is, when the fleet answers for the first time.

        Raises:
            UsageError: This machine has joined no fleet.
            ForbiddenError: The fleet has put it out.
            NotReadyError: Another process is this device already, or the fleet is of another version.
        """
        self.home.prepare()
        with self.home.claimed():
            member = self.home.membership()
            self._former = self.home.begin(member, self._session)
            self._serve(member, told, joined)

    def _serve(self, member: Membership, told: Callable[[str], None], joined: Callable[[str], None]) -> None:
        context, gate = joining.knock(member.gate, member.public_key, member.secret_key)
        heard_s, say_s, answered, known = time.monotonic(), 0.0, False, False
        try:
            while not self._stopping.is_set():
                if self._look() or time.monotonic() >= say_s:
                    say_s = time.monotonic() + joining.EVERY_S
                    _say(gate, self._here())
                while gate.poll(round(LOOK_S * 1000)):
                    heard_s = time.monotonic()
                    if self._heed(member, joining.told(gate.recv_multipart()[0])):
                        say_s = 0.0
                    if not known:
                        joined(member.device)
                    elif not answered:
                        told(f"the fleet at {member.gate.endpoint} answers again")
                    known = answered = True
                silent_s = time.monotonic() - heard_s
                if answered and silent_s > SILENT_S:
                    told(f"the fleet at {member.gate.endpoint} does not answer: knocking on")
                    answered = False
                if silent_s > ORPHAN_S:
                    self._end(member.device, 0.0)
            _say(gate, joining.GoingAway())
        finally:
            self._end(member.device, STOP_S)
            gate.close()
            context.term()

    def _here(self) -> joining.Here:
        return joining.Here(
            protocol=PROTOCOL,
            session=self._session,
            former=self._former,
            running=self._running,
            ended=self._ended,
            reason=self._reason,
        )

    def _look(self) -> bool:
        """Note what ended by itself; answers whether anything did."""
        found = [event for event in self._engine.events() if isinstance(event, Exited)]
        for event in found:
            log.warning("the device ended: %s", event.reason)
            self._ended, self._running, self._reason = self._running, None, text(event.reason)
            self._engine.stop(event.device, 0.0)
        return bool(found)

    def _heed(self, member: Membership, told: joining.Told) -> bool:
        """Make it so; answers whether anything has changed.

        Raises:
            ForbiddenError: The fleet has put this machine out.
            NotReadyError: The fleet is of another version.
        """
        if isinstance(told, joining.Dismissed):
            if not told.for_good:
                raise NotReadyError(told.reason)
            self.home.forget(member)
            raise ForbiddenError(f"{told.reason}: this machine is no device of that fleet now")
        if not isinstance(told, joining.Wanted) or told.incarnation == self._running:
            return False
        self._end(member.device, told.grace_s)
        if told.incarnation is None or told.incarnation == self._ended or not told.config:
            return True
        config = DeviceConfig.parse(told.config, "the broker's configuration")
        if config.name != member.device or config.incarnation != told.incarnation:
            raise ContractError(
                f"the broker's configuration is of {config.name}, number {config.incarnation}, expected "
                f"{member.device}, number {told.incarnation}"
            )
        try:
            self._engine.launch(self._at_home(member, config))
        except (OSError, NotReadyError) as error:  # no process, file or way for it now: as one that ended at once
            self._ended, self._reason = (
                told.incarnation,
                text(of_system(error) if isinstance(error, OSError) else error),
            )
            log.warning("the device does not begin: %s", self._reason)
        else:
            self._running = told.incarnation
        return True

    def _at_home(self, member: Membership, config: DeviceConfig) -> DeviceConfig:
        """With what only this machine knows: its secret, its address, and where things lie."""
        access = config.access
        if not isinstance(access, CurveAccess) or access.public_key != member.public_key:
            raise ContractError("the broker's configuration has another key than this machine")
        host = self._host or own_address(member.gate.endpoint)
        kept = self.folder / "fragments"
        return config.model_copy(
            update={
                "access": access.at_home(member.secret_key, host),
                "gate": member.gate,
                "catalog": str(self._catalog or kept),
                "kept": str(kept),
            }
        )

    def _end(self, device: str, grace_s: float) -> None:
        if self._running is not None:
            self._engine.stop(device, grace_s)
            self._running = None


def own_address(endpoint: str) -> str:
    """The address of this machine that leads to an endpoint; nothing is sent."""
    place = urlsplit(endpoint)
    assert place.hostname is not None and place.port is not None
    try:
        # As bytes: of text Python would first load what knows of letters beyond ASCII, for which there may be no file.
        found = socket.getaddrinfo(place.hostname.encode("ascii"), place.port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(found[0], socket.SOCK_DGRAM) as asked:
            asked.connect(found[4])
            return str(asked.getsockname()[0])
    except OSError as error:
        raise NotReadyError(f"no way leads from this machine to {endpoint}: {error}") from error


def _say(gate: "zmq.Socket[bytes]", said: joining.Said) -> None:
    """If there is room for it: what is said now is said again."""
    with suppress(zmq.Again):
        gate.send(said.model_dump_json().encode(), flags=zmq.NOBLOCK)
