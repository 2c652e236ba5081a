"""Draws how policies fare over time when something shifts half-way: reward above, the surrogate's error below."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from splitplace.report.figure import save_figure

Lines = Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]]
"""By panel, then by policy: reward and error of the surrogate, a point a bin."""
STYLES = {
    "online": ("#3b6ea5", "-"),
    "frozen": ("#d98032", "-"),
    "layer": ("#6b6b6b", ":"),
    "semantic": ("#6b6b6b", "--"),
}


def draw_adaptation(path: Path, lines: Lines, bin_intervals: int, shift: float) -> None:
    """Write the picture: a column a panel, two rows.

    Args:
        path: A .png, .svg or .pdf.
        lines: What to draw; policies without a style of their own are left out.
        bin_intervals: Intervals a point stands for.
        shift: The interval in which it shifts.
    """
    # Without a fixed salt, and without the date, the same picture would be another file every time.
    with mpl.rc_context({"svg.hashsalt": "splitplace", "svg.fonttype": "none"}):
        figure = Figure(figsize=(3.4 * len(lines), 5.5), layout="constrained")
        axes = figure.subplots(2, len(lines), sharex=True, sharey="row", squeeze=False)
        for column, (panel, policies) in enumerate(lines.items()):
            for policy, (reward, error) in policies.items():
                if policy not in STYLES:
                    continue
                colour, style = STYLES[policy]
                middle = [(number + 0.5) * bin_intervals for number in range(len(reward))]
                axes[0, column].plot(middle, reward, style, color=colour, linewidth=1.2, label=policy)
                if style == "-":
                    axes[1, column].plot(middle, error, style, color=colour, linewidth=1.2)
            axes[0, column].set_title(panel, fontsize="medium")
            axes[1, column].set_xlabel("interval")
            for row in (0, 1):
                axes[row, column].axvline(shift, color="black", linewidth=0.7)
                axes[row, column].grid(alpha=0.3)
        axes[0, 0].set_ylabel("reward of the tasks that arrive")
        axes[1, 0].set_ylabel("|predicted - realised| O^P")
        axes[0, 0].legend(fontsize="small")
        save_figure(figure, path)
