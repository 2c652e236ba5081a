"""Devices behind links of their own: processes in network namespaces whose links a token bucket shapes, both ways."""

from collections.abc import Iterable, Sequence
from typing import ClassVar

from splitplace.benchmarks.ray_links import NodeNetwork
from splitplace.errors import NotReadyError
from splitplace.placement.device.config import DeviceConfig
from splitplace.placement.engines.local import LocalEngine
from splitplace.placement.protocol.fields import BROKER
from splitplace.placement.protocol.keys import Accesses, curve_accesses


class KeyedEngine(LocalEngine):
    """As the local engine, but all meet over TCP, encrypted, as between machines."""

    name: ClassVar[str] = "keyed"

    def accesses(self, names: Iterable[str]) -> Accesses:
        """Keys."""
        return Accesses(curve_accesses(names))


class NamespaceEngine(KeyedEngine):
    """The same, and each device has a node's network.

    Args:
        network: With a node for each device, by name.
    """

    name: ClassVar[str] = "namespaces"

    def __init__(self, network: NodeNetwork):
        super().__init__()
        self._network = network

    def accesses(self, names: Iterable[str]) -> Accesses:
        """Keys, and each at its address; the broker is on this machine, whose link nothing shapes."""
        places = self._network.addresses | {BROKER: self._network.here}
        found = curve_accesses(names)
        return Accesses({name: found[name].model_copy(update={"host": places[name]}) for name in found})

    def _command(self, config: DeviceConfig) -> list[str]:
        return [*self._network.behind_link_of(config.name), *super()._command(config)]


def shaped(nodes: Sequence[str], bytes_per_s: float) -> NodeNetwork:
    """A network whose links carry so much each way; to be closed.

    Raises:
        NotReadyError: This machine or its user may have no such network, or no such links.
    """
    network = NodeNetwork(nodes)
    try:
        network.limit(bytes_per_s)
        network.behind_link_of(nodes[0])
    except NotReadyError:
        network.close()
        raise
    return network
