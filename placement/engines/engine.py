"""What launches and watches device runtimes: the narrow interface that `local` and `podman` fill."""

from dataclasses import dataclass
from typing import ClassVar, Protocol

from splitplace.placement.device.config import DeviceConfig


@dataclass(frozen=True)
class Exited:
    """A device runtime ended without having been asked to."""

    device: str
    reason: str


class Engine(Protocol):
    """Launches device runtimes and tells what became of them. Blocks in `stop` alone, which is bounded."""

    name: ClassVar[str]
    same_machine: ClassVar[bool]
    """Whether its devices are processes of this machine and this user, who need no encryption between them."""

    def launch(self, config: DeviceConfig) -> None:
        """Start a device runtime; that it is up is its own `Hello` to the broker."""
        ...

    def stop(self, device: str, timeout_s: float = 5.0) -> None:
        """End it, gently for `timeout_s`, then by force; nothing of it is left. An unknown or ended one: nothing."""
        ...

    def health(self) -> dict[str, bool]:
        """Whether each launched device runtime is alive."""
        ...

    def events(self) -> list[Exited]:
        """What happened since the last call."""
        ...
