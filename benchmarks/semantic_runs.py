"""What `bench semantic` trains: every recipe from every seed, with the same passes over the same images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch

from splitplace.benchmarks.critical_path import BRANCHES
from splitplace.benchmarks.paired import MIN_PAIRS
from splitplace.benchmarks.processes import run_all
from splitplace.training.config import Method as Recipe
from splitplace.training.data.dataset import Dataset
from splitplace.training.preset import Preset, load_preset
from splitplace.training.recipes.full import train_full
from splitplace.training.recipes.grouping import Rule
from splitplace.training.recipes.semantic import train_semantic
from splitplace.training.run import CONFIG, Run

Method = Literal["full", "distil", "splitnet", "scratch", "consecutive", "random", "spare"]
MODEL, APPLICATION = "mobilenetv2", "fashionmnist"
METHODS: dict[str, tuple[Method, ...]] = {
    APPLICATION: ("full", "distil", "splitnet", "scratch", "consecutive", "spare"),
    "tiny100": ("full", "distil", "consecutive", "random", "spare"),
}
SPARE = 0.5
"""Share of the channels that `spare`, which is `distil` with one, has removed from it."""


@dataclass(frozen=True)
class SemanticSettings:
    """What is trained and measured.

    Args:
        model: The network that is split.
        seeds: How many; 0 to N - 1.
        samples: Images a pass.
        passes: Of every recipe, in all.
        pairs: Interleaved pairs of each ratio.
        quick: Whether this is the short form.
        paths: Whether critical paths are measured; they are the same whatever was learned.
    """

    model: str = MODEL
    seeds: int = 3
    samples: int = 60_000
    passes: int = 3
    pairs: int = MIN_PAIRS
    quick: bool = False
    paths: bool = True

    def shorter(self) -> "SemanticSettings":
        """One seed, a quarter of the images: within half an hour on one core."""
        return replace(self, seeds=1, samples=16_000, quick=True)


def methods(application: str) -> tuple[Method, ...]:
    """What is trained on an application, the full model first."""
    return METHODS.get(application, METHODS[APPLICATION])


def preset(settings: SemanticSettings) -> Preset:
    """The quick recipes, with passes divided so that every recipe sees as many images as the full model.

    One pass of three is the branches' own (`distil`); two of three learn the groups (`splitnet`).
    """
    quick = load_preset("quick")
    common = {"samples": settings.samples}
    alone, rest = max(1, settings.passes // 3), max(1, settings.passes - settings.passes // 3)
    return quick.model_copy(
        update={
            "name": "bench",
            "full": quick.full.changed(epochs=settings.passes, **common),
            "semantic": quick.semantic.changed(epochs=rest, branch_epochs=alone, freeze_trunk=False, **common),
            "splitnet": quick.splitnet.changed(group_epochs=rest, epochs=alone, **common),
        }
    )


def train(runs: Path, data: Dataset, settings: SemanticSettings, seed: int, method: Method) -> Run:
    """The RUN of one recipe; a finished one is reused, and so is the full model that teaches a tree.

    `consecutive` and `random` are `distil` with such groups; `spare` is `distil` with a spare, for whose training the
    passes of the whole tree are made once more.
    """
    recipe, out = preset(settings), _place(runs, seed, method)
    full = train_full(data, settings.model, preset=recipe, seed=seed, out=_place(runs, seed, "full"))
    if method == "full":
        return full
    groups: Rule = method if method == "consecutive" or method == "random" else "features"
    by: Recipe = method if method == "splitnet" or method == "scratch" else "distil"
    spare = SPARE if method == "spare" else None
    return train_semantic(
        data, full, tree=(BRANCHES,), groups=groups, method=by, spare=spare, preset=recipe, seed=seed, out=out
    )


def _place(runs: Path, seed: int, method: Method) -> Path:
    return runs / f"seed{seed}" / method


def default_jobs() -> int:
    """How many trainings at once: one a core that torch has, up to four for their memory; one on a GPU."""
    return 1 if torch.cuda.is_available() else min(torch.get_num_threads(), 4)


@dataclass(frozen=True)
class RecipeTask:
    """One recipe from one seed."""

    seed: int
    method: Method

    def __str__(self) -> str:
        return f"seed {self.seed} {self.method}"


def tasks(application: str, seeds: int) -> tuple[RecipeTask, ...]:
    """All that is trained, seed by seed, each one's full model first."""
    return tuple(RecipeTask(seed, method) for seed in range(seeds) for method in methods(application))


def is_trained(runs: Path, task: RecipeTask) -> bool:
    """Whether its RUN is there."""
    return (_place(runs, task.seed, task.method) / CONFIG).exists()


def train_side_by_side(
    runs: Path,
    data: Dataset,
    settings: SemanticSettings,
    wanted: Sequence[RecipeTask],
    jobs: int,
    say: Callable[[str], None] = print,
) -> None:
    """The RUNs of these that a folder lacks, so many at once: full models first, since a tree is taught by one.

    Small networks gain little from a second thread, and all from a second process.

    Args:
        runs: The folder; its `log.txt` gets what the processes have to say.
        data: Whose images are learned.
        settings: How.
        wanted: What is trained.
        jobs: How many processes.
        say: Told of each step.

    Raises:
        SplitPlaceError: As the training says, or a process died.
    """
    first = sorted(wanted, key=lambda task: task.method != "full")
    lacking = [task for task in first if not is_trained(runs, task)]
    taught_by = {task: RecipeTask(task.seed, "full") for task in lacking if task.method != "full"}
    needs = {task: full if (full := taught_by.get(task)) in lacking else None for task in lacking}
    run_all(partial(_train, runs, data, settings), needs, jobs, runs / "log.txt", say)


def _train(runs: Path, data: Dataset, settings: SemanticSettings, task: RecipeTask) -> None:
    train(runs, data, settings, task.seed, task.method)
