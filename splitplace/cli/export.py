"""`splitplace export`: a RUN or a SPLIT folder into a catalog."""

from pathlib import Path
from typing import Literal

from rich.table import Table

from splitplace.cli.output import bar, emit


def export(
    source: Path,
    *,
    catalog: Path,
    check_images: Path | None = None,
    precision: Literal["float32", "float16", "int8"] = "float32",
    calibration: str | None = None,
    format: Literal["oci", "triton"] = "oci",
    json: bool = False,
) -> None:
    """Export a split's fragments as ONNX into a catalog, an OCI image layout.

    Args:
        source: A RUN folder (`splitplace train`) or a SPLIT folder (`splitplace split`).
        catalog: The catalog's folder; created if need be. An earlier split of the same reference is replaced.
        check_images: Real inputs (.npy, image files or your own images as `train` takes them; at least 32)
            to hold the exported RUN against its torch source with.
        precision: float16 or int8 make a split of its own, `REF-int8`; evaluate it to see what it costs in accuracy.
        calibration: Real inputs that int8 is calibrated on, float16 checked: .npy or image files, at least 32, not
            held-out ones; or your own images as `train` takes them, of which no held-out one is taken.
        format: triton writes a Triton model repository to the folder of --catalog, in place of a catalog.
        json: Print one JSON document.
    """
    import splitplace as sp

    with bar() as progress:
        done = sp.export(
            source,
            catalog,
            check_images=check_images,
            precision=precision,
            calibration=calibration,
            format=format,
            progress=progress,
        )
    if format == "triton":
        models = [str(model) for model in done.models]
        emit({"reference": done.reference, "models": models}, "\n".join(models), json)
        return
    split, digest = done.split, done.digest
    document = {
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
            f"{fragment.weight_bytes / 2**20:.2f} MiB",
            fragment.digest[:19],
        )
    emit(document, table, json)
