"""Holds fragments against the model they were cut from, with nothing of the splitter: onnx, onnxruntime and numpy.

Where they differ, the node at which they begin to is looked for.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

Array = npt.NDArray[Any]
Arrays = Mapping[str, Any]

BATCHES = (1, 3)
FLOATS = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}
WHOLE = {f"tensor({name})": np.dtype(name) for name in ("int8", "uint8", "int16", "int32", "int64", "uint16", "uint32")}


def session(model: Path | bytes, folder: Path | None = None) -> ort.InferenceSession:
    """One thread, onnxruntime's own defaults otherwise."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if folder is not None:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    return ort.InferenceSession(
        str(model) if isinstance(model, Path) else model, options, providers=["CPUExecutionProvider"]
    )


def draw(inputs: Sequence[ort.NodeArg], batch: int, high: int, seed: int) -> dict[str, Array]:
    """Random values for what a session takes; of a size that is stated, so many, of any other `batch` in front."""
    rng = np.random.default_rng(seed)
    made: dict[str, Array] = {}
    for node in inputs:
        shape = [size if isinstance(size, int) else batch if i == 0 else 5 for i, size in enumerate(node.shape)]
        if node.type in FLOATS:
            made[node.name] = rng.standard_normal(shape).astype(FLOATS[node.type])
        elif node.type in WHOLE:
            limit = 256 if node.type == "tensor(uint8)" and len(shape) == 4 else high
            made[node.name] = rng.integers(0, limit, shape).astype(WHOLE[node.type])
        elif node.type == "tensor(bool)":
            made[node.name] = rng.random(shape) < 0.5
        elif node.type == "tensor(string)":
            made[node.name] = rng.choice(np.array(["a", "b", "c"], object), shape)
        else:
            raise TypeError(f"{node.name} is a {node.type}")
    return made


@dataclass(frozen=True)
class Chain:
    """Fragments of a folder as split.json lists them, run one after another."""

    folder: Path
    names: tuple[str, ...]

    @staticmethod
    def of(folder: Path) -> "Chain":
        """The chain in this folder."""
        listed = json.loads((folder / "split.json").read_text(encoding="utf-8"))["split"]["fragments"]
        return Chain(folder, tuple(fragment["name"] for fragment in listed))

    def file(self, name: str) -> Path:
        """A fragment's."""
        return self.folder / f"{name}.onnx"

    def run(self, feed: Arrays, wanted: str | None = None) -> dict[str, Any]:
        """Every tensor there is at the end; with `wanted`, that inner value of a fragment as well."""
        values = dict(feed)
        for name in self.names:
            running = session(_exposing(self.file(name), wanted))
            outputs = [node.name for node in running.get_outputs()]
            takes = {node.name: values[node.name] for node in running.get_inputs()}
            values |= dict(zip(outputs, running.run(outputs, takes), strict=True))
        return values


def _exposing(path: Path, wanted: str | None) -> Path | bytes:
    """The model with one more output, if that is made in it."""
    if wanted is None:
        return path
    model = onnx.load(path, load_external_data=False)
    outputs = {output.name for output in model.graph.output}
    if wanted in outputs or wanted not in {name for node in model.graph.node for name in node.output}:
        return path
    model.graph.output.append(onnx.ValueInfoProto(name=wanted))
    data: bytes = model.SerializeToString()
    return data


def error(expected: Any, got: Any) -> float:
    """Largest difference as a share of what is expected's range; infinite where type, shape or infinities differ."""
    if not isinstance(expected, np.ndarray) or not isinstance(got, np.ndarray):
        return float("inf") if type(expected) is not type(got) or expected != got else 0.0
    if expected.shape != got.shape or expected.dtype != got.dtype:
        return float("inf")
    if expected.dtype.kind in "OUS":
        return 0.0 if np.array_equal(expected, got) else float("inf")
    a, b = expected.astype(np.float64), got.astype(np.float64)
    finite = np.isfinite(a)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True) or not np.isfinite(b[finite]).all():
        return float("inf")
    if not finite.any():
        return 0.0
    span = max(float(np.ptp(a[finite])), 0.01 * float(np.abs(a[finite]).max())) or 1.0
    return float(np.abs(a[finite] - b[finite]).max()) / span


@dataclass(frozen=True)
class Comparison:
    """How far a chain is from the whole."""

    error: float
    where: str = ""
    """The node at which they begin to differ, if they do."""


def compare(whole: Path, chain: Chain, high: int, tolerance: float, seed: int = 0) -> Comparison:
    """Whole and chain on the same random inputs, at two batch sizes; where they differ, the node is looked for.

    A model of one batch size is run at that; a chain, which takes any, also at twice as many rows.
    """
    running = session(whole)
    answer = json.loads((chain.folder / "split.json").read_text(encoding="utf-8"))["split"]["fragments"][-1]
    name = answer["outputs"][0]["name"]
    fixed = any(node.shape and isinstance(node.shape[0], int) for node in running.get_inputs())
    worst = 0.0
    for batch in (1, 2) if fixed else BATCHES:
        parts = [draw(running.get_inputs(), batch, high, seed + i) for i in range(batch if fixed else 1)]
        feed = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        expected = np.concatenate([np.asarray(running.run([name], part)[0]) for part in parts])
        share = error(expected, chain.run(feed)[name])
        worst = max(worst, share)
        if share > tolerance:
            return Comparison(share, first_difference(whole, chain, parts[0], name, tolerance))
    return Comparison(worst)


def first_difference(whole: Path, chain: Chain, feed: Arrays, answer: str, tolerance: float) -> str:
    """The node at which a chain begins to differ from the whole, by bisection over the values that both have.

    Bisection finds a value that differs after one that does not; from it, whatever it was made of that differs is
    followed upwards, for branches need not differ in the order in which they are written.
    """
    graph = onnx.load(whole, load_external_data=False).graph
    maker = {name: node for node in graph.node for name in node.output if name}
    places = {
        name: fragment
        for fragment in chain.names
        for node in onnx.load(chain.file(fragment)).graph.node
        for name in node.output
    }
    leading = _leading_to(answer, maker)
    shared = [name for node in graph.node for name in node.output if name in leading and name in places]
    seen: dict[str, bool] = {}

    def differs(name: str) -> bool:
        if name not in seen:
            wanted = _exposing(whole, name)
            running = session(wanted, whole.parent if isinstance(wanted, bytes) else None)
            expected = running.run([name], dict(feed))[0]
            seen[name] = error(expected, chain.run(feed, name)[name]) > tolerance
        return seen[name]

    low, high = -1, len(shared) - 1  # shared[low] agrees, shared[high] differs
    if high < 0 or not differs(shared[high]):
        return "no value that both have"
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if differs(shared[middle]) else (middle, high)
    found = shared[high]
    while earlier := next((name for name in _nearest(found, maker, places) if differs(name)), None):
        found = earlier
    node = maker[found]
    return f"{node.op_type} {node.name or '(without a name)'}, which makes {found}, in {places[found]}"


def _leading_to(answer: str, maker: Mapping[str, onnx.NodeProto]) -> set[str]:
    """The values that an answer is made of, and itself."""
    found, left = {answer}, [answer]
    while left:
        node = maker.get(left.pop())
        for name in _reads(node) if node is not None else ():
            if name not in found:
                found.add(name)
                left.append(name)
    return found


def _reads(node: onnx.NodeProto) -> list[str]:
    inner = [a.g for a in node.attribute if a.HasField("g")]
    return [*(n for n in node.input if n), *(name for graph in inner for n in graph.node for name in _reads(n))]


def _nearest(name: str, maker: Mapping[str, onnx.NodeProto], places: Mapping[str, str]) -> list[str]:
    """The values that both have and that this one is made of, with none that both have in between."""
    found, left, seen = [], _reads(maker[name]), {name}
    while left:
        other = left.pop()
        if other in seen or other not in maker:
            continue
        seen.add(other)
        if other in places:
            found.append(other)
        else:
            left += _reads(maker[other])
    return found
