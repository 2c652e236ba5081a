"""`splitplace catalog push` and `pull`: a catalog's splits into a registry, and out of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table

from splitplace.cli.verb import Shown, named, verb
from splitplace.tables.digits import mebibytes
from splitplace.tables.variants import variants_shown

if TYPE_CHECKING:
    from splitplace import Pulled, PushedSplit
    from splitplace.catalog.variants import Variant


@verb("push", positional=2, catalog=named("--location", str), ca=Path)
def push(pushed: "tuple[PushedSplit, ...]") -> Shown:
    """What was pushed."""
    table = Table("split", "pushed to", "measurements", "sent", "there already")
    for split in pushed:
        table.add_row(
            split.reference,
            str(split.remote),
            str(split.records),
            *map(mebibytes, (split.sent_bytes, split.kept_bytes)),
        )
    rows = [
        {
            "reference": split.reference,
            "remote": str(split.remote),
            "digest": split.remote.digest,
            "records": split.records,
            "sent_bytes": split.sent_bytes,
            "kept_bytes": split.kept_bytes,
        }
        for split in pushed
    ]
    return {"pushed": rows}, table


@verb("pull", catalog=Path, device=named("--for", Path), deadline_s=named("--deadline", float), ca=Path)
def pull(pulled: "Pulled") -> Shown:
    """What came."""
    table = Table("split", "pulled from", "measurements", "came")
    for split in pulled.splits:
        table.add_row(split.reference, str(split.remote), str(split.records), mebibytes(split.came_bytes))
    rows = [
        {
            "reference": split.reference,
            "remote": str(split.remote),
            "digest": split.remote.digest,
            "records": split.records,
            "came_bytes": split.came_bytes,
        }
        for split in pulled.splits
    ]
    variants = [_variant(found) for found in pulled.variants]
    document = {"catalog": str(pulled.catalog), "pulled": rows, "variants": variants}
    return document, Group(variants_shown(pulled.variants), table) if variants else table


def _variant(found: "Variant") -> dict[str, Any]:
    return {
        "reference": found.split.reference,
        "fragments": len(found.split.fragments),
        "fits": found.fits,
        "seconds": found.seconds,
        "memory_bytes": found.memory_bytes,
        "largest_fragment_bytes": found.largest_bytes,
        "weight_bytes": found.weight_bytes,
        "top1": found.top1,
        "chosen": found.chosen,
    }
