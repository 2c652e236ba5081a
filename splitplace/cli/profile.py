"""`splitplace profile`: what each fragment costs on this device."""

from dataclasses import asdict, astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table

from splitplace.cli.output import emit

if TYPE_CHECKING:
    from collections.abc import Callable

    from splitplace.records.profile import Profile


def profile(
    location: str,
    *,
    kind: str | None = None,
    threads: int = 1,
    cpus: float | None = None,
    quick: bool = False,
    again: bool = False,
    plot: Path | None = None,
    json: bool = False,
) -> None:
    """Measure latency, load time and memory of every fragment on this device, and keep them in the catalog.

    Args:
        location: CATALOG (all its splits) or CATALOG:REF.
        kind: What to call this kind of device; by default after its CPU.
        threads: onnxruntime threads.
        cpus: Put each measurement under a CPU quota of this many cores, to profile as a slower device.
        quick: Four batch sizes and a quarter of a second each, instead of 1 to 256 and a second.
        again: Measure what is already measured on this device, too.
        plot: A folder for one picture a split, `REF.svg`: cost over the batch size, as measured and as predicted.
        json: Print one JSON document.
    """
    if plot is not None:
        draw_costs = _drawing(plot)
    from splitplace.catalog import Catalog
    from splitplace.catalog.location import parse_location
    from splitplace.errors import SplitPlaceError
    from splitplace.export.catalog_writer import CatalogWriter
    from splitplace.export.measure.fit import held_out
    from splitplace.export.measure.profiler import FULL, QUICK, fingerprint, profile_split

    folder, reference = parse_location(location)
    catalog = CatalogWriter(Catalog(folder).path)
    references = (reference,) if reference else catalog.references()
    if not references:
        raise SplitPlaceError(f"the catalog {folder} holds no split: export one first")
    device = fingerprint(kind, threads, 1.0 if cpus is None else cpus / max(threads, 1))
    profiles = {
        name: profile_split(catalog, name, QUICK if quick else FULL, device=device, again=again) for name in references
    }
    errors = {
        name: {row.fragment: [asdict(error) for error in held_out(row)] for row in rows}
        for name, rows in profiles.items()
    }
    document: dict[str, Any] = {
        "catalog": str(folder.absolute()),
        "device": device.model_dump(mode="json"),
        "profiles": {name: [row.model_dump(mode="json") for row in rows] for name, rows in profiles.items()},
        "held_out": errors,
    }
    if plot is not None:
        for name, rows in profiles.items():
            errors_of = [[astuple(error) for error in held_out(row)] for row in rows]
            draw_costs(plot / f"{name}.svg", name, rows, errors_of)
        document["plots"] = [str((plot / f"{name}.svg").absolute()) for name in profiles]
    tables = [_table(name, rows, device.kind) for name, rows in profiles.items()]
    emit(document, Group(*tables), json)


def _table(reference: str, profiles: "tuple[Profile, ...]", kind: str) -> Table:
    """A row a batch size; the error where it can be left out and predicted from its neighbours."""
    from splitplace.export.measure.fit import held_out, worst

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


def _drawing(folder: Path) -> "Callable[..., None]":
    """What draws, held ready before anything is measured: an hour later is too late to find that nothing can."""
    from splitplace.errors import SplitPlaceError, UsageError

    try:
        from splitplace.report.cost import draw_costs
    except ImportError as error:
        raise UsageError(f"--plot needs `pip install splitplace[report]` ({error})") from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SplitPlaceError(f"--plot {folder}: cannot be made: {error.strerror}") from error
    return draw_costs
