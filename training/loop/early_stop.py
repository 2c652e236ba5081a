"""Stops a training that validation images no longer gain from, and goes back to its best epoch."""

from collections.abc import Callable
from typing import Any

import pytorch_lightning
from pytorch_lightning.callbacks import Callback
from torch import Tensor, nn

from splitplace.training.data.dataset import Images, Labels
from splitplace.training.loop.evaluate import accuracy


class EarlyStop(Callback):
    """After every epoch, accuracy on the validation images; after `patience` epochs without a better one, the end.

    Lightning's own callback of this purpose stops, but leaves the weights of the last epoch. An epoch is measured as
    what the training would give if it ended there: with running statistics taken anew where its steps are few
    (`statistics.settle`), or the first epochs would be at chance whatever they learned. The training goes on with its
    own.

    Args:
        network: What is trained.
        x_NCHW: Validation images.
        y_N: Their classes.
        patience: Epochs without a gain.
        settle: Takes the network's running statistics anew if so many steps are few, and says of how many images.
    """

    def __init__(self, network: nn.Module, x_NCHW: Images, y_N: Labels, patience: int, settle: Callable[[int], int]):
        self.network = network
        self.x_NCHW = x_NCHW
        self.y_N = y_N
        self.patience = patience
        self.settle = settle
        self.best = -1.0
        self.stale = 0
        self.steps = 0
        self.weights: dict[str, Tensor] = {}

    def on_train_epoch_end(
        self, trainer: pytorch_lightning.Trainer, pl_module: pytorch_lightning.LightningModule
    ) -> None:
        """Every rank evaluates the same images with the same weights, and so decides the same."""
        modes = {module: module.training for module in self.network.modules()}
        trained = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.network.eval()
        settled = self.settle(trainer.global_step)
        found = accuracy(self.network, self.x_NCHW, self.y_N)
        if settled:
            self.network.load_state_dict(trained)
        for module, training in modes.items():
            module.training = training
        pl_module.log("validation_accuracy", found)
        if found > self.best:
            self.best, self.stale = found, 0
            self.steps, self.weights = trainer.global_step, trained
        else:
            self.stale += 1
            trainer.should_stop = self.stale >= self.patience

    def restore(self) -> None:
        """Put the best epoch's weights into the network, as they were after `steps` steps."""
        self.network.load_state_dict(self.weights)

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"best": self.best, "stale": self.stale, "steps": self.steps, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From a checkpoint."""
        device = next(self.network.parameters()).device
        self.best, self.stale, self.steps = state_dict["best"], state_dict["stale"], state_dict["steps"]
        self.weights = {name: value.to(device) for name, value in state_dict["weights"].items()}
