"""Draws figures of policies over what is swept: a row of the picture a figure, a column a series, a mark a policy."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from splitplace.report.figure import save_figure
from splitplace.report.gaps import MARKS

SHADES = ("#000000", "#555555", "#888888")
DASHES = ("-", "--", ":")
"""With the marks, told apart in greyscale."""


@dataclass(frozen=True)
class SeriesPanel:
    """One figure along one series."""

    series: str
    figure: str
    lines: Mapping[str, Sequence[tuple[float, float, float]]]
    """By policy: place, mean, half of the interval (infinite of a single seed)."""


def draw_series(path: Path, panels: Sequence[SeriesPanel], policies: Sequence[str]) -> None:
    """Write the picture; a series of one place has its policies side by side instead of lines.

    Args:
        path: A .png, .svg or .pdf.
        panels: What to draw.
        policies: All, in the order of their marks.
    """
    figures = list(dict.fromkeys(panel.figure for panel in panels))
    names = list(dict.fromkeys(panel.series for panel in panels))
    # Without a fixed salt, and without the date, the same picture would be another file every time.
    with mpl.rc_context({"svg.hashsalt": "splitplace", "svg.fonttype": "none"}):
        figure = Figure(figsize=(1.2 + 3.0 * len(names), 1.0 + 1.9 * len(figures)), layout="constrained")
        axes = figure.subplots(len(figures), len(names), sharey="row", squeeze=False)
        for panel in panels:
            axis = axes[figures.index(panel.figure), names.index(panel.series)]
            alone = all(len(points) == 1 for points in panel.lines.values())
            for number, policy in enumerate(policies):
                if points := panel.lines.get(policy):
                    at = [float(number)] if alone else [place for place, _, _ in points]
                    means = [mean for _, mean, _ in points]
                    half = [0.0 if math.isinf(width) else width for _, _, width in points]
                    axis.errorbar(
                        at, means, half, label=policy, marker=MARKS[number % len(MARKS)], markersize=4, linewidth=0.9,
                        capsize=2, fillstyle="none", color=SHADES[number % len(SHADES)],
                        linestyle=DASHES[number // len(SHADES) % len(DASHES)],
                    )  # fmt: skip
            if alone:
                there = [number for number, policy in enumerate(policies) if policy in panel.lines]
                axis.set_xticks(there, [policies[number] for number in there], rotation=60, fontsize="small")
            axis.grid(alpha=0.3)
        for row, name in enumerate(figures):
            axes[row, 0].set_ylabel(name, fontsize="small")
        for column, name in enumerate(names):
            axes[0, column].set_title(name, fontsize="medium")
        drawn = (zip(*axis.get_legend_handles_labels(), strict=True) for axis in axes.flat)
        found = {label: handle for pairs in drawn for handle, label in pairs}
        ordered = [policy for policy in policies if policy in found]
        figure.legend(
            [found[policy] for policy in ordered],
            ordered,
            loc="outside lower center",
            ncols=1 + 2 * len(names),
            fontsize="small",
        )
        save_figure(figure, path)
