"""What launches and watches device runtimes: the narrow interface that `local` fills, and what a device is told."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Protocol

from pydantic import Field

from splitplace.placement.runtime.cpu_share import ShareMethod
from splitplace.placement.runtime.wire import MAX_FRAME_BYTES, Endpoint, Key
from splitplace.records.base import Name, PositiveCount, Record


class DeviceConfig(Record):
    """Everything a device runtime needs to start; holds a secret, so it travels on standard input alone."""

    name: Name
    catalog: str
    """Folder of the OCI image layout it reads fragments from."""
    threads: PositiveCount
    cpu_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    cpu_share_method: ShareMethod = "auto"
    public_key: Key
    secret_key: Annotated[Key, Field(repr=False)]
    broker_endpoint: Endpoint
    broker_key: Key
    peers: dict[Name, Key]
    """Public key of every other device of the fleet."""
    max_frame_bytes: PositiveCount = MAX_FRAME_BYTES


@dataclass(frozen=True)
class Exited:
    """A device runtime ended without having been asked to."""

    device: str
    reason: str


class Engine(Protocol):
    """Launches device runtimes and tells what became of them. Blocks in `stop` alone, which is bounded."""

    name: ClassVar[str]

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
