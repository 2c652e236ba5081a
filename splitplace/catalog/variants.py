"""Which of several splits of an application suits a device: by what was measured of them, and by nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from splitplace.errors import InfeasibleError, NotReadyError
from splitplace.records.demand import SplitDemand
from splitplace.records.device import Device
from splitplace.records.evaluation import Evaluation
from splitplace.records.profile import Profile
from splitplace.records.split import Split

Fit = Literal["whole", "by fragment", "no", "not profiled"]


@dataclass(frozen=True)
class Variant:
    """A split, beside the device that it is for.

    Args:
        split: The split.
        fits: Whether the device holds all of it, its largest fragment at least, or neither.
        seconds: All its fragments, one after another on the device, at the micro-batch.
        memory_bytes: The runtime's base, and what all fragments add to it.
        largest_bytes: The base, and what the fragment that needs most adds to it.
        weight_bytes: On disk.
        top1: Share of held-out images that it gets right, 0 to 1; None where nobody has looked.
        chosen: Whether it is the one for the device.
    """

    split: Split
    fits: Fit
    seconds: float | None = None
    memory_bytes: int | None = None
    largest_bytes: int | None = None
    weight_bytes: int = 0
    top1: float | None = None
    chosen: bool = False


def variant(
    split: Split, profiles: Sequence[Profile], evaluation: Evaluation | None, device: Device, micro_batch: int
) -> Variant:
    """A split's cost on a device, from its profiles there or, scaled by the probe, elsewhere."""
    weight_bytes = sum(fragment.weight_bytes for fragment in split.fragments)
    top1 = None if evaluation is None else evaluation.top1
    profiled = {profile.digest for profile in profiles}
    if not all(fragment.digest in profiled for fragment in split.fragments):
        return Variant(split, "not profiled", weight_bytes=weight_bytes, top1=top1)
    cost = SplitDemand(split=split, micro_batch=micro_batch, profiles=tuple(profiles), evaluation=evaluation)
    used = [cost.profile(fragment.name, device) for fragment in split.fragments]
    base = max(profile.runtime_base_bytes for profile in used)
    added = [cost.fragment_bytes(fragment.name, device) for fragment in split.fragments]
    memory, largest = base + sum(added), base + max(added)
    largest_weight = max(fragment.weight_bytes for fragment in split.fragments)
    fits: Fit = "no"
    if memory <= device.memory_bytes and weight_bytes <= device.disk_bytes:
        fits = "whole"
    elif largest <= device.memory_bytes and largest_weight <= device.disk_bytes:
        fits = "by fragment"
    seconds = sum(cost.latency_s(fragment.name, device) for fragment in split.fragments)
    return Variant(split, fits, seconds, memory, largest, weight_bytes, top1)


def choose(variants: Sequence[Variant], device: Device, deadline_s: float | None) -> Variant:
    """The one for a device: the most accurate that it holds whole and runs in time; of equals the quickest.

    Where it holds none whole, one that it can have a fragment of, of the fewest fragments, then by accuracy: the rest
    runs elsewhere, so that the deadline says nothing of it. A split whose accuracy nobody has measured comes last.

    Raises:
        NotReadyError: None is profiled.
        InfeasibleError: None fits, or none that fits is in time; says which comes closest.
    """
    profiled = [found for found in variants if found.fits != "not profiled"]
    application = variants[0].split.application
    if not profiled:
        raise NotReadyError(
            f"no split of {application} is profiled: run `splitplace profile` on a device, and push again"
        )

    def accuracy(found: Variant) -> tuple[float, float, int]:
        assert found.seconds is not None and found.memory_bytes is not None
        return (-1.0 if found.top1 is None else found.top1, -found.seconds, -found.memory_bytes)

    whole = [found for found in profiled if found.fits == "whole"]
    timely = [found for found in whole if deadline_s is None or (found.seconds or 0.0) <= deadline_s]
    if timely:
        return max(timely, key=accuracy)
    if whole:
        quickest = min(whole, key=lambda found: found.seconds or 0.0)
        raise InfeasibleError(
            f"no split of {application} runs on {device.name} within {deadline_s} s: {quickest.split.reference} comes "
            f"closest, with {quickest.seconds:.4g} s; allow more, or take a faster device"
        )
    parts = [found for found in profiled if found.fits == "by fragment"]
    if not parts:
        smallest = min(profiled, key=lambda found: found.largest_bytes or 0)
        raise InfeasibleError(
            f"no fragment of {application} fits {device.name}: {smallest.split.reference} comes closest, with "
            f"{smallest.largest_bytes} bytes of memory; it has {device.memory_bytes}: split into more fragments"
        )
    return max(parts, key=lambda found: (-len(found.split.fragments), *accuracy(found)))


def chosen_from(variants: Sequence[Variant], device: Device, deadline_s: float | None) -> tuple[Variant, ...]:
    """The same variants, in each application one of them chosen.

    Raises:
        NotReadyError: None of an application is profiled.
        InfeasibleError: None of an application suits the device.
    """
    applications = dict.fromkeys(found.split.application for found in variants)
    best = [
        choose([found for found in variants if found.split.application == name], device, deadline_s)
        for name in applications
    ]
    return tuple(replace(found, chosen=any(found is one for one in best)) for found in variants)
