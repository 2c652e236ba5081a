"""Checkpoints that a killed training goes on from exactly: one safetensors file, its structure as JSON in the header.

Lightning hands over a tree of dicts, lists, numbers and tensors. Tensors are stored as such, the rest as JSON that
names them. Nothing is ever unpickled: what is not this form is refused, and reading runs no code of the file's.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytorch_lightning
import safetensors
import safetensors.torch
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.plugins.io import CheckpointIO
from torch import Tensor

from splitplace.errors import ContractError, IntegrityError, SplitPlaceError
from splitplace.files import replace_file
from splitplace.records import formats
from splitplace.records.base import MAX_DOCUMENT_BYTES, Record
from splitplace.records.formats import Format

CHECKPOINT = "checkpoint.safetensors"
"""A checkpoint that is being written, or that a kill left half-written."""
EVERY_S = 60.0
"""At most this much training is lost to a kill."""

_TENSOR, _ORDER, _PAIRS = "__tensor__", "__order__", "__pairs__"


class _Header(Record):
    """The one entry of the file's metadata: whose checkpoint it is, and the tree with its tensors named."""

    file_format: ClassVar[Format | None] = formats.CHECKPOINT
    format: Literal[2] = 2
    request: str
    tree: str


class SafetensorsIO(CheckpointIO):
    """How Lightning writes and reads checkpoints.

    Args:
        request: What is being trained, as text; a checkpoint of anything else is refused.
    """

    def __init__(self, request: str):
        self.request = request

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write all at once: whoever is killed meanwhile leaves the former checkpoint.

        Raises:
            SplitPlaceError: The disk is full, or cannot be written for another reason.
        """
        tensors: dict[str, Tensor] = {}
        tree = json.dumps(_plain(checkpoint, tensors))
        header = _Header(request=self.request, tree=tree)
        target = Path(path)
        try:
            replace_file(target, safetensors.torch.save(tensors, {"checkpoint": header.model_dump_json()}))
        except OSError as error:
            raise SplitPlaceError(
                f"cannot write {target} ({error.strerror}): make room and run the same command again to go on"
            ) from error

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """The tree as it was, tensors on the CPU.

        Raises:
            SplitPlaceError: Not a checkpoint of ours, or of another request.
            IntegrityError: A damaged one.
        """
        header, tensors = _read(Path(path))
        if header.request != self.request:
            raise ContractError(f"{path} is a checkpoint of another training: delete it or choose another --out")
        try:
            checkpoint: dict[str, Any] = _restored(json.loads(header.tree), tensors)
        except (KeyError, RecursionError, RuntimeError, TypeError, ValueError) as error:
            raise IntegrityError(f"{path} is damaged ({error}): delete it and run the same command") from error
        return checkpoint

    def remove_checkpoint(self, path: Any) -> None:
        """Delete the file."""
        Path(path).unlink(missing_ok=True)


def checkpointed(folder: Path) -> str | None:
    """What the checkpoint in `folder` is a training of; None if there is none.

    Raises:
        SplitPlaceError: A file of that name that is not ours.
    """
    path = folder / CHECKPOINT
    return _read(path)[0].request if path.exists() else None


class Checkpoints(Callback):
    """Writes one every `EVERY_S` seconds, with the state of torch's generators."""

    def __init__(self, path: Path):
        self.path = path
        self.written_s = time.perf_counter()

    def on_train_batch_end(self, trainer: pytorch_lightning.Trainer, *args: Any) -> None:
        """Between two steps of an epoch; an epoch's last step belongs to the next."""
        if trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            return
        due = time.perf_counter() - self.written_s >= EVERY_S
        if trainer.world_size > 1:
            due = trainer.strategy.reduce_boolean_decision(due, all=False)  # clocks differ, and all must take part
        if due:
            trainer.save_checkpoint(self.path)
            self.written_s = time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        """What dropout will draw from."""
        cpu, *cuda = generator_states()
        return {"cpu": cpu, "cuda": cuda}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on drawing where the checkpoint was."""
        set_generators([state_dict["cpu"], *state_dict["cuda"]])


def generator_states() -> list[Tensor]:
    """What torch's generators will draw: the CPU's, then every GPU's."""
    return [torch.get_rng_state(), *torch.cuda.get_rng_state_all()]


def set_generators(states: Sequence[Tensor]) -> None:
    """Draw what they would have drawn; of another number of GPUs, the CPU alone."""
    cpu, *cuda = states
    torch.set_rng_state(cpu)
    if len(cuda) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(cuda)


def _read(path: Path) -> tuple[_Header, dict[str, Tensor]]:
    refused = f"{path} is not a checkpoint of splitplace (expected safetensors with a header); it is not opened"
    try:
        with safetensors.safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get("checkpoint", "")
            if not text or len(text) > MAX_DOCUMENT_BYTES:
                raise IntegrityError(refused)
            return _Header.parse(text, str(path)), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError) as error:
        raise IntegrityError(refused) from error


def _plain(value: Any, tensors: dict[str, Tensor]) -> Any:
    """The tree for JSON, its tensors moved to `tensors`."""
    if isinstance(value, Tensor):
        name = f"t{len(tensors)}"
        # A copy of its own: safetensors refuses tensors that share memory.
        tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        # safetensors knows one order in memory, and fused optimizers go by the order: momentum that came back in
        # another one than its weight (channels last) would be applied to other weights of it.
        return {_TENSOR: name, _ORDER: sorted(range(value.ndim), key=value.stride, reverse=True)}
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value):
            return {key: _plain(item, tensors) for key, item in value.items()}
        return {_PAIRS: [[key, _plain(item, tensors)] for key, item in value.items()]}  # optimizers count parameters
    if isinstance(value, list | tuple):
        return [_plain(item, tensors) for item in value]
    assert value is None or isinstance(value, bool | int | float | str), f"{type(value)} in a checkpoint"
    return value


def _restored(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_restored(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if _TENSOR in value:
        order = value[_ORDER]
        places = sorted(range(len(order)), key=order.__getitem__)
        return tensors[value[_TENSOR]].permute(order).contiguous().permute(places)
    if _PAIRS in value:
        return {key: _restored(item, tensors) for key, item in value[_PAIRS]}
    return {key: _restored(item, tensors) for key, item in value.items()}
