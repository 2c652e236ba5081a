"""Which engine runs the devices of a `Fleet`: checked before the work, made when it begins."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from splitplace.errors import UsageError, unknown
from splitplace.placement.engines.engine import Engine
from splitplace.placement.engines.podman import PodmanEngine, podman
from splitplace.placement.engines.ray import RayEngine
from splitplace.placement.engines.registry import ENGINES, JOINED, engine_names
from splitplace.placement.engines.roster import Roster
from splitplace.records.demand import Demand
from splitplace.records.device import Device

ENGINE, HERE = "local", "127.0.0.1"
MEMBERS = "members.json"
"""The roster, in a fleet's data folder."""


@dataclass(frozen=True)
class EngineChoice:
    """What was asked for.

    Args:
        name: Of the engine.
        image: Of podman's images the one to run; none, and one is made of this machine's own Python.
        listen: Address of this machine where machines that join find it.

    Raises:
        UsageError: No such engine; an image for one that runs none, an address for one that nobody joins, or one that
            nobody can be told; or Ray without a token.
        MissingExtraError: The engine is there, but not the packages that it needs.
        NotReadyError: There is no podman on this machine.
    """

    name: str = ENGINE
    image: str = ""
    listen: str = HERE

    def __post_init__(self) -> None:
        if self.name not in engine_names():
            raise unknown("engine", self.name, engine_names())
        if self.name == PodmanEngine.name:
            podman()
        elif self.image:
            raise UsageError(
                f"--image {self.image}: the engine {self.name} runs none: leave it out, or take --engine podman"
            )
        if self.name not in JOINED and self.listen != HERE:
            raise UsageError(f"--listen {self.listen}: nobody joins a fleet of the engine {self.name}: leave it out")
        check_address("--listen", self.listen)
        if self.name == RayEngine.name:
            RayEngine.check()

    def environment(self) -> dict[str, str]:
        """What of this process's environment the engine needs, besides what all processes of ours get."""
        return RayEngine.environment() if self.name == RayEngine.name else {}

    @contextmanager
    def open(self, devices: Sequence[Device], demand: Demand, catalog: Path, data: Path) -> Iterator[Engine]:
        """The engine, until the block ends.

        Args:
            devices: Of the fleet.
            demand: What it offers: machines that join may have these fragments.
            catalog: Folder that has them.
            data: The fleet's own folder.

        Raises:
            SplitPlaceError: Nothing can listen at the address, or there is no such image.
        """
        if self.name not in JOINED:
            yield self._made()
            return
        digests = {fragment.digest for entry in demand.splits for fragment in entry.split.fragments}
        roster = Roster(data / MEMBERS, [device.name for device in devices])
        with closing(JOINED[self.name](roster, self.listen, catalog, digests)) as engine:
            yield engine

    def _made(self) -> Engine:
        if self.name != PodmanEngine.name:
            made: Engine = ENGINES.make(self.name)
            return made
        from splitplace.api.device_image import device_image

        return PodmanEngine(self.image or device_image())


def check_address(option: str, address: str) -> None:
    """Refuse what is no address of a machine that others could be told.

    Raises:
        UsageError: A name, all addresses, or nothing of the kind.
    """
    try:
        told = ip_address(address)
    except ValueError as error:
        raise UsageError(f"{option} {address}: expected an address of this machine, as 192.168.1.5") from error
    if told.is_unspecified or told.is_multicast or "%" in address:
        raise UsageError(f"{option} {address}: others are told where to find this machine: name one of its addresses")
