"""Which engine runs the devices of a `Fleet`: checked before the work, made when it begins."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from splitplace.catalog import Catalog
from splitplace.distribution.reference import is_loopback, is_remote, parse_remote
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

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineChoice:
    """What was asked for.

    Args:
        name: Of the engine.
        image: Of podman's images the one to run; none, and one is made of this machine's own Python.
        listen: Address of this machine where machines that join find it.
        registry: Repository where those ask for fragments before they ask the broker.

    Raises:
        UsageError: No such engine; an image for one that runs none, an address or a registry for one that nobody joins,
            or what is none that others can be told; or Ray without a token.
        MissingExtraError: The engine is there, but not the packages that it needs.
        NotReadyError: There is no podman on this machine.
    """

    name: str = ENGINE
    image: str = ""
    listen: str = HERE
    registry: str | None = None

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
        if self.registry is not None:
            self._check_registry(self.registry)
        if self.name == RayEngine.name:
            RayEngine.check()

    def _check_registry(self, registry: str) -> None:
        if self.name not in JOINED:
            raise UsageError(
                f"--registry {registry}: devices of the engine {self.name} read the catalog where it lies: leave it out"
            )
        asked = parse_remote(registry)
        if asked.tag or asked.digest:
            raise UsageError(
                f"--registry {registry}: expected oci://HOST/REPOSITORY: fragments have digests of their own"
            )

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
        with closing(JOINED[self.name](roster, self.listen, catalog, digests, self._told_registry())) as engine:
            yield engine

    def _told_registry(self) -> str | None:
        """What machines are told to ask: each takes a loopback address for its own."""
        if self.registry is None or not is_loopback(parse_remote(self.registry).host):
            return self.registry
        if ip_address(self.listen).is_loopback:
            return self.registry
        _log.warning("%s is found on this machine alone: the others have their fragments from here", self.registry)
        return None

    def _made(self) -> Engine:
        if self.name != PodmanEngine.name:
            made: Engine = ENGINES.make(self.name)
            return made
        from splitplace.api.device_image import device_image

        return PodmanEngine(self.image or device_image())


def registry_of(engine: str, catalog: str | Path | Catalog) -> str | None:
    """Where machines that join ask first, unless it is said otherwise: the repository that the catalog is named by."""
    if engine not in JOINED or isinstance(catalog, Catalog) or not is_remote(str(catalog)):
        return None
    return str(parse_remote(str(catalog)).at())


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
