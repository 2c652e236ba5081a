"""The other devices, as this one knows them: keys and pipes, whom it does not reach, and whom through the broker."""

from splitplace.placement.protocol import fields, messages
from splitplace.placement.protocol.stream import StreamNode


class Neighbours:
    """Nobody at first; to be used by the thread that uses the node.

    Args:
        node: What leads to them.
    """

    def __init__(self, node: StreamNode):
        self._node = node
        self._told: set[str] = set()
        """Those whose keys came with `Peers`."""
        self._unreachable: frozenset[str] = frozenset()
        self._relayed: frozenset[str] = frozenset()

    def meet(self, peer: fields.Peer) -> None:
        """From now on this is where it listens, and which process it is.

        Raises:
            ContractError: Nobody can listen there.
        """
        if peer.key is not None:
            self._node.admit(peer.name, peer.key)
            self._told.add(peer.name)
        self._node.connect(peer.name, peer.endpoint)
        self._node.expect(peer.name, peer.incarnation)

    def part(self, name: str) -> None:
        """It is gone; a key that came with `Peers` opens nothing from now on."""
        if name in self._told:
            self._told.remove(name)
            self._node.expel(name)
        else:
            self._node.disconnect(name)

    def changes(self) -> list[messages.Message]:
        """For the broker: who is reached otherwise, no more, or again, since this was asked last."""
        unreachable, relayed = self._node.unreachable, self._node.relayed
        found: list[messages.Message] = [
            messages.Rerouted(peer=peer, relayed=peer in relayed) for peer in sorted(relayed ^ self._relayed)
        ]
        found += [messages.Unreachable(peer=peer) for peer in sorted(unreachable - self._unreachable - {fields.BROKER})]
        found += [messages.Reachable(peer=peer) for peer in sorted(self._unreachable - unreachable - {fields.BROKER})]
        self._unreachable, self._relayed = unreachable, relayed
        return found

    @property
    def broker_lost(self) -> bool:
        """Whether so much waited for the broker, which takes in nothing, that it was given up."""
        return fields.BROKER in self._unreachable and self._node.overrun(fields.BROKER)
