"""Trains a full model: one fragment, the teacher of every split."""

import logging
from pathlib import Path

import torch
from torch import nn

from splitplace.records.split import Merge
from splitplace.splitting.modules import ModuleFragment, ModuleSplit
from splitplace.training.config import TrainingRequest
from splitplace.training.data.dataset import Dataset
from splitplace.training.families.build import build
from splitplace.training.families.family import FRONT
from splitplace.training.families.own import answers_probabilities, own_name
from splitplace.training.families.weights import open_weights
from splitplace.training.loop.fit import fit
from splitplace.training.loop.losses import class_weights, cross_entropy
from splitplace.training.preset import Preset, settle
from splitplace.training.recipes.carry_out import Made, carry_out
from splitplace.training.run import Run

FULL = "full"

log = logging.getLogger(__name__)


def train_full(
    data: Dataset,
    model: str | type[nn.Module] = "mobilenetv2",
    *,
    preset: str | Preset = "quick",
    epochs: int | None = None,
    samples: int | None = None,
    validation_share: float | None = None,
    weights: str | None = None,
    seed: int = 0,
    out: Path | None = None,
) -> Run:
    """Train a network on all classes, or reuse the run if this very request is complete at `out`.

    Args:
        data: Images.
        model: One of ours, a timm name, or a network of your own: its class, or `package.module:Class`, which must then
            be importable by whoever opens the RUN folder (`families/own.py`).
        preset: The recipe, by name or as it is.
        epochs: Instead of the recipe's.
        samples: Training images a pass, instead of the recipe's.
        validation_share: Share of the training images to keep for validation, instead of the recipe's.
        weights: Fine-tune these instead of starting from random ones: a .safetensors file, of timm's form or a full
            model's RUN, or `timm` for those that it publishes. What does not fit (the classifier, a fitted stem) starts
            fresh, and is said.
        seed: Of weights, order and augmentation.
        out: The RUN folder; runs/APP.MODEL.full by default.

    Raises:
        UsageError: An unknown model or preset, or weights of another network.
        SplitPlaceError: Another run stands at `out`, or the loss is no longer finite.
    """
    model = model if isinstance(model, str) else own_name(model)
    settings = settle(preset, model, data)
    recipe = settings.full.changed(epochs=epochs, samples=samples, validation_share=validation_share)
    start = None if weights is None else open_weights(weights, model)
    request = TrainingRequest(
        application=data.application,
        data_sha256=data.sha256,
        train_sha256=data.train_sha256,
        model=model,
        strategy="full",
        preset=settings.name,
        seed=seed,
        strides=settings.strides,
        recipe=recipe,
        weights="" if start is None else start.source,
        weights_sha256="" if start is None else start.sha256,
    )

    def make(folder: Path) -> Made:
        network = build(model, data.n_classes, data.shape_CHW, data.mean_std_C, request.strides, start)
        inside, (_, height, width) = network.get_submodule(FRONT).size, data.shape_CHW
        if inside is not None:
            log.warning(
                "model %s takes no %dx%d images: it resizes them to %dx%d", model, height, width, inside, inside
            )
        if answers_probabilities(network, torch.from_numpy(data.x_train_NCHW[:2])):
            log.warning(
                "model %s answers probabilities, expected logits: leave out its softmax, the loss has one", model
            )
        loss = cross_entropy(recipe, class_weights(data, recipe))
        fitted = fit(network, loss, data, recipe, seed, folder, request.model_dump_json())
        classes = tuple(range(data.n_classes))
        split = ModuleSplit(
            application=data.application,
            model=request.label,
            strategy="full",
            variant="",
            input_spec=data.input_spec,
            fragments=(ModuleFragment(FULL, network, (data.input_spec.name,), "logits", classes),),
            merge=Merge(kind="identity", class_order=classes),
        )
        return Made(split, fitted)

    return carry_out(request, data, out, make)
