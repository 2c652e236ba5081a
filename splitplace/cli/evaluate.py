"""`splitplace evaluate`: the accuracy of a split on held-out images, through onnxruntime."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table

from splitplace.cli.output import bar, emit

if TYPE_CHECKING:
    from splitplace.records.by_class import ByClass

_SHOWN = 30
"""Classes that the table has room for."""


def evaluate(
    location: str,
    *,
    images: str | None = None,
    labels: Path | None = None,
    path: Path | None = None,
    unseen: bool = False,
    skip_corrupt: bool = False,
    micro_batch: int = 256,
    threads: int = 1,
    plot: Path | None = None,
    json: bool = False,
) -> None:
    """Measure a split's accuracy, whole and with each branch missing, and keep it in the catalog.

    Args:
        location: CATALOG:REF.
        images: Held-out inputs (.npy); by default the application's real ones, which needs the `train` extra.
        labels: Their classes (.npy of int64), with --images.
        path: Your own images, as `train` took them and read as it read them: what it held out is measured on.
        unseen: Measure on all images of --path, of which none was trained on: those that you took since.
        skip_corrupt: Leave out your own images that cannot be read, as in training.
        micro_batch: Images at once.
        threads: onnxruntime threads.
        plot: Draw which classes the images were taken for (.png, .svg or .pdf).
        json: Print one JSON document.
    """
    import splitplace as sp
    from splitplace.catalog.location import open_split

    catalog, reference = open_split(location)
    with bar() as progress:
        evaluation = sp.evaluate(
            location,
            images=images,
            labels=labels,
            path=path,
            unseen=unseen,
            skip_corrupt=skip_corrupt,
            micro_batch=micro_batch,
            threads=threads,
            plot=plot,
            progress=progress,
        )
    table = Table("fragments missing", "top-1", title=f"{reference}: {evaluation.n} images of {evaluation.dataset}")
    table.add_row("none", f"{evaluation.top1:.4f}")
    for row in evaluation.top1_missing:
        table.add_row(", ".join(row.missing), f"{row.top1:.4f}")
    document = {"reference": reference, "evaluation": evaluation.model_dump(mode="json")}
    if plot is not None:
        document["plot"] = str(plot.absolute())
    emit(document, Group(table, _by_class(evaluation, catalog.split(reference).class_names)), json)


def _by_class(measured: "ByClass", class_names: Sequence[str]) -> Table:
    """How right each class is, and what it is taken for most often; of many, the worst."""
    table = Table("class", "top-1", "images", "most often taken for")
    names = list(class_names) or [str(c) for c in range(len(measured.accuracy_by_class))]
    found = [(accuracy, c) for c, accuracy in enumerate(measured.accuracy_by_class) if accuracy is not None]
    if len(found) > _SHOWN:
        table.title = f"the {_SHOWN} worst of {len(found)} classes"
        found = sorted(found)[:_SHOWN]
    for accuracy, c in found:
        images, taken = "", ""
        if measured.confusion:
            row = measured.confusion[c]
            images, wrong = str(sum(row)), [0 if k == c else count for k, count in enumerate(row)]
            if any(wrong):
                taken = f"{names[wrong.index(max(wrong))]} ({max(wrong)})"
        table.add_row(names[c], f"{accuracy:.4f}", images, taken)
    return table
