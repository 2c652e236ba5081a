"""A profile: the measured cost of one fragment on one kind of device."""

from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from splitplace.records.base import Count, Digest, Name, Positive, PositiveCount, Record
from splitplace.records.encoded_input import EncodedInput
from splitplace.records.provenance import Provenance

CpuShareMethod = Literal["cgroup", "governor", "none"]


class DeviceFingerprint(Record):
    """What tells one kind of device from another, without naming the unit."""

    kind: Name
    cpu: str
    architecture: str
    cores: PositiveCount
    onnxruntime: str
    threads: PositiveCount
    cpu_share: Annotated[float, Field(gt=0)] = 1.0
    """Below 1.0 the speed is emulated by `cpu_share_method` on a faster machine."""
    cpu_share_method: CpuShareMethod = "none"


class Latency(Record):
    """Seconds one micro-batch takes at the profile's `core_speed`, over `runs` runs."""

    batch_size: PositiveCount
    median_s: Positive
    p10_s: Positive
    p90_s: Positive
    runs: PositiveCount


class MemoryIncrement(Record):
    """Bytes a process grows by when it loads a fragment and runs this micro-batch."""

    micro_batch: PositiveCount
    fragment_bytes: Count


class Profile(Record):
    """Measured in processes of its own; `core_speed`, of one core, by the fixed probe in turns with the latencies."""

    fragment: Name
    digest: Digest
    device: DeviceFingerprint
    core_speed: Positive
    load_s: Positive
    runtime_base_bytes: Count
    """Resident memory with the runtime up and nothing loaded: paid once a device."""
    memory: Annotated[tuple[MemoryIncrement, ...], Field(min_length=1)]
    latency: Annotated[tuple[Latency, ...], Field(min_length=1)]
    input_bytes_per_sample: Count
    output_bytes_per_sample: Count
    encoded: EncodedInput | None = None
    """Of a fragment that reads images: what they take as PNG, by those that were there when it was profiled."""
    provenance: Provenance

    @model_serializer(mode="wrap")
    def _without_what_is_not_there(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """One that says nothing of images is written as it was before any did."""
        written: dict[str, Any] = handler(self)
        return {name: value for name, value in written.items() if name != "encoded" or value is not None}

    @model_validator(mode="after")
    def _sorted(self) -> Self:
        for sizes in ([row.batch_size for row in self.latency], [row.micro_batch for row in self.memory]):
            if any(a >= b for a, b in pairwise(sizes)):
                raise ValueError(f"batch sizes must rise, got {sizes}")
        return self

    def latency_s(self, batch_size: int) -> float:
        """Median seconds of one batch: linear between measured sizes, and beyond them by the last (or first) two.

        With one measured size, proportional to it.
        """
        points = [(row.batch_size, row.median_s) for row in self.latency]
        return max(_interpolate(points, batch_size), 1e-9)

    def fragment_bytes(self, micro_batch: int) -> int:
        """Bytes the fragment adds to a device at this micro-batch, interpolated as `latency_s` is."""
        points = [(row.micro_batch, float(row.fragment_bytes)) for row in self.memory]
        return max(round(_interpolate(points, micro_batch)), 0)


def _interpolate(points: list[tuple[int, float]], at: int) -> float:
    if len(points) == 1:
        size, value = points[0]
        return value * at / size
    left, right = next((pair for pair in pairwise(points) if at <= pair[1][0]), (points[-2], points[-1]))
    slope = (right[1] - left[1]) / (right[0] - left[0])
    return left[1] + slope * (at - left[0])
