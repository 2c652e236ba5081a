"""An application as the protocol calls it, a model: its metadata, its configuration, its place in the repository."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from splitplace.errors import NotFoundError, unknown
from splitplace.placement.http.tensors import NAMES
from splitplace.records.fragment import BATCH, TensorSpec
from splitplace.records.split import Split

VERSION = "1"
"""Of every model: which split answers is the fleet's choice, request by request."""
LOGITS = "logits"
"""The one output of every model, whatever the sinks of its splits call theirs."""
LABELS = "labels"
"""An input that may come beside the model's own: the true classes, INT64 (n,), from which the fleet learns."""
PLATFORM = "splitplace"
MAX_BATCH = 2**16
"""Of what a client may make one request; bytes are bounded besides."""
EXTENSIONS = (
    "classification",
    "model_repository",
    "model_configuration",
    "binary_tensor_data",
    "parameters",
    "statistics",
)


def pick(splits: Mapping[str, Split], name: str, version: str = "") -> Split:
    """The split that stands for a model: what it takes and answers.

    Raises:
        NotFoundError: No such model, or no such version of it.
    """
    if name not in splits:
        raise unknown("model", name[:200], splits)
    if version not in ("", VERSION):
        raise NotFoundError(f"model {name} has no version {version[:40]!r}: expected {VERSION}")
    return splits[name]


@dataclass(frozen=True)
class ServedModel:
    """What can be asked, as the protocol has it: a split, or one fragment of it."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    n_classes: int = 0
    """Of its one output, where that is logits."""
    class_names: tuple[str, ...] = ()
    labelled: bool = False
    """Whether `LABELS` may come beside its inputs."""


def served(split: Split, name: str = "", *, labelled: bool = True) -> ServedModel:
    """A split, by its application's name or another: one output, whatever its sinks call theirs."""
    spec = split.by_name[split.sinks[0]].outputs[0]
    shape = (BATCH, split.n_classes) if split.n_classes else spec.shape
    output = TensorSpec(name=LOGITS, dtype=spec.dtype, shape=shape)
    return ServedModel(name or split.application, split.inputs, (output,), split.n_classes, split.class_names, labelled)


def metadata(model: ServedModel) -> dict[str, Any]:
    """`GET v2/models/NAME`."""
    tensors = {
        kind: [{"name": spec.name, "datatype": NAMES[spec.dtype], "shape": [-1, *sides(spec)]} for spec in specs]
        for kind, specs in (("inputs", model.inputs), ("outputs", model.outputs))
    }
    return {"name": model.name, "versions": [VERSION], "platform": PLATFORM, **tensors}


def configuration(model: ServedModel) -> dict[str, Any]:
    """`GET v2/models/NAME/config`: of Triton's fields those that mean something here."""
    inputs = [
        {"name": spec.name, "data_type": _type(spec.dtype), "format": "FORMAT_NONE", "dims": sides(spec)}
        for spec in model.inputs
    ]
    outputs = [
        {"name": spec.name, "data_type": _type(spec.dtype), "dims": sides(spec), "label_filename": ""}
        for spec in model.outputs
    ]
    return {
        "name": model.name,
        "platform": PLATFORM,
        "backend": PLATFORM,
        "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": MAX_BATCH,
        "input": inputs,
        "output": outputs,
        "model_transaction_policy": {"decoupled": False},
    }


def sides(spec: TensorSpec) -> list[int]:
    """A tensor's shape without the batch."""
    return [side for side in spec.shape if isinstance(side, int)]


def _type(dtype: str) -> str:
    return "TYPE_" + {"float32": "FP32", "float64": "FP64", "float16": "FP16"}.get(dtype, dtype.upper())
