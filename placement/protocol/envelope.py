"""What goes before every message: who sends, to whom, which number it has, and what came of the other direction.

Where a message goes through the broker, an address goes before that, in a frame of its own: on its way there the name
of whom it is for, from there on the name of who sent it. What follows the broker hands on as it is.
"""

import struct
from typing import NamedTuple

from splitplace.errors import ContractError
from splitplace.placement.protocol.messages import PROTOCOL

_FORM = struct.Struct("<2sBBQQIIQQII")
"""Mark, protocol, flags, sender, receiver, stream, acknowledged stream, number, acknowledged, probe, answered."""
_MARK = b"SP"
SIZE_BYTES = _FORM.size
_ADDRESS_MARK = b"SR"
_LONGEST_NAME = 128

PROBE = 1
"""Answer at once: what went before stays unacknowledged."""
ANSWER = 2
"""A probe came in, and all that came in before it is acknowledged here."""
MISSING = 4
"""A number came in whose predecessors did not: send again what follows the acknowledged one."""
TRY = 8
"""Sent directly by a node that goes through the broker: answer `HERE`, directly, with the same number."""
HERE = 16
"""What was tried directly came in; the number is the attempt's."""


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
    probe: int = 0
    """Which of this sender's probes it is, from 1; 0: none that is waited for."""
    answered: int = 0
    """The last probe of the receiver that came in: what was sent before that did so, too, or never will."""

    def encode(self) -> bytes:
        """As it goes before the header."""
        return _FORM.pack(
            _MARK, PROTOCOL, self.flags, self.sender, self.receiver, self.stream, self.acked_stream, self.number,
            self.acked, self.probe, self.answered,
        )  # fmt: skip


def decode(frame: bytes | memoryview) -> Envelope:
    """The envelope before a message's header.

    Raises:
        ContractError: None is there, or it is of another version of the protocol.
    """
    if len(frame) < SIZE_BYTES or bytes(frame[:2]) != _MARK:
        raise ContractError(f"not a message: no envelope before its header, {len(frame)} bytes")
    _, protocol, flags, sender, receiver, stream, acked_stream, number, acked, *probes = _FORM.unpack_from(frame)
    _same(protocol)
    return Envelope(sender, receiver, stream, number, acked_stream, acked, flags, *probes)


def address(name: str) -> bytes:
    """The frame before a message that goes through the broker."""
    return _ADDRESS_MARK + bytes([PROTOCOL]) + name.encode("ascii")


def is_address(frame: bytes | memoryview) -> bool:
    """Whether a message goes, or came, through the broker, by its first frame."""
    return bytes(frame[:2]) == _ADDRESS_MARK


def addressed(frame: bytes | memoryview) -> str:
    """The name in an address; whose that is, if anybody's, is for whoever reads it to look up.

    Raises:
        ContractError: It is none, or of another version of the protocol.
    """
    if not is_address(frame) or not 3 < len(frame) <= 3 + _LONGEST_NAME:
        raise ContractError(f"not an address: {len(frame)} bytes, expected a name of 1 to {_LONGEST_NAME} after a mark")
    _same(frame[2])
    return bytes(frame[3:]).decode("ascii", errors="replace")


def _same(protocol: int) -> None:
    if protocol != PROTOCOL:
        older = "other side" if protocol < PROTOCOL else "node here"
        raise ContractError(
            f"the other side speaks protocol {protocol}, the node here protocol {PROTOCOL}: update the {older}, "
            "it is older"
        )
