"""What there is of each cell, what is missing, and how long that may take: said before the work begins, and meanwhile.

Estimates are rough. They start from images a second of a full model's training, of one core or of one GPU, and go by
what the work folder has trained already as soon as it has; the rest are shares of that by what a step computes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import Field

from splitplace.benchmarks.demand_cells import (
    FULL,
    ROOTS,
    SPLITNET,
    CellFolder,
    CellStep,
    DemandCell,
    DemandSettings,
    Kind,
    steps_of,
)
from splitplace.benchmarks.demand_kept import KeptCell
from splitplace.catalog import Catalog
from splitplace.errors import NotFoundError, NotReadyError
from splitplace.records.base import Count, Fraction, NonNegative, Record
from splitplace.training.data.applications import APPLICATIONS
from splitplace.training.preset import Settings, load_preset
from splitplace.training.run import Run

GOALS: dict[str, Mapping[str, float]] = {
    "mnist": {"": 0.992},
    "fashionmnist": {"": 0.925},
    "tiny100": {"": 0.45, "mobilenetv2": 0.43},
}
"""Held-out accuracy of the full model to reach, by data set; of a network that is named, instead."""
IMAGES_PER_S = {
    "cpu": {"mobilenetv2": 400.0, "": 150.0},
    "gpu": {"mobilenetv2": 20_000.0, "": 15_000.0},
}
"""Of a full model's training on images of 28 px. Of a GPU, nothing was measured yet."""
FORWARD = 1 / 3
"""Of a training step, what it takes to answer: what a teacher costs on top."""
TREE_SHARE = {"semantic-4": 0.45, "semantic-2x2": 0.5, "semantic-2": 0.6, SPLITNET: 0.45}
"""Of the whole's training, that of a tree; roughly."""
RATIO_SHARE = {"light": 0.56, "quick": 0.25, "small": 0.08}
EXPORT_S, RATIOS_S, PROFILE_S = 15.0, 60.0, 12.0
"""Seconds for each fragment; for the choice of ratios."""
HELD_OUT = 10_000


@dataclass(frozen=True)
class CellEstimate:
    """How long the steps of a cell take."""

    folder: CellFolder
    settings: DemandSettings

    @cached_property
    def numbers(self) -> Settings:
        """The preset's, for this cell."""
        cell = self.folder.cell
        return load_preset(self.settings.preset).settle(cell.model, cell.application)

    @cached_property
    def full_s(self) -> float:
        """Seconds of the full model's training."""
        cell, settings = self.folder.cell, self.settings
        images = APPLICATIONS[cell.application].n_train * settings.share * (1 - self.numbers.full.validation_share)
        return self.numbers.full.epochs * images / self.images_per_s

    @cached_property
    def images_per_s(self) -> float:
        """As trained here already, else as a machine of this kind is thought to."""
        cell = self.folder.cell
        for application in (cell.application, *APPLICATIONS):
            try:
                run = Run.open(CellFolder(self.folder.work, DemandCell(application, cell.model)).run(FULL))
            except NotReadyError:
                continue
            return run.metrics.images_per_s
        known = IMAGES_PER_S[self.settings.device]
        large = 32 / 28 if cell.application in ("tiny100", "cifar100") else 1.0
        return known.get(cell.model, known[""]) / large**2

    def seconds(self, step: CellStep) -> float:
        """Of one step."""
        fragments = _fragments(step.what)
        if step.kind == "ratios":
            return RATIOS_S
        if step.kind == "export":
            return EXPORT_S * fragments
        if step.kind == "profile":
            return PROFILE_S * fragments
        if step.kind == "evaluate":
            return HELD_OUT * self.settings.share / self.images_per_s * FORWARD * _share(step.what)
        passes = self.full_s / self.numbers.full.epochs
        if step.what == FULL:
            return self.full_s
        if step.what == SPLITNET:
            recipe = self.numbers.splitnet
            return passes * (recipe.group_epochs + recipe.epochs * TREE_SHARE[SPLITNET])
        semantic = step.what in TREE_SHARE
        epochs = self.numbers.semantic.epochs if semantic else self.numbers.compressed.epochs
        return passes * epochs * (FORWARD + _share(step.what))


def _share(what: str) -> float:
    """Of the whole's work, that of what was cut out of it."""
    if what.startswith("compressed-"):
        return RATIO_SHARE[what.removeprefix("compressed-")]
    return TREE_SHARE.get(what.removesuffix("-roots"), 1.0)


def _fragments(what: str) -> int:
    """How many a split has."""
    strategy, _, variant = what.partition("-")
    if strategy == "layer":
        return int(variant)
    return {"semantic-4": 5, SPLITNET: 5, ROOTS: 4, "semantic-2x2": 7, "semantic-2": 3}.get(what, 1)


class CellStatus(Record):
    """What there is of a cell; of each kind of step, how many are done of how many."""

    cell: str
    done: dict[Kind, tuple[Count, Count]]
    missing: tuple[str, ...]
    minutes_left: NonNegative
    """Of what is missing; an estimate."""
    top1: Fraction | None = None
    """Of the full model, held out, through onnxruntime."""
    goal: Fraction | None = None
    semantic_top1: Fraction | None = None
    """Of the tree of four branches."""
    compressed_percent: dict[str, Count] = Field(default={})
    """The ratios that were chosen."""
    machines: tuple[str, ...] = ()
    """What made the steps that are done."""

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return not self.missing

    def row(self) -> dict[str, str]:
        """For people."""
        of: dict[str, str] = {
            kind: f"{made}/{wanted}" for kind, (made, wanted) in self.done.items() if kind != "ratios"
        }
        goal = f" of {self.goal:.3f}" if self.goal is not None else ""
        waiting = ", ".join(self.missing[:2]) + (f" and {len(self.missing) - 2} more" if len(self.missing) > 2 else "")
        return {
            "cell": self.cell,
            **of,
            "full top-1": "not run" if self.top1 is None else f"{self.top1:.4f}{goal}",
            "missing": waiting or "nothing",
            "minutes": f"{self.minutes_left:.0f}",
        }


def status(work: Path, cell: DemandCell, settings: DemandSettings, kept: KeptCell | None = None) -> CellStatus:
    """What there is of a cell, read anew from the work folder; where that lacks something, as it was kept.

    Args:
        work: The folder.
        cell: Which.
        settings: How it is made.
        kept: What a results file has of it, up to the same kind of step.
    """
    folder, steps = CellFolder(work, cell), steps_of(cell, settings)
    done = {step: folder.done(step) for step in steps}
    estimate = CellEstimate(folder, settings)
    if kept is None or all(done.values()):
        notes = [note for step in steps if done[step] and (note := folder.note(step.kind, step.what)) is not None]
        percent = next((note.percent for note in notes if note.percent), {})
        top1, semantic_top1 = _top1(folder, FULL), _top1(folder, "semantic-4")
    else:
        done, notes, percent = dict.fromkeys(steps, True), list(kept.steps), dict(kept.percent)
        top1, semantic_top1 = kept.top1(FULL), kept.top1("semantic-4")
    counts: dict[Kind, tuple[int, int]] = {}
    for kind in dict.fromkeys(step.kind for step in steps):
        mine = [done[step] for step in steps if step.kind == kind]
        counts[kind] = sum(mine), len(mine)
    return CellStatus(
        cell=str(cell),
        done=counts,
        missing=tuple(str(step) for step in steps if not done[step]),
        minutes_left=sum(estimate.seconds(step) for step in steps if not done[step]) / 60,
        top1=top1,
        goal=goal_of(cell),
        semantic_top1=semantic_top1,
        compressed_percent=percent,
        machines=tuple(dict.fromkeys(note.machine for note in notes)),
    )


def goal_of(cell: DemandCell) -> float | None:
    """The held-out accuracy to reach; None where none was stated."""
    goals = GOALS.get(cell.application, {})
    return goals.get(cell.model, goals.get(""))


def plan_lines(found: Sequence[CellStatus], jobs: int) -> list[str]:
    """What is about to be done, a line a cell that lacks something, and in all."""
    lines = [
        f"{one.cell}: {len(one.missing)} steps, about {duration(one.minutes_left)}: {', '.join(one.missing)}"
        for one in found
        if one.missing
    ]
    steps, minutes = sum(len(one.missing) for one in found), sum(one.minutes_left for one in found)
    beside = f", {jobs} at once" if jobs > 1 else ""
    return [*lines, f"{steps} steps in {len(lines)} cells, about {duration(minutes)} one after another{beside}"]


def duration(minutes: float) -> str:
    """As one says it."""
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"


def _top1(folder: CellFolder, what: str) -> float | None:
    try:
        evaluation = Catalog(folder.catalog).evaluation(folder.reference(what))
    except (NotFoundError, NotReadyError):
        return None
    return None if evaluation is None else evaluation.top1
