"""What a family of networks brings: which of timm's classes, how it is fitted to small images, its chain of stages."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

FRONT = "front"
"""What stands before a network's own stages: it makes numbers of pixels."""
HEAD = "head"
"""The last stage of a chain: what stands behind the last cut, down to the logits."""

Stages = OrderedDict[str, nn.Module]


@dataclass(frozen=True)
class Family:
    """Networks of one making. Each stands in a file of its own as `FAMILY`; `registry.py` lists the files.

    Args:
        networks: timm's classes.
        fit: Fits a network to images of 28 to 32 px, in place: (network, strides of the stem and of later stages that
            shrink, none for the family's own choice). Raises UsageError for strides that it does not have.
        stages: The network as a chain of named stages, the last called `head`; one after the other, they answer as the
            network does.
        fitted: Whether `fit` makes it take images of 32 px; if not, images that it does not take are resized to the
            size that it was designed for.
    """

    networks: tuple[type[nn.Module], ...]
    fit: Callable[[Any, Sequence[int]], None]
    stages: Callable[[Any], Stages]
    fitted: bool = True
