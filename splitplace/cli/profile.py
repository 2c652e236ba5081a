"""`splitplace profile`: what each fragment costs on this device."""

from dataclasses import asdict

from rich.table import Table

from splitplace.cli.output import emit


def profile(
    location: str,
    *,
    kind: str | None = None,
    threads: int = 1,
    cpus: float | None = None,
    quick: bool = False,
    again: bool = False,
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
        json: Print one JSON document.
    """
    from splitplace.catalog import Catalog
    from splitplace.catalog.location import parse_location
    from splitplace.errors import SplitPlaceError
    from splitplace.export.catalog import CatalogWriter
    from splitplace.export.fit import held_out, worst
    from splitplace.export.profiler import FULL, QUICK, fingerprint, profile_split

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
    document = {
        "catalog": str(folder.absolute()),
        "device": device.model_dump(mode="json"),
        "profiles": {name: [row.model_dump(mode="json") for row in rows] for name, rows in profiles.items()},
        "held_out": errors,
    }
    table = Table("split", "fragment", "load", "batch", "median", "p10", "p90", "memory", title=f"on {device.kind}")
    for name, rows in profiles.items():
        for row in rows:
            for latency, memory in zip(row.latency, row.memory, strict=True):
                table.add_row(
                    name,
                    row.fragment,
                    f"{1e3 * row.load_s:.0f} ms",
                    str(latency.batch_size),
                    *(f"{1e3 * value:.3f} ms" for value in (latency.median_s, latency.p10_s, latency.p90_s)),
                    f"{memory.fragment_bytes / 2**20:.2f} MiB",
                )
    worsts = [found for rows in profiles.values() for row in rows if (found := worst(row))]
    if worsts:
        latency, memory = (max(column) for column in zip(*worsts, strict=True))
        table.caption = (
            f"a batch size left out is predicted from its neighbours within {100 * latency:.1f} % (latency) and "
            f"{100 * memory:.1f} % (memory) at worst"
        )
    emit(document, table, json)
