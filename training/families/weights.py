"""Weights that a training starts from: a file's, or those that timm publishes."""

import hashlib
import logging
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from splitplace.errors import IntegrityError, NotFoundError, SplitPlaceError, UsageError
from splitplace.splitting.networks import create
from splitplace.training.families.own import is_own

TIMM = "timm"
"""Instead of a file's name: the weights that timm has for the model."""
_IN_FOLDER = "model.safetensors"
FULL = "full."
"""What the names of a full model's RUN begin with."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Weights:
    """Tensors by name, and where they are from."""

    source: str
    tensors: Mapping[str, Tensor]

    @property
    def sha256(self) -> str:
        """Of names and tensors, whatever file they were in."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.tensors.items()):
            digest.update(f"{name} {tensor.dtype}{list(tensor.shape)}\n".encode())
            digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()


def open_weights(source: str, model: str) -> Weights:
    """Read weights.

    Args:
        source: A .safetensors file with the names of the model's own layers, as timm publishes them, or of a full
            model's RUN; a folder with such a `model.safetensors`, as a RUN is and hubs keep them; or `timm`.
        model: The network, by name.

    Raises:
        UsageError: timm's weights for a network of the user's own.
        NotFoundError: No such file.
        IntegrityError: No safetensors.
        SplitPlaceError: timm's weights cannot be reached.
    """
    if source == TIMM:
        if is_own(model):
            raise UsageError(f"weights timm: {model} is a network of your own: give a .safetensors file")
        try:
            return Weights(f"timm {model}", create(model, pretrained=True).state_dict())
        except (OSError, RuntimeError, ValueError) as error:
            why = (str(error).splitlines() or [type(error).__name__])[0]
            raise SplitPlaceError(
                f"timm's weights of {model} cannot be reached ({why}): give a .safetensors file, or leave them out"
            ) from error
    path = Path(source)
    try:
        data = (path / _IN_FOLDER if path.is_dir() else path).read_bytes()
    except OSError as error:
        raise NotFoundError(
            f"weights {source}: {error.strerror}: expected a .safetensors file, a folder with {_IN_FOLDER}, or timm"
        ) from error
    try:
        return Weights(source, safetensors.torch.load(data))
    except safetensors.SafetensorError as error:
        pickled = data.startswith((b"PK", b"\x80"))
        way = (
            ", it is pickled: write it anew by safetensors.torch.save_file(torch.load(FILE), ...), of a "
            "checkpoint that holds more its state dict, of a whole network its state_dict()"
        )
        raise IntegrityError(f"weights {source}: not safetensors ({error}){way if pickled else ''}") from error


def adopt_weights(network: nn.Module, stages: nn.Sequential, weights: Weights) -> None:
    """Give a network the weights that fit it: same name, same shape; the rest stays fresh, and is said.

    Whatever a wrapper (DataParallel, torch.compile, a larger module) put before all names is taken off. The first
    convolution's are brought to the network's image channels, as timm does: summed to one, or divided among
    several.

    Args:
        network: With the names of its own layers.
        stages: The same as a chain, with the names that a RUN has.
        weights: To start from.

    Raises:
        UsageError: Less than half of the network's tensors are there: they are another network's.
        IntegrityError: Tensors with numbers that are not finite, which a training that diverged leaves.
    """
    state = stages.state_dict()
    given: Mapping[str, Tensor] = {
        name.removeprefix(FULL): tensor for name, tensor in weights.tensors.items() if name.startswith(FULL)
    }
    if not given.keys() & state.keys():  # by the network's own names, as in a RUN that has it as one stage
        state = network.state_dict()
        given = _unwrapped(weights.tensors, state)
    first = next((name for name, value in state.items() if value.ndim == 4), "")
    taken, fresh = [], []
    with torch.no_grad():
        for name, value in state.items():
            tensor = given.get(name)
            if tensor is not None and name == first and tensor.ndim == 4 and tensor.shape[1] != value.shape[1]:
                tensor = tensor.sum(1, keepdim=True).expand(-1, value.shape[1], -1, -1) / value.shape[1]
            # Whole numbers for a weight are a quantiser's, which mean nothing without its scales.
            quantised = tensor is not None and value.is_floating_point() and not tensor.is_floating_point()
            if tensor is None or tensor.shape != value.shape or quantised:
                fresh.append(name)
                continue
            meant = ~value.isfinite()  # of a mask, say
            value.copy_(tensor)
            if not (value.isfinite() | meant).all():
                raise IntegrityError(f"weights {weights.source}: {name} has numbers that are not finite: take others")
            taken.append(name)
    if 2 * len(taken) < len(state):
        raise UsageError(
            f"weights {weights.source}: {len(taken)} of the network's {len(state)} tensors are there by name and "
            f"shape, expected most: they are another network's ({', '.join(sorted(given)[:2])}, ...)"
        )
    log.warning(
        "%d of %d tensors from %s; fresh: %s", len(taken), len(state), weights.source, ", ".join(fresh) or "none"
    )


def _unwrapped(given: Mapping[str, Tensor], wanted: Collection[str]) -> Mapping[str, Tensor]:
    """Tensors by the network's own names: without the beginning, as `module.`, after which most of them are wanted."""
    if 2 * sum(name in wanted for name in given) >= len(wanted):
        return given
    found: Counter[str] = Counter()
    for name in given:
        parts = name.split(".")
        for i in range(1, len(parts)):
            if ".".join(parts[i:]) in wanted:
                found["".join(f"{part}." for part in parts[:i])] += 1
    if not found:
        return given
    before = found.most_common(1)[0][0]
    return {name.removeprefix(before): tensor for name, tensor in given.items() if name.startswith(before)}
