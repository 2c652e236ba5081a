"""Draws splits by how they were made, accuracy against what they cost: a row of the picture a data set."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from splitplace.records.split import Strategy
from splitplace.report.figure import save_figure

LOOK: dict[Strategy, tuple[str, str]] = {
    "full": ("o", "full"),
    "compressed": ("o", "none"),
    "layer": ("^", "full"),
    "semantic": ("v", "none"),
}
"""Mark and filling: whole models are round, what is split has corners; what was trained anew is hollow."""
SHADES = ("#000000", "#777777", "#aaaaaa")
"""Of networks."""


@dataclass(frozen=True)
class StrategyMark:
    """One split, or all of a strategy.

    Args:
        cost: On the panel's axis.
        accuracy: 0 to 1.
        strategy: How it was made.
        network: Of which.
        label: Written beside it; empty for none.
        half: Of the intervals of both, where they are means.
    """

    cost: float
    accuracy: float
    strategy: Strategy
    network: str
    label: str = ""
    half: tuple[float, float] = (0.0, 0.0)


def draw_strategies(
    path: Path, rows: Mapping[str, Mapping[str, Sequence[StrategyMark]]], over_decades: Collection[str]
) -> None:
    """Write the picture.

    Args:
        path: A .png, .svg or .pdf.
        rows: By data set, the marks of each panel by what its axis is called; all have the same panels.
        over_decades: Those of these axes that are logarithmic.
    """
    panels = list(next(iter(rows.values())))
    marks = [mark for row in rows.values() for panel in row.values() for mark in panel]
    networks = list(dict.fromkeys(mark.network for mark in marks))
    # Without a fixed salt, and without the date, the same picture would be another file every time.
    with mpl.rc_context({"svg.hashsalt": "splitplace", "svg.fonttype": "none"}):
        figure = Figure(figsize=(0.6 + 3.1 * len(panels), 0.8 + 2.9 * len(rows)), layout="constrained")
        axes = figure.subplots(len(rows), len(panels), squeeze=False)
        for across, (name, row) in zip(axes, rows.items(), strict=True):
            for axis, (panel, drawn) in zip(across, row.items(), strict=True):
                _draw(axis, drawn, networks)
                axis.set_xlabel(panel)
                if panel in over_decades:
                    axis.set_xscale("log")
                    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                    axis.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
                    axis.xaxis.set_minor_formatter(NullFormatter())
            across[0].set_ylabel(f"{name}: accuracy")
        strategies = [strategy for strategy in LOOK if any(mark.strategy == strategy for mark in marks)]
        figure.legend(handles=_key(strategies, networks), loc="outside lower center", ncols=7, fontsize="small")
        save_figure(figure, path)


def _draw(axis: Axes, marks: Sequence[StrategyMark], networks: Sequence[str]) -> None:
    for mark in marks:
        (shape, filling), shade = LOOK[mark.strategy], SHADES[networks.index(mark.network) % len(SHADES)]
        axis.errorbar(
            mark.cost, mark.accuracy, xerr=mark.half[0] or None, yerr=mark.half[1] or None, marker=shape, markersize=6,
            fillstyle="full" if filling == "full" else "none", color=shade, linewidth=0.9, capsize=2,
        )  # fmt: skip
        if mark.label:
            axis.annotate(
                mark.label, (mark.cost, mark.accuracy), xytext=(5, -9), textcoords="offset points", fontsize="x-small"
            )
    axis.margins(x=0.15, y=0.12)
    axis.grid(alpha=0.3)


def _key(strategies: Sequence[Strategy], networks: Sequence[str]) -> list[Line2D]:
    made = [
        Line2D([], [], marker=LOOK[name][0], fillstyle=LOOK[name][1], color="black", linestyle="", label=name)  # type: ignore[arg-type]
        for name in strategies
    ]
    of = [
        Line2D([], [], marker="s", color=SHADES[number % len(SHADES)], linestyle="", label=name)
        for number, name in enumerate(networks)
    ]
    return made + (of if len(networks) > 1 else [])
