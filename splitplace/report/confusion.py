"""Draws which classes a trained model, or a split, takes for which."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from splitplace.errors import UsageError
from splitplace.records.by_class import MAX_CONFUSED, ByClass
from splitplace.report.figure import save_figure

_NAMED = 30
"""Classes whose names and numbers can be read."""


def draw_confusion(path: Path, reference: str, measured: ByClass, class_names: Sequence[str]) -> None:
    """Write the confusion matrix: a row for each right class, shaded by the share of its images that got each answer.

    Args:
        path: A .png, .svg or .pdf.
        reference: Of what was measured, above the picture.
        measured: What it answered.
        class_names: One a class; their numbers, where there are none.

    Raises:
        UsageError: No confusions there, because there are too many classes.
        OSError: The file cannot be written.
    """
    if not measured.confusion:
        raise UsageError(f"{reference}: no confusion matrix there, only of at most {MAX_CONFUSED} classes")
    count_KK = np.asarray(measured.confusion, dtype=np.int64)
    share_KK = count_KK / np.maximum(count_KK.sum(1, keepdims=True), 1)
    classes, n = len(count_KK), count_KK.sum()
    names = class_names or [str(c) for c in range(classes)]
    # Without a fixed salt, the same picture would be another file every time.
    with mpl.rc_context({"svg.hashsalt": "splitplace"}):
        figure = Figure(figsize=(8, 7), layout="constrained")
        axes = figure.subplots()
        image = axes.imshow(share_KK, cmap="Blues", vmin=0, vmax=1)
        figure.colorbar(image, label="share of the class's images")
        axes.set_xlabel("answer")
        axes.set_ylabel("right class")
        if classes <= _NAMED:
            axes.set_xticks(range(classes), names, rotation=60, ha="right")
            axes.set_yticks(range(classes), names)
            for c, k in np.argwhere(count_KK):
                colour = "white" if share_KK[c, k] > 0.5 else "black"
                axes.text(k, c, str(count_KK[c, k]), ha="center", va="center", color=colour, fontsize=7)
        figure.suptitle(f"{reference}: {np.trace(count_KK) / n:.1%} of {n} right")
        save_figure(figure, path)
