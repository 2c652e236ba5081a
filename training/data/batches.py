"""Images in memory, served in batches: no decoding, no worker processes, augmentation a batch at a time.

On a GPU the images lie on it, and are drawn and augmented there: a step copies row numbers and draws, no pixels.
"""

from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch import Tensor

from splitplace.seeds import derive
from splitplace.training.data.augment import Augment
from splitplace.training.data.dataset import Images, Labels


class Batches:
    """Shuffled, augmented batches of (image_BCHW uint8, y_B int64); a new order every epoch, set by the seed.

    Args:
        x_NCHW: Images.
        y_N: Labels.
        batch_size: Images a batch; what does not fill one is left out of the epoch (all of it, if there is no full
            one).
        seed: Of the order and the augmentation.
        samples: Images an epoch, drawn anew each time; 0 for all.
        augment: What is done to them.
    """

    def __init__(
        self,
        x_NCHW: Images,
        y_N: Labels,
        batch_size: int,
        seed: int,
        *,
        samples: int = 0,
        augment: Augment | None = None,
    ):
        self.x_NCHW = torch.from_numpy(x_NCHW)
        self.y_N = torch.from_numpy(y_N)
        self.n = min(samples or len(y_N), len(y_N))
        self.batch_size = min(batch_size, self.n)
        self.seed = seed
        self.augment = augment
        self.epoch = 0
        self.served = 0

    def to(self, device: torch.device) -> None:
        """Serve batches on this device from now on; they hold what they held."""
        self.x_NCHW, self.y_N = self.x_NCHW.to(device), self.y_N.to(device)

    @property
    def size_bytes(self) -> int:
        """Of all that is served."""
        return self.x_NCHW.nbytes + self.y_N.nbytes

    def __len__(self) -> int:
        return self.n // self.batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order_rng = torch.Generator().manual_seed(derive(self.seed, "order", self.epoch))
        order = torch.randperm(len(self.y_N), generator=order_rng).to(self.y_N.device)
        start, self.served = self.served, 0
        # Several devices share every batch, so that what is trained does not hang on how many there are.
        rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        for i in range(start, len(self)):
            self.served = i + 1
            rows = order[i * self.batch_size : (i + 1) * self.batch_size]
            mine = slice(rank, len(rows) - len(rows) % world, world)
            x_BCHW = self.x_NCHW[rows[mine]]
            if self.augment is not None:
                # A generator for every batch: a resumed epoch goes on as it would have.
                rng = torch.Generator().manual_seed(derive(self.seed, "augment", self.epoch, i))
                x_BCHW = self.augment(x_BCHW, len(rows), mine, rng)
            if i + 1 == len(self):
                self.epoch, self.served = self.epoch + 1, 0
            yield x_BCHW, self.y_N[rows[mine]]

    def state_dict(self) -> dict[str, int]:
        """The epoch and how many of its batches were served."""
        return {"epoch": self.epoch, "served": self.served}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Let the next iteration go on from there."""
        self.epoch, self.served = state["epoch"], state["served"]
