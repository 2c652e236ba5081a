"""A training in stages: each leaves its weights beside the run that it is a part of, and is not done again.

With them, what torch's generators would have drawn next: the stage after it draws (dropout) where this one ended, and
not where a training begins.
"""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

import safetensors
import safetensors.torch
import torch
import torch.distributed as dist
from torch import nn

from splitplace.errors import ContractError, IntegrityError, SplitPlaceError
from splitplace.files import replace_file
from splitplace.records import formats
from splitplace.records.base import Count, NonNegative, Record
from splitplace.records.formats import Format
from splitplace.training.loop.checkpoint import generator_states, set_generators
from splitplace.training.loop.fit import Fitted
from splitplace.training.run import STAGES

_NETWORK, _GENERATOR = "network.", "generator."
"""What the names of a stage's tensors begin with."""


class _Done(Record):
    """What a finished stage was part of, and what it measured."""

    file_format: ClassVar[Format | None] = formats.STAGE
    format: Literal[2] = 2
    request: str
    train_s: NonNegative
    images_per_s: NonNegative
    final_loss: float
    epochs: Count


def stage(folder: Path, name: str, request: str, network: nn.Module, train: Callable[[Path], Fitted]) -> Fitted:
    """Train `network` by `train`, or give it the weights that this very stage ended with.

    Args:
        folder: The RUN folder.
        name: Of the stage.
        request: All that determines the training.
        network: Changed in place; everything that the stage learns is in its state. So are torch's generators.
        train: Trains it, with its checkpoint in the folder it is given.

    Raises:
        SplitPlaceError: The stage's file is damaged or another training's, or the disk is full.
    """
    place = folder / STAGES / name
    file = place / "done.safetensors"
    digest = hashlib.sha256(request.encode()).hexdigest()
    if file.is_file():
        return _restore(file, digest, network)
    fitted = train(place)
    if dist.is_initialized() and dist.get_rank():  # of several processes, one writes
        return fitted
    done = _Done(
        request=digest,
        train_s=fitted.train_s,
        images_per_s=fitted.images_per_s,
        final_loss=fitted.final_loss,
        epochs=fitted.epochs,
    )
    state = {_NETWORK + key: value.detach().contiguous() for key, value in network.state_dict().items()}
    state |= {f"{_GENERATOR}{i}": drawn for i, drawn in enumerate(generator_states())}
    try:
        replace_file(file, safetensors.torch.save(state, {"done": done.model_dump_json()}))
    except OSError as error:
        raise SplitPlaceError(f"cannot write {file} ({error.strerror}): make room and run the same command") from error
    return fitted


def _restore(file: Path, digest: str, network: nn.Module) -> Fitted:
    try:
        with safetensors.safe_open(file, "pt") as opened:
            done = _Done.parse((opened.metadata() or {}).get("done", ""), str(file))
            state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a dict
    except (safetensors.SafetensorError, OSError) as error:
        raise IntegrityError(f"{file} is damaged ({error}): delete it and run the same command") from error
    if done.request != digest:
        raise ContractError(f"{file} is part of another training: delete it or choose another --out")
    parts = {
        prefix: {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        for prefix in (_NETWORK, _GENERATOR)
    }
    try:
        network.load_state_dict(parts[_NETWORK])
    except RuntimeError as error:
        raise ContractError(
            f"{file} is of a network of other layers (its class, or splitplace, has changed since): delete it and run "
            "the same command"
        ) from error
    set_generators([parts[_GENERATOR][str(i)] for i in range(len(parts[_GENERATOR]))])
    network.to(memory_format=torch.channels_last).eval()
    return Fitted(done.train_s, done.images_per_s, done.final_loss, done.epochs)


def together(first: Fitted, then: Fitted) -> Fitted:
    """Two stages as one training: seconds and passes add up, the rest is the last one's."""
    return replace(then, train_s=first.train_s + then.train_s, epochs=first.epochs + then.epochs)
