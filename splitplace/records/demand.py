"""Demand: what a catalog's splits cost and how accurate they are, in one document (profiles + evaluations)."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from splitplace.errors import InfeasibleError
from splitplace.records import formats
from splitplace.records.base import Name, NonNegative, PositiveCount, Record
from splitplace.records.device import Device
from splitplace.records.evaluation import Evaluation
from splitplace.records.formats import Format
from splitplace.records.profile import Profile
from splitplace.records.provenance import Provenance
from splitplace.records.split import Split


class SplitDemand(Record):
    """One split with the measured cost of each of its fragments, in fragment order, on one or more kinds of device."""

    split: Split
    micro_batch: PositiveCount
    """Samples a device runs at once; a task of n samples is ceil(n / micro_batch) micro-batches."""
    profiles: Annotated[tuple[Profile, ...], Field(min_length=1)]
    evaluation: Evaluation | None = None

    @model_validator(mode="after")
    def _every_fragment_is_profiled(self) -> Self:
        profiled = {profile.digest for profile in self.profiles}
        missing = [fragment.name for fragment in self.split.fragments if fragment.digest not in profiled]
        if missing:
            raise ValueError(f"{self.split.reference}: no profile of {missing}")
        return self

    def profile(self, fragment: str, device: Device) -> Profile:
        """The profile to cost `fragment` on `device` by: of the device's own kind if there is one, else the first."""
        digest = self.split.by_name[fragment].digest
        candidates = [profile for profile in self.profiles if profile.digest == digest]
        return next((profile for profile in candidates if profile.device.kind == device.kind), candidates[0])

    def latency_s(self, fragment: str, device: Device) -> float:
        """Seconds one micro-batch of `fragment` takes on `device`: profile_s x profile core_speed / device core_speed.

        The profile already holds for its own core_speed; a device of the same kind and speed gives the measured value.
        """
        profile = self.profile(fragment, device)
        return profile.latency_s(self.micro_batch) * profile.core_speed / device.core_speed

    def fragment_bytes(self, fragment: str, device: Device) -> int:
        """Memory `fragment` adds to `device` at the micro-batch, over the runtime's own base."""
        return self.profile(fragment, device).fragment_bytes(self.micro_batch)


class EncodedInput(Record):
    """How the inputs of an application travel compressed: measured on its own images."""

    codec: Name
    bytes_per_sample: PositiveCount
    """Mean over the images."""
    decode_s: NonNegative
    """Seconds that a core of speed 1 takes to make a sample of it that a fragment reads."""
    source: str = ""
    """What was measured, where."""


class Demand(Record):
    """Every split a scheduler may choose from."""

    file_format: ClassVar[Format | None] = formats.DEMAND
    format: Literal[1] = 1
    splits: Annotated[tuple[SplitDemand, ...], Field(min_length=1)]
    encoded: dict[Name, EncodedInput] = Field(default_factory=dict)
    """By application: for scenarios whose inputs travel encoded."""
    provenance: Provenance

    @model_validator(mode="after")
    def _references_differ(self) -> Self:
        references = [demand.split.reference for demand in self.splits]
        if len(set(references)) != len(references):
            raise ValueError(f"a split stands twice: {sorted(references)}")
        return self

    def runtime_base_bytes(self, device: Device) -> int:
        """What the runtime alone takes on `device`: the largest base any profile of its kind (or any at all) saw."""
        profiles = [profile for demand in self.splits for profile in demand.profiles]
        own = [profile for profile in profiles if profile.device.kind == device.kind]
        return max(profile.runtime_base_bytes for profile in own or profiles)

    def check_fits(self, devices: tuple[Device, ...]) -> None:
        """Refuse a fleet on which some fragment fits no device.

        Raises:
            SplitPlaceError: Names the fragment, its bytes and the largest device.
        """
        for demand in self.splits:
            for fragment in demand.split.fragments:
                spare = {
                    device.name: device.memory_bytes
                    - self.runtime_base_bytes(device)
                    - demand.fragment_bytes(fragment.name, device)
                    for device in devices
                }
                if max(spare.values()) < 0:
                    largest = max(spare, key=lambda name: spare[name])
                    raise InfeasibleError(
                        f"{demand.split.reference}/{fragment.name} fits no device: {largest} comes closest and lacks "
                        f"{-spare[largest]} bytes; give a device more memory or split into more fragments"
                    )
