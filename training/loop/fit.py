"""Lightning training of anything that maps raw images to logits: one module, one schedule, one loop."""

import logging
import math
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning
import torch
from pytorch_lightning.callbacks import Callback, RichProgressBar
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor, nn

from splitplace.errors import ContractError, SplitPlaceError
from splitplace.seeds import derive
from splitplace.training.data.augment import Augment
from splitplace.training.data.batches import Batches
from splitplace.training.data.dataset import Dataset
from splitplace.training.loop.checkpoint import CHECKPOINT, Checkpoints, SafetensorsIO
from splitplace.training.loop.early_stop import EarlyStop
from splitplace.training.loop.machines import SharedFolder, launched
from splitplace.training.loop.statistics import settle
from splitplace.training.preset import FullRecipe

log = logging.getLogger(__name__)

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(image_BCHW, logits_BK, y_B) to a scalar."""

LOGS = "logs"
"""Of TensorBoard, in a RUN folder and in that of each stage."""
_MOMENTUM = 0.9
_LOG_EVERY = 10
"""Steps: logging one costs as much as all else that the loop adds to it."""
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


class Classifier(pytorch_lightning.LightningModule):
    """A network under one optimizer and a one-cycle schedule, stepped every batch.

    Args:
        network: Raw images to logits; only parameters that require a gradient are trained.
        loss: Of a batch.
        recipe: The numbers.
        steps: In all.
    """

    def __init__(self, network: nn.Module, loss: Loss, recipe: FullRecipe, steps: int):
        super().__init__()
        self.network = network
        self.loss = loss
        self.recipe = recipe
        self.steps = steps
        self.last = torch.tensor(float("nan"))

    @property
    def last_loss(self) -> float:
        """Of the last step; NaN before the first."""
        return float(self.last)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The loss of one batch; stops at the first that is not finite, on a GPU at the next one that is looked at."""
        image_BCHW, y_B = batch
        loss = self.loss(image_BCHW, self.network(image_BCHW), y_B)
        self.last = loss.detach()
        step = self.global_step + 1
        # Who looks at a value waits for the GPU, which then waits for the next step to be given to it.
        looked_at = loss.device.type == "cpu" or step % _LOG_EVERY == 0 or step == self.steps
        if looked_at and not torch.isfinite(self.last):
            raise SplitPlaceError(
                f"the loss is {self.last_loss} at step {self.global_step} of {self.steps}: "
                f"lower learning_rate ({self.recipe.learning_rate:g}) or use precision 32-true"
            )
        if step % _LOG_EVERY == 0:  # when Lightning hands on what was logged
            self.log("train_loss", loss.detach(), prog_bar=True)
            self.log("learning_rate", self.trainer.optimizers[0].param_groups[0]["lr"])
        return loss

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint whose tensors have no place here, which Lightning would load next."""
        there, here = (
            {name: value.shape for name, value in state.items()}
            for state in (checkpoint["state_dict"], self.state_dict())
        )
        if there != here:
            raise ContractError(
                f"{self.trainer.ckpt_path} is of a network of other layers (its class, or splitplace, has changed "
                "since): delete it and run the same command"
            )

    def configure_optimizers(self) -> pytorch_lightning.utilities.types.OptimizerLRSchedulerConfig:
        """Weight decay for weights only: decaying norms and biases costs accuracy (He et al. 2019)."""
        trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": self.recipe.weight_decay},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
        rate = self.recipe.learning_rate
        optimizer: torch.optim.Optimizer
        if self.recipe.optimizer == "sgd":
            optimizer = torch.optim.SGD(groups, lr=rate, momentum=_MOMENTUM, nesterov=True, fused=True)
        else:
            optimizer = torch.optim.AdamW(groups, lr=rate, fused=True)
        share = self.recipe.warmup_share
        if math.isclose(share * self.steps, 1):
            share = 1.5 / self.steps  # a warm-up of exactly one step divides by zero in torch's schedule
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, rate, total_steps=self.steps, pct_start=share, cycle_momentum=False
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


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
            log_every_n_steps=_LOG_EVERY,
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


def class_weights(data: Dataset, recipe: FullRecipe) -> Tensor | None:
    """The weight of each class [K] in the cross-entropy; None where all weigh the same."""
    if recipe.class_weights == "none":
        return None
    rows, _ = data.training_rows(recipe.validation_share)
    count_K = torch.bincount(torch.from_numpy(data.y_train_N[rows]), minlength=data.n_classes)
    return len(rows) / (data.n_classes * count_K.clamp(min=1))


def cross_entropy(recipe: FullRecipe, weight_K: Tensor | None = None) -> Loss:
    """Cross-entropy with the recipe's label smoothing, and these weights of classes."""

    def loss(image_BCHW: Tensor, logits_BK: Tensor, y_B: Tensor) -> Tensor:
        return hard_loss(logits_BK, y_B, recipe, weight_K)

    return loss


def hard_loss(logits_BK: Tensor, y_B: Tensor, recipe: FullRecipe, weight_K: Tensor | None = None) -> Tensor:
    """`cross_entropy` of a batch."""
    weight_K = None if weight_K is None else weight_K.to(logits_BK)
    return nn.functional.cross_entropy(logits_BK, y_B, weight_K, label_smoothing=recipe.label_smoothing)
