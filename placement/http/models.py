"""An application as the protocol calls it, a model: its metadata, its configuration, its place in the repository."""

from collections.abc import Mapping
from typing import Any

from splitplace.errors import NotFoundError, unknown
from splitplace.placement.http.tensors import NAMES
from splitplace.records.fragment import TensorSpec
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


def metadata(split: Split) -> dict[str, Any]:
    """`GET v2/models/NAME`."""
    return {
        "name": split.application,
        "versions": [VERSION],
        "platform": PLATFORM,
        "inputs": [
            {"name": spec.name, "datatype": NAMES[spec.dtype], "shape": [-1, *_sides(spec)]} for spec in split.inputs
        ],
        "outputs": [{"name": LOGITS, "datatype": NAMES[_logits(split).dtype], "shape": [-1, *_answer(split)]}],
    }


def configuration(split: Split) -> dict[str, Any]:
    """`GET v2/models/NAME/config`: of Triton's fields those that mean something here."""
    inputs = [
        {"name": spec.name, "data_type": _type(spec.dtype), "format": "FORMAT_NONE", "dims": _sides(spec)}
        for spec in split.inputs
    ]
    outputs = [{"name": LOGITS, "data_type": _type(_logits(split).dtype), "dims": _answer(split), "label_filename": ""}]
    return {
        "name": split.application,
        "platform": PLATFORM,
        "backend": PLATFORM,
        "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": MAX_BATCH,
        "input": inputs,
        "output": outputs,
        "model_transaction_policy": {"decoupled": False},
    }


def _logits(split: Split) -> TensorSpec:
    return split.by_name[split.sinks[0]].outputs[0]


def _answer(split: Split) -> list[int]:
    return [split.n_classes] if split.n_classes else _sides(_logits(split))


def _sides(spec: TensorSpec) -> list[int]:
    return [side for side in spec.shape if isinstance(side, int)]


def _type(dtype: str) -> str:
    return "TYPE_" + {"float32": "FP32", "float64": "FP64", "float16": "FP16"}.get(dtype, dtype.upper())
