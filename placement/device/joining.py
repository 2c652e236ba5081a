"""What a device's machine and the broker's gate say to each other: who may join, what is to run there, fragments.

The machine says every moment how things are (`Here`), and is told what is to be (`Wanted`); neither is an order, so
that nothing is lost with a message, and a machine or a broker that starts again is in the picture with the next one.
Who proves which key, the connection says (CURVE); a key that is not enrolled may say `Enrol`, and nothing else.
"""

import base64
import binascii
from typing import Annotated, Literal, Self

import zmq
from pydantic import Field, StringConstraints, TypeAdapter, ValidationError

from splitplace.errors import ContractError, IntegrityError, UsageError, first_problem
from splitplace.placement.protocol.fields import Endpoint, Incarnation, Key, Text, Whole
from splitplace.placement.protocol.messages import PROTOCOL
from splitplace.records.base import Digest, Name, NonNegative, PositiveCount, Record

Secret = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]

PREFIX = "sp1-"
MAX_TOKEN = 1000
"""Letters; ours have some 280."""
MAX_SAID_BYTES = 64 * 2**10
"""Of a message to the gate."""
MAX_TOLD_BYTES = 2 * 2**20
"""Of a frame from there: a configuration with the keys of 4,096 others, or a piece of a fragment."""
PIECE_BYTES = 2**16
"""Of a fragment's file: a piece is there as a whole or not at all, and over a slow link one comes now and then."""
SILENT_S, BROKEN_S = 60.0, 20.0
"""How long a connection to the gate may bring no answer of ZeroMQ's, which waits behind what else is under way, and how
long TCP may bring nothing to the other end, before it is made anew."""
EVERY_S = 0.5
"""How often a machine says how things are."""
MAX_FORMER = 8
"""Sessions of a machine that its folder remembers."""


class GateAddress(Record):
    """Where a fleet is joined, and who is found there: nobody else can have that key."""

    endpoint: Endpoint
    key: Key


class Ticket(GateAddress):
    """What a machine needs in order to join, once: passed on as one word."""

    secret: Annotated[Secret, Field(repr=False)]

    @property
    def token(self) -> str:
        """As one word."""
        return PREFIX + base64.urlsafe_b64encode(self.model_dump_json().encode()).decode().rstrip("=")

    @classmethod
    def read(cls, token: str) -> Self:
        """Back from one word.

        Raises:
            UsageError: It is none, or not all of it.
        """
        said = "expected what `splitplace fleet invite` printed, all of it"
        if not token.startswith(PREFIX) or len(token) > MAX_TOKEN:
            raise UsageError(f"no token: begins with {token[:4]!r}, has {len(token)} letters: {said}")
        coded = token.removeprefix(PREFIX)
        try:
            return cls.parse(base64.urlsafe_b64decode(coded + "=" * (-len(coded) % 4)), "the token")
        except (IntegrityError, ValueError, binascii.Error) as error:
            raise UsageError(f"no token, or damaged: {len(token)} letters: {said}") from error


class Enrol(Record):
    """Machine, first: this token was given to me; from now on my key is that device."""

    type: Literal["enrol"] = "enrol"
    protocol: Whole
    secret: Annotated[Secret, Field(repr=False)]


class Here(Record):
    """Machine: I am here, and this is how things are."""

    type: Literal["here"] = "here"
    protocol: Whole
    session: Incarnation
    """Drawn when whoever speaks began: with another one, nothing that ran before runs any more."""
    former: Annotated[tuple[Incarnation, ...], Field(max_length=MAX_FORMER)] = ()
    """Those that the machine's folder had before, which have ended: one process at a time holds it."""
    running: Incarnation | None = None
    """The device runtime that runs."""
    ended: Incarnation | None = None
    """The one that ended last, by itself."""
    reason: Text = ""
    """Of that."""


class GoingAway(Record):
    """Machine: I go, and come back or not."""

    type: Literal["leaving"] = "leaving"


class Want(Record):
    """Device: a piece of this fragment's file."""

    type: Literal["want"] = "want"
    digest: Digest
    offset: Whole


Said = Enrol | Here | GoingAway | Want
SAID: TypeAdapter[Said] = TypeAdapter(Annotated[Said, Field(discriminator="type")])


class Enrolled(Record):
    """Gate: welcome; this is which device you are."""

    type: Literal["enrolled"] = "enrolled"
    device: Name


class Wanted(Record):
    """Gate, in answer to `Here`: what is to run on this machine."""

    type: Literal["wanted"] = "wanted"
    incarnation: Incarnation | None
    config: Annotated[str, StringConstraints(max_length=MAX_TOLD_BYTES)] = ""
    """A `DeviceConfig` without its secret; empty where that runtime runs already."""
    grace_s: NonNegative = 0.0
    """How long another one that runs may take to end of itself."""


class Dismissed(Record):
    """Gate: your key opens nothing here, or the token does not, or we do not understand each other."""

    type: Literal["dismissed"] = "dismissed"
    reason: Text
    for_good: bool = True
    """Whether the key will open nothing later, either; a machine that is updated is welcome with it."""


class FilePiece(Record):
    """Gate: a piece of a fragment's file; a frame with its bytes follows."""

    type: Literal["piece"] = "piece"
    digest: Digest
    offset: Whole
    total: PositiveCount


class Missing(Record):
    """Gate: that file is not to be had."""

    type: Literal["missing"] = "missing"
    digest: Digest
    reason: Text


Told = Enrolled | Wanted | Dismissed | FilePiece | Missing
TOLD: TypeAdapter[Told] = TypeAdapter(Annotated[Told, Field(discriminator="type")])


def said(frame: bytes) -> Said:
    """What a machine says.

    Raises:
        ContractError: Nothing that may be said here.
    """
    try:
        return SAID.validate_json(frame)
    except ValidationError as error:
        raise ContractError(f"not a message to the gate: {first_problem(error)}") from error


def told(frame: bytes) -> Told:
    """What it is told.

    Raises:
        ContractError: Nothing that a gate says.
    """
    try:
        return TOLD.validate_json(frame)
    except ValidationError as error:
        raise ContractError(f"not a message of a gate: {first_problem(error)}") from error


def version_problem(protocol: int) -> str:
    """What to say to a machine of another version; nothing to one of this."""
    if protocol == PROTOCOL:
        return ""
    older = "this machine" if protocol < PROTOCOL else "the broker"
    return f"the broker speaks protocol {PROTOCOL}, this machine protocol {protocol}: update {older}, it is older"


def knock(
    gate: GateAddress, public_key: str, secret_key: str
) -> "tuple[zmq.Context[zmq.Socket[bytes]], zmq.Socket[bytes]]":
    """A connection to a gate: only who has its key is spoken to there, and what is said is encrypted.

    Returns:
        A context of its own, and its socket; close both.
    """
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.linger = 500  # a last word
    socket.sndhwm = socket.rcvhwm = 100
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_TOLD_BYTES)
    socket.setsockopt(zmq.HEARTBEAT_IVL, 2000)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, round(1000 * SILENT_S))
    socket.setsockopt(zmq.TCP_MAXRT, round(1000 * BROKEN_S))
    socket.setsockopt(zmq.CONNECT_TIMEOUT, 3000)
    socket.setsockopt(zmq.HANDSHAKE_IVL, 3000)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 2000)
    socket.ipv6 = "[" in gate.endpoint
    socket.curve_serverkey = gate.key.encode()
    socket.curve_publickey, socket.curve_secretkey = public_key.encode(), secret_key.encode()
    socket.connect(gate.endpoint)
    return context, socket
