"""What launches and watches device runtimes: the narrow interface that every engine fills."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Protocol

from splitplace.placement.device.config import DeviceConfig
from splitplace.placement.protocol.keys import Accesses


@dataclass(frozen=True)
class MachineJoined:
    """The machine of a device is there, and may be given a device runtime to run."""

    device: str
    key: str
    """Its public key, from now on: whoever was that device before, with another key, is so no more."""


@dataclass(frozen=True)
class MachineLeft:
    """The machine of a device has gone, or may not take part any more: what ran there is not the device now."""

    device: str
    reason: str
    revoked: bool = False
    """Whether its key opens nothing from now on."""


@dataclass(frozen=True)
class Exited:
    """A device runtime ended without having been asked to."""

    device: str
    reason: str


EngineEvent = MachineJoined | MachineLeft | Exited


class Engine(Protocol):
    """Launches device runtimes and tells what became of them. Blocks in `stop` alone, which is bounded."""

    name: ClassVar[str]
    same_machine: ClassVar[bool]
    """Whether its devices are processes of this machine: there from the start, and on its clock."""

    def accesses(self, names: Iterable[str]) -> Accesses:
        """How the broker proves itself, and each device whose keys are not made on a machine of its own.

        Args:
            names: Of the broker and all devices.
        """
        ...

    def launch(self, config: DeviceConfig) -> None:
        """Start a device runtime; that it is up is its own `Hello` to the broker."""
        ...

    def stop(self, device: str, timeout_s: float = 5.0) -> None:
        """End it, gently for `timeout_s`, then by force; nothing of it is left. An unknown or ended one: nothing."""
        ...

    def health(self) -> dict[str, bool]:
        """Whether each launched device runtime is alive."""
        ...

    def events(self) -> list[EngineEvent]:
        """What happened since the last call."""
        ...
