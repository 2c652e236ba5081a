"""Which split suits a device: against what is worked out by hand from the profiles."""

from dataclasses import replace

import pytest

from splitplace.catalog.variants import choose, chosen_from, variant
from splitplace.errors import InfeasibleError, NotReadyError
from splitplace.records.device import Device
from tests.distribution.conftest import evaluation, profile

MIB = 2**20


def device(**other):
    """Twice as fast as what was profiled, with room for everything."""
    told = {
        "name": "cam", "kind": "camera", "cores": 1, "core_speed": 2.0, "memory_bytes": 200 * MIB, "disk_bytes": MIB,
        "disk_bytes_per_s": 1e8, "up_bytes_per_s": 1e8, "down_bytes_per_s": 1e8, "rtt_s": 0.001, "power_w": (1.0,) * 11,
    }  # fmt: skip
    return Device(**(told | other))


def made(artifact, seconds, memory, top1, target, kind="board", micro_batch=1):
    """A variant whose two fragments take so many seconds and bytes each, over a base of 50 MiB."""
    profiles = [
        profile(artifact, name, kind=kind, median_s=seconds).model_copy(
            update={
                "runtime_base_bytes": 50 * MIB,
                "memory": (profile(artifact).memory[0].model_copy(update={"fragment_bytes": memory}),),
            }
        )
        for name in ("leaf0", "leaf1")
    ]
    return variant(artifact.split, profiles, None if top1 is None else evaluation(top1), target, micro_batch)


def test_costs_are_those_of_the_profiles(artifact):
    """Scaled by the probe; of the device's own kind as measured; all fragments one after another."""
    found = made(artifact, 0.1, 10 * MIB, 0.9, device())
    assert found.seconds == pytest.approx(2 * 0.1 / 2.0)
    assert (found.memory_bytes, found.largest_bytes, found.weight_bytes) == (70 * MIB, 60 * MIB, 64)
    assert (found.fits, found.top1) == ("whole", 0.9)
    own = made(artifact, 0.1, 10 * MIB, 0.9, device(kind="board", core_speed=1.0))
    assert own.seconds == pytest.approx(0.2)
    assert made(artifact, 0.1, 10 * MIB, 0.9, device(), micro_batch=4).memory_bytes == 130 * MIB


@pytest.mark.parametrize(
    ("room", "fits"),
    [
        ({"memory_bytes": 70 * MIB}, "whole"),
        ({"memory_bytes": 70 * MIB - 1}, "by fragment"),
        ({"memory_bytes": 60 * MIB}, "by fragment"),
        ({"memory_bytes": 60 * MIB - 1}, "no"),
        ({"disk_bytes": 64}, "whole"),
        ({"disk_bytes": 63}, "by fragment"),
        ({"disk_bytes": 31}, "no"),
    ],
)
def test_what_fits(artifact, room, fits):
    """To the byte, of memory and of disk."""
    assert made(artifact, 0.1, 10 * MIB, 0.9, device(**room)).fits == fits


def test_the_most_accurate_in_time_is_chosen(artifact, make_artifact):
    """Without a deadline the best; with one the best of those that keep it; of equals the quickest."""
    rows = [
        made(make_artifact(variant=name), seconds, MIB, top1, device())
        for name, seconds, top1 in (
            ("slow", 0.3, 0.95),
            ("even", 0.2, 0.9),
            ("quick", 0.1, 0.9),
            ("unknown", 0.01, None),
        )
    ]
    chosen = {limit: choose(rows, device(), limit).split.variant for limit in (None, 0.3, 0.2, 0.1, 0.09)}
    assert chosen == {None: "slow", 0.3: "slow", 0.2: "quick", 0.1: "quick", 0.09: "unknown"}
    with pytest.raises(
        InfeasibleError, match=r"no split of toy runs on cam within 0.001 s: .*unknown comes closest, with 0.01 s"
    ):
        choose(rows, device(), 0.001)
    assert [row.split.variant for row in chosen_from(rows, device(), None) if row.chosen] == ["slow"]


def test_a_small_device_takes_a_fragment(artifact, make_artifact):
    """Where no split fits whole, one whose largest fragment does; where none does, the closest is named."""
    rows = [
        made(make_artifact(variant=name), 0.1, memory, top1, device(memory_bytes=60 * MIB))
        for name, memory, top1 in (("best", 11 * MIB, 0.99), ("fine", 10 * MIB, 0.9), ("poor", 9 * MIB, 0.8))
    ]
    assert [row.fits for row in rows] == ["no", "by fragment", "by fragment"]
    assert choose(rows, device(memory_bytes=60 * MIB), 0.001).split.variant == "fine"
    none = [replace(row, fits="no") for row in rows]
    with pytest.raises(
        InfeasibleError, match=f"no fragment of toy fits cam: .*poor comes closest, with {59 * MIB} bytes"
    ):
        choose(none, device(), None)


def test_what_was_not_profiled_is_not_chosen(artifact):
    """It stands in the table; alone, it is said what to do."""
    row = variant(artifact.split, [profile(artifact)], None, device(), 1)
    assert (row.fits, row.seconds) == ("not profiled", None)
    with pytest.raises(NotReadyError, match="no split of toy is profiled: run `splitplace profile` on a device"):
        choose([row], device(), None)
