"""Draws what alternatives are worth, accuracy against response, with the deadline and the frontier; in greys."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from splitplace.report.figure import save_figure

NEAR = (0.1, 0.04)
"""Points that are closer than these shares of the picture, across and upwards, have their numbers in one place."""


@dataclass(frozen=True)
class FrontierPoint:
    """One alternative.

    Args:
        name: What the list beside the picture calls it.
        response_s: The 95th percentile, above 0.
        accuracy: 0 to 1.
        whole: Whether no model is split: a circle, else a triangle.
        keeps_up: Whether the deadlines are kept: filled, else hollow.
        chosen: Whether it is what is advised: within a square.
    """

    name: str
    response_s: float
    accuracy: float
    whole: bool
    keeps_up: bool
    chosen: bool


def draw_frontier(path: Path, points: Sequence[FrontierPoint], deadline_s: float, title: str) -> None:
    """Write the picture: a numbered point an alternative, and a list of them beside it.

    Args:
        path: A .png, .svg or .pdf.
        points: At least one.
        deadline_s: A line across.
        title: Above it.
    """
    # Without a fixed salt, and without the date, the same picture would be another file every time.
    with mpl.rc_context({"svg.hashsalt": "splitplace", "svg.fonttype": "none"}):
        figure = Figure(figsize=(9.5, max(4.0, 1.2 + 0.24 * len(points))), layout="constrained")
        axes, beside = figure.subplots(1, 2, width_ratios=(3, 2))
        axes.axvline(deadline_s, color="black", linestyle="--", linewidth=0.9)
        axes.plot(*_frontier(points), drawstyle="steps-post", color="0.6", linewidth=1.2, zorder=1)
        for point in points:
            _mark(axes, point)
        axes.set_xscale("log")
        axes.margins(x=0.08, y=0.08)
        for at, numbers in _together(axes, points).items():
            axes.annotate(numbers, at, xytext=(6, 5), textcoords="offset points", fontsize="small", zorder=4)
        axes.set_xlabel("response, 95th percentile (s)")
        axes.set_ylabel("accuracy")
        axes.grid(alpha=0.3)
        axes.set_title(title, fontsize="medium", loc="left")
        beside.axis("off")
        rows = [f"{i + 1}  {point.name}{'  (advised)' if point.chosen else ''}" for i, point in enumerate(points)]
        beside.text(0.0, 1.0, "\n".join(rows), va="top", fontsize="small", linespacing=1.4)
        beside.legend(handles=_key(), loc="lower left", fontsize="small", frameon=False)
        save_figure(figure, path)


def _mark(axes: Axes, point: FrontierPoint) -> None:
    if point.chosen:
        axes.plot(point.response_s, point.accuracy, "s", color="black", fillstyle="none", markersize=14, zorder=2)
    marker, face = "o" if point.whole else "^", "0.25" if point.keeps_up else "white"
    axes.plot(point.response_s, point.accuracy, marker, color="black", markerfacecolor=face, markersize=7, zorder=3)


def _frontier(points: Sequence[FrontierPoint]) -> tuple[list[float], list[float]]:
    """Those that none is both quicker and more accurate than, from the quickest on."""
    xs, ys = list[float](), list[float]()
    for point in sorted(points, key=lambda point: (point.response_s, -point.accuracy)):
        if not ys or point.accuracy > ys[-1]:
            xs.append(point.response_s)
            ys.append(point.accuracy)
    return xs, ys


def _together(axes: Axes, points: Sequence[FrontierPoint]) -> dict[tuple[float, float], str]:
    """Numbers by place; those whose numbers would lie over one another share one."""
    places: list[tuple[float, float]] = []
    numbers: dict[int, list[str]] = {}
    where: dict[int, tuple[float, float]] = {}
    for i, point in enumerate(points):
        at = (point.response_s, point.accuracy)
        x, y = axes.transAxes.inverted().transform(axes.transData.transform(at))
        near = [row for row, (left, low) in enumerate(places) if abs(x - left) < NEAR[0] and abs(y - low) < NEAR[1]]
        row = near[0] if near else len(places)
        places += [] if near else [(x, y)]
        numbers.setdefault(row, []).append(str(i + 1))
        where.setdefault(row, at)
    return {where[row]: ", ".join(found) for row, found in numbers.items()}


def _key() -> list[Line2D]:
    dot = {"color": "black", "linestyle": "", "markersize": 7}
    return [
        Line2D([], [], marker="o", markerfacecolor="0.25", label="whole models", **dot),  # type: ignore[arg-type]
        Line2D([], [], marker="^", markerfacecolor="0.25", label="with a split model", **dot),  # type: ignore[arg-type]
        Line2D([], [], marker="o", markerfacecolor="white", label="hollow: too many late", **dot),  # type: ignore[arg-type]
        Line2D([], [], color="black", linestyle="--", linewidth=0.9, label="deadline"),
        Line2D([], [], color="0.6", linewidth=1.2, label="frontier"),
    ]
