"""`splitplace image`: a split, and each of its fragments, as images that run."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from splitplace.cli.verb import Shown, named, verb
from splitplace.tables.digits import mebibytes

if TYPE_CHECKING:
    from splitplace import BuiltImages


@verb("build_images", out=Path, ca=Path, fragments=named("--fragment", tuple[str, ...]))
def image(built: "BuiltImages") -> Shown:
    """What was built."""
    table = Table("image", "digest", "size", "own layers")
    for one in built.images:
        own = sum(layer.size_bytes for layer in one.layers if layer not in built.shared)
        table.add_row(one.tag, one.digest, f"{one.size_bytes / 2**20:.1f} MiB", mebibytes(own))
    rows = [
        {
            "tag": one.tag,
            "digest": one.digest,
            "layers": [
                {"what": layer.what, "digest": layer.digest, "size_bytes": layer.size_bytes} for layer in one.layers
            ],
        }
        for one in built.images
    ]
    return {"layout": str(built.layout), "images": rows}, table
