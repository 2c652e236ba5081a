"""How right each class is, for people."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from splitplace.records.by_class import ByClass

SHOWN = 30
"""Classes that the table has room for."""


def classes_shown(measured: "ByClass", class_names: Sequence[str]) -> Table:
    """With what it is taken for most often; of many, the worst."""
    table = Table("class", "top-1", "images", "most often taken for")
    names = list(class_names) or [str(c) for c in range(len(measured.accuracy_by_class))]
    found = [(accuracy, c) for c, accuracy in enumerate(measured.accuracy_by_class) if accuracy is not None]
    if len(found) > SHOWN:
        table.title = f"the {SHOWN} worst of {len(found)} classes"
        found = sorted(found)[:SHOWN]
    for accuracy, c in found:
        images, taken = "", ""
        if measured.confusion:
            row = measured.confusion[c]
            images, wrong = str(sum(row)), [0 if k == c else count for k, count in enumerate(row)]
            if any(wrong):
                taken = f"{names[wrong.index(max(wrong))]} ({max(wrong)})"
        table.add_row(names[c], f"{accuracy:.4f}", images, taken)
    return table
