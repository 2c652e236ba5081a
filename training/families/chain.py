"""A network that nobody fitted, cut where its children follow one another; otherwise it is one stage."""

import copy

import torch
from torch import Tensor, nn

from splitplace.training.families.family import FRONT, HEAD, Stages

FLATTEN = "flatten"


def chain(network: nn.Module, image_BCHW: Tensor) -> Stages:
    """The network as stages that, one after the other, answer as it does.

    Its children in their order, those of a child that is a plain nn.Sequential one by one, if that is what its forward
    does, but for a flattening before the first that is linear, or has a linear layer in it: tried on an image, in
    training and in eval mode. A network that does something else is the one stage `head`.

    Args:
        network: Left as it is, random state too.
        image_BCHW: What it takes, at least two images.
    """
    stages = Stages()
    for name, child in network.named_children():
        if type(child) is nn.Sequential and name != "head" and len(child) > 1:
            stages.update((f"{name}{i}", part) for i, (_, part) in enumerate(child.named_children()))
        else:
            stages[f"{name}_" if name == FRONT else name] = child
    whole = Stages({HEAD: network})
    if len(stages) < 2 or any(True for _ in network.parameters(recurse=False)):
        return whole
    for chained in (stages, *_flattened(stages)):
        if _same(nn.ModuleList([network, nn.Sequential(chained)]), image_BCHW):
            return chained
    return whole


def _flattened(stages: Stages) -> list[Stages]:
    """The same with `flatten` before the first linear stage, as in torchvision's networks, or the first with one in it.

    These differ where convolutions have linear layers inside, as for squeeze and excitation.
    """
    if FLATTEN in stages:
        return []
    linear = [name for name, stage in stages.items() if isinstance(stage, nn.Linear)]
    inside = [name for name, stage in stages.items() if any(isinstance(part, nn.Linear) for part in stage.modules())]
    made = []
    for place in dict.fromkeys((*linear[:1], *inside[:1])):
        at = [*stages].index(place)
        made.append(Stages([*[*stages.items()][:at], (FLATTEN, nn.Flatten()), *[*stages.items()][at:]]))
    return made


def _same(pair: nn.ModuleList, image_BCHW: Tensor) -> bool:
    """Whether two modules that share their parts answer alike, dropout and all."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for mode in (True, False):
            answers = []
            for place in range(len(pair)):
                module = copy.deepcopy(pair)[place]  # from the same state: in training, spectral normalisation goes on
                torch.manual_seed(0)
                try:
                    answers.append(module.train(mode)(image_BCHW))
                except Exception:  # noqa: BLE001 - children in the wrong order fail in every way there is
                    return False
            if not torch.equal(*answers):
                return False
    return True
