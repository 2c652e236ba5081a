"""What `bench foreign` cuts: each graph with how it is made, and what it may truly be refused for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper, parser

Array = npt.NDArray[Any]
Weight = Array | np.generic | tuple[int, ...] | list[int] | float
"""An array, the shape of random numbers, whole numbers, or one number."""

FLOAT16_TOLERANCE = 2.0**-6
EIGHT_BIT_TOLERANCE = 2.0**-4


@dataclass(frozen=True)
class ForeignGraph:
    """One model that nobody wrote the splitter for."""

    name: str
    family: str
    build: Callable[[Path], None]
    """Writes the model, and its external data, to this path."""
    refusals: frozenset[str] = frozenset()
    """Reasons (`foreign_facts.REASONS`) that are true of it and that nobody can compute; others are looked up."""
    blocks: int = 2
    """As many fragments it has to give at least, by hand."""
    high: int = 2
    """Whole numbers fed to it are below this: the rows of its smallest table."""
    tolerance: float = 2e-4
    """Largest error, as a share of the answer's range."""
    fragments: tuple[int, ...] = (2, 4)
    """How many it is cut into."""
    memory_bytes: int = 6 * 2**30
    """What cutting it may take."""


def weight(name: str, value: Weight) -> onnx.TensorProto:
    """An initializer; random numbers are the same for the same name and shape."""
    if isinstance(value, tuple):
        rng = np.random.default_rng([*map(ord, name), *value])
        fan_in = value[-1] if len(value) < 3 else int(np.prod(value[1:]))
        array: Array = (rng.standard_normal(value) / np.sqrt(max(1, fan_in))).astype(np.float32)
    else:
        kinds = {list: np.int64, float: np.float32}
        array = np.asarray(value, kinds.get(type(value)))
    return numpy_helper.from_array(array, name)


def parsed(
    signature: str,
    body: str,
    weights: dict[str, Weight],
    opset: int = 17,
    domains: Mapping[str, int] | Sequence[str] = (),
    functions: tuple[onnx.FunctionProto, ...] = (),
    ir_version: int = 8,
) -> onnx.ModelProto:
    """A model from ONNX's own text form: `float[N, 8] x => float[N, 4] y`, and statements `h = MatMul (x, w)`."""
    takes, gives = (part.strip() for part in signature.split("=>"))
    graph = parser.parse_graph(f"g ({takes}) => ({gives}) {{ {body} }}")
    graph.initializer.extend(weight(name, value) for name, value in weights.items())
    opsets = [
        helper.make_opsetid("", opset),
        *(helper.make_opsetid(domain, domains[domain] if isinstance(domains, Mapping) else 1) for domain in domains),
    ]
    return helper.make_model(graph, opset_imports=opsets, functions=list(functions), ir_version=ir_version)


def of_text(
    name: str, family: str, signature: str, body: str, weights: dict[str, Weight], *, opset: int = 17, **fields: Any
) -> ForeignGraph:
    """A graph from text; `fields` are those of `parsed` and `ForeignGraph`."""
    shaping = {key: fields.pop(key) for key in ("domains", "functions", "ir_version") if key in fields}

    def build(path: Path) -> None:
        onnx.save(parsed(signature, body, weights, opset, **shaping), path)

    return ForeignGraph(name, family, build, **_frozen(fields))


def of_model(name: str, family: str, make: Callable[[], onnx.ModelProto], **fields: Any) -> ForeignGraph:
    """A graph from a function that makes the message."""
    return ForeignGraph(name, family, lambda path: onnx.save(make(), path), **_frozen(fields))


def _frozen(fields: dict[str, Any]) -> dict[str, Any]:
    refusals = fields.get("refusals", ())
    return fields | {"refusals": frozenset([refusals] if isinstance(refusals, str) else refusals)}


def vector(name: str, family: str, body: str, weights: dict[str, Weight] | None = None, **fields: Any) -> ForeignGraph:
    """Statements that make z [N, 8] of h [N, 8], between two layers."""
    own: dict[str, Weight] = {"first": (8, 8), "last": (8, 4)}
    text = f"a = MatMul (x, first) h = Tanh (a) {body} y = MatMul (z, last)"
    signature = fields.pop("signature", "float[N, 8] x => float[N, 4] y")
    return of_text(name, family, signature, text, own | (weights or {}), **fields)


def tokens(name: str, family: str, body: str, weights: dict[str, Weight] | None = None, **fields: Any) -> ForeignGraph:
    """Statements that make z [N, 6, 8] of h [N, 6, 8], between two layers."""
    own: dict[str, Weight] = {"first": (8, 8), "last": (48, 4)}
    text = f"a = MatMul (x, first) h = Tanh (a) {body} flat = Flatten (z) y = MatMul (flat, last)"
    return of_text(name, family, "float[N, 6, 8] x => float[N, 4] y", text, own | (weights or {}), **fields)


def image(
    name: str, family: str, body: str, weights: dict[str, Weight] | None = None, channels: int = 8, **fields: Any
) -> ForeignGraph:
    """Statements that make z [N, channels, ...] of h [N, 8, 12, 12], between a convolution and a classifier."""
    own: dict[str, Weight] = {"first": (8, 3, 3, 3), "last": (channels, 4)}
    text = (
        f"a = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, first) h = Relu (a) {body} "
        "pooled = GlobalAveragePool (z) flat = Flatten (pooled) y = MatMul (flat, last)"
    )
    return of_text(name, family, "float[N, 3, 12, 12] x => float[N, 4] y", text, own | (weights or {}), **fields)
