"""`splitplace evaluate`: the accuracy of a split on held-out images, through onnxruntime."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table

from splitplace.cli.verb import Shown, verb

if TYPE_CHECKING:
    from splitplace.records.by_class import ByClass
    from splitplace.records.evaluation import Evaluation

_SHOWN = 30
"""Classes that the table has room for."""


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
    return document, Group(table, _by_class(evaluation, catalog.split(reference).class_names))


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
