"""The Lightning module of every training: raw images to logits, under one optimizer and a one-cycle schedule."""

import math
from typing import Any

import pytorch_lightning
import torch
from torch import Tensor, nn

from splitplace.errors import ContractError, SplitPlaceError
from splitplace.training.loop.losses import Loss
from splitplace.training.preset import FullRecipe

_MOMENTUM = 0.9
LOG_EVERY = 10
"""Steps: logging one costs as much as all else that the loop adds to it."""


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
        looked_at = loss.device.type == "cpu" or step % LOG_EVERY == 0 or step == self.steps
        if looked_at and not torch.isfinite(self.last):
            raise SplitPlaceError(
                f"the loss is {self.last_loss} at step {self.global_step} of {self.steps}: "
                f"lower learning_rate ({self.recipe.learning_rate:g}) or use precision 32-true"
            )
        if step % LOG_EVERY == 0:  # when Lightning hands on what was logged
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
