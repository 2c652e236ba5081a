"""What leads from a node: a connection to each peer, one aside for what may be lost, and one to the broker's relay."""

import zmq

from splitplace.errors import OverloadedError
from splitplace.placement.protocol import envelope, pieces
from splitplace.placement.protocol.envelope import Envelope
from splitplace.placement.protocol.fields import BROKER
from splitplace.placement.protocol.inbox import Inbox
from splitplace.placement.protocol.parcels import Frames

QUEUED_MESSAGES = 1000
"""That ZeroMQ holds for one peer, on either side; the rest waits in its link."""


class Pipes:
    """Of one node, for its thread. What is handed over is taken, or there is no room for it: nothing waits here.

    Args:
        inbox: Of the node.
        relay: Where the broker takes what a peer is not reached with directly; none if it does not.
    """

    def __init__(self, inbox: Inbox, relay: str | None):
        self._inbox, self._relay_endpoint = inbox, relay
        self.direct: dict[str, zmq.Socket[bytes]] = {}
        self.endpoints: dict[str, str] = {}
        self._asides: dict[str, zmq.Socket[bytes]] = {}
        """Likewise, for what may be lost: pings, which over a slow road would wait behind tensors."""
        self._to_relay: zmq.Socket[bytes] | None = None
        """A connection of its own: what the broker is told itself waits behind no tensor of others."""
        self.sent_bytes = 0
        """Of messages, as handed to the network."""

    def __contains__(self, name: str) -> bool:
        return name in self.direct

    @property
    def relays(self) -> bool:
        """Whether there is a way through the broker."""
        return self._relay_endpoint is not None

    def close(self) -> None:
        """Drop what is queued."""
        for name in tuple(self.direct):
            self.drop(name)
        if self._to_relay is not None:
            self._to_relay.close(linger=0)

    def made(self, name: str, endpoint: str) -> "zmq.Socket[bytes]":
        """A connection to where a peer listens, not in use yet.

        Raises:
            ContractError: No peer of this node's access listens there.
            OverloadedError: This process may open no more files.
        """
        return self._inbox.pipe_to(name, endpoint, QUEUED_MESSAGES)

    def put(self, name: str, endpoint: str, pipe: "zmq.Socket[bytes]") -> None:
        """From now on this one leads to a peer to which none did."""
        self.direct[name], self.endpoints[name] = pipe, endpoint

    def drop(self, name: str) -> None:
        """Nothing leads there any more; what was queued is lost."""
        self.direct.pop(name).close(linger=0)
        if (aside := self._asides.pop(name, None)) is not None:
            aside.close(linger=0)
        del self.endpoints[name]

    def reopen(self, name: str) -> None:
        """Another connection in place of a peer's, and nothing of what that was to carry."""
        if name in self.direct:
            self.direct[name].close(linger=0)
            self.direct[name] = self.made(name, self.endpoints[name])

    def hand_over(self, name: str, sealed: Envelope, frames: Frames) -> bool:
        """To a peer; answers whether it was taken."""
        pipe = self.direct.get(name)
        return pipe is not None and self._push(pipe, (), sealed, frames)

    def hand_aside(self, name: str, sealed: Envelope, frames: Frames) -> bool:
        """To a peer, past all else."""
        if name not in self._asides:
            try:
                self._asides[name] = self._inbox.pipe_to(name, self.endpoints[name], QUEUED_MESSAGES, tensors=False)
            except OverloadedError:  # no file is left for it
                return self.hand_over(name, sealed, frames)
        return self._push(self._asides[name], (), sealed, frames)

    def hand_to_relay(self, name: str, sealed: Envelope, frames: Frames) -> bool:
        """To the broker, which hands it on to a peer."""
        if self._to_relay is None:
            assert self._relay_endpoint is not None
            self._to_relay = self.made(BROKER, self._relay_endpoint)
        return self._push(self._to_relay, (envelope.address(name),), sealed, frames)

    def _push(self, pipe: "zmq.Socket[bytes]", before: Frames, sealed: Envelope, frames: Frames) -> bool:
        first, *rest = frames or (b"",)
        first = sealed.encode() + first
        rest = pieces.cut(rest) if self._inbox.access.encrypts else rest
        try:
            if before or rest:
                pipe.send_multipart([*before, first, *rest], flags=zmq.NOBLOCK, copy=False)
            else:
                pipe.send(first, flags=zmq.NOBLOCK)
        except zmq.Again:
            return False
        self.sent_bytes += len(first) + sum(map(len, rest))
        return True
