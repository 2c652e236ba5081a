"""Makes the demand that ships with the simulator: each network on each data set, split every way, trained and measured.

What a cell is made of is in demand_cells.py, how a step is made in demand_make.py, what is missing in demand_plan.py,
and what comes of complete cells in demand_file.py. Trainings and exports may go side by side; profiles are taken when
nothing else goes on, one after another, since they alone depend on how busy the machine is, and they alone can be asked
for again.
"""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch

import splitplace as sp
from splitplace.benchmarks.demand_cells import (
    CellFolder,
    CellStep,
    DemandCell,
    DemandSettings,
    steps_of,
)
from splitplace.benchmarks.demand_kept import KeptCell, find_kept
from splitplace.benchmarks.demand_make import CellWork
from splitplace.benchmarks.demand_plan import CellStatus, plan_lines, status
from splitplace.benchmarks.processes import run_all
from splitplace.errors import UsageError
from splitplace.progress import Progress
from splitplace.training.data.dataset import Dataset, Labels, Rows
from splitplace.training.preset import load_preset

Fetch = Callable[[str], Dataset]
"""Gives an application's images."""


@dataclass(frozen=True)
class CellStage:
    """Steps of a cell that one process does in a row."""

    cell: DemandCell
    name: str

    def __str__(self) -> str:
        return f"{self.cell} {self.name}"

    def steps(self, settings: DemandSettings) -> tuple[CellStep, ...]:
        """These, in order."""
        return tuple(step for step in steps_of(self.cell, settings) if step.stage == self.name)


def choose_device(wanted: Literal["cpu", "gpu"] | None) -> Literal["cpu", "gpu"]:
    """What trains from now on, here and in the processes that are started: a GPU where there is one, unless refused.

    Raises:
        UsageError: A GPU is asked for, and torch sees none.
    """
    if wanted == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        return "cpu"
    there = torch.cuda.is_available()
    if wanted == "gpu" and not there:
        raise UsageError("--device gpu: torch sees no GPU here: leave it out, or give --device cpu")
    return "gpu" if there else "cpu"


def check_preset(settings: DemandSettings) -> None:
    """Refuse a preset that is none, before any work.

    Raises:
        UsageError: An unknown name.
        SplitPlaceError: A file that is no preset.
    """
    load_preset(settings.preset)


def default_jobs() -> int:
    """On a GPU, a process a core but two: a small network's step is the work of one core that gives it to the GPU."""
    return max(1, (os.cpu_count() or 1) - 2)


def images(applications: Iterable[str], tiny100: Path | None, share: float, progress: Progress) -> Fetch:
    """What gives the images of these applications, in this process and in others: decoded once, now.

    Args:
        applications: By name.
        tiny100: Where those of tiny100 lie, the first time.
        share: Of the images of every class, training and held out; below 1 to see the whole way through.
        progress: Told what is being read.

    Raises:
        NotFoundError: No way gave them; says what was tried.
    """
    for application in sorted(applications):
        progress(f"reading {application}", 0.0)
        sp.fetch(application, path=tiny100 if application == "tiny100" else None)
    return sp.fetch if share == 1 else partial(some_images, share=share)


def some_images(application: str, share: float) -> Dataset:
    """The first images of every class, at least one: another data set by its digests, though the name is the same."""
    whole = sp.fetch(application)

    def first(y_N: Labels) -> Rows:
        rows = (np.flatnonzero(y_N == c) for c in range(whole.n_classes))
        return np.sort(np.concatenate([mine[: max(1, round(share * len(mine)))] for mine in rows]))

    train, test = first(whole.y_train_N), first(whole.y_test_N)
    return replace(
        whole,
        x_train_NCHW=whole.x_train_NCHW[train],
        y_train_N=whole.y_train_N[train],
        x_test_NCHW=whole.x_test_NCHW[test],
        y_test_N=whole.y_test_N[test],
        source=f"{whole.source}, {share:g} of it",
    )


def run(
    work: Path,
    cells: Sequence[DemandCell],
    fetch: Fetch,
    settings: DemandSettings,
    say: Callable[[str], None],
    progress: Progress,
    jobs: int = 1,
    again: bool = False,
    kept: tuple[KeptCell, ...] = (),
) -> tuple[CellStatus, ...]:
    """Make what is missing of these cells; killed at any moment, the next call goes on.

    Args:
        work: Folder of all that is made; what it holds is used.
        cells: In the order in which they are worth most.
        fetch: Gives an application's images; picklable, where several processes work.
        settings: How cells are made.
        say: Told the plan, and then of each step that is done.
        progress: Told what is being done.
        jobs: How many processes at once, which share the cores. One goes cell by cell; several take the trainings of
            all cells before what these leave to be exported, so that a GPU is kept busy.
        again: Measure profiles that are there, too.
        kept: What a results file has of cells: these are not made again.

    Returns:
        What there is of each cell now.

    Raises:
        UsageError: Profiles are to be measured again of a cell that is kept, and not in the work folder.
        SplitPlaceError: As the verbs say, or a process died; of several processes, when the others are done.
    """

    def found(cells: Iterable[DemandCell]) -> tuple[CellStatus, ...]:
        return tuple(status(work, cell, settings, find_kept(kept, cell, settings)) for cell in cells)

    for line in plan_lines(found(cells), jobs):
        say(line)
    asked, cells = (
        cells,
        [cell for cell in cells if find_kept(kept, cell, settings) is None or status(work, cell, settings).complete],
    )
    if again and (gone := [str(cell) for cell in asked if cell not in cells]):
        raise UsageError(f"--again: {', '.join(gone)}: measured before, and not in {work}: leave them out by --cells")
    stages = [stage for cell in cells for stage in stages_of(cell, settings) if stage.name != "profile"]
    if jobs == 1:
        for stage in stages:
            do_stage(work, fetch, settings, stage, say, progress)
    else:
        lacking = [stage for stage in by_stage(stages) if _missing(work, settings, stage)]
        needs = {stage: stage_before(stage, settings, lacking) for stage in lacking}
        run_all(partial(_in_process, work, fetch, settings), needs, jobs, work / "log.txt", say, go_on=True)
    for cell in cells:
        do_stage(work, fetch, settings, CellStage(cell, "profile"), say, progress, again)
    return found(asked)


def do_stage(
    work: Path,
    fetch: Fetch,
    settings: DemandSettings,
    stage: CellStage,
    say: Callable[[str], None],
    progress: Progress,
    again: bool = False,
) -> None:
    """The steps of a stage that are missing, in order; arguments as `run`'s."""
    folder, steps = CellFolder(work, stage.cell), stage.steps(settings)
    if not again and all(map(folder.done, steps)):
        return
    doing = CellWork(folder, settings, fetch(stage.cell.application), progress, again)
    for step in steps:
        if again or not folder.done(step):  # as it is now: what was done is of what the steps before it have made anew
            progress(f"{stage.cell}: {step}", 0.0)
            note = doing.make(step)
            say(f"{time.strftime('%H:%M:%S')} {stage.cell}: {step}, {note.seconds:.0f} s")


def _in_process(work: Path, fetch: Fetch, settings: DemandSettings, stage: CellStage) -> None:
    """A stage in a process of its own; what it has to say goes to a file beside the others'."""
    place = work / "steps.txt"

    def say(line: str) -> None:
        with place.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    do_stage(work, fetch, settings, stage, say, lambda what, share: None)


def stages_of(cell: DemandCell, settings: DemandSettings) -> tuple[CellStage, ...]:
    """Of a cell, in order."""
    names = dict.fromkeys(step.stage for step in steps_of(cell, settings))
    return tuple(CellStage(cell, name) for name in names)


def by_stage(stages: Iterable[CellStage]) -> list[CellStage]:
    """Trainings of all cells first, full models before what they teach; then what is shipped."""
    return sorted(stages, key=lambda stage: stage.name.startswith("ship"))


def stage_before(stage: CellStage, settings: DemandSettings, lacking: Sequence[CellStage]) -> CellStage | None:
    """The stage that has to be done first, if it is not: the one before, or where that is done, the one before that."""
    after = stage.steps(settings)[0].after
    if after is None:
        return None
    before = CellStage(stage.cell, after)
    return before if before in lacking else stage_before(before, settings, lacking)


def _missing(work: Path, settings: DemandSettings, stage: CellStage) -> bool:
    folder = CellFolder(work, stage.cell)
    return any(not folder.done(step) for step in stage.steps(settings))
