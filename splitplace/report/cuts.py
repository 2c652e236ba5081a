"""Draws a network's cost and what would cross a cut, along the network, with the cuts of a plan."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from splitplace.report.figure import save_figure


def draw_cuts(
    path: Path, cost_s: Sequence[float], crossing_bytes: Sequence[float], cuts: Sequence[int], title: str
) -> None:
    """Write the picture.

    Args:
        path: A .png, .svg or .pdf.
        cost_s: Seconds of each block, in the order drawn.
        crossing_bytes: Bytes a micro-batch that cross the place after each block.
        cuts: How many blocks stand before each cut.
        title: Above the picture.
    """
    # Without a fixed salt, and without the date, the same picture would be another file every time.
    with mpl.rc_context({"svg.hashsalt": "splitplace"}):
        figure = Figure(figsize=(10, 4.5), layout="constrained")
        axes = figure.subplots()
        blocks = range(len(cost_s))
        axes.bar(blocks, [1e3 * seconds for seconds in cost_s], width=1.0, color="tab:blue", alpha=0.7)
        axes.set(xlabel="block", ylabel="cost (ms a micro-batch)", title=title, xlim=(-0.5, len(cost_s) - 0.5))
        right = axes.twinx()
        crossing = [size / 1e6 for size in crossing_bytes]
        right.step(blocks, crossing, where="mid", color="tab:orange", label="bytes across a cut here")
        right.set_ylabel("bytes across a cut (MB a micro-batch)")
        right.set_ylim(bottom=0)
        for number, cut in enumerate(cuts, 1):
            axes.axvline(cut - 0.5, color="black", linestyle="--", linewidth=1)
            axes.annotate(f" cut {number}", (cut - 0.5, 0.97), xycoords=("data", "axes fraction"), va="top")
        save_figure(figure, path)
