"""Several machines that train together, as torchrun starts them: how many there are, and that they share a folder."""

import os
import secrets
from pathlib import Path
from typing import Literal

import pytorch_lightning
import torch
import torch.distributed as dist
from pytorch_lightning.callbacks import Callback

from splitplace.errors import NotReadyError, UsageError


def launched() -> tuple[int | Literal["auto"], int]:
    """Processes of this machine, and machines, by torchrun's variables; where it started none, as Lightning finds.

    Raises:
        UsageError: Not as many on each machine: each batch is divided by all alike.
    """
    here = int(os.environ.get("LOCAL_WORLD_SIZE", 0))
    if not here:
        return "auto", 1
    machines = int(os.environ.get("GROUP_WORLD_SIZE", 1))
    everywhere = int(os.environ.get("WORLD_SIZE", here))
    if here * machines != everywhere:
        raise UsageError(
            f"{everywhere} processes on {machines} machines, {here} of them here: expected as many on each (torchrun "
            "--nproc-per-node)"
        )
    return here, machines


class SharedFolder(Callback):
    """Refuses machines that do not see one folder: the first process writes checkpoints and runs there, all read them.

    Args:
        folder: Of the training.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def setup(
        self, trainer: pytorch_lightning.Trainer, pl_module: pytorch_lightning.LightningModule, stage: str
    ) -> None:
        """Before a checkpoint is read.

        Raises:
            NotReadyError: To all of them, where one does not see what the first has written.
        """
        if trainer.num_nodes < 2:
            return
        # A name that nobody has looked for, at no run before either, so no draw of the training's own generator:
        # a network's file system remembers what was not there.
        drawn = torch.tensor([secrets.randbits(62)]).to(trainer.strategy.root_device)
        dist.broadcast(drawn, src=0)
        seen = self.folder / f".seen-{int(drawn):x}"
        if trainer.is_global_zero:
            self.folder.mkdir(parents=True, exist_ok=True)
            seen.touch()
        trainer.strategy.barrier()
        by_all = trainer.strategy.reduce_boolean_decision(seen.is_file(), all=True)
        trainer.strategy.barrier()
        if trainer.is_global_zero:
            seen.unlink()
        if not by_all:
            raise NotReadyError(
                f"{self.folder}: a machine does not see what the first one writes there: train in a folder that all of "
                "them have in common (a network's file system), under the same path"
            )
