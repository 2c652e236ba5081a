"""Tensors on the wire: raw little-endian bytes or JSON numbers to arrays and back, each held against its stated shape.

Sizes are computed with Python's integers, which do not overflow, and compared before an array is made. (JSON has been
parsed by then: `codec.py` bounds what that takes.)
"""

import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from splitplace.errors import ContractError
from splitplace.placement.http.requests import RequestInput

Array = npt.NDArray[Any]

DATATYPES = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
}
"""The protocol's names of what numpy has; BYTES and BF16 no split takes."""
NAMES = {name: datatype for datatype, name in DATATYPES.items()}
LENGTH = struct.Struct("<I")
"""Before each element of a BYTES tensor."""


def dtype_of(stated: RequestInput) -> np.dtype[Any]:
    """What numpy calls an input's datatype.

    Raises:
        ContractError: None that a split can take.
    """
    if stated.datatype not in DATATYPES:
        raise ContractError(
            f"input {stated.name!r}: datatype {stated.datatype!r}, expected one of {', '.join(DATATYPES)}"
        )
    return np.dtype(DATATYPES[stated.datatype]).newbyteorder("<")


def from_bytes(stated: RequestInput, data: memoryview) -> Array:
    """The array of these bytes, which stay where they are.

    Raises:
        ContractError: Not as many bytes as shape and datatype say, or a BOOL that is neither 0 nor 1.
    """
    dtype = dtype_of(stated)
    size = math.prod(stated.shape) * dtype.itemsize
    if size != len(data):
        raise ContractError(
            f"input {stated.name!r}: {len(data)} bytes, expected {size} for {stated.datatype}{list(stated.shape)}"
        )
    if dtype.kind == "b" and size and np.frombuffer(data, np.uint8).max() > 1:
        raise ContractError(f"input {stated.name!r}: a BOOL is the byte 0 or 1, got another one")
    return np.frombuffer(data, dtype).reshape(stated.shape)


def from_json(stated: RequestInput, data: list[Any]) -> Array:
    """The array of these numbers, flat or nested, in row-major order.

    Raises:
        ContractError: Not as many as the shape says, or values that are not of the datatype.
    """
    dtype = dtype_of(stated)
    count = math.prod(stated.shape)
    where = f"input {stated.name!r}"
    if (size := _elements(where, data)) != count:
        raise ContractError(f"{where}: {size} elements, expected {count} for {list(stated.shape)}")
    if not count:
        return np.zeros(stated.shape, dtype)
    try:
        found = np.asarray(data).reshape(stated.shape)
    except (ValueError, OverflowError) as error:  # ragged, or nested deeper than numpy goes
        raise ContractError(f"{where}: its data is no array of numbers: {error}") from error
    kinds = {"b": "b", "u": "iu", "i": "iu", "f": "iuf"}[dtype.kind]
    if found.dtype.kind not in kinds:
        raise ContractError(f"{where}: its data is {_kind(found)}, expected {stated.datatype}")
    if dtype.kind in "iu":
        bounds = np.iinfo(dtype)
        if int(found.min()) < bounds.min or int(found.max()) > bounds.max:
            raise ContractError(f"{where}: a value beyond {bounds.min} to {bounds.max}, expected {stated.datatype}")
    with np.errstate(over="ignore"):  # infinite then, and refused as such
        return found.astype(dtype)


def _elements(where: str, data: list[Any]) -> int:
    """How many there are, flat or nested."""
    if not data or not isinstance(data[0], list):
        return len(data)
    if not all(isinstance(part, list) for part in data):
        raise ContractError(f"{where}: its data is no array of numbers: lists and numbers side by side")
    return sum(_elements(where, part) for part in data)


def _kind(found: Array) -> str:
    kinds = {"b": "booleans", "i": "whole numbers", "u": "whole numbers", "f": "numbers", "U": "text"}
    return kinds.get(found.dtype.kind, "of several kinds or beyond 64 bits")


def check_finite(name: str, value: Array) -> None:
    """Refuse what no image is made of.

    Raises:
        ContractError: NaN or infinite values.
    """
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        raise ContractError(f"input {name!r}: some values are NaN or infinite, expected numbers")


def to_bytes(value: Array | Sequence[Sequence[str]]) -> bytes:
    """A tensor as binary data: numbers as they lie, texts each behind its length."""
    if isinstance(value, np.ndarray):
        return np.ascontiguousarray(value, value.dtype.newbyteorder("<")).tobytes()
    texts = [text.encode() for row in value for text in row]
    return b"".join(part for text in texts for part in (LENGTH.pack(len(text)), text))


def to_json(value: Array | Sequence[Sequence[str]]) -> list[Any]:
    """A tensor as JSON, flat in row-major order.

    JSON has no infinity: where the binary form says -inf (a class that the answer is without), this says the lowest
    number of the datatype.
    """
    if not isinstance(value, np.ndarray):
        return [text for row in value for text in row]
    if value.dtype.kind == "f":
        value = np.nan_to_num(value)
    found: list[Any] = value.ravel().tolist()
    return found


def classified(logits: Array, most: int, names: Sequence[str]) -> list[list[str]]:
    """The `most` highest of each row, as "VALUE:INDEX" or "VALUE:INDEX:NAME"; of equal ones the first."""
    order = np.argsort(-logits, axis=1, kind="stable")[:, :most]
    return [
        [f"{logits[row, c]:f}:{c}" + (f":{names[c]}" if names else "") for c in chosen]
        for row, chosen in enumerate(order)
    ]
