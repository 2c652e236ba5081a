"""Of several splits the one that suits a device, for people."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from splitplace.tables.digits import mebibytes

if TYPE_CHECKING:
    from splitplace.catalog.variants import Variant


def variants_shown(variants: "Sequence[Variant]") -> Table:
    """What there was to choose from, an arrow at what was chosen."""
    table = Table("", "split", "fragments", "fits", "time", "memory", "largest fragment", "weights", "top-1")
    for found in variants:
        table.add_row(
            "→" if found.chosen else "",
            found.split.reference,
            str(len(found.split.fragments)),
            found.fits,
            "not run" if found.seconds is None else f"{1e3 * found.seconds:.2f} ms",
            "not run" if found.memory_bytes is None else mebibytes(found.memory_bytes),
            "not run" if found.largest_bytes is None else mebibytes(found.largest_bytes),
            mebibytes(found.weight_bytes),
            "not run" if found.top1 is None else f"{found.top1:.4f}",
        )
    return table
