"""Lightning training of anything that maps raw images to logits: one module, one schedule, one loop."""

import logging
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning
import torch
from pytorch_lightning.callbacks import Callback, RichProgressBar
from pytorch_lightning.loggers import TensorBoardLogger
from torch import nn

from splitplace.errors import SplitPlaceError
from splitplace.seeds import derive
from splitplace.training.data.augment import Augment
from splitplace.training.data.batches import Batches
from splitplace.training.data.dataset import Dataset
from splitplace.training.loop.checkpoint import CHECKPOINT, Checkpoints, SafetensorsIO
from splitplace.training.loop.classifier import LOG_EVERY, Classifier
from splitplace.training.loop.early_stop import EarlyStop
from splitplace.training.loop.losses import Loss
from splitplace.training.loop.machines import SharedFolder, launched
from splitplace.training.loop.statistics import settle
from splitplace.training.preset import FullRecipe

log = logging.getLogger(__name__)

LOGS = "logs"
"""Of TensorBoard, in a RUN folder and in that of each stage."""
_SHARE_FOR_IMAGES = 0.25
"""Of a GPU's free memory: the rest is for what is trained, here and in other processes."""


@dataclass(frozen=True)
class Fitted:
    """What the loop measured; `images_per_s` over the training steps alone; `settled` as `settle` gives it."""

    train_s: float
    images_per_s: float
    final_loss: float
    epochs: int
    settled: int = 0
    steps: int = 0


class _Clock(Callback):
    """Times the steps, without start-up; what a resumed training had behind it counts."""

    def __init__(self) -> None:
        self.before_s = 0.0
        self.started_s = self.ended_s = time.perf_counter()

    @property
    def train_s(self) -> float:
        """Seconds so far."""
        return self.before_s + self.ended_s - self.started_s

    def on_train_start(self, trainer: pytorch_lightning.Trainer, pl_module: pytorch_lightning.LightningModule) -> None:
        self.started_s = self.ended_s = time.perf_counter()

    def on_train_batch_end(self, *args: Any) -> None:
        self.ended_s = time.perf_counter()

    def on_train_end(self, trainer: pytorch_lightning.Trainer, pl_module: pytorch_lightning.LightningModule) -> None:
        if pl_module.device.type == "cuda":  # the last steps have only been given to it
            torch.cuda.synchronize()
            self.ended_s = time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        return {"train_s": self.train_s}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.before_s = state_dict["train_s"]


class _OnDevice(Callback):
    """Puts what is served onto the GPU that trains, where it has the room; what a CPU trains on is there."""

    def __init__(self, batches: Batches):
        self.batches = batches

    def on_train_start(self, trainer: pytorch_lightning.Trainer, pl_module: pytorch_lightning.LightningModule) -> None:
        if pl_module.device.type == "cuda":
            free_bytes, _ = torch.cuda.mem_get_info()
            if self.batches.size_bytes <= _SHARE_FOR_IMAGES * free_bytes:
                self.batches.to(pl_module.device)


def fit(
    network: nn.Module,
    loss: Loss,
    data: Dataset,
    recipe: FullRecipe,
    seed: int,
    folder: Path,
    request: str,
    frozen: Sequence[nn.Module] = (),
    callbacks: Sequence[Callback] = (),
) -> Fitted:
    """Train `network` in place, and leave it in eval mode; go on from the checkpoint in `folder` if there is one.

    On one device or on many (all that Lightning finds, or as many processes as torchrun started, on one machine or on
    several that share a folder), each batch is the same: the devices divide it, under DDP. Every process comes back;
    `ranks.written_once` is for what follows.

    Args:
        network: Raw images (uint8 [B,C,H,W]) to logits [B,K].
        loss: Of a batch.
        data: Its training part is used, and nothing else; after few steps, for running statistics as well (`settle`).
        recipe: The numbers.
        seed: Of the order of images and their augmentation.
        folder: Where the checkpoint and TensorBoard's files (`logs`) go.
        request: All that determines this training: a checkpoint of another one is refused.
        frozen: Parts of the network that stay as they are, running statistics too.
        callbacks: Lightning's, besides our own; what they keep is in the checkpoint.

    Raises:
        SplitPlaceError: The loss is no longer finite, the disk is full, or the checkpoint is another's.
        KeyboardInterrupt: The user stopped it.
    """
    rows, validation = data.training_rows(recipe.validation_share)
    batches = Batches(
        data.x_train_NCHW[rows],
        data.y_train_N[rows],
        recipe.batch_size,
        derive(seed, "fit"),
        samples=recipe.samples,
        augment=Augment(recipe.augment, data.shape_CHW, mirror=data.mirror),
    )
    settled_after = partial(settle, network, data.x_train_NCHW, rows, recipe.batch_size, seed, frozen=frozen)
    stop = None
    if recipe.patience:
        x_NCHW, y_N = data.x_train_NCHW[validation], data.y_train_N[validation]
        stop = EarlyStop(network, x_NCHW, y_N, recipe.patience, settled_after)
    fitted = fit_batches(network, loss, batches, recipe, folder, request, frozen, callbacks, stop)
    steps = fitted.steps if stop is None else stop.steps
    settled = settled_after(steps)
    if settled:
        log.warning("%d steps are few: running statistics are taken anew, over %d training images", steps, settled)
    return replace(fitted, settled=settled)


def fit_batches(
    network: nn.Module,
    loss: Loss,
    batches: Batches,
    recipe: FullRecipe,
    folder: Path,
    request: str,
    frozen: Sequence[nn.Module] = (),
    callbacks: Sequence[Callback] = (),
    stop: EarlyStop | None = None,
) -> Fitted:
    """As `fit`, on batches of anything the network takes."""
    devices, machines = launched()
    network.train()
    for part in frozen:
        part.requires_grad_(False).eval()  # Lightning keeps the modes it finds
    network.to(memory_format=torch.channels_last)
    module = Classifier(network, loss, recipe, steps=recipe.epochs * len(batches))
    checkpoint = folder / CHECKPOINT
    clock = _Clock()
    shown = sys.stderr.isatty()
    bars = [RichProgressBar(console_kwargs={"stderr": True})] if shown else []
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # Advice on data-loading processes and log intervals that does not apply to batches in memory.
        warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric")
        trainer = pytorch_lightning.Trainer(
            max_epochs=recipe.epochs,
            precision=recipe.precision,
            deterministic=recipe.deterministic,
            accelerator="auto",
            devices=devices,
            num_nodes=machines,
            plugins=[SafetensorsIO(request)],
            logger=TensorBoardLogger(folder / LOGS, name="", version=""),
            callbacks=[
                clock,
                SharedFolder(folder),
                _OnDevice(batches),
                Checkpoints(checkpoint),
                *callbacks,
                *([stop] if stop else []),
                *bars,
            ],
            enable_progress_bar=shown,
            enable_model_summary=False,
            enable_checkpointing=False,
            log_every_n_steps=LOG_EVERY,
        )
        try:
            trainer.fit(module, batches, ckpt_path=str(checkpoint) if checkpoint.exists() else None)
        except SystemExit:
            # Lightning's answer to Ctrl+C is exit 1, whoever called.
            if trainer.interrupted:
                raise KeyboardInterrupt from None
            raise
        except OSError as error:
            raise SplitPlaceError(
                f"cannot write to {folder} ({error.strerror or error}): make room and run it again"
            ) from error
    if stop is not None:
        stop.restore()
    network.cpu().eval().requires_grad_(True)
    epochs = trainer.current_epoch
    steps = epochs * len(batches)
    return Fitted(clock.train_s, steps * batches.batch_size / clock.train_s, module.last_loss, epochs, steps=steps)


def log_held_out(folder: Path, accuracy: float, fitted: Fitted) -> None:
    """Held-out accuracy at the end of a training, beside its loss and learning rate, for TensorBoard."""
    logger = TensorBoardLogger(folder / LOGS, name="", version="")
    logger.log_metrics({"held_out_accuracy": accuracy}, fitted.steps)
    logger.finalize("success")
