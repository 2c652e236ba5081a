"""Engines by name: those that ship, and those that installed packages offer."""

from splitplace.placement.registry import Registry

ENGINES = Registry(
    "engine",
    "splitplace.engines",
    ("launch", "stop", "health", "events"),
    {
        "local": "splitplace.placement.engines.local:LocalEngine",
        "podman": "splitplace.placement.engines.podman:PodmanEngine",
    },
)
"""What has the methods of `Engine`."""
