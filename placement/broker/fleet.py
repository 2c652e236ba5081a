"""The broker's side of the fleet: launches devices, gives them access, hears from them, notices when one is gone."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from splitplace.errors import ContractError, NotReadyError, OverloadedError, of_system
from splitplace.inference.cpu_share import ShareMethod
from splitplace.placement.broker.health import DeviceHealth
from splitplace.placement.broker.launch_config import launch_config
from splitplace.placement.broker.member import Change, Member, members_of
from splitplace.placement.broker.probing import SpeedProbe
from splitplace.placement.engines.engine import Engine, EngineEvent, Exited, MachineJoined, MachineLeft
from splitplace.placement.protocol import fields, messages
from splitplace.placement.protocol.incarnations import draw_incarnation
from splitplace.placement.protocol.relay import Relay
from splitplace.placement.protocol.stream import Malformed, Received, StreamNode, UnknownProcess
from splitplace.records.device import Device

log = logging.getLogger(__name__)

START_TIMEOUT_S = 120.0
JOIN_S = 10.0
"""How long the fleet waits at its start for the rest, once one device is up; they join later."""
STOP_S = 5.0
"""How long the devices may take to end of themselves."""


class LiveFleet:
    """Devices that are up, and the one node through which the broker talks to them. For one thread.

    Args:
        devices: Single devices (`Device.units`), each with a name of its own.
        engine: What launches them.
        catalog: Folder of the OCI image layout they read fragments from.
        cpu_shares: Emulated share of the machine by device name; 1.0 where not given.
        method: How the shares are kept.
        wake: A file descriptor that ends the wait of `hear`.
        max_frame_bytes: Of the largest tensor that may pass.
        wire: How images travel.
    """

    def __init__(
        self,
        devices: Sequence[Device],
        engine: Engine,
        catalog: Path,
        cpu_shares: Mapping[str, float],
        method: ShareMethod,
        wake: int,
        max_frame_bytes: int = fields.MAX_FRAME_BYTES,
        wire: fields.Wire = "raw",
    ):
        self.engine, self.catalog, self.method = engine, catalog, method
        self.members = members_of(devices, cpu_shares)
        self._accesses = engine.accesses((fields.BROKER, *self.members))
        for member in self.members.values():
            member.here = member.name in self._accesses.by_name
        self.node = StreamNode(self._accesses.by_name[fields.BROKER], max_frame_bytes)
        self.node.watch(wake)
        self.relay = Relay(self._accesses.by_name[fields.BROKER], max_frame_bytes)
        self._most_bytes, self._wire = max_frame_bytes, wire
        self._rows = tuple(self.members.values())
        self.changes: list[Change] = []
        """What `check` has to tell."""
        self._never_begun: list[Exited] = []
        """Devices whose process this machine did not give, or a connection to it."""
        self.origin_s = time.monotonic()
        self.health = DeviceHealth(self.send)

    def now_s(self) -> float:
        """The run's clock: 0 when every device was up."""
        return time.monotonic() - self.origin_s

    def on_clock(self, monotonic_s: float) -> float:
        """A device's time on the run's clock; devices of the local engine share the machine's monotonic clock."""
        return max(monotonic_s - self.origin_s, 0.0)

    def start(self, stopping: Callable[[], bool]) -> None:
        """Launch every device side by side, wait for those that come up, introduce and probe them; the rest may join.

        Of an engine whose machines join, nobody is waited for.

        Raises:
            SplitPlaceError: No device came up; says why, of each.
        """
        for row in range(len(self._rows)):
            self.launch(row)
        here = [member for member in self._rows if member.here]
        if not here:
            self.origin_s = time.monotonic()
            return
        ended: dict[str, str] = {}
        start_s = time.monotonic()
        while len(ended) + len(self._connected()) < len(here):
            waited_s = time.monotonic() - start_s
            if stopping() or waited_s > START_TIMEOUT_S or (self._connected() and waited_s > JOIN_S):
                break
            ended |= self._listen()
        if not self._connected():
            reasons = [f"device {name} did not start: {reason}" for name, reason in ended.items()]
            raise NotReadyError("; ".join(reasons) or f"no device started within {START_TIMEOUT_S:.0f} s")
        for name, reason in ended.items():
            log.warning("device %s did not start: %s", name, reason)
        lost = SpeedProbe(self._order_probe, self._listen, stopping).measure(self._connected())
        for name, reason in lost.items():
            log.warning("device %s was lost before the fleet was up: %s", name, reason)
        ended |= lost
        # The run begins: what came before is none of its time.
        self.origin_s = time.monotonic()
        self.changes += [Change(self.members[name], "gone", reason) for name, reason in ended.items()]

    def _events(self) -> list[EngineEvent]:
        events, self._never_begun = [*self._never_begun, *self.engine.events()], []
        return events

    def _connected(self) -> list[Member]:
        return [member for member in self.members.values() if member.connected]

    def _greet(self, received: Received | Malformed | UnknownProcess, ended: dict[str, str]) -> None:
        """Take in what is said before the run begins."""
        member = self.members[received.peer]
        if isinstance(received, UnknownProcess):
            log.warning("%s", received.error)
        elif isinstance(received, Malformed):
            ended[member.name] = received.error
        elif isinstance(received.message, messages.Hello):
            self._welcome(member, received.message)
        elif isinstance(received.message, messages.Probed):
            member.core_speeds.append(received.message.core_speed)

    def _welcome(self, member: Member, hello: messages.Hello) -> None:
        """The process of this device is up: connect to it, and tell everybody where everybody is."""
        if member.connected:
            log.warning("%s says hello once more: it is passed over", member.name)
            return
        self.node.disconnect(member.name)
        try:
            self.node.connect(member.name, hello.endpoint)
        except ContractError as error:  # a device says what it likes: it is none of this fleet's until it says better
            log.warning("%s says hello and cannot be answered: %s", member.name, error)
            return
        except OverloadedError as error:  # nobody hears what it would say: it begins again, when there may be room
            self.engine.stop(member.name, timeout_s=0.0)
            self._never_begun.append(Exited(member.name, str(error)))
            return
        member.begin(hello)
        self.relay.meet(member.name, hello.endpoint)
        others = [other for other in self._connected() if other is not member and other.hello]
        peers = tuple(other.peer(other.hello) for other in others if other.hello)
        for other in others:  # first, for they must know its key before it comes
            self.send(other.name, messages.Peers(peers=(member.peer(hello),)))
        if peers:
            self.send(member.name, messages.Peers(peers=peers))
        self.changes.append(Change(member, "joined"))

    def _order_probe(self, member: Member) -> None:
        self.send(member.name, messages.ProbeOrder(trim=member.trim))

    def _listen(self) -> dict[str, str]:
        """Take in what is said, for a moment before the run begins; who has ended meanwhile, and why."""
        ended = {event.device: event.reason for event in self._events() if isinstance(event, Exited)}
        for received in self.node.receive(0.1):
            self._greet(received, ended)
        return ended

    def send(self, name: str, message: messages.Message, values: Sequence[fields.Value] = ()) -> None:
        """To a device; dropped if it is gone. Of a job that is cancelled nothing more is sent."""
        if isinstance(message, messages.Cancel):
            self.node.take_back(message.job, [name])
        self.node.send(name, message, values)

    def launch(self, row: int) -> None:
        """Start a device, again or for the first time; that it is up is its own hello.

        Whatever process was this device before is so no more, and should it live, behind a dead link say.
        """
        member = self._rows[row]
        if not member.here or member.launched:
            return  # its machine is launched on when it comes, or was launched on when it came
        member.unanswered, member.doubted, member.launched = 0, False, True
        member.incarnation = draw_incarnation()
        self.node.expect(member.name, member.incarnation)
        config = launch_config(
            member, self.catalog, self.method, self._accesses, self.node, self.relay.endpoint, self._most_bytes,
            self._wire,
        )  # fmt: skip
        try:
            self.engine.launch(config)
        except OSError as error:  # no process, file or memory for it now: as one that ended at once
            self._never_begun.append(Exited(member.name, str(of_system(error, "its process"))))

    def kill(self, row: int) -> None:
        """End a device's process, whatever it does; until the next is launched, nobody is this device."""
        member = self._rows[row]
        member.connected = member.launched = False
        self.node.disconnect(member.name)
        self._unlink(member)
        self.node.expect(member.name, draw_incarnation())
        self.engine.stop(member.name, timeout_s=0.0)

    def suspect(self, row: int) -> None:
        """A device does nothing though it could; what it had is taken from it, so that it is asked to do something."""
        member = self._rows[row]
        member.stuck = True
        self._order_probe(member)

    def hear(self, timeout_s: float) -> Iterable[tuple[Member, Received]]:
        """What the devices said; what is only about their health is taken in here."""
        for received in self.node.receive(timeout_s):
            if isinstance(received, UnknownProcess):
                log.warning("%s", received.error)
                continue
            member = self.members[received.peer]
            if isinstance(received, Malformed):  # by whichever process: what is no message need not say which
                log.warning("%s sent no message of ours: %s", member.name, received.error)
                continue
            member.unanswered = 0
            if isinstance(received.message, messages.Hello):
                self._welcome(member, received.message)
                self._order_probe(member)
            elif isinstance(received.message, messages.Pong):
                self.changes += self.health.answered(member, received.message, self.now_s())
            elif isinstance(received.message, messages.Rerouted):
                self._note_route(member, received.message)
            elif isinstance(received.message, messages.Probed):
                self.changes += self.health.probed(member, received.message.core_speed)
            elif member.connected:
                yield member, received

    def check(self) -> list[Change]:
        """Ping the devices now and then; what became of them since the last check. Call after `hear`.

        Raises:
            SplitPlaceError: What hands on between the devices has failed.
        """
        self.relay.check()
        for member in self._rows:
            if member.due:
                member.due = False
                self.launch(member.row)
        for event in self._events():
            member = self.members[event.device]
            match event:
                case MachineJoined(key=key):
                    self._admit(member, key)
                case MachineLeft(reason=reason, revoked=revoked):
                    self._part(member, reason, revoked)
                case Exited(reason=reason):
                    self._gone(member, reason)
        self.health.ping(self._connected(), time.monotonic())
        self.changes += self.health.doubts(self._connected())
        changes, self.changes = self.changes, []
        return changes

    def _admit(self, member: Member, key: str) -> None:
        """Its machine is there: from now on this key is that device, and it is launched there."""
        member.here, member.due, member.key = True, True, key
        member.core_speeds.clear()
        self.node.admit(member.name, key)
        self.relay.know(member.name, key)

    def _part(self, member: Member, reason: str, revoked: bool) -> None:
        """Its machine has gone; what was running there is lost, and nobody is that device until one joins."""
        member.here = member.due = False
        if member.launched:
            self._gone(member, reason)
        if revoked:
            self.node.expel(member.name)
            self._unlink(member)
            self.relay.know(member.name, None)
            member.key = None

    def _unlink(self, member: Member) -> None:
        """To a device that is gone nothing is handed on, and nobody goes through here to it."""
        self.relay.part(member.name)
        member.relayed = frozenset()
        for other in self._rows:
            other.relayed -= {member.name}

    def _note_route(self, member: Member, message: messages.Rerouted) -> None:
        if member.connected and message.peer in self.members and message.peer != member.name:
            there = {message.peer}
            member.relayed = member.relayed | there if message.relayed else member.relayed - there

    def _gone(self, member: Member, reason: str) -> None:
        """One process is one loss: a machine may come and leave several times before the next check."""
        member.launched = False
        self.changes.append(Change(member, "gone", reason))

    def close(self) -> None:
        """End every device and leave nothing behind."""
        for name in self.members:
            self.send(name, messages.Stop())
        deadline_s = time.monotonic() + STOP_S  # of all together: devices that hang are not waited for one by one
        for name in self.members:
            self.engine.stop(name, max(deadline_s - time.monotonic(), 0.0))
        self.node.close()
        self.relay.close()
        self._accesses.close()
