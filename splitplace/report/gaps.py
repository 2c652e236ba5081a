"""Draws how far policies stay below a bound: a column of the picture a load, a line a scenario, a mark a policy."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from splitplace.report.figure import save_figure

MARKS = "sD^vP*hX<>dp8"
"""Told apart by shape: the picture is read in greyscale too."""
NEAR = 1e-3
"""Below this the axis is linear, so that zero has its place."""

Panels = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Panel -> scenario -> policy -> how far below the bound."""


def draw_gaps(path: Path, panels: Panels, ours: str) -> None:
    """Write the picture.

    Args:
        path: A .png, .svg or .pdf.
        panels: What to draw.
        ours: The policy that is drawn black, over the others.
    """
    scenarios = list(dict.fromkeys(name for panel in panels.values() for name in panel))
    policies = list(dict.fromkeys(name for panel in panels.values() for gaps in panel.values() for name in gaps))
    others = [policy for policy in policies if policy != ours]
    # Without a fixed salt, and without the date, the same picture would be another file every time.
    with mpl.rc_context({"svg.hashsalt": "splitplace", "svg.fonttype": "none"}):
        figure = Figure(figsize=(1.4 + 2.6 * len(panels), 1.6 + 0.32 * len(scenarios)), layout="constrained")
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axis, (name, panel) in zip(axes, panels.items(), strict=True):
            for number, policy in enumerate([*others, ours]):
                at = [row for row, scenario in enumerate(scenarios) if policy in panel.get(scenario, {})]
                gaps = [panel[scenarios[row]][policy] for row in at]
                look = {"marker": "o", "color": "black"} if policy == ours else {"marker": MARKS[number % len(MARKS)]}
                fill = {} if policy == ours else {"facecolors": "none", "edgecolors": "#555555"}
                axis.scatter(gaps, at, s=30, linewidths=0.8, label=policy, **(fill | look))
            axis.set_xscale("symlog", linthresh=NEAR)
            axis.set_xlim(left=-NEAR / 4)
            axis.set_title(name, fontsize="medium")
            axis.set_xlabel("bound - mean reward")
            axis.grid(alpha=0.3)
        axes[0].set_yticks(range(len(scenarios)), scenarios)
        axes[0].invert_yaxis()
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 5), fontsize="small")
        save_figure(figure, path)
