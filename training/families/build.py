"""Networks by name, fitted to small images, as a chain of named stages that can be cut between any two.

The networks are timm's or the user's own. What we add: the stems of the families we fit take 28-32 px images without
shrinking them at once, raw uint8 goes in (normalised by a module at the front), and the whole is an `nn.Sequential` of
stages.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import nn

from splitplace.errors import UsageError
from splitplace.splitting.networks import ALIASES, Front, check_model, create
from splitplace.training.families.chain import chain
from splitplace.training.families.family import FRONT, HEAD, Stages
from splitplace.training.families.own import check_own, create_own, is_own, own_class
from splitplace.training.families.registry import family_of
from splitplace.training.families.weights import Weights, adopt_weights

SMALL = 32
"""Pixels: what a network that was fitted to small images takes for sure."""


def check_network(name: str) -> None:
    """Refuse a network that is not there.

    Raises:
        UsageError: Neither one of ours, nor of timm's, nor a class of the user's.
    """
    if is_own(name):
        own_class(name)
    else:
        check_model(name)


def build(
    name: str,
    n_classes: int,
    shape_CHW: tuple[int, int, int],
    mean_std_C: tuple[Sequence[float], Sequence[float]],
    strides: Sequence[int] = (),
    weights: Weights | None = None,
    one_stage: bool = False,
) -> nn.Sequential:
    """A fresh network as a chain of named stages: `front`, then the network's own.

    Args:
        name: One of ours (`ALIASES`), of timm's, or `package.module:Class` of the user's.
        n_classes: How many logits.
        shape_CHW: The raw image's.
        mean_std_C: Of the training images, for the front.
        strides: Stride of the stem, then of each later stage that shrinks its input; those not given stay as timm has
            them, except for a stem of 1. Only for the families we fit (`registry.py`).
        weights: What to start from instead of random numbers.
        one_stage: Do not look for stages in a network without a family: one trained before they were found has none.

    Raises:
        UsageError: An unknown model, strides that the family does not have, images it cannot take, or weights of
            another network; a network of the user's that `check_own` refuses.
    """
    channels, height, width = shape_CHW
    if is_own(name):
        network, designed = create_own(name, n_classes, channels), None
    else:
        network = create(name, pretrained=False, num_classes=n_classes, in_chans=channels)
        designed = int(network.default_cfg["input_size"][-1])  # type: ignore[index]  # timm's untyped attribute
    family = family_of(network)
    if family is not None:
        family.fit(network, strides)
        stages = family.stages(network)
        other = SMALL if family.fitted else designed
        size = _size_taken(name, nn.Sequential(stages), shape_CHW, other, n_classes)
    else:
        if strides:
            known = ", ".join(ALIASES)
            raise UsageError(f"model {name}: strides are of networks that are fitted to small images, as {known}")
        size = _size_taken(name, network, shape_CHW, designed, n_classes)
    drawn = torch.Generator().manual_seed(0)
    images_BCHW = torch.rand(2, channels, size or height, size or width, generator=drawn)
    if is_own(name):
        check_own(name, network, images_BCHW)
    if family is None:
        stages = Stages({HEAD: network}) if one_stage else chain(network, images_BCHW)
    if weights is not None:
        adopt_weights(network, nn.Sequential(stages), weights)
    return nn.Sequential(OrderedDict([(FRONT, Front(*mean_std_C, size=size)), *stages.items()]))


def stage_names(model: nn.Sequential) -> list[str]:
    """The stages a cut may stand before: every stage but the front and the first behind it."""
    return [name for name, _ in model.named_children()][2:]


def _size_taken(
    name: str, network: nn.Module, shape_CHW: tuple[int, int, int], other: int | None, n_classes: int
) -> int | None:
    """None if the network takes images of this size, else the other size that it takes."""
    channels, height, width = shape_CHW
    why = ""
    for size in (None, other) if other else (None,):
        try:
            with torch.no_grad():
                answer = network.eval()(torch.zeros(1, channels, size or height, size or width))
        except Exception as error:  # noqa: BLE001 - a network may refuse images in any way
            why = (str(error).splitlines() or [type(error).__name__])[0]
            continue
        finally:
            network.train()
        shape = list(answer.shape) if isinstance(answer, torch.Tensor) else type(answer).__name__
        if shape != [1, n_classes]:
            raise UsageError(
                f"model {name} answers {shape} to one image, expected logits [1, {n_classes}], one a class"
            )
        return size
    sizes = f"{height}x{width} images" + (f" nor its own {other}x{other}" if other else "")
    raise UsageError(f"model {name} takes no {sizes}: {why}")
