"""The `joined` engine: device runtimes on machines that joined the fleet by a token, wherever they are."""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import ClassVar

from splitplace.errors import UsageError
from splitplace.placement.device.config import DeviceConfig
from splitplace.placement.device.joining import Ticket
from splitplace.placement.engines.engine import Engine, EngineEvent
from splitplace.placement.engines.gate import Gate
from splitplace.placement.engines.machines import Presence
from splitplace.placement.engines.roster import Roster
from splitplace.placement.protocol.fields import BROKER
from splitplace.placement.protocol.keys import Accesses, CurveAccess


class JoinedEngine:
    """Machines dial in (`agent.py`); each makes its own key, and runs one device.

    Args:
        roster: Who may be which device.
        host: Address of this machine where the others find it.
        catalog: Folder of the layout that holds the fragments.
        digests: Of the fragments that the fleet offers.
        registry: Repository that has them as well, `oci://HOST/REPOSITORY`: devices ask there first, each as itself.

    Raises:
        NotReadyError: Nothing can listen there.
    """

    name: ClassVar[str] = "joined"
    same_machine: ClassVar[bool] = False

    def __init__(self, roster: Roster, host: str, catalog: Path, digests: Collection[str], registry: str | None = None):
        self.roster, self._host, self._registry = roster, host, registry
        self._gate = Gate(roster, host, catalog, digests)
        self._machines = self._gate.machines

    def accesses(self, names: Iterable[str]) -> Accesses:
        """The broker's; each device's is of its own making."""
        access = CurveAccess(
            public_key=self.roster.public_key, secret_key=self.roster.secret_key, peers={}, host=self._host
        )
        return Accesses({BROKER: access})

    def launch(self, config: DeviceConfig) -> None:
        """On its machine; at once, or when that is there again."""
        self._machines.launch(config.model_copy(update={"gate": self._gate.gate, "registry": self._registry}))

    def stop(self, device: str, timeout_s: float = 5.0) -> None:
        """By its machine, if that is there; one that is cut off ends it when it hears of it, or of nothing for long."""
        self._machines.stop(device, timeout_s)

    def health(self) -> dict[str, bool]:
        """By what their machines said last."""
        return self._machines.health()

    def events(self) -> list[EngineEvent]:
        """Who joined, left, and what ended."""
        return self._machines.events()

    def presence(self) -> dict[str, Presence]:
        """Whether each device's machine is there."""
        return self._machines.presence()

    def invite(self, device: str, valid_s: float) -> str:
        """A token by which one machine may become this device, once; as `Roster.invite`."""
        secret = self.roster.invite(device, valid_s)
        return Ticket(endpoint=self._gate.gate.endpoint, key=self._gate.gate.key, secret=secret).token

    def revoke(self, device: str) -> None:
        """A device is out: its key opens nothing from now on. As `Machines.revoke`."""
        self._machines.revoke(device)

    def close(self) -> None:
        """Nobody joins any more."""
        self._gate.close()


def as_joined(engine: Engine) -> JoinedEngine:
    """The engine, if machines may join.

    Raises:
        UsageError: Nobody joins this fleet.
    """
    if not isinstance(engine, JoinedEngine):
        raise UsageError(
            f"the devices of this fleet are processes of this machine (engine {engine.name}), nobody joins: start one "
            "with --engine joined"
        )
    return engine
