"""Lightning training of anything that maps raw images to logits: one module, one schedule, one loop."""

import logging
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import Callback, RichProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn

from splitplace.errors import SplitPlaceError
from splitplace.seeds import derive
from splitplace.training.batches import Batches
from splitplace.training.dataset import Dataset, Images, Labels
from splitplace.training.preset import FullRecipe

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(image_BCHW, logits_BK, y_B) to a scalar."""

_EVALUATION_BATCH = 500
_MOMENTUM = 0.9


@dataclass(frozen=True)
class Fitted:
    """What the loop measured; `images_per_s` over the training steps alone."""

    train_s: float
    images_per_s: float
    final_loss: float


class Classifier(lightning.LightningModule):
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
        self.last_loss = float("nan")

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The loss of one batch; stops at the first that is not finite."""
        image_BCHW, y_B = batch
        loss = self.loss(image_BCHW, self.network(image_BCHW), y_B)
        self.last_loss = float(loss.detach())
        if not torch.isfinite(loss):
            raise SplitPlaceError(
                f"the loss is {self.last_loss} at step {self.global_step} of {self.steps}: "
                f"lower learning_rate ({self.recipe.learning_rate:g}) or use precision 32-true"
            )
        self.log("train_loss", loss.detach(), prog_bar=True)
        return loss

    def configure_optimizers(self) -> lightning.pytorch.utilities.types.OptimizerLRSchedulerConfig:
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
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, rate, total_steps=self.steps, pct_start=self.recipe.warmup_share, cycle_momentum=False
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class _Clock(Callback):
    """Times the steps, without start-up."""

    def __init__(self) -> None:
        self.started_s = self.ended_s = 0.0

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.started_s = self.ended_s = time.perf_counter()

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.ended_s = time.perf_counter()


def fit(
    network: nn.Module,
    loss: Loss,
    data: Dataset,
    recipe: FullRecipe,
    seed: int,
    logs: Path,
    frozen: Sequence[nn.Module] = (),
) -> Fitted:
    """Train `network` in place, and leave it in eval mode.

    Args:
        network: Raw images (uint8 [B,C,H,W]) to logits [B,K].
        loss: Of a batch.
        data: Its training part is used, and nothing else.
        recipe: The numbers.
        seed: Of the order of images and their augmentation.
        logs: Where TensorBoard's files go.
        frozen: Parts of the network that stay as they are, running statistics too.

    Raises:
        SplitPlaceError: The loss is no longer finite.
        KeyboardInterrupt: The user stopped it.
    """
    rows, _ = data.training_rows(recipe.validation_share)
    batches = Batches(
        data.x_train_NCHW[rows],
        data.y_train_N[rows],
        recipe.batch_size,
        derive(seed, "fit"),
        samples=recipe.samples,
        mirror=data.mirror,
        shift_px=recipe.shift_px,
    )
    network.train()
    for part in frozen:
        part.requires_grad_(False).eval()  # Lightning keeps the modes it finds
    network.to(memory_format=torch.channels_last)
    module = Classifier(network, loss, recipe, steps=recipe.epochs * len(batches))
    clock = _Clock()
    shown = sys.stderr.isatty()
    bar: list[Callback] = [RichProgressBar(console_kwargs={"stderr": True})] if shown else []
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # Advice on data-loading processes and log intervals that does not apply to batches in memory.
        warnings.filterwarnings("ignore", module="lightning")
        trainer = lightning.Trainer(
            max_epochs=recipe.epochs,
            precision=recipe.precision,
            accelerator="auto",
            devices=1,
            logger=TensorBoardLogger(logs, name="", version=""),
            callbacks=[clock, *bar],
            enable_progress_bar=shown,
            enable_model_summary=False,
            enable_checkpointing=False,
            log_every_n_steps=10,
        )
        trainer.fit(module, batches)
    if trainer.interrupted:
        raise KeyboardInterrupt
    network.cpu().eval().requires_grad_(True)
    train_s = clock.ended_s - clock.started_s
    images = recipe.epochs * len(batches) * batches.batch_size
    return Fitted(train_s, images / train_s, module.last_loss)


def cross_entropy(recipe: FullRecipe) -> Loss:
    """Cross-entropy with the recipe's label smoothing."""

    def loss(image_BCHW: Tensor, logits_BK: Tensor, y_B: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits_BK, y_B, label_smoothing=recipe.label_smoothing)

    return loss


def accuracy(network: nn.Module, x_NCHW: Images, y_N: Labels) -> float:
    """Share of images whose largest logit is their label's; the network must be in eval mode."""
    right = 0
    with torch.inference_mode():
        for start in range(0, len(y_N), _EVALUATION_BATCH):
            rows = slice(start, start + _EVALUATION_BATCH)
            answer_B = network(torch.from_numpy(x_NCHW[rows])).argmax(1)
            right += int((answer_B == torch.from_numpy(y_N[rows])).sum())
    return right / len(y_N)
