"""Messages as bytes, and back: whoever receives one bounds it before anything else looks at it.

A message is a ZeroMQ multipart: frame 0 the header, frames 1.. the tensors that the header lists, each whole or in
pieces (`pieces.py`), C order, little endian, or images as PNG, which nobody decodes here. The header is parsed into one
of the records of `messages.py`, and every tensor held against the size that its dtype and shape, or its images, say.
"""

import sys
from collections import deque
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from splitplace.errors import ContractError, first_problem
from splitplace.inference.encoded_images import EncodedImages
from splitplace.placement.protocol import pieces
from splitplace.placement.protocol.fields import MAX_FRAME_BYTES, MAX_HEADER_BYTES, Frame, Value
from splitplace.placement.protocol.messages import PROTOCOL, Message, Tensors
from splitplace.records.base import Count

assert sys.byteorder == "little", "frames are little endian"

_MESSAGES: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="type")])


class _AnyHello(BaseModel):
    """What a hello of any version has in common."""

    type: Literal["hello"]
    protocol: Count = 0


@cache
def _dtype_name(dtype: np.dtype[Any]) -> Any:
    """Numpy puts a name together anew each time it is asked for."""
    return dtype.name


def tensors(job: int, src: str, dst: str, micro_batch: int, sent_s: float, values: Mapping[str, Value]) -> Tensors:
    """The header for these values."""
    frames = tuple(
        Frame(
            name=name,
            dtype=_dtype_name(value.dtype),
            shape=value.shape,
            png=tuple(value.sizes_N.tolist()) if isinstance(value, EncodedImages) else None,
        )
        for name, value in values.items()
    )
    return Tensors(job=job, src=src, dst=dst, micro_batch=micro_batch, sent_s=sent_s, frames=frames)


def encode(message: Message, values: Sequence[Value] = ()) -> list[bytes | memoryview]:
    """The frames of a message; `values` are the tensors its header lists."""
    header = message.model_dump_json().encode()
    assert len(header) <= MAX_HEADER_BYTES, f"a header of {len(header)} bytes"
    # Through uint8, because a buffer of a zero-dimensional or oddly typed array is not what sockets take.
    return [
        header,
        *(
            value.data
            if isinstance(value, EncodedImages)
            else np.ascontiguousarray(value).reshape(-1).view(np.uint8).data
            for value in values
        ),
    ]


def decode(frames: Sequence[bytes | memoryview], most_bytes: int = MAX_FRAME_BYTES) -> tuple[Message, dict[str, Value]]:
    """The message and its tensors by name, read only, over the frames themselves where these are whole.

    Args:
        frames: As they came in.
        most_bytes: Of a tensor.

    Raises:
        ContractError: A hello of another version of the protocol; says which side is older.
        SplitPlaceError: Not a message of ours, too large, or frames that are not what the header says.
    """
    if not frames or len(frames[0]) > MAX_HEADER_BYTES:
        size = len(frames[0]) if frames else 0
        raise ContractError(f"message header of {size} bytes, expected 1 to {MAX_HEADER_BYTES}")
    try:
        message = _MESSAGES.validate_json(bytes(frames[0]))
    except ValidationError as error:
        _check_protocol(bytes(frames[0]))
        raise ContractError(f"not a message: {first_problem(error, 'header')}") from error
    listed = message.frames if isinstance(message, Tensors) else ()
    if large := next((frame for frame in listed if frame.size_bytes > most_bytes), None):
        raise ContractError(f"tensor {large.name!r}: {large.size_bytes} bytes, expected at most {most_bytes}")
    rest, values = deque(frames[1:]), dict[str, Value]()
    taken = [(frame, *pieces.taken(rest, frame.size_bytes)) for frame in listed if rest]
    if len(taken) + len(rest) != len(listed):
        raise ContractError(f"{message.type}: {len(taken) + len(rest)} tensor frames, expected {len(listed)}")
    for frame, data, got_bytes in taken:
        if got_bytes != frame.size_bytes:
            raise ContractError(
                f"tensor {frame.name!r}: {got_bytes} bytes, expected {frame.size_bytes} for {frame.dtype}{frame.shape}"
            )
        if frame.png is not None:
            values[frame.name] = _images(frame, data)
            continue
        array = np.frombuffer(data, np.dtype(frame.dtype)).reshape(frame.shape)
        values[frame.name] = array if array.flags.aligned else array.copy()  # a frame may start at any byte
    if len(values) != len(listed):
        raise ContractError(f"a tensor is listed twice: {[frame.name for frame in listed]}")
    return message, values


def _images(frame: Frame, data: bytes | memoryview) -> EncodedImages:
    if frame.dtype != "uint8":
        raise ContractError(f"tensor {frame.name!r}: {frame.dtype} as PNG, expected uint8")
    return EncodedImages(frame.shape, np.array(frame.png, np.uint32), data)


def _check_protocol(header: bytes) -> None:
    """Of what is no message of ours: say so if it is a hello of another version, whatever else it holds."""
    try:
        theirs = _AnyHello.model_validate_json(header, strict=True).protocol
    except ValidationError:
        return
    if theirs != PROTOCOL:
        said = f"protocol {theirs}" if theirs else "a protocol from before versions"
        older = "device" if theirs < PROTOCOL else "broker"
        raise ContractError(
            f"the device speaks {said}, the broker protocol {PROTOCOL}: update the {older}, it is older"
        )
