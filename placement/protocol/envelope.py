"""What goes before every message: who sends, to whom, which number it has, and what came of the other direction."""

import struct
from typing import NamedTuple

from splitplace.errors import ContractError
from splitplace.placement.protocol.messages import PROTOCOL

_FORM = struct.Struct("<2sBBQQIIQQ")
"""Mark, protocol, flags, sender, receiver, stream, acknowledged stream, number, acknowledged."""
_MARK = b"SP"
SIZE_BYTES = _FORM.size

PROBE = 1
"""Answer at once: what went before stays unacknowledged."""
ANSWER = 2
"""A probe came in, and all that came in before it is acknowledged here."""
MISSING = 4
"""A number came in whose predecessors did not: send again what follows the acknowledged one."""


class Envelope(NamedTuple):
    """Written before the header of a message, in its frame; alone, it is an acknowledgement."""

    sender: int
    """The incarnation of the node that sends: a number that it drew when it started."""
    receiver: int
    """The incarnation that is meant; 0 as long as nothing was heard of it."""
    stream: int = 0
    """Which sequence of numbers of this sender to this receiver; they start anew when a former one was given up."""
    number: int = 0
    """In the stream, from 1; 0: has none, is lost if it is lost (pings, and acknowledgements alone)."""
    acked_stream: int = 0
    """The receiver's stream whose numbers are acknowledged."""
    acked: int = 0
    """All numbers up to this one came in."""
    flags: int = 0

    def encode(self) -> bytes:
        """As it goes before the header."""
        return _FORM.pack(
            _MARK, PROTOCOL, self.flags, self.sender, self.receiver, self.stream, self.acked_stream, self.number,
            self.acked,
        )  # fmt: skip


def decode(frame: bytes | memoryview) -> Envelope:
    """The envelope before a message's header.

    Raises:
        ContractError: None is there, or it is of another version of the protocol.
    """
    if len(frame) < SIZE_BYTES or bytes(frame[:2]) != _MARK:
        raise ContractError(f"not a message: no envelope before its header, {len(frame)} bytes")
    _, protocol, flags, sender, receiver, stream, acked_stream, number, acked = _FORM.unpack_from(frame)
    if protocol != PROTOCOL:
        older = "other side" if protocol < PROTOCOL else "node here"
        raise ContractError(
            f"the other side speaks protocol {protocol}, the node here protocol {PROTOCOL}: update the {older}, "
            "it is older"
        )
    return Envelope(sender, receiver, stream, number, acked_stream, acked, flags)
