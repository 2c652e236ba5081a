"""Demand: what a catalog's splits cost and how accurate they are, in one document (profiles + evaluations)."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from splitplace.errors import InfeasibleError
from splitplace.records import formats
from splitplace.records.base import Fraction, Name, PositiveCount, Record
from splitplace.records.device import Device
from splitplace.records.encoded_input import EncodedInput as EncodedInput
from splitplace.records.evaluation import Evaluation
from splitplace.records.formats import Format
from splitplace.records.profile import Profile
from splitplace.records.provenance import Provenance
from splitplace.records.split import Split
from splitplace.records.threads import UNMEASURED_SHARE, parallel_share, share_of_time


class SplitDemand(Record):
    """One split with the measured cost of each of its fragments, on one or more kinds of device and thread counts."""

    split: Split
    micro_batch: PositiveCount
    """Samples a device runs at once; a task of n samples is ceil(n / micro_batch) micro-batches."""
    profiles: Annotated[tuple[Profile, ...], Field(min_length=1)]
    evaluation: Evaluation | None = None
    parallel_share: dict[Name, Fraction] = Field(default_factory=dict)
    """By fragment, the share of its work that all threads do (`threads.py`), for those with profiles of one thread
    count alone; the demand says where from."""

    @model_validator(mode="after")
    def _every_fragment_is_profiled(self) -> Self:
        profiled = {profile.digest for profile in self.profiles}
        missing = [fragment.name for fragment in self.split.fragments if fragment.digest not in profiled]
        if missing:
            raise ValueError(f"{self.split.reference}: no profile of {missing}")
        return self

    @model_validator(mode="after")
    def _shares_are_of_fragments(self) -> Self:
        if strange := sorted(set(self.parallel_share) - set(self.split.by_name)):
            raise ValueError(
                f"{self.split.reference}: parallel_share of {strange}, expected {sorted(self.split.by_name)}"
            )
        return self

    def profile(self, fragment: str, device: Device, threads: int | None = None) -> Profile:
        """The profile to cost `fragment` on `device` by.

        Of the device's own kind if there is one, else of the kind of the first. Of several thread counts the one asked
        for (the device's cores by default), else the next below it, else the least.
        """
        asked = threads or device.cores
        mine = self._of_kind(fragment, device)
        below = [profile.device.threads for profile in mine if profile.device.threads <= asked]
        nearest = max(below) if below else min(profile.device.threads for profile in mine)
        return next(profile for profile in mine if profile.device.threads == nearest)

    def _of_kind(self, fragment: str, device: Device) -> list[Profile]:
        digest = self.split.by_name[fragment].digest
        candidates = [profile for profile in self.profiles if profile.digest == digest]
        own = [profile for profile in candidates if profile.device.kind == device.kind]
        return own or [profile for profile in candidates if profile.device.kind == candidates[0].device.kind]

    def latency_s(self, fragment: str, device: Device, threads: int | None = None) -> float:
        """Seconds one micro-batch of `fragment` takes on `device`: profile_s x profile core_speed / device core_speed.

        The profile already holds for its own core_speed; a device of the same kind and speed gives the measured value.
        Where it is of another thread count than asked for (the device's cores by default), by Amdahl's law.
        """
        asked, profile = threads or device.cores, self.profile(fragment, device, threads)
        seconds = profile.latency_s(self.micro_batch) * profile.core_speed / device.core_speed
        if profile.device.threads == asked:
            return seconds
        share = self._parallel_share(fragment, device)
        return seconds * share_of_time(share, asked) / share_of_time(share, profile.device.threads)

    def _parallel_share(self, fragment: str, device: Device) -> float:
        """As measured on this kind of device; else as stated; else as it is with most."""
        measured: dict[int, float] = {}
        for profile in self._of_kind(fragment, device):
            measured.setdefault(profile.device.threads, profile.latency_s(self.micro_batch) * profile.core_speed)
        return parallel_share(measured) if len(measured) > 1 else self.parallel_share.get(fragment, UNMEASURED_SHARE)

    def fragment_bytes(self, fragment: str, device: Device) -> int:
        """Memory `fragment` adds to `device` at the micro-batch, over the runtime's own base."""
        return self.profile(fragment, device).fragment_bytes(self.micro_batch)


class Demand(Record):
    """Every split a scheduler may choose from."""

    file_format: ClassVar[Format | None] = formats.DEMAND
    format: Literal[1] = 1
    splits: Annotated[tuple[SplitDemand, ...], Field(min_length=1)]
    encoded: dict[Name, EncodedInput] = Field(default_factory=dict)
    """By application: for scenarios whose inputs travel encoded."""
    parallel_source: str = ""
    """What the splits' `parallel_share` was measured on, and how."""
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
