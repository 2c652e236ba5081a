"""Engines by name: those that ship, and those that installed packages offer."""

from splitplace.placement.engines.joined import JoinedEngine
from splitplace.placement.engines.ray import RayEngine
from splitplace.placement.registry import Registry

ENGINES = Registry(
    "engine",
    "splitplace.engines",
    ("accesses", "launch", "stop", "health", "events"),
    {
        "local": "splitplace.placement.engines.local:LocalEngine",
        "podman": "splitplace.placement.engines.podman:PodmanEngine",
    },
)
"""What has the methods of `Engine`, and is made without arguments."""

JOINED = {JoinedEngine.name: JoinedEngine, RayEngine.name: RayEngine}
"""Those that machines join: each is of one fleet."""


def engine_names() -> tuple[str, ...]:
    """All of them."""
    return (*ENGINES.names(), *JOINED)
