"""`splitplace evaluate`: the accuracy of a split on held-out images, through onnxruntime."""

from pathlib import Path

from rich.table import Table

from splitplace.cli.output import bar, emit


def evaluate(
    location: str,
    *,
    images: str | None = None,
    labels: Path | None = None,
    path: Path | None = None,
    skip_corrupt: bool = False,
    micro_batch: int = 256,
    threads: int = 1,
    json: bool = False,
) -> None:
    """Measure a split's accuracy, whole and with each branch missing, and keep it in the catalog.

    Args:
        location: CATALOG:REF.
        images: Held-out inputs (.npy); by default the application's real ones, which needs the `train` extra.
        labels: Their classes (.npy of int64), with --images.
        path: Your own images, as `train` took them and read as it read them: what it held out is measured on.
        skip_corrupt: Leave out your own images that cannot be read, as in training.
        micro_batch: Images at once.
        threads: onnxruntime threads.
        json: Print one JSON document.
    """
    import splitplace as sp
    from splitplace.catalog.location import open_split

    _, reference = open_split(location)
    with bar() as progress:
        evaluation = sp.evaluate(
            location,
            images=images,
            labels=labels,
            path=path,
            skip_corrupt=skip_corrupt,
            micro_batch=micro_batch,
            threads=threads,
            progress=progress,
        )
    table = Table("fragments missing", "top-1", title=f"{reference}: {evaluation.n} images of {evaluation.dataset}")
    table.add_row("none", f"{evaluation.top1:.4f}")
    for row in evaluation.top1_missing:
        table.add_row(", ".join(row.missing), f"{row.top1:.4f}")
    emit({"reference": reference, "evaluation": evaluation.model_dump(mode="json")}, table, json)
