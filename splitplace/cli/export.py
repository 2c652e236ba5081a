"""`splitplace export`: a RUN or a SPLIT folder into a catalog."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from splitplace.cli.verb import Shown, verb
from splitplace.tables.digits import mebibytes

if TYPE_CHECKING:
    from splitplace import Exported


@verb("export", source=Path, catalog=Path, check_images=Path)
def export(done: "Exported", *, format: str) -> Shown:
    """What was written."""
    if format == "triton":
        models = [str(model) for model in done.models]
        return {"reference": done.reference, "models": models}, "\n".join(models)
    split, digest = done.split, done.digest
    document: dict[str, Any] = {
        "catalog": str(done.catalog),
        "reference": split.reference,
        "digest": digest,
        "fragments": [fragment.model_dump(mode="json") for fragment in split.fragments],
    }
    table = Table("fragment", "parameters", "MFLOP a sample", "weights", "digest", title=f"{split.reference} {digest}")
    for fragment in split.fragments:
        table.add_row(
            fragment.name,
            f"{fragment.params:,}",
            f"{fragment.flops_per_sample / 1e6:.2f}",
            mebibytes(fragment.weight_bytes),
            fragment.digest[:19],
        )
    return document, table
