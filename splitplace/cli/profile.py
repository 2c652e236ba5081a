"""`splitplace profile`: what each fragment costs on this device."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from splitplace.cli.verb import Shown, named, verb

if TYPE_CHECKING:
    from splitplace.records.profile import Profile


@verb("profile", catalog=named("--location", str), plot=Path)
def profile(profiles: "dict[str, tuple[Profile, ...]]", *, catalog: str, plot: Path | None) -> Shown:
    """What was measured."""
    import splitplace as sp
    from splitplace.catalog.location import parse_location

    device = next(iter(profiles.values()))[0].device
    counts = dict.fromkeys(row.device.threads for rows in profiles.values() for row in rows)
    by_threads = {
        (name, count): [row for row in rows if row.device.threads == count]
        for name, rows in profiles.items()
        for count in counts
    }
    errors: dict[str, dict[str, list[dict[str, Any]]]] = {name: {} for name in profiles}
    for name, rows in profiles.items():
        for row in rows:
            threads_of = {"threads": row.device.threads} if len(counts) > 1 else {}
            errors[name].setdefault(row.fragment, []).extend(asdict(e) | threads_of for e in sp.held_out(row))
    document: dict[str, Any] = {
        "catalog": str(parse_location(catalog)[0].absolute()),
        "device": device.model_dump(mode="json"),
        "profiles": {name: [row.model_dump(mode="json") for row in rows] for name, rows in profiles.items()},
        "held_out": errors,
    }
    if plot is not None:
        drawn = [f"{name}.{count}-threads" for name, count in by_threads] if len(counts) > 1 else list(profiles)
        document["plots"] = [str((plot / f"{name}.svg").absolute()) for name in drawn]
    tables = [
        _table(f"{name}, {count} thread(s)", tuple(rows), device.kind) for (name, count), rows in by_threads.items()
    ]
    return document, Group(*tables, *map(Text, _as_png(profiles)))


def _as_png(profiles: "dict[str, tuple[Profile, ...]]") -> list[str]:
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


def _table(reference: str, profiles: "tuple[Profile, ...]", kind: str) -> Table:
    """A row a batch size; the error where it can be left out and predicted from its neighbours."""
    from splitplace.api.profile import held_out, worst

    ends = "error: of the batch size when it is left out and predicted from its neighbours"
    table = Table("fragment", "load ms", "batch", "ms", "p10", "p90", "error", "MiB", "error", caption=ends)
    table.title = f"{reference} on {kind}"
    for profile in profiles:
        errors = {row.batch_size: (row.latency_error, row.memory_error) for row in held_out(profile)}
        for latency, memory in zip(profile.latency, profile.memory, strict=True):
            off = [f"{error:+.1%}" for error in errors.get(latency.batch_size, ())] or ["", ""]
            table.add_row(
                profile.fragment,
                f"{1e3 * profile.load_s:.0f}",
                str(latency.batch_size),
                *(f"{1e3 * seconds:.4g}" for seconds in (latency.median_s, latency.p10_s, latency.p90_s)),
                off[0],
                f"{memory.fragment_bytes / 2**20:.2f}",
                off[1],
            )
    worsts = [found for profile in profiles if (found := worst(profile))]
    if worsts:
        latency_error, memory_error = (max(column) for column in zip(*worsts, strict=True))
        table.caption = f"{ends}; at worst {latency_error:.1%} (latency) and {memory_error:.1%} (memory)"
    return table
