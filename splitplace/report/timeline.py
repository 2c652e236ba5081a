"""The picture of who ran what when: one lane a device, one bar a micro-batch, the tasks above with their deadlines."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from splitplace.records.split import Strategy

COLOURS: dict[Strategy, str] = {
    "layer": "#3b6ea5",
    "semantic": "#d98032",
    "full": "#6b6b6b",
    "compressed": "#7a9a4b",
}
MISSED = "#e00000"


@dataclass(frozen=True)
class Span:
    """One fragment busy on one device, seconds since the start of the run."""

    device: str
    strategy: Strategy
    start_s: float
    end_s: float


@dataclass(frozen=True)
class TaskSpan:
    """One task from arrival to result; `deadline_s` is relative to its arrival."""

    strategy: Strategy
    arrival_s: float
    response_s: float
    deadline_s: float


def timeline_svg(devices: Sequence[str], spans: Sequence[Span], tasks: Sequence[TaskSpan]) -> str:
    """An SVG of the run, without the XML prologue, to stand inside a page."""
    height = 1.2 + 0.5 * len(devices) + 0.09 * len(tasks)
    figure = Figure(figsize=(11, height), layout="constrained")
    FigureCanvasSVG(figure)
    above, below = figure.subplots(
        2, 1, sharex=True, height_ratios=[max(0.09 * len(tasks), 0.3), max(0.5 * len(devices), 0.5)]
    )
    for row, task in enumerate(tasks):
        late = task.response_s > task.deadline_s
        above.barh(row, task.response_s, left=task.arrival_s, height=0.8, color=COLOURS[task.strategy])
        mark = {"marker": "|", "markersize": 8, "markeredgewidth": 1.8} if late else {"marker": "|", "markersize": 6}
        above.plot(task.arrival_s + task.deadline_s, row, color=MISSED if late else "black", zorder=3, **mark)
    above.set_ylabel("tasks")
    above.set_yticks([])
    above.invert_yaxis()
    for lane, device in enumerate(devices):
        for strategy, colour in COLOURS.items():
            bars = [(s.start_s, s.end_s - s.start_s) for s in spans if s.device == device and s.strategy == strategy]
            if bars:
                below.broken_barh(bars, (lane - 0.35, 0.7), facecolors=colour)
    below.set_yticks(range(len(devices)), labels=list(devices))
    below.set_ylim(len(devices) - 0.4, -0.6)
    below.set_xlabel("seconds since the start of the stream")
    used = dict.fromkeys([task.strategy for task in tasks])
    handles = [Patch(color=COLOURS[strategy], label=strategy) for strategy in used]
    handles += [Patch(color="black", label="deadline met at the mark"), Patch(color=MISSED, label="missed")]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False, fontsize=8)
    return _svg(figure)


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    # A fixed salt: the same run draws the same bytes.
    with matplotlib.rc_context({"svg.hashsalt": "splitplace", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
