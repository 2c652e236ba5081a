"""What goes over the door's socket: a length, a JSON header of that length, then the bytes of the tensors it lists.

The length is four bytes, big endian. Tensors are C order, little endian, and as long as their dtypes and shapes say.
Everything is bounded before it is read; nothing is unpickled.
"""

import math
import struct
import sys
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
from pydantic import Field, TypeAdapter, ValidationError

from splitplace.errors import ContractError, OverloadedError, UsageError, first_problem
from splitplace.inference.unmasked import check_unmasked
from splitplace.records.base import Count, Record
from splitplace.records.fragment import ITEM_BYTES, DType

Array = npt.NDArray[Any]

LENGTH = struct.Struct(">I")
MAX_REQUEST_BYTES = 2**16
"""Of a header that a client sends."""
MAX_REPLY_BYTES = 16 * 2**20
"""Of a header that the door sends: a status of many devices, splits with the names of many classes."""
MAX_TENSOR_BYTES = 2**30
"""Of all tensors of one frame; a broker takes no larger task either."""

assert sys.byteorder == "little", "tensors are little endian"


class TensorHeader(Record):
    """One array that follows a header."""

    dtype: DType
    shape: Annotated[tuple[Count, ...], Field(min_length=1, max_length=16)]

    @property
    def size_bytes(self) -> int:
        """What it measures."""
        return ITEM_BYTES[self.dtype] * math.prod(self.shape)


class Message(Record):
    """What every request and reply has."""

    request: Count = 0
    """A client numbers its requests from 1; a reply has the number of what it replies to."""
    tensors: Annotated[tuple[TensorHeader, ...], Field(max_length=2)] = ()


M = TypeVar("M", bound=Message)


def tensor(what: str, value: Array) -> tuple[TensorHeader, Array]:
    """An array's line in a header, and its bytes as they are sent.

    Raises:
        ContractError: A dtype that no split takes, or some values are masked.
    """
    check_unmasked(what, value)
    name = value.dtype.name
    if name not in ITEM_BYTES:
        raise ContractError(f"{what} of {value.dtype}, expected one of {', '.join(ITEM_BYTES)}")
    if value.ndim == 0:
        raise ContractError(f"{what}: one number, expected an array whose first axis counts images")
    return TensorHeader(dtype=cast(DType, name), shape=value.shape), np.ascontiguousarray(
        value, value.dtype.newbyteorder("<")
    )


def head(message: Message) -> bytes:
    """The length and the header.

    Raises:
        UsageError: It holds what is no text to anybody else.
    """
    try:
        text = message.model_dump_json().encode()
    except ValueError as error:
        raise UsageError(f"a {type(message).__name__} with text that is no UTF-8: {error}") from error
    assert len(text) <= MAX_REPLY_BYTES, f"a header of {len(text)} bytes"
    return LENGTH.pack(len(text)) + text


def parse(adapter: TypeAdapter[M], text: bytes) -> M:
    """The header of a message, held against what may be said.

    Raises:
        ContractError: It is no such message.
        OverloadedError: Its tensors would be too large.
    """
    try:
        message = adapter.validate_json(text)
    except ValidationError as error:
        raise ContractError(f"no message of ours: {first_problem(error)}") from error
    size_bytes = sum(tensor.size_bytes for tensor in message.tensors)
    if size_bytes > MAX_TENSOR_BYTES:
        raise OverloadedError(
            f"a task of {size_bytes} bytes, expected at most {MAX_TENSOR_BYTES}: send its images as several tasks"
        )
    return message


def arrays(tensors: Sequence[TensorHeader], data: bytearray) -> list[Array]:
    """The arrays of these bytes, which stay where they are."""
    found, start = [], 0
    for each in tensors:
        count = math.prod(each.shape)
        found.append(np.frombuffer(data, each.dtype, count, start).reshape(each.shape))
        start += each.size_bytes
    return found
