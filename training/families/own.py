"""A network of the user's own: a class of nn.Module, named `package.module:Class` wherever a name is written down.

A RUN folder holds that name and tensors, no code. Whoever opens it must have the class: its module is imported by name,
which is said, and what is not there, or is no nn.Module, is refused before anything of it is called.
"""

import copy
import inspect
import logging
import re
import sys
from importlib import import_module

import torch
from torch import Tensor, nn

from splitplace.errors import NotFoundError, UsageError

_NAME = re.compile(r"(?P<module>[A-Za-z_]\w*(\.[A-Za-z_]\w*)*):(?P<cls>[A-Za-z_]\w*)")
log = logging.getLogger(__name__)


def is_own(name: str) -> bool:
    """Whether a model's name is that of a class of the user's, not one of timm's."""
    return ":" in name


def own_name(network: type[nn.Module]) -> str:
    """The name by which a class is found again.

    Raises:
        UsageError: No class of nn.Module, or one inside of a function or of another class.
    """
    name = f"{getattr(network, '__module__', '')}:{getattr(network, '__qualname__', '')}"
    if not (isinstance(network, type) and issubclass(network, nn.Module)) or not _NAME.fullmatch(name):
        got = " ".join(repr(network).split())  # a network prints its layers, one a line
        raise UsageError(
            f"model {got:.80}: expected a name, or a class of nn.Module that stands at the top level of its module, so "
            "that a RUN folder can name it"
        )
    return name


def own_class(name: str) -> type[nn.Module]:
    """The class of that name; its module is imported if it is not yet.

    Args:
        name: `package.module:Class`. `__main__:Class` is only found by the script or notebook that defines it.

    Raises:
        UsageError: No name of that form, or what bears it is no class of nn.Module.
        NotFoundError: No such module or class, or the module fails as it is imported.
    """
    parts = _NAME.fullmatch(name)
    if parts is None or parts["module"].endswith(".py"):
        raise UsageError(
            f"model {name!r}: expected package.module:Class for a network of your own, as my_net:Net for the class Net "
            "of my_net.py, whose folder is on PYTHONPATH"
        )
    place, cls = parts["module"], parts["cls"]
    if place not in sys.modules:
        log.warning("importing %s for the model %s", place, name)
        try:
            import_module(place)
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise NotFoundError(
                f"model {name}: cannot import {place} ({type(error).__name__}: {reason}): install it, or set "
                "PYTHONPATH to the folder it stands in"
            ) from error
    found = getattr(sys.modules[place], cls, None)
    if found is None:
        raise NotFoundError(f"model {name}: the module {place} has no {cls}: define it there, or correct the name")
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise UsageError(f"model {name}: {cls} is no class of torch.nn.Module")
    return found


def create_own(name: str, n_classes: int, channels: int) -> nn.Module:
    """A fresh network of the user's class.

    The class is called with `num_classes` and `in_chans`, timm's words, as far as it takes them.

    Raises:
        UsageError: It cannot be made with these alone, or fails.
    """
    own = own_class(name)
    offered = {"num_classes": n_classes, "in_chans": channels}
    takes = inspect.signature(own).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in takes.values()):
        offered = {word: value for word, value in offered.items() if word in takes}
    missing = [
        p.name
        for p in takes.values()
        if p.name not in offered and p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    ]
    if missing:
        raise UsageError(
            f"model {name}: takes {', '.join(missing)}, expected a class that can be made of num_classes and in_chans: "
            "give the rest default values"
        )
    try:
        return own(**offered)
    except Exception as error:
        given = ", ".join(f"{word}={value}" for word, value in offered.items())
        raise UsageError(f"model {name}: made with {given or 'nothing'}, it fails: {_said(error)}") from error


def check_own(name: str, network: nn.Module, images_BCHW: Tensor) -> None:
    """Refuse a network whose training, or whose RUN, could only disappoint.

    Args:
        name: Of its class.
        network: That answers logits [B, K] in eval mode; left as it is.
        images_BCHW: That it takes, at least two.

    Raises:
        UsageError: It has nothing to train, or numbers that are not float32; in training it answers something else; it
            answers by chance, or one image by those beside it; or its `state_dict` does not hold all that its answers
            hang on, so that it would be another network when it is loaded.
    """
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise UsageError(f"model {name} has no parameter that can be trained: set its layers in __init__")
    for key, value in network.state_dict().items():
        if isinstance(value, Tensor) and not _plain(value):
            raise UsageError(f"model {name}: {key} is {value.dtype}, expected torch.float32: make it so in __init__")
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        logits_BK = _answers(network, images_BCHW)
        try:
            copied = copy.deepcopy(network)
        except Exception as error:
            raise UsageError(f"model {name} cannot be copied ({_said(error)})") from error
        in_training = copied.train()(images_BCHW.clone())
        if not isinstance(in_training, Tensor) or in_training.shape != logits_BK.shape:
            got = list(in_training.shape) if isinstance(in_training, Tensor) else type(in_training).__name__
            raise UsageError(
                f"model {name} answers {got} in training, expected logits {list(logits_BK.shape)}, as in eval mode: "
                "leave out auxiliary answers"
            )
        if not alike(logits_BK, _answers(network, images_BCHW)):
            raise UsageError(
                f"model {name} answers the same images otherwise each time, in eval mode: draw in training only"
            )
        if not alike(logits_BK, torch.cat([_answers(network, image_CHW[None]) for image_CHW in images_BCHW])):
            raise UsageError(
                f"model {name} answers an image by those beside it, in eval mode, as normalisation without running "
                "statistics does: each must be answered alone"
            )
        torch.manual_seed(torch.initial_seed() + 1)
        other = create_own(name, logits_BK.shape[1], images_BCHW.shape[1])
        other.load_state_dict(network.state_dict())
        if not alike(logits_BK, _answers(other, images_BCHW)):
            raise UsageError(
                f"model {name} answers by numbers that its state_dict does not hold, so that it would be another "
                "network when its RUN is loaded: make its tensors parameters or buffers (register_buffer)"
            )


def answers_probabilities(network: nn.Module, images_BCHW: Tensor) -> bool:
    """Whether what a network answers are no logits, but has been through a softmax, which the loss has itself."""
    with torch.no_grad():
        answer_BK = _answers(network, images_BCHW)
    sums_B = answer_BK.sum(1)
    return bool(answer_BK.min() >= 0) and torch.allclose(sums_B, torch.ones_like(sums_B), atol=1e-4)


def _plain(value: Tensor) -> bool:
    """Whether these are numbers that training and export take: float32, or a counter's whole ones."""
    return value.dtype == torch.float32 or not (value.is_floating_point() or value.is_complex())


def _answers(network: nn.Module, images_BCHW: Tensor) -> Tensor:
    """In eval mode; a forward may write into what it is given."""
    training = network.training
    logits_BK: Tensor = network.eval()(images_BCHW.clone())
    network.train(training)
    return logits_BK


def alike(ours_BK: Tensor, theirs_BK: Tensor, share: float = 1e-3) -> bool:
    """Whether logits are the same but for how they are rounded: to a share of the largest."""
    scale = float(ours_BK.abs().nan_to_num().max())
    return torch.allclose(ours_BK, theirs_BK, rtol=0, atol=share * scale + 1e-6, equal_nan=True)


def _said(error: Exception) -> str:
    """Of what the user's code raised, in one line."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}".rstrip(": ")
