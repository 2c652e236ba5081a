"""What messages are made of: how much of what they may hold, the types of their fields, the records inside them."""

import math
from typing import Annotated, Any, Literal

import numpy.typing as npt
from pydantic import Field, StringConstraints

from splitplace.inference.encoded_images import EncodedImages
from splitplace.records.base import Digest, Name, Record
from splitplace.records.fragment import ITEM_BYTES, DType

Array = npt.NDArray[Any]
Value = Array | EncodedImages
"""A tensor as it travels: its numbers, or images as PNG."""
Wire = Literal["raw", "encoded"]
"""How a task's images travel: as their pixels, or each as a PNG, where it has one or three channels of uint8."""

MAX_HEADER_BYTES = 2**20
MAX_TENSORS = 64
MAX_FRAGMENTS = 1024
"""That a device may hold, loaded or on their way in."""
MAX_STREAMS = 256
"""Inlets, senders or outlets of a fragment."""
MAX_IMAGES = 65_536
"""Of a micro-batch that travels as PNG: its header lists the size of each."""
MAX_FRAME_BYTES = 256 * 2**20
"""Of one tensor of one micro-batch; ZeroMQ drops the connection of a peer that sends more."""

BROKER = "@broker"
"""The broker's name as a peer; no device can have it, `Name` starts with a letter or digit."""
ANSWER = "@answer"
"""Where sinks send their logits: the broker's merge. No fragment can have this name."""

Incarnation = Annotated[int, Field(gt=0, lt=2**64)]
"""Of a process: a number that was drawn for it, and goes before all that it says (`envelope.py`)."""
Precedence = Literal["strict", "pipelined"]
Whole = Annotated[int, Field(ge=0, lt=2**53)]
"""A count that a peer states: what arithmetic on it gives fits every number type of ours."""
PositiveWhole = Annotated[int, Field(gt=0, lt=2**53)]
Index = Annotated[int, Field(ge=0, lt=2**31)]
"""Of a micro-batch, or how many there are."""
PositiveIndex = Annotated[int, Field(gt=0, lt=2**31)]
Seconds = Annotated[float, Field(ge=0, lt=1e10)]
"""A time or duration that a peer states."""
Spans = Annotated[tuple[tuple[Index, PositiveIndex], ...], Field(min_length=1, max_length=65_536)]
"""Micro-batches as [start, stop), in order and apart from each other."""
Text = Annotated[str, StringConstraints(max_length=2000)]
Endpoint = Annotated[str, StringConstraints(pattern=r"^(tcp://[A-Za-z0-9.:\[\]-]{1,255}|ipc:///[^\x00-\x1f]{1,106})$")]
Key = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z.:+=^!/*?&<>()\[\]{}@%$#-]{40}$")]
"""A CURVE key in Z85."""
PeerName = Annotated[str, StringConstraints(pattern=r"^(@broker|[A-Za-z0-9][A-Za-z0-9._-]{0,127})$")]
Target = Annotated[str, StringConstraints(pattern=r"^(@answer|[A-Za-z0-9][A-Za-z0-9._-]{0,127})$")]
TensorName = Annotated[str, StringConstraints(min_length=1, max_length=512)]
TensorNames = Annotated[tuple[TensorName, ...], Field(min_length=1, max_length=MAX_TENSORS)]


class Peer(Record):
    """Where a device listens, and which process it is now."""

    name: Name
    endpoint: Endpoint
    incarnation: Incarnation
    key: Key | None = None
    """Its public key, where it was not told with the configuration: of a device that joined since, or has another."""


class Frame(Record):
    """One tensor frame of a message."""

    name: TensorName
    dtype: DType
    shape: Annotated[tuple[PositiveWhole, ...], Field(min_length=1, max_length=16)]
    png: Annotated[tuple[PositiveWhole, ...], Field(min_length=1, max_length=MAX_IMAGES)] | None = None
    """Bytes of each of so many images, as `inference/encoded_images.py` has them; None of a tensor's numbers."""

    @property
    def size_bytes(self) -> int:
        """What the frame must measure."""
        return ITEM_BYTES[self.dtype] * math.prod(self.shape) if self.png is None else sum(self.png)


class FragmentUsage(Record):
    """What one loaded fragment has used of its device since it was loaded there."""

    digest: Digest
    micro_batches: Whole
    """Run to their end."""
    busy_s: Seconds
    """Wall-clock seconds of these runs, pauses of an emulated share included."""
    decode_s: Seconds = 0.0
    """Of these: until images that came as PNG were pixels."""
    cpu_s: Seconds
    """CPU seconds that the process used meanwhile, its network thread included."""
    resident_bytes: Whole
    """By how much the process's resident memory grew while it was loaded; none if that took room freed before."""
    sent_bytes: Whole
    """Of its results to other devices and the broker, as tensors."""
    received_bytes: Whole
    """Of its inputs from there."""
    disk_read_bytes: Whole | None = None
    """Fetched from storage while it was loaded; None where the system does not tell."""


class Inlet(Record):
    """The tensors that one source (a fragment, or the task's `input`) gives to a fragment."""

    src: Name
    tensors: TensorNames


class Outlet(Record):
    """Where a fragment's tensors go: to a fragment on a device (or on this one), or to the broker's answer."""

    dst: Target
    device: PeerName
    tensors: TensorNames


def text(error: object) -> str:
    """An error as it may travel: one line, bounded, in UTF-8; one that says nothing, as of no memory, by its name."""
    said = " ".join(str(error).split())[:2000].encode("utf-8", "backslashreplace").decode()
    return said or (type(error).__name__ if isinstance(error, BaseException) else "")
