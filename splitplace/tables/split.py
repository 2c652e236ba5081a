"""A split, and what was measured of its fragments, for people."""

from collections.abc import Sequence

from rich.table import Table

from splitplace.records.profile import Profile
from splitplace.records.split import Split
from splitplace.tables.digits import mebibytes


def split_shown(split: Split, profiles: Sequence[Profile]) -> Table:
    """A row a fragment and device that it was profiled on."""
    table = Table(
        "fragment",
        "reads",
        "predicts",
        "weights",
        "device",
        "batch 1",
        "largest batch",
        "memory",
        title=split.reference,
    )
    for fragment in split.fragments:
        own = [profile for profile in profiles if profile.digest == fragment.digest]
        facts = [
            fragment.name,
            ", ".join(edge.src for edge in split.edges if edge.dst == fragment.name),
            f"{len(fragment.classes)} classes" if fragment.classes else "features",
            mebibytes(fragment.weight_bytes),
        ]
        if not own:
            table.add_row(*facts, "not run", "not run", "not run", "not run")
        for profile in own:
            last = profile.latency[-1]
            table.add_row(
                *facts,
                profile.device.kind,
                f"{1e3 * profile.latency_s(1):.2f} ms",
                f"{1e3 * last.median_s:.2f} ms of {last.batch_size}",
                f"{profile.memory[-1].fragment_bytes / 2**20:.1f} MiB",
            )
    return table
