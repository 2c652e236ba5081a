"""A network of the user's own: a class of nn.Module, named `package.module:Class` wherever a name is written down.

A RUN folder holds that name and tensors, no code. Whoever opens it must have the class: its module is imported by name,
which is said, and what is not there, or is no nn.Module, is refused before anything of it is called.
"""

import inspect
import logging
import re
import sys
from importlib import import_module

from torch import nn

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
        raise UsageError(
            f"model {network!r}: expected a name, or a class of nn.Module that stands at the top level of its module, "
            "so that a RUN folder can name it"
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
    if parts is None:
        raise UsageError(f"model {name!r}: expected package.module:Class for a network of your own")
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
        UsageError: It cannot be made with these alone.
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
    return own(**offered)
