"""Trains compressed models: structured L_n pruning of a full model, fine-tuned by distillation from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from splitplace.errors import UsageError
from splitplace.splitting.semantic.pruning import compress, compressed_split, compressed_variant
from splitplace.training.data.dataset import Dataset
from splitplace.training.families.build import build
from splitplace.training.loop.fit import fit
from splitplace.training.loop.losses import class_weights
from splitplace.training.preset import Preset, Settings, settle
from splitplace.training.recipes.carry_out import Made, carry_out
from splitplace.training.recipes.distil import check_teacher, distillation, load_teacher, student_request
from splitplace.training.run import Run


def train_compressed(
    data: Dataset,
    full: Run,
    ratio: float,
    *,
    preset: str | Preset = "quick",
    epochs: int | None = None,
    samples: int | None = None,
    seed: int = 0,
    out: Path | None = None,
) -> Run:
    """Prune a trained full model and fine-tune what is left, or reuse the finished run.

    Args:
        data: The images the full model was trained on.
        full: A run of strategy `full`; its validation images are kept out of this training too.
        ratio: Share of the channels of every layer to remove, in whole percent.
        preset: The recipe, by name or as it is.
        epochs: Instead of the recipe's.
        samples: Training images a pass, instead of the recipe's.
        seed: Of order and augmentation.
        out: The RUN folder; runs/APP.MODEL.compressed-PERCENT by default.

    Raises:
        UsageError: A ratio that is no share, or `full` is of other data or another strategy.
        SplitPlaceError: The model cannot be sliced, another run stands at `out`, or the loss is no longer finite.
    """
    settings = settle(preset, full.config.request.model, data)
    recipe = settings.compressed.beside(full.config.request.recipe.validation_share, epochs, samples)
    check_teacher(full, data)
    compressed_variant(ratio)  # refuses a ratio that is no share
    request = student_request(
        full,
        data,
        strategy="compressed",
        preset=settings.name,
        seed=seed,
        recipe=recipe,
        ratio=ratio,
    )

    def make(folder: Path) -> Made:
        teacher = load_teacher(full)
        network = compress(teacher, torch.from_numpy(data.x_train_NCHW[:2]), ratio, recipe.norm)
        loss = distillation(teacher, recipe, class_weights(data, recipe))
        fitted = fit(network, loss, data, recipe, seed, folder, request.model_dump_json())
        split = compressed_split(data.application, request.label, ratio, data.input_spec, network, data.n_classes)
        return Made(split, fitted)

    return carry_out(request, data, out, make, full)


def check_compressed(data: Dataset, model: str, settings: Settings, ratios: Sequence[float], share: float) -> None:
    """All that can be wrong with a compression is told here, before a full model is trained for it.

    Args:
        data: What the model would learn.
        model: The network, by name; surgery is tried on it with fresh weights.
        settings: Of this model on this data.
        ratios: To train.
        share: Of the training images that the full model keeps for validation.

    Raises:
        UsageError: A ratio that is no share, or a recipe that needs validation images where there are none.
        SplitPlaceError: The network has layers that cannot be sliced.
    """
    for ratio in ratios:
        compressed_variant(ratio)
    settings.compressed.beside(share)
    network = build(model, data.n_classes, data.shape_CHW, data.mean_std_C, settings.strides).eval()
    compress(network, torch.from_numpy(data.x_train_NCHW[:2]), max(ratios), settings.compressed.norm)


@dataclass(frozen=True)
class Picked(Run):
    """The run whose ratio was picked, among all that were tried, and the full model's accuracy on the same images."""

    tried: tuple[Run, ...]
    full_validation_accuracy: float


def pick_compressed(
    data: Dataset,
    full: Run,
    *,
    ratios: Sequence[float] | None = None,
    preset: str | Preset = "quick",
    epochs: int | None = None,
    samples: int | None = None,
    seed: int = 0,
    folder: Path = Path("runs"),
) -> Picked:
    """Train every ratio and pick the largest that loses no more accuracy than the recipe allows; else the smallest.

    Both accuracies are on validation images, which neither the full model nor the pruned ones were trained on.

    Args:
        data: The images the full model was trained on.
        full: A run of strategy `full` that kept validation images.
        ratios: To pick from; the recipe's by default.
        preset: The recipe, by name or as it is.
        epochs: Instead of the recipe's.
        samples: Training images a pass, instead of the recipe's.
        seed: Of order and augmentation.
        folder: Where the RUN folders go, APP.MODEL.compressed-PERCENT each.

    Raises:
        UsageError: The full model kept no validation images, or a ratio is no share.
        SplitPlaceError: As `train_compressed`.
    """
    settings = settle(preset, full.config.request.model, data)
    before = full.metrics.validation_accuracy
    if before is None:
        raise UsageError(
            f"a ratio is picked on validation images, and {full.path} kept none: give --ratio, or train the full "
            "model with --validation 0.1"
        )
    model = f"{data.application}.{full.config.request.label}"
    places = {
        ratio: f"{model}.compressed-{compressed_variant(ratio)}" for ratio in ratios or settings.compressed.ratios
    }
    tried = []
    for ratio, name in sorted(places.items()):
        tried.append(
            train_compressed(
                data, full, ratio, preset=preset, epochs=epochs, samples=samples, seed=seed, out=folder / name
            )
        )
    best = pick(tried, before - settings.compressed.accuracy_loss)
    return Picked(best.path, best.config, best.metrics, tuple(tried), before)


def pick(tried: Sequence[Run], accuracy: float) -> Run:
    """Of runs by ascending ratio, the last with at least this validation accuracy; else the first."""
    good = [run for run in tried if (run.metrics.validation_accuracy or 0.0) >= accuracy]
    return good[-1] if good else tried[0]
