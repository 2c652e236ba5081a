"""`splitplace evaluate`: the accuracy of a split on held-out images, through onnxruntime."""

from pathlib import Path

from rich.table import Table

from splitplace.cli.output import emit


def evaluate(
    location: str,
    *,
    images: Path | None = None,
    labels: Path | None = None,
    micro_batch: int = 256,
    threads: int = 1,
    json: bool = False,
) -> None:
    """Measure a split's accuracy, whole and with each branch missing, and keep it in the catalog.

    Args:
        location: CATALOG:REF.
        images: Held-out inputs (.npy); by default the application's real ones, which needs the `train` extra.
        labels: Their classes (.npy of int64), with --images.
        micro_batch: Images at once.
        threads: onnxruntime threads.
        json: Print one JSON document.
    """
    from splitplace.catalog.location import open_split
    from splitplace.errors import UsageError
    from splitplace.export.catalog_writer import CatalogWriter
    from splitplace.export.measure.evaluation import data_sha256
    from splitplace.export.measure.evaluation import evaluate as measure
    from splitplace.inference.inputs import read_array

    source, reference = open_split(location)
    catalog = CatalogWriter(source.path)
    split = catalog.split(reference)
    catalog.check_writable()
    if (images is None) != (labels is None):
        raise UsageError("--images and --labels belong together: give both, or none for the application's own")
    if images is not None and labels is not None:
        x, y, origin = read_array(images), read_array(labels), str(images.absolute())
        if y.ndim != 1 or y.dtype.kind not in "iu":
            raise UsageError(f"{labels}: got {y.dtype}{list(y.shape)}, expected whole numbers of shape (n,)")
        sha256 = data_sha256(x, y)
    else:
        try:
            from splitplace.training.data.applications import fetch
        except ImportError as error:
            raise UsageError(f"real data needs `pip install splitplace[train]` ({error}); or give --images") from error
        data = fetch(split.application)
        x, y, origin, sha256 = data.x_test_NCHW, data.y_test_N, data.source, data.sha256
    evaluation, _ = measure(
        split,
        lambda name: catalog.load(split, name),
        x,
        y,
        dataset=split.application,
        sha256=sha256,
        seed=0,
        source=origin,
        micro_batch=micro_batch,
        threads=threads,
    )
    catalog.attach(reference, evaluation)
    table = Table("fragments missing", "top-1", title=f"{reference}: {evaluation.n} images of {evaluation.dataset}")
    table.add_row("none", f"{evaluation.top1:.4f}")
    for row in evaluation.top1_missing:
        table.add_row(", ".join(row.missing), f"{row.top1:.4f}")
    emit({"reference": reference, "evaluation": evaluation.model_dump(mode="json")}, table, json)
