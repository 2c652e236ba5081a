"""Draws which classes a trained model takes for which."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from splitplace.report.figure import save_figure

_NAMED = 30
"""Classes whose names and numbers can be read."""


def draw_confusion(path: Path, confusion: Sequence[Sequence[int]], class_names: Sequence[str], title: str) -> None:
    """Write the confusion matrix: a row for each right class, shaded by the share of its images that got each answer.

    Args:
        path: A .png, .svg or .pdf.
        confusion: Images of class c (row) taken for class k (column).
        class_names: One a class.
        title: Above the picture.
    """
    count_KK = np.asarray(confusion, dtype=np.int64)
    share_KK = count_KK / np.maximum(count_KK.sum(1, keepdims=True), 1)
    classes = len(class_names)
    # Without a fixed salt, the same picture would be another file every time.
    with mpl.rc_context({"svg.hashsalt": "splitplace"}):
        figure = Figure(figsize=(8, 7), layout="constrained")
        axes = figure.subplots()
        image = axes.imshow(share_KK, cmap="Blues", vmin=0, vmax=1)
        figure.colorbar(image, label="share of the class's images")
        axes.set_xlabel("answer")
        axes.set_ylabel("right class")
        if classes <= _NAMED:
            axes.set_xticks(range(classes), class_names, rotation=60, ha="right")
            axes.set_yticks(range(classes), class_names)
            for c, k in np.argwhere(count_KK):
                colour = "white" if share_KK[c, k] > 0.5 else "black"
                axes.text(k, c, str(count_KK[c, k]), ha="center", va="center", color=colour, fontsize=7)
        figure.suptitle(title)
        save_figure(figure, path)
