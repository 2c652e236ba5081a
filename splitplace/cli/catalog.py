"""`splitplace catalog`: look into a catalog, check it, clean it, take its demand out."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.table import Table

from splitplace.cli.output import emit, fail
from splitplace.cli.verb import Shown, verb
from splitplace.tables.digits import mebibytes
from splitplace.tables.split import split_shown

if TYPE_CHECKING:
    from splitplace import Demand


def ls(catalog: Path, *, json: bool = False) -> None:
    """List the splits of a catalog.

    Args:
        catalog: The catalog's folder.
        json: Print one JSON document.
    """
    from splitplace import Catalog

    source = Catalog(catalog)
    rows = []
    table = Table("split", "fragments", "parameters", "weights", "top-1", "profiled on")
    for reference in source.references():
        split, evaluation = source.split(reference), source.evaluation(reference)
        kinds = sorted({profile.device.kind for profile in source.profiles(reference)})
        params = sum(fragment.params for fragment in split.fragments)
        weight_bytes = sum(fragment.weight_bytes for fragment in split.fragments)
        rows.append(
            {
                "reference": reference,
                "digest": source.split_descriptor(reference).digest,
                "fragments": len(split.fragments),
                "params": params,
                "weight_bytes": weight_bytes,
                "top1": None if evaluation is None else evaluation.top1,
                "profiled_on": kinds,
            }
        )
        right = "not run" if evaluation is None else f"{evaluation.top1:.4f}"
        size, profiled = mebibytes(weight_bytes), ", ".join(kinds) or "not run"
        table.add_row(reference, str(len(split.fragments)), f"{params:,}", size, right, profiled)
    emit({"catalog": str(catalog.absolute()), "splits": rows}, table, json)


def show(location: str, *, json: bool = False) -> None:
    """Show a split: its graph, and what was measured of its fragments.

    Args:
        location: CATALOG:REF.
        json: Print one JSON document.
    """
    from splitplace.catalog.location import open_split

    source, reference = open_split(location)
    split, profiles, evaluation = source.split(reference), source.profiles(reference), source.evaluation(reference)
    document = {
        "catalog": str(source.path.absolute()),
        "reference": reference,
        "digest": source.split_descriptor(reference).digest,
        "split": split.model_dump(mode="json"),
        "profiles": [profile.model_dump(mode="json") for profile in profiles],
        "evaluation": None if evaluation is None else evaluation.model_dump(mode="json"),
    }
    emit(document, split_shown(split, profiles), json)


def verify(catalog: Path, *, json: bool = False) -> None:
    """Read everything in a catalog and hold it against its digests; exit 1 if anything is wrong.

    Args:
        catalog: The catalog's folder.
        json: Print one JSON document.
    """
    from splitplace import Catalog

    found = Catalog(catalog).verify()
    document = {"catalog": str(catalog.absolute()), **asdict(found)}
    line = f"{found.splits} splits, {found.records} measurements, {found.blobs} blobs, {found.size_bytes} bytes"
    emit(document, line + (": all as their digests say" if not found.problems else ""), json)
    if found.problems:
        more = f" (and {len(found.problems) - 1} more)" if len(found.problems) > 1 else ""
        fail(found.problems[0] + more, 1)


def gc(catalog: Path, *, json: bool = False) -> None:
    """Remove what nothing leads to: replaced splits, measurements of what is gone, leftovers of killed writers.

    Args:
        catalog: The catalog's folder.
        json: Print one JSON document.
    """
    from splitplace import Catalog, CatalogWriter

    files, size_bytes = CatalogWriter(Catalog(catalog).path).gc()
    document = {"catalog": str(catalog.absolute()), "removed_files": files, "removed_bytes": size_bytes}
    emit(document, f"removed {files} files, {size_bytes} bytes", json)


@verb("demand", positional=2, catalog=Path, out=Annotated[Path, Parameter(required=True)])
def demand(value: "Demand", *, out: Path) -> Shown:
    """What was written."""
    size_bytes = out.stat().st_size
    names = [entry.split.reference for entry in value.splits]
    document = {"demand": str(out.absolute()), "splits": names, "size_bytes": size_bytes}
    return document, f"{out}: {len(names)} splits, {size_bytes} bytes"
