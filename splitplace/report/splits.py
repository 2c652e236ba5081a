"""Draws how splits of one model compare: accuracy and response time, as figure 2 of the SplitPlace paper does."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from splitplace.report.figure import save_figure


@dataclass(frozen=True)
class Bar:
    """One way to split: its name, accuracies (one a seed, in order), and seconds for a batch on devices all alike."""

    name: str
    accuracies: Sequence[float]
    response_s: float


def draw_splits(path: Path, bars: Sequence[Bar], title: str, batch: int) -> None:
    """Write the picture: accuracies on the left, every seed a line, and their means; response times on the right.

    Args:
        path: A .png, .svg or .pdf.
        bars: From left to right.
        title: Above the picture.
        batch: Images that a response is for.
    """
    # Without a fixed salt, and without the date, the same picture would be another file every time.
    with mpl.rc_context({"svg.hashsalt": "splitplace"}):
        figure = Figure(figsize=(10, 4), layout="constrained")
        left, right = figure.subplots(1, 2)
        places = range(len(bars))
        means = [100 * sum(bar.accuracies) / len(bar.accuracies) for bar in bars]
        # No bars: from zero they would hide a point of accuracy, from anywhere else they would mislead.
        left.plot(places, means, linestyle="none", marker="_", markersize=40, markeredgewidth=3, color="tab:blue")
        for seed in range(min(len(bar.accuracies) for bar in bars)):
            left.plot(places, [100 * bar.accuracies[seed] for bar in bars], ".-", color="0.4", linewidth=0.6)
        left.set_xlim(-0.6, len(bars) - 0.4)
        left.set_ylabel("held-out accuracy (%), a line a seed")
        right.bar(places, [1e3 * bar.response_s for bar in bars], color="tab:orange", alpha=0.7)
        right.set_ylabel(f"response, no network (ms for {batch} images)")
        for axes in (left, right):
            axes.set_xticks(places, [bar.name for bar in bars], rotation=20, ha="right")
            axes.grid(axis="y", alpha=0.3)
        figure.suptitle(title)
        save_figure(figure, path)
