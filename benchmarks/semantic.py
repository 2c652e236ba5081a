"""Claims: a network split by meaning is small and quick, and answers nearly as well as the whole.

Two tables. Trained: MobileNetV2 in four branches, by every recipe and control on Fashion-MNIST, by the default recipe
and three ways to group a hundred classes on tiny100; same passes over the same images. Critical paths: the trunk, then
the slowest branch, over the whole, for three families; these need no training. METHODOLOGY.md, "Semantic splits".
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from splitplace import provenance
from splitplace.benchmarks.critical_path import BATCH, BRANCHES, LAYERS, PathCell, path
from splitplace.benchmarks.paired import interval
from splitplace.benchmarks.results_file import Measured, save
from splitplace.benchmarks.semantic_runs import (
    APPLICATION,
    MODEL,
    Method,
    SemanticSettings,
    methods,
    train,
    train_side_by_side,
)
from splitplace.records.base import Count, Fraction, Positive, PositiveCount, Record
from splitplace.records.provenance import Provenance
from splitplace.report.splits import Bar
from splitplace.splitting.semantic.branches import SPARE
from splitplace.training.data.dataset import Dataset
from splitplace.training.run import Run

PATH_GOALS = {"mobilenetv2": 0.45, "resnet50v2": 0.30, "inceptionv3": 0.40}
"""Critical path over the whole, shared trunk, four branches."""
MARGIN = 0.9
"""Of a goal, what the roofline is given as budget: cut before mixed_6a, InceptionV3 took .42 where it said .40."""
PARAMS_GOAL, OVERLAP_GOAL = 0.5, 1.05
CELLS = ((APPLICATION, MODEL), ("tiny100", MODEL), ("tiny100", "resnet50v2"), ("tiny100", "inceptionv3"))
"""What there is to train, each a results file of its own; a CPU gets through the first two."""
LOSS_GOALS = {APPLICATION: 0.005, "tiny100": 0.02}
"""What `distil` may lose to the full model."""
DIFFERENCES: dict[Method, str] = {
    "consecutive": "grouping by meaning against consecutive classes",
    "random": "grouping by meaning against random groups",
    "scratch": "distil against from scratch",
    "splitnet": "distil against splitnet",
}
"""Of `distil` to each, and what it tells."""
CONTROLS = ("consecutive", "random")
"""Trees that differ from `distil` in their groups alone: there it is asked, too, what is left when devices die."""
ENERGY_GOAL = 0.1
"""Weight energy between groups that SplitNet may leave before slicing; chance is 1 - 1/G."""
SPARE_LOSSES = {1: 0.03, 2: 0.10}
"""What a tree with a spare may lose when so many of its branches are lost."""
SPARE_FLOPS = 1.3
"""What it may compute, over the tree without."""
NOT_RUN = "not run"


class RecipeCell(Measured):
    """One recipe, one seed. Sizes are of all fragments together; a branch is a leaf without the trunk."""

    method: Method
    seed: Count
    accuracy: Fraction
    accuracy_missing: tuple[Fraction, ...]
    params: Count
    flops_per_sample: Count
    branch_params: Count
    branch_flops_per_sample: Count
    groups: tuple[tuple[Count, ...], ...]
    passes: PositiveCount
    samples: PositiveCount
    train_s: Positive
    cost: Positive
    """Training seconds over the full model's; what a split is taught by comes on top."""
    off_group_energy: Fraction | None = None
    sliced_accuracy: Fraction | None = None


class SemanticResults(Record):
    """The results file."""

    application: str
    model: str
    branches: PositiveCount
    quick: bool
    trained: tuple[RecipeCell, ...] = ()
    paths: tuple[PathCell, ...] = ()
    provenance: Provenance


def run(
    results: Path,
    runs: Path,
    data: Dataset,
    settings: SemanticSettings,
    say: Callable[[str], None] = print,
    jobs: int = 1,
) -> SemanticResults:
    """Train and measure what the results file lacks, writing it after each step; interrupted, the next run goes on.

    Args:
        results: The file.
        runs: Folder of the RUNs.
        data: Whose images are learned.
        settings: What is trained and measured.
        say: Told of each step.
        jobs: How many processes train at once; one trains here, with all threads.

    Raises:
        SplitPlaceError: The file is no results file, a RUN folder holds another training, or a process died.
    """
    found = SemanticResults(
        application=data.application,
        model=settings.model,
        branches=BRANCHES,
        quick=settings.quick,
        provenance=provenance.collect(0),
    )
    if results.exists():
        before = SemanticResults.parse(results.read_bytes(), str(results))
        found = found.model_copy(update={"paths": before.paths})
    if jobs > 1:
        train_side_by_side(runs, data, settings, jobs, say)
    for seed in range(settings.seeds):
        full = None
        for method in methods(data.application):
            say(f"seed {seed}: training {method} (an interruption loses at most a minute)")
            done = train(runs, data, settings, seed, method)
            full = full or done
            row = _cell(method, done, full, seed)
            found = found.model_copy(update={"trained": (*found.trained, row)})
            save(results, found)
    for model, goal in PATH_GOALS.items() if settings.paths else ():
        if not any(cell.model == model and cell.path.pairs >= settings.pairs for cell in found.paths):
            say(f"{model}: critical path")
            cell = path(model, MARGIN * goal, settings.pairs)
            rest = tuple(other for other in found.paths if other.model != model)
            found = found.model_copy(update={"paths": (*rest, cell)})
            save(results, found)
    return found


def _cell(method: Method, done: Run, full: Run, seed: int) -> RecipeCell:
    metrics = done.metrics
    leaves = [part for part in metrics.fragments if part.classes and part.name != SPARE]
    return RecipeCell(
        method=method,
        seed=seed,
        accuracy=metrics.accuracy,
        accuracy_missing=metrics.accuracy_missing,
        params=metrics.params,
        flops_per_sample=metrics.flops_per_sample,
        branch_params=max(leaf.params for leaf in leaves),
        branch_flops_per_sample=max(leaf.flops_per_sample for leaf in leaves),
        groups=tuple(leaf.classes for leaf in leaves),
        passes=metrics.epochs,
        samples=done.config.request.recipe.samples,
        train_s=metrics.train_s,
        cost=metrics.train_s / full.metrics.train_s,
        off_group_energy=metrics.off_group_energy,
        sliced_accuracy=metrics.sliced_accuracy,
        commit=done.provenance.commit,
    )


def file_name(application: str, model: str) -> str:
    """Of a cell's results, without its ending."""
    return "-".join(["semantic", *[application] * (application != APPLICATION), *[model] * (model != MODEL)])


def cells(folder: Path) -> dict[str, str]:
    """Which of `CELLS` have results in a folder, and how many seeds of them."""
    states = {}
    for application, model in CELLS:
        file, state = folder / f"{file_name(application, model)}.json", NOT_RUN
        if file.exists():
            done = {cell.seed for cell in SemanticResults.parse(file.read_bytes(), str(file)).trained}
            state = f"{len(done)} seed(s)" if done else NOT_RUN
        states[f"{model} on {application}"] = state
    return states


def verdict(found: SemanticResults) -> dict[str, bool | str]:
    """Each claim and whether it holds; a difference between recipes in words, with its interval over seeds.

    A bound on a ratio holds if the interval's lower end is under it.
    """
    loss_goal = LOSS_GOALS.get(found.application, LOSS_GOALS[APPLICATION])
    claims: dict[str, bool | str] = {
        f"distil at most {100 * loss_goal:g} points under full": _loss_verdict(found, loss_goal)
    }
    trained = methods(found.application)
    if "splitnet" in trained:
        claims[f"splitnet leaves under {ENERGY_GOAL:g} of the weight energy between groups"] = _all(
            [cell.off_group_energy < ENERGY_GOAL for cell in found.trained if cell.off_group_energy is not None]
        )
    for other, claim in DIFFERENCES.items():
        if other in trained:
            claims[claim] = _difference(found, "distil", other)
            for absent in range(1, BRANCHES) if other in CONTROLS else ():
                claims[f"{claim}, {absent} of {BRANCHES} branches absent"] = _difference(found, "distil", other, absent)
    claims |= _spare_verdict(found)
    for model, goal in PATH_GOALS.items() if (found.application, found.model) == CELLS[0] else ():
        paths = [cell for cell in found.paths if cell.model == model]
        claims[f"{model}: critical path at most {goal:g} of the whole"] = _all([c.path.low <= goal for c in paths])
        claims[f"{model}: parameters at most {PARAMS_GOAL:g} of the whole's, {OVERLAP_GOAL:g} with overlap"] = _all(
            [c.params <= PARAMS_GOAL and c.params_overlap <= OVERLAP_GOAL for c in paths]
        )
    return claims


def _spare_verdict(found: SemanticResults) -> dict[str, bool | str]:
    """What a spare wins back, and what it costs; means over seeds."""
    spared = [cell for cell in found.trained if cell.method == "spare"]
    plain = {cell.seed: cell for cell in found.trained if cell.method == "distil"}
    claims: dict[str, bool | str] = {}
    for lost, goal in SPARE_LOSSES.items():
        losses = [cell.accuracy - cell.accuracy_missing[lost - 1] for cell in spared]
        claim = f"a spare: at most {100 * goal:g} points down with {lost} of {BRANCHES} branches lost"
        claims[claim] = float(np.mean(losses)) <= goal if losses else NOT_RUN
    ratios = [cell.flops_per_sample / plain[cell.seed].flops_per_sample for cell in spared if cell.seed in plain]
    claims[f"a spare: at most {SPARE_FLOPS:g} of the tree's FLOPs"] = _all([ratio <= SPARE_FLOPS for ratio in ratios])
    return claims


def _all(held: Sequence[bool]) -> bool | str:
    return all(held) if held else NOT_RUN


def gains(found: SemanticResults, better: Method, worse: Method, absent: int = 0) -> list[float]:
    """What one recipe is more accurate than another, seed by seed; with so many branches absent, mean over the sets."""
    answers = {(cell.method, cell.seed): (cell.accuracy, *cell.accuracy_missing) for cell in found.trained}
    of = {key: accuracies[absent] for key, accuracies in answers.items() if absent < len(accuracies)}
    seeds = sorted(seed for method, seed in of if method == better and (worse, seed) in of)
    return [of[better, seed] - of[worse, seed] for seed in seeds]


def _loss_verdict(found: SemanticResults, goal: float) -> bool | str:
    differences = gains(found, "distil", "full")
    if not differences:
        return NOT_RUN
    return float(np.mean(differences)) >= -goal


def _difference(found: SemanticResults, better: Method, worse: Method, absent: int = 0) -> str:
    """Mean gain in points; with three seeds or more, its 95 % interval by Student's t, and what it says."""
    points = [100 * gain for gain in gains(found, better, worse, absent)]
    if not points:
        return NOT_RUN
    gain = interval(points)
    if len(points) < 3:
        return f"{gain.mean:+.2f} points on {len(points)} seed(s): one cannot tell"
    says = "better" if gain.low > 0 else "worse" if gain.high < 0 else "no difference can be told"
    return f"{gain.mean:+.2f} points [{gain.low:+.2f}, {gain.high:+.2f}] over {len(points)} seeds: {says}"


def draw(plot: Path, found: SemanticResults) -> None:
    """The picture: accuracy and response time of every recipe, with its seeds."""
    from splitplace.report.splits import draw_splits

    draw_splits(plot, bars(found), f"{found.model} on {found.application}, {found.branches} branches", BATCH)


def bars(found: SemanticResults) -> list[Bar]:
    """The picture's bars: layer-wise, which answers as the whole does, then every recipe that was trained."""
    cell = next((cell for cell in found.paths if cell.model == found.model), None)
    if cell is None:
        return []
    whole, *trees = methods(found.application)
    ratios = {whole: cell.layer.median} | dict.fromkeys(trees, cell.path.median)
    accuracies = {method: [c.accuracy for c in found.trained if c.method == method] for method in ratios}
    return [
        Bar(f"layer-{LAYERS}" if method == "full" else method, accuracies[method], ratios[method] * cell.whole_s)
        for method in ratios
        if accuracies[method]
    ]
