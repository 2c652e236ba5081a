"""Images in memory, served in batches: no decoding, no worker processes, augmentation a batch at a time."""

from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch import Tensor

from splitplace.seeds import derive
from splitplace.training.dataset import Images, Labels


class Batches:
    """Shuffled, augmented batches of (image_BCHW uint8, y_B int64); a new order every epoch, set by the seed.

    Args:
        x_NCHW: Images.
        y_N: Labels.
        batch_size: Images a batch; what does not fill one is left out of the epoch (all of it, if there is no full
            one).
        seed: Of the order and the augmentation.
        samples: Images an epoch, drawn anew each time; 0 for all.
        mirror: Flip half of the images left to right.
        shift_px: Shift each image by up to this many pixels either way, edges repeated.
    """

    def __init__(
        self,
        x_NCHW: Images,
        y_N: Labels,
        batch_size: int,
        seed: int,
        *,
        samples: int = 0,
        mirror: bool = False,
        shift_px: int = 0,
    ):
        self.x_NCHW = torch.from_numpy(x_NCHW)
        self.y_N = torch.from_numpy(y_N)
        self.n = min(samples or len(y_N), len(y_N))
        self.batch_size = min(batch_size, self.n)
        self.seed = seed
        self.mirror = mirror
        self.shift_px = shift_px
        self.epoch = 0
        self.served = 0

    def __len__(self) -> int:
        return self.n // self.batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        rng = torch.Generator().manual_seed(derive(self.seed, "batches", self.epoch))
        order = torch.randperm(len(self.y_N), generator=rng)
        start, self.served = self.served, 0
        # Several devices share every batch, so that what is trained does not hang on how many there are.
        rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        for i in range(len(self)):
            rows = order[i * self.batch_size : (i + 1) * self.batch_size]
            flip_B = torch.rand(len(rows), generator=rng) < 0.5 if self.mirror else None
            limit_px = self.shift_px
            moves_2B = torch.randint(-limit_px, limit_px + 1, (2, len(rows)), generator=rng) if limit_px else None
            if i < start:
                continue  # drawn all the same: a resumed epoch goes on as it would have
            self.served = i + 1
            mine = slice(rank, len(rows) - len(rows) % world, world)
            x_BCHW = self.x_NCHW[rows[mine]]
            if flip_B is not None:
                x_BCHW = torch.where(flip_B[mine, None, None, None], x_BCHW.flip(-1), x_BCHW)
            if moves_2B is not None:
                x_BCHW = _shift(x_BCHW, moves_2B[:, mine])
            if i + 1 == len(self):
                self.epoch, self.served = self.epoch + 1, 0
            yield x_BCHW, self.y_N[rows[mine]]

    def state_dict(self) -> dict[str, int]:
        """The epoch and how many of its batches were served."""
        return {"epoch": self.epoch, "served": self.served}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Let the next iteration go on from there."""
        self.epoch, self.served = state["epoch"], state["served"]


def _shift(x_BCHW: Tensor, moves_2B: Tensor) -> Tensor:
    """Each image moved by its own offset, down and to the right."""
    batch, _, height, width = x_BCHW.shape
    dy_B, dx_B = moves_2B
    y_BH = (torch.arange(height) + dy_B[:, None]).clamp(0, height - 1)
    x_BW = (torch.arange(width) + dx_B[:, None]).clamp(0, width - 1)
    image_B = torch.arange(batch)[:, None, None]
    # Indexing the first, third and fourth dimension puts the channels last: move them back.
    return x_BCHW[image_B, :, y_BH[:, :, None], x_BW[:, None, :]].permute(0, 3, 1, 2).contiguous()
