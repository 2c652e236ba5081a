"""Costs that somebody published as a table: never to be taken for measured profiles, and so a record of their own."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from splitplace.placement.simulator.costs import Costs
from splitplace.records.base import Amount, AmountOrZero, Count, Fraction, Name, Quantity, Record
from splitplace.records.device import Device
from splitplace.records.split import Strategy
from splitplace.records.threads import share_of_time
from splitplace.records.view import NONE, Fragments, Splits


class ConstantSplit(Record):
    """One split of a published table; a chain, or parallel fragments that each read the input."""

    application: Name
    strategy: Strategy
    shape: Literal["chain", "parallel"]
    core_s: Annotated[tuple[Amount, ...], Field(min_length=1)]
    """Core-seconds of each fragment for `images` images on the reference core."""
    output_bytes: tuple[AmountOrZero, ...]
    """Bytes each fragment hands on for `images` images; the last of a chain, or each in parallel, to the broker."""
    input_bytes_per_sample: Count
    weight_bytes: Quantity
    """Of each fragment."""
    top1: Fraction | None = None

    @property
    def reference(self) -> str:
        """What the results call it."""
        return f"{self.application}.constant.{self.strategy}-{len(self.core_s)}"

    @model_validator(mode="after")
    def _one_output_each(self) -> Self:
        if len(self.output_bytes) != len(self.core_s):
            raise ValueError(f"{len(self.core_s)} fragments need as many output_bytes, got {len(self.output_bytes)}")
        return self


class Constants(Record):
    """Costs that somebody published, with where from: never to be taken for a profile."""

    noun: ClassVar[str | None] = "demand of constants"
    source: str
    images: Quantity
    micro_batch: Quantity
    memory_bytes: Quantity
    """What each container is assumed to take; the file says why."""
    parallel_share: Fraction = 0.0
    """Of every fragment's work, what all threads of a device do (`splitplace/records/threads.py`)."""
    splits: Annotated[tuple[ConstantSplit, ...], Field(min_length=1)]


def from_constants(constants: Constants, devices: tuple[Device, ...], threads_D: Sequence[int]) -> Costs:
    """The tables of published constants, one column a device: seconds scale with speed and threads, the rest stands."""
    applications = tuple(dict.fromkeys(split.application for split in constants.splits))
    counts = np.array([len(split.core_s) for split in constants.splits], np.int64)
    first = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
    shares_D = [share_of_time(constants.parallel_share, threads) for threads in threads_D]
    speed_D = np.array([device.core_speed for device in devices]) / shares_D
    core_s_F = np.concatenate([split.core_s for split in constants.splits])
    edges: list[tuple[int, int, int]] = []
    outputs: list[int] = []
    for row, split in zip(first, constants.splits, strict=True):
        sizes = [round(size / constants.images) for size in split.output_bytes]
        chain = split.shape == "chain"
        for f, size in enumerate(sizes):
            if f == 0 or not chain:
                edges.append((NONE, int(row) + f, split.input_bytes_per_sample))
            else:
                edges.append((int(row) + f - 1, int(row) + f, sizes[f - 1]))
            outputs.append(0 if chain and f < len(sizes) - 1 else size)
    src, dst, size_X = np.array(edges, np.int64).T
    count, kinds = len(core_s_F), len(devices)
    return Costs(
        applications=applications,
        splits=Splits(
            references=tuple(split.reference for split in constants.splits),
            application_S=np.array([applications.index(s.application) for s in constants.splits], np.int64),
            strategies=tuple(s.strategy for s in constants.splits),
            first_S=first,
            count_S=counts,
            top1_S=np.array([np.nan if s.top1 is None else s.top1 for s in constants.splits]),
        ),
        fragments=Fragments(
            split_F=np.repeat(np.arange(len(counts)), counts),
            micro_batch_F=np.full(count, constants.micro_batch, np.int64),
            latency_s_FD=core_s_F[:, None] * (constants.micro_batch / constants.images) / speed_D,
            memory_bytes_FD=np.full((count, kinds), float(constants.memory_bytes)),
            weight_bytes_F=np.repeat([s.weight_bytes for s in constants.splits], counts),
            edge_src_X=src,
            edge_dst_X=dst,
            edge_bytes_X=size_X,
        ),
        load_s_FD=np.zeros((count, kinds)),
        output_bytes_F=np.array(outputs, np.int64),
        runtime_base_bytes_D=np.zeros(kinds),
    )
