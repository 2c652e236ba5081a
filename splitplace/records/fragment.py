"""A fragment: one deployable piece of a split, and the tensors at its boundary."""

from typing import Annotated, Final, Literal

from pydantic import Field

from splitplace.records.base import Count, Digest, Name, PositiveCount, Record

FragmentSource = Literal["here", "registry", "broker"]
"""Where a device has a fragment's file from: its own disk, the registry of the fleet's catalog, or the broker."""

BATCH: Final = "batch"
"""The symbolic first dimension of every boundary tensor."""

MAX_TENSOR_NAME = 512

DType = Literal["float32", "float16", "float64", "int8", "uint8", "int16", "int32", "int64", "bool"]
ITEM_BYTES: dict[str, int] = {
    "float32": 4,
    "float16": 2,
    "float64": 8,
    "int8": 1,
    "uint8": 1,
    "int16": 2,
    "int32": 4,
    "int64": 8,
    "bool": 1,
}


class TensorSpec(Record):
    """A named tensor at a fragment's boundary; `shape` starts with the symbolic batch."""

    name: Annotated[str, Field(min_length=1, max_length=MAX_TENSOR_NAME)]
    dtype: DType
    shape: Annotated[tuple[PositiveCount | Literal["batch"], ...], Field(min_length=1, max_length=16)]

    @property
    def bytes_per_sample(self) -> int:
        """Bytes of one sample: every dimension but the batch."""
        size = ITEM_BYTES[self.dtype]
        for dimension in self.shape:
            size *= dimension if isinstance(dimension, int) else 1
        return size


class Fragment(Record):
    """What one deployable piece takes, gives and weighs; `digest` is that of its ONNX file."""

    name: Name
    inputs: Annotated[tuple[TensorSpec, ...], Field(min_length=1)]
    outputs: Annotated[tuple[TensorSpec, ...], Field(min_length=1)]
    classes: tuple[Count, ...] = ()
    """The classes it predicts, in the order of its logits; empty for a fragment that hands features on."""
    params: Count
    flops_per_sample: Count
    weight_bytes: Count
    digest: Digest
