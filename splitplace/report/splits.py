"""Draws how splits of one model compare: accuracy and response time, as figure 2 of the SplitPlace paper does."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure


@dataclass(frozen=True)
class Bar:
    """One way to split: a name, accuracies (one a seed), and seconds for a batch on devices that are all alike."""

    name: str
    accuracies: Sequence[float]
    response_s: float


def draw_splits(path: Path, bars: Sequence[Bar], title: str, batch: int) -> None:
    """Write the picture: accuracies with every seed as a dot on the left, response times on the right.

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
        left.bar(places, means, color="tab:blue", alpha=0.7)
        for place, bar in enumerate(bars):
            left.plot([place] * len(bar.accuracies), [100 * a for a in bar.accuracies], "k.", markersize=5)
        spread = [100 * accuracy for bar in bars for accuracy in bar.accuracies]
        # Bars from zero would hide a point of accuracy; the axis says where it starts.
        left.set_ylim(min(spread) - 2, max(spread) + 1)
        left.set_ylabel("held-out accuracy (%), a dot a seed")
        right.bar(places, [1e3 * bar.response_s for bar in bars], color="tab:orange", alpha=0.7)
        right.set_ylabel(f"response without a network (ms for {batch} images)")
        for axes in (left, right):
            axes.set_xticks(places, [bar.name for bar in bars], rotation=20, ha="right")
            axes.grid(axis="y", alpha=0.3)
        figure.suptitle(title)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)
