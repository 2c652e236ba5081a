"""Draws what a split's fragments cost over the batch size: what was measured, and how well others are predicted."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from splitplace.records.profile import Profile
from splitplace.report.figure import save_figure

HeldOut = Sequence[tuple[int, float, float]]
"""Batch size, and the relative errors of latency and memory when that size is predicted from its neighbours."""


def draw_costs(path: Path, reference: str, profiles: Sequence[Profile], held_out: Sequence[HeldOut]) -> None:
    """Write the picture of one split: latency, memory and held-out errors over the batch size, a line a fragment.

    Args:
        path: A .png, .svg or .pdf.
        reference: The split.
        profiles: Its fragments', of one device.
        held_out: Their errors, in the same order.
    """
    # Without a fixed salt, and without the date, the same picture would be another file every time.
    with mpl.rc_context({"svg.hashsalt": "splitplace"}):
        figure = Figure(figsize=(13, 4.2), layout="constrained")
        latency, memory, error = figure.subplots(1, 3)
        for number, (profile, errors) in enumerate(zip(profiles, held_out, strict=True)):
            colour = f"C{number}"
            sizes = [row.batch_size for row in profile.latency]
            between = sorted({*sizes, *(round(size) for size in np.geomspace(sizes[0], sizes[-1], 200))})
            latency.plot(between, [1e3 * profile.latency_s(size) for size in between], color=colour, linewidth=1)
            low, median, high = (
                [1e3 * getattr(row, name) for row in profile.latency] for name in ("p10_s", "median_s", "p90_s")
            )
            latency.vlines(sizes, low, high, color=colour, linewidth=1, alpha=0.5)
            latency.plot(sizes, median, "o", color=colour, markersize=4, label=profile.fragment)
            memory.plot(between, [profile.fragment_bytes(size) / 2**20 for size in between], color=colour, linewidth=1)
            held = [(row.micro_batch, row.fragment_bytes / 2**20) for row in profile.memory]
            memory.plot(*zip(*held, strict=True), "o", color=colour, markersize=4)
            for column, marker in ((1, "o"), (2, "x")):
                error.plot([row[0] for row in errors], [100 * row[column] for row in errors], marker, color=colour)
        _label(latency, "latency (ms): median, p10 to p90", log=True)
        latency.legend(fontsize="small")
        _label(memory, "memory over the runtime's base (MiB)", log=False)
        _label(error, "error when left out (%): o latency, x memory", log=False)
        error.axhline(0, color="black", linewidth=0.5)
        figure.suptitle(f"{reference} on {profiles[0].device.kind}, {profiles[0].device.threads} thread(s)")
        save_figure(figure, path)


def _label(axes: Axes, title: str, *, log: bool) -> None:
    axes.set_xlabel("batch size")
    axes.set_title(title, fontsize="medium")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    if log:
        axes.set_yscale("log")
    axes.grid(alpha=0.3)
