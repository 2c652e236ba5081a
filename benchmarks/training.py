"""Claims: our training is as fast as a bare loop around the same network, and its full models are good ones.

Speed is a ratio (METHODOLOGY.md, "Training"). Accuracies take hours on a CPU: they are trained only when asked for, go
on after an interruption, and are otherwise read from the RUN folders that are there; the rest is "not run".
"""

import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from splitplace import provenance
from splitplace.benchmarks.paired import Ratio, paired_ratios
from splitplace.benchmarks.results_file import Measured, save
from splitplace.errors import SplitPlaceError
from splitplace.records.base import Count, Fraction, PositiveCount, Record
from splitplace.records.provenance import Provenance
from splitplace.training.data.applications import fetch
from splitplace.training.data.batches import Batches
from splitplace.training.data.dataset import Dataset
from splitplace.training.families.build import build
from splitplace.training.loop.checkpoint import checkpointed
from splitplace.training.loop.fit import fit
from splitplace.training.loop.losses import cross_entropy
from splitplace.training.preset import load_preset
from splitplace.training.recipes.full import train_full
from splitplace.training.run import Run

SPEED = 0.95
"""Our images a second over the bare loop's: at least this."""
MODEL = "mobilenetv2"
PRESET = "standard"
GOALS: dict[tuple[str, str], float | None] = {
    ("mnist", MODEL): 0.992,
    ("fashionmnist", MODEL): 0.925,
    ("tiny100", MODEL): None,
    **{(app, model): None for app in ("mnist", "fashionmnist", "tiny100") for model in ("resnet50v2", "inceptionv3")},
}
"""Held-out accuracy to reach, where one is set."""


class AccuracyCell(Measured):
    """Held-out accuracy of one full model: `state` says whether it was trained."""

    application: str
    model: str
    goal: Fraction | None
    state: Literal["run", "not run"]
    accuracy: Fraction | None = None
    epochs: PositiveCount | None = None
    images_per_s: float | None = None
    seed: Count | None = None


class Speed(Measured):
    """`seconds` is ours over the bare loop's for the same steps; `noise` the loop over itself."""

    application: str
    batch_size: PositiveCount
    steps: PositiveCount
    threads: PositiveCount
    bare_images_per_s: float
    seconds: Ratio
    noise: Ratio


class TrainingResults(Record):
    """The results file."""

    model: str
    speed: Speed
    cells: tuple[AccuracyCell, ...]
    provenance: Provenance


def run(
    results: Path,
    runs: Path,
    train: Iterable[str] = (),
    pairs: int = 30,
    steps: int = 10,
    say: Callable[[str], None] = print,
) -> TrainingResults:
    """Measure the speed unless the file has it, train what is asked for, and write the file.

    Args:
        results: The file; accuracies in it stay where there is no RUN.
        runs: Where the RUN folders of the accuracies are, APP.MODEL.standard each.
        train: Applications to train `MODEL` on now, or to go on with.
        pairs: Interleaved pairs, at least.
        steps: Training steps a round; of ten, one is logged, as in any training.
        say: Told what is being done.
    """
    before = TrainingResults.parse(results.read_bytes(), str(results)) if results.exists() else None
    if before is not None and before.speed.steps == steps and before.speed.seconds.pairs >= pairs:
        fast = before.speed
    else:
        say("speed")
        fast = speed(fetch("fashionmnist"), pairs, steps)
    for application in train:
        say(f"training {MODEL} on {application} (an interruption loses at most a minute)")
        train_full(fetch(application), MODEL, preset=PRESET, out=runs / f"{application}.{MODEL}.{PRESET}")
    cells = [_cell(runs, application, model, goal) for (application, model), goal in GOALS.items()]
    # Days of training are behind an accuracy; that its RUN is elsewhere by now is no reason to forget it.
    known = {(cell.application, cell.model): cell for cell in before.cells if cell.state == "run"} if before else {}
    found = TrainingResults(
        model=MODEL,
        speed=fast,
        cells=tuple(cell if cell.state == "run" else known.get((cell.application, cell.model), cell) for cell in cells),
        provenance=provenance.collect(0),
    )
    save(results, found)
    return found


def speed(data: Dataset, pairs: int, steps: int) -> Speed:
    """`steps` steps of the quick recipe, by our loop (augmentation, logs, checks and all) and by a bare one."""
    # The smaller the step, the more of it is what a loop adds: hence this preset.
    settings = load_preset("quick").settle(MODEL, data.application)
    recipe = settings.full.changed(epochs=1, samples=settings.full.batch_size * steps)
    assert recipe.optimizer == "sgd", "as the bare loop below"

    def network() -> nn.Sequential:
        torch.manual_seed(0)
        shape, mean_std = data.shape_CHW, data.mean_std_C
        fresh = build(MODEL, data.n_classes, shape, mean_std, settings.strides)
        return fresh.train().to(memory_format=torch.channels_last)

    bare_network, our_network = network(), network()
    batches = list(Batches(data.x_train_NCHW, data.y_train_N, recipe.batch_size, 0, samples=recipe.samples))
    optimizer = torch.optim.SGD(
        bare_network.parameters(),
        lr=recipe.learning_rate,
        momentum=0.9,
        nesterov=True,
        weight_decay=recipe.weight_decay,
        fused=True,
    )

    def bare() -> float:
        start_s = time.perf_counter()
        for image_BCHW, y_B in batches:
            optimizer.zero_grad()
            logits_BK = bare_network(image_BCHW)
            loss = nn.functional.cross_entropy(logits_BK, y_B, label_smoothing=recipe.label_smoothing)
            torch.autograd.backward(loss)
            optimizer.step()
        return time.perf_counter() - start_s

    def ours() -> float:
        with tempfile.TemporaryDirectory() as folder:
            return fit(our_network, cross_entropy(recipe), data, recipe, 0, Path(folder), "bench").train_s

    bare_s, ratios = paired_ratios(bare, {"ours": ours}, pairs)
    return Speed(
        application=data.application,
        batch_size=recipe.batch_size,
        steps=steps,
        threads=torch.get_num_threads(),
        bare_images_per_s=recipe.batch_size * steps / bare_s,
        seconds=ratios["ours"],
        noise=ratios["A/A"],
        commit=provenance.commit(),
    )


def _cell(runs: Path, application: str, model: str, goal: float | None) -> AccuracyCell:
    place = runs / f"{application}.{model}.{PRESET}"
    if not place.exists() or checkpointed(place) is not None:
        return AccuracyCell(application=application, model=model, goal=goal, state="not run")
    done, settings = Run.open(place), load_preset(PRESET).settle(model, application)
    request, metrics = done.config.request, done.metrics
    if (request.recipe, request.strides) != (settings.full, settings.strides):
        raise SplitPlaceError(f"{place} was trained by other numbers than {PRESET} has now: train it again, elsewhere")
    return AccuracyCell(
        application=application,
        model=model,
        goal=goal,
        state="run",
        accuracy=metrics.accuracy,
        epochs=metrics.epochs,
        images_per_s=metrics.images_per_s,
        seed=request.seed,
        commit=done.provenance.commit,
    )


def verdict(found: TrainingResults) -> dict[str, bool | str]:
    """Each claim and whether it holds; an A/A interval wider than the bound is tight says nothing."""
    noise = found.speed.noise
    too_noisy = noise.high - noise.low > 1 / SPEED - 1
    claims: dict[str, bool | str] = {
        f"images a second at least {SPEED} of the bare loop's": (
            "not known, too noisy: repeat on a quiet machine" if too_noisy else found.speed.seconds.low <= 1 / SPEED
        )
    }
    for cell in found.cells:
        if cell.goal is not None:
            claim = f"{cell.model} on {cell.application} at least {cell.goal:.1%}"
            claims[claim] = "not run" if cell.accuracy is None else cell.accuracy >= cell.goal
    return claims
