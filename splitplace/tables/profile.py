"""What fragments cost, for people."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from splitplace.records.profile import Profile

if TYPE_CHECKING:
    from splitplace.export.measure.fit import HeldOut


def profiles_shown(title: str, profiles: Sequence[Profile], errors: "Sequence[Sequence[HeldOut]]") -> Table:
    """A row a batch size; the error where it can be left out and predicted from its neighbours.

    Args:
        title: Above the table.
        profiles: Of the fragments.
        errors: Of each, by batch size.
    """
    ends = "error: of the batch size when it is left out and predicted from its neighbours"
    table = Table(
        "fragment", "load ms", "batch", "ms", "p10", "p90", "error", "MiB", "error", caption=ends, title=title
    )
    for profile, held_out in zip(profiles, errors, strict=True):
        off = {row.batch_size: (f"{row.latency_error:+.1%}", f"{row.memory_error:+.1%}") for row in held_out}
        for latency, memory in zip(profile.latency, profile.memory, strict=True):
            slower, larger = off.get(latency.batch_size, ("", ""))
            table.add_row(
                profile.fragment,
                f"{1e3 * profile.load_s:.0f}",
                str(latency.batch_size),
                *(f"{1e3 * seconds:.4g}" for seconds in (latency.median_s, latency.p10_s, latency.p90_s)),
                slower,
                f"{memory.fragment_bytes / 2**20:.2f}",
                larger,
            )
    if every := [row for held_out in errors for row in held_out]:
        latency_error, memory_error = (
            max(abs(error) for error in column)
            for column in zip(*((row.latency_error, row.memory_error) for row in every), strict=True)
        )
        table.caption = f"{ends}; at worst {latency_error:.1%} (latency) and {memory_error:.1%} (memory)"
    return table


def as_png_told(profiles: Mapping[str, Sequence[Profile]]) -> list[str]:
    """What images take, a line a split of which that is known."""
    lines = []
    for name, rows in profiles.items():
        if found := next((row for row in rows if row.encoded is not None), None):
            assert found.encoded is not None
            lines.append(
                f"{name}: an image takes {found.encoded.bytes_per_sample} of {found.input_bytes_per_sample} bytes as "
                f"PNG, and {1e3 * found.encoded.decode_s:.3g} ms to decode on a core of speed 1"
            )
    return lines
