"""What a finished training measured: accuracies, speed and sizes."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from splitplace.records.by_class import by_class
from splitplace.splitting.modules import ModuleSplit
from splitplace.training import run as runs
from splitplace.training.config import TrainingRequest
from splitplace.training.data.dataset import Dataset
from splitplace.training.loop.calibration import calibration, outbid
from splitplace.training.loop.evaluate import accuracy, accuracy_missing, logits, share_right
from splitplace.training.loop.fit import Fitted, log_held_out
from splitplace.training.loop.ranks import written_once
from splitplace.training.metrics import FragmentMetrics, RunMetrics
from splitplace.training.network import as_network, spare_network
from splitplace.training.preset import FullRecipe
from splitplace.training.run import Run


def measured(
    split: ModuleSplit, data: Dataset, recipe: FullRecipe, fitted: Fitted, wall_s: float, teacher: Run | None = None
) -> RunMetrics:
    """Evaluate a trained split on the held-out images, and on the validation images if the recipe kept some."""
    network = as_network(split)
    sizes = fragment_sizes(split, torch.from_numpy(data.x_test_NCHW[:1]))
    logits_NK, y_N = logits(network, data.x_test_NCHW), torch.from_numpy(data.y_test_N)
    classified = by_class(logits_NK.argmax(1).numpy(), data.y_test_N, data.n_classes)
    branches = [fragment for fragment in split.fragments if fragment.name != split.merge.spare]
    leaves = [fragment.classes for fragment in branches if fragment.classes]
    spare = spare_network(split)
    spare_NK = None if spare is None else logits(spare, data.x_test_NCHW)
    _, validation = data.training_rows(recipe.validation_share)
    compared = None
    if len(leaves) > 1 and len(validation):
        x_NCHW, seen_N = data.x_train_NCHW[validation], torch.from_numpy(data.y_train_N[validation])
        scale_K, shift_K = calibration(logits(network, x_NCHW), seen_N, leaves)
        compared = share_right(logits_NK * scale_K + shift_K, y_N)
    return RunMetrics(
        accuracy=share_right(logits_NK, y_N),
        n=len(data.y_test_N),
        epochs=fitted.epochs,
        images_per_s=fitted.images_per_s,
        train_s=fitted.train_s,
        wall_s=wall_s,
        final_loss=fitted.final_loss,
        settled_images=fitted.settled,
        params=sum(size.params for size in sizes),
        flops_per_sample=sum(size.flops_per_sample for size in sizes),
        fragments=sizes,
        accuracy_by_class=classified.accuracy_by_class,
        confusion=classified.confusion,
        accuracy_missing=accuracy_missing(logits_NK, y_N, leaves, spare_NK),
        outbid=outbid(logits_NK, y_N, leaves) if len(leaves) > 1 else None,
        calibrated_accuracy=compared,
        teacher_accuracy=None if teacher is None else teacher.metrics.accuracy,
        validation_accuracy=(
            accuracy(network, data.x_train_NCHW[validation], data.y_train_N[validation]) if len(validation) else None
        ),
    )


def finish(
    folder: Path,
    request: TrainingRequest,
    split: ModuleSplit,
    data: Dataset,
    fitted: Fitted,
    started_s: float,
    teacher: Run | None = None,
    seen: Mapping[str, float] = MappingProxyType({}),
) -> Run:
    """Measure what was trained and write its run; of several processes, the first does.

    Args:
        folder: The RUN folder.
        request: What was trained.
        split: What came of it.
        data: What it learned.
        fitted: How the training went.
        started_s: When it began, by `time.perf_counter`.
        teacher: The full model it was cut out of.
        seen: What was measured on the way, as `RunMetrics` calls it.
    """

    def write() -> Run:
        metrics = measured(split, data, request.recipe, fitted, time.perf_counter() - started_s, teacher)
        log_held_out(folder, metrics.accuracy, fitted)
        return runs.save(folder, request, split, data, metrics.model_copy(update=dict(seen)))

    return written_once(folder, write)


def fragment_sizes(split: ModuleSplit, image_BCHW: torch.Tensor) -> tuple[FragmentMetrics, ...]:
    """Parameters and FLOPs (of one image; torch's own counter) of every fragment."""
    made = {split.input_spec.name: image_BCHW}
    sizes = []
    for fragment in split.fragments:
        with FlopCounterMode(display=False) as counter, torch.no_grad(), _without_gradients(fragment.module):
            made[fragment.output] = fragment.module(*(made[name] for name in fragment.inputs))
        sizes.append(
            FragmentMetrics(
                name=fragment.name,
                params=_params(fragment.module),
                flops_per_sample=counter.get_total_flops() // len(image_BCHW),
                classes=fragment.classes,
            )
        )
    return tuple(sizes)


@contextmanager
def _without_gradients(module: nn.Module) -> Iterator[None]:
    """The counter's hooks fail on a parameter that is a layer's input, as the queries of attention pooling are."""
    wanted = [parameter for parameter in module.parameters() if parameter.requires_grad]
    module.requires_grad_(False)
    yield
    for parameter in wanted:
        parameter.requires_grad_(True)


def _params(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
