"""What is said of `bench fig2`: which choice is the best for what, in words, in a table and in a picture."""

from collections.abc import Sequence
from pathlib import Path

from splitplace.benchmarks import results_section
from splitplace.benchmarks.frontier import (
    AXES,
    NEAR,
    SEEDS,
    WHOLE,
    FrontierResults,
    SplitPoint,
    best,
    cells_of,
    rival,
    verdict,
)
from splitplace.benchmarks.paired import Interval
from splitplace.benchmarks.results_section import FileSection, mean
from splitplace.report.strategies import StrategyMark, draw_strategies

SAID = {
    "path_s": "critical path, ms an image",
    "largest_bytes": "largest fragment, MB",
    "moved_bytes": "moved, kB an image",
}
PER = {"path_s": 1e-3, "largest_bytes": 1e6, "moved_bytes": 1e3}
TEN_HOSTS = "response on ten hosts, s (the paper's fig. 2)"
BEATEN = {"path_s": "time", "largest_bytes": "memory", "moved_bytes": "bytes"}


def words(points: Sequence[SplitPoint]) -> list[str]:
    """When which is the best choice, in a sentence or two for each network; figures are those of the points."""
    said = []
    for name, mine in cells_of(points).items():
        top = max(mine, key=lambda one: (one.top1, one.strategy == "full"))
        near = [one for one in mine if one.top1 >= top.top1 - NEAR]
        quick = min(near, key=lambda one: one.path_s)
        lean = min(near, key=lambda one: one.moved_bytes)
        thin = min(near, key=lambda one: one.device_bytes)
        whole = [one.device_bytes for one in mine if one.strategy in WHOLE]
        least = min(mine, key=lambda one: (one.device_bytes, -one.top1))
        sentence = (
            f"{name}: {top.variant} is the most accurate ({100 * top.top1:.2f} %). Within a point of that, "
            f"{quick.variant} is the quickest ({1e3 * quick.path_s:.3f} ms an image, {100 * quick.top1:.2f} %), "
            f"{lean.variant} moves least ({lean.moved_bytes:,} bytes) and {thin.variant} needs the least memory of a "
            f"device ({thin.device_bytes / 1e6:.0f} MB, {100 * thin.top1:.2f} %)."
        )
        if whole and least.device_bytes < min(whole):
            sentence += (
                f" On devices with less than {min(whole) / 1e6:.0f} MB a split is the only way, down to "
                f"{least.device_bytes / 1e6:.0f} MB ({least.variant}, {100 * least.top1:.2f} %)."
            )
        elif whole:
            sentence += (
                f" No split needs less memory a device than the smallest whole model ({min(whole) / 1e6:.0f} MB)."
            )
        said.append(sentence)
    return said


def draw(results: FrontierResults, picture: Path) -> None:
    """A row a data set: the paper's figure 2, and accuracy against each cost; named are those that none beats."""
    rows = {}
    for application in dict.fromkeys(one.application for one in results.points):
        mine = [one for one in results.points if one.application == application]
        paper = [
            StrategyMark(
                cost=cell.response_s.mean, accuracy=cell.accuracy.mean, strategy=cell.strategy, network=mine[0].model,
                label=cell.strategy, half=(_half(cell.response_s), _half(cell.accuracy)),
            )
            for cell in results.paper if cell.application == application
        ]  # fmt: skip
        panels: dict[str, list[StrategyMark]] = {TEN_HOSTS: paper}
        for axis in AXES:
            named = best(mine, axis)
            panels[SAID[axis]] = [
                StrategyMark(
                    cost=getattr(one, axis) / PER[axis], accuracy=one.top1, strategy=one.strategy, network=one.model,
                    label=one.variant if one in named else "",
                )
                for one in mine
            ]  # fmt: skip
        rows[application] = panels
    draw_strategies(picture, rows, set(SAID.values()))


def _half(found: Interval) -> float:
    return found.high - found.mean if found.high < float("inf") else 0.0


def section(text: bytes, file: Path) -> FileSection:
    """The paper's figure, and a row a split."""
    found = FrontierResults.parse(text, str(file))
    paper = [
        {
            "data set": cell.application,
            "on ten hosts": cell.strategy,
            "accuracy": mean(cell.accuracy),
            "response, s": mean(cell.response_s),
        }
        for cell in found.paper
    ]
    rows = []
    for name, points in cells_of(found.points).items():
        whole = next((one for one in points if one.strategy == "full"), None)
        rows += [
            {
                "split": f"{name}.{one.variant}",
                "right": f"{100 * one.top1:.2f} %",
                "critical path, ms an image": f"{1e3 * one.path_s:.3f}",
                "over the whole": f"{one.path_s / whole.path_s:.2f}" if whole else "",
                "largest fragment, MB": f"{one.largest_bytes / 1e6:.1f}",
                "moved, kB an image": f"{one.moved_bytes / 1e3:.1f}",
                "over a compressed one as quick": _over(one, points, "path_s"),
                "as small": _over(one, points, "largest_bytes"),
                "none beats it by": ", ".join(what for axis, what in BEATEN.items() if one in best(points, axis)),
            }
            for one in points
        ]
    return FileSection(
        found.provenance, [paper, rows], results_section.words(verdict(found)), list(SEEDS), remarks=words(found.points)
    )


def _over(tree: SplitPoint, points: Sequence[SplitPoint], axis: str) -> str:
    """Points of accuracy that a tree has over its rival."""
    if tree.strategy != "semantic":
        return ""
    other = rival(tree, points, axis)
    return "none is" if other is None else f"{100 * (tree.top1 - other.top1):+.2f}"
