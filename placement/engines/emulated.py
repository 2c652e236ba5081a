"""Stated devices as processes of this machine: which share of its cores each one gets, and how fast that makes it."""

from collections.abc import Sequence

from splitplace import provenance
from splitplace.errors import UsageError
from splitplace.inference import probe
from splitplace.records.device import Device

LABEL = "cpu_share"
"""A device's label with its share of this machine's cores, in place of the one that its core_speed needs."""
MAX_DEVICES = 64
"""Each is a process with a runtime of its own, and is probed before the fleet is up."""


def emulated(devices: Sequence[Device]) -> tuple[tuple[Device, ...], dict[str, float]]:
    """What each device is here, and its share of the cores by name.

    A device labelled `cpu_share` gets that share. Any other gets what makes this machine's cores, as the probe finds
    them now, as slow as its `core_speed` states; if some device is stated faster than they are, or with more of them
    than there are, all get slower in proportion.

    Args:
        devices: Single devices.

    Returns:
        The devices with the `core_speed` that they have here, and shares above 0 and at most 1.

    Raises:
        UsageError: Too many of them, or a label that is no share.
    """
    if len(devices) > MAX_DEVICES:
        raise UsageError(f"{len(devices)} devices, expected at most {MAX_DEVICES}: each is a process of this machine")
    labelled = {device.name: _share(device) for device in devices if LABEL in device.labels}
    core_speed, here = probe.core_speed(), provenance.machine().cores
    # A device's threads that share fewer cores are so much slower, each of them.
    crowded = {device.name: max(device.cores / here, 1.0) for device in devices}
    stated = [device.core_speed * crowded[device.name] for device in devices if device.name not in labelled]
    fastest = max([core_speed, *stated])
    shares = {device.name: labelled.get(device.name, device.core_speed / fastest) for device in devices}
    each = {device.name: min(shares[device.name], 1 / crowded[device.name]) for device in devices}
    return tuple(device.model_copy(update={"core_speed": each[device.name] * core_speed}) for device in devices), shares


def _share(device: Device) -> float:
    text = device.labels[LABEL]
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise UsageError(f"{device.name}: label {LABEL} {text!r}: expected a share above 0 and at most 1, as 0.5")
    return share
