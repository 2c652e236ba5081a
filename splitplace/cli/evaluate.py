"""`splitplace evaluate`: the accuracy of a split on held-out images, through onnxruntime."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table

from splitplace.cli.verb import Shown, verb
from splitplace.tables.classes import classes_shown

if TYPE_CHECKING:
    from splitplace.records.evaluation import Evaluation


@verb("evaluate", labels=Path, path=Path, plot=Path)
def evaluate(evaluation: "Evaluation", *, location: str, plot: Path | None) -> Shown:
    """What was measured."""
    from splitplace.catalog.location import open_split

    catalog, reference = open_split(location)
    table = Table("fragments missing", "top-1", title=f"{reference}: {evaluation.n} images of {evaluation.dataset}")
    table.add_row("none", f"{evaluation.top1:.4f}")
    for row in evaluation.top1_missing:
        table.add_row(", ".join(row.missing), f"{row.top1:.4f}")
    document = {"reference": reference, "evaluation": evaluation.model_dump(mode="json")}
    if plot is not None:
        document["plot"] = str(plot.absolute())
    return document, Group(table, classes_shown(evaluation, catalog.split(reference).class_names))
