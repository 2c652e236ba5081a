"""Images in memory, served in batches: no decoding, no worker processes, augmentation a batch at a time."""

from collections.abc import Iterator

import torch
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

    def __len__(self) -> int:
        return self.n // self.batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        rng = torch.Generator().manual_seed(derive(self.seed, "batches", self.epoch))
        self.epoch += 1
        order = torch.randperm(len(self.y_N), generator=rng)
        for i in range(len(self)):
            rows = order[i * self.batch_size : (i + 1) * self.batch_size]
            x_BCHW = self.x_NCHW[rows]
            if self.mirror:
                flip_B = torch.rand(len(rows), generator=rng) < 0.5
                x_BCHW = torch.where(flip_B[:, None, None, None], x_BCHW.flip(-1), x_BCHW)
            if self.shift_px:
                x_BCHW = _shift(x_BCHW, self.shift_px, rng)
            yield x_BCHW, self.y_N[rows]


def _shift(x_BCHW: Tensor, limit_px: int, rng: torch.Generator) -> Tensor:
    """Each image moved by its own random offset."""
    batch, _, height, width = x_BCHW.shape
    dy_B, dx_B = torch.randint(-limit_px, limit_px + 1, (2, batch), generator=rng)
    y_BH = (torch.arange(height) + dy_B[:, None]).clamp(0, height - 1)
    x_BW = (torch.arange(width) + dx_B[:, None]).clamp(0, width - 1)
    image_B = torch.arange(batch)[:, None, None]
    # Indexing the first, third and fourth dimension puts the channels last: move them back.
    return x_BCHW[image_B, :, y_BH[:, :, None], x_BW[:, None, :]].permute(0, 3, 1, 2).contiguous()
