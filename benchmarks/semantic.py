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
    RecipeTask,
    SemanticSettings,
    is_trained,
    methods,
    tasks,
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
LOST_BY_SPARE = {APPLICATION: 0.005, "tiny100": 0.01}
"""What it may lose where no branch is."""
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

    What the file has of the same trainings is kept where their RUNs are lost.

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
    before, wanted = dict[RecipeTask, RecipeCell](), tasks(data.application, settings.seeds)
    if results.exists():
        there = SemanticResults.parse(results.read_bytes(), str(results))
        found, before = found.model_copy(update={"paths": there.paths}), _of_the_same(there, found, settings)
    kept = {task: row for task, row in before.items() if not is_trained(runs, task)}

    def cells_of(wanted: Sequence[RecipeTask]) -> dict[RecipeTask, RecipeCell]:
        if jobs > 1:
            train_side_by_side(runs, data, settings, wanted, jobs, say)
        cells = dict[RecipeTask, RecipeCell]()
        for task in wanted:
            say(f"training {task} (an interruption loses at most a minute)")
            full = train(runs, data, settings, task.seed, "full")
            done = full if task.method == "full" else train(runs, data, settings, task.seed, task.method)
            cells[task] = _cell(task.method, done, full, task.seed)
        return cells

    # Trees are taught by the full model: what was kept of them stands only beside the one that taught them.
    seeds = dict.fromkeys(task.seed for task in wanted if task not in kept)
    for task, cell in cells_of([RecipeTask(seed, "full") for seed in seeds]).items():
        if task in before and _known_by(before[task]) != _known_by(cell):
            say(f"seed {task.seed}: the full model is not the one of before: all of this seed is trained anew")
            kept = {other: row for other, row in kept.items() if other.seed != task.seed}
    for some in ([task] for task in wanted) if jobs == 1 else [wanted]:
        kept |= cells_of([task for task in some if task not in kept])
        seen = tasks(data.application, 1 + max(task.seed for task in kept))
        rows = tuple(kept[task] for task in seen if task in kept)
        found = found.model_copy(update={"trained": rows})
        save(results, found)
    for model, goal in PATH_GOALS.items() if settings.paths else ():
        if not any(cell.model == model and cell.path.pairs >= settings.pairs for cell in found.paths):
            say(f"{model}: critical path")
            timed = path(model, MARGIN * goal, settings.pairs)
            rest = tuple(other for other in found.paths if other.model != model)
            found = found.model_copy(update={"paths": (*rest, timed)})
            save(results, found)
    return found


def _of_the_same(
    before: SemanticResults, now: SemanticResults, settings: SemanticSettings
) -> dict[RecipeTask, RecipeCell]:
    """What a results file has of the same trainings: of each seed whose full model saw the same images as often."""
    same = all(getattr(before, name) == getattr(now, name) for name in ("application", "model", "branches", "quick"))
    asked = settings.passes, settings.samples
    seeds = {cell.seed for cell in before.trained if cell.method == "full" and (cell.passes, cell.samples) == asked}
    return {RecipeTask(cell.seed, cell.method): cell for cell in before.trained if same and cell.seed in seeds}


def _known_by(cell: RecipeCell) -> tuple[float, ...]:
    """What no other training has, all together."""
    return cell.accuracy, cell.params, cell.flops_per_sample


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
    points = [-gain for gain in gains(found, "spare", "distil")]
    most = LOST_BY_SPARE.get(found.application, LOST_BY_SPARE[APPLICATION])
    held = float(np.mean(points)) <= most if points else NOT_RUN
    claims: dict[str, bool | str] = {f"a spare: at most {100 * most:g} points down with none lost": held}
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
