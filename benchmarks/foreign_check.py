"""Holds fragments against the model they were cut from, with nothing of the splitter: onnx, onnxruntime and numpy.

Also what is true of a model (`facts`), so that a refusal can be held against it, and where fragments begin to differ.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
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
TRAVELS = frozenset({"float32", "float16", "float64", "int8", "uint8", "int16", "int32", "int64", "bool"})

REASONS = {
    "blocks": r"the network has (\d+) blocks",
    "no batch": r"is no batch of independent samples",
    "dynamic": r"dimension \d+ of input .* expected a size",
    "input kind": r"input .* has no shape",
    "string": r"input .* is string",
    "no input": r"no inputs, expected",
    "fixed batch": r"the batch is fixed at",
    "batch lost": r"the batch does not reach its output",
    "answer kind": r"it answers .* expected \[batch",
    "batches differ": r"inputs have different batch sizes",
    "opset": r"opset \d+, expected at least",
    "too large": r"bytes, expected at most",
    "memory": r"are free here",
    "chance": r"answers otherwise each time",
    "differs": r"is refused at batch|is refused: it answers|another argmax",
    "checker": r"ONNX checker refuses",
    "does not run": r"onnxruntime cannot (load|run)|does not run at batch|a run at batch .* fails",
}
"""What a refusal says, by the words in its line; the first that matches."""


def reason(line: str) -> str:
    """The class of a refusal."""
    return next((name for name, words in REASONS.items() if re.search(words, line)), "other")


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


def facts(whole: Path, high: int, tolerance: float) -> set[str]:
    """The reasons for which this model may truly be refused, as far as onnx and onnxruntime can tell."""
    model = onnx.load(whole, load_external_data=False)
    weights = {tensor.name for tensor in model.graph.initializer}
    takes = [value for value in model.graph.input if value.name not in weights]
    found = {"no input"} if not takes else set()
    for value in takes:
        sizes = value.type.tensor_type.shape.dim
        if value.type.WhichOneof("value") != "tensor_type" or not sizes:
            found.add("input kind")
        if any(not size.HasField("dim_value") for size in sizes[1:]):
            found.add("dynamic")
        if value.type.tensor_type.elem_type == onnx.TensorProto.STRING:
            found.add("string")
    if min((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1) < 7:
        found.add("opset")
    if any(
        (whole.parent / entry.value).stat().st_size > 2**31
        for t in model.graph.initializer
        for entry in t.external_data
        if entry.key == "location"
    ):
        return found  # what a run would tell is not worth the memory
    return found | _observed(whole, high, tolerance)


def _is_bound(whole: Path, high: int) -> bool:
    """Whether a model for one batch size runs at no other, when its inputs are said to have any."""
    model = onnx.load(whole, load_external_data=False)
    weights = {tensor.name for tensor in model.graph.initializer}
    leading = [v.type.tensor_type.shape.dim[0] for v in model.graph.input if v.name not in weights]
    if not leading or not all(size.dim_value for size in leading):
        return False
    rows = 2 * leading[0].dim_value
    for size in leading:
        size.dim_param = "any"
    del model.graph.value_info[:]
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    try:
        running = session(model.SerializeToString(), whole.parent)
        made = running.run(None, draw(running.get_inputs(), rows, high, 0))[0]
    except Exception:  # noqa: BLE001 - as above
        return True
    return len(made) != rows


def _observed(whole: Path, high: int, tolerance: float) -> set[str]:
    """What runs tell: of two batch sizes, and of rows together and alone."""
    found = set()
    try:
        running = session(whole)
        name = running.get_outputs()[0].name
        run: Callable[[Arrays], Any] = lambda feed: running.run([name], dict(feed))[0]  # noqa: E731
        two, three = (draw(running.get_inputs(), batch, high, 0) for batch in (2, 3))
        first, second = run(two), run(three)
        again = run(three)
    except Exception:  # noqa: BLE001 - onnxruntime raises a dozen unrelated classes of its own
        return {"does not run"}
    if _is_bound(whole, high):
        found.add("fixed batch")
    leading = {node.shape[0] if isinstance(node.shape[0], int) else 0 for node in running.get_inputs() if node.shape}
    if len(leading) > 1:
        found.add("batches differ")
    if not isinstance(first, np.ndarray) or first.dtype.name not in TRAVELS:
        return {"answer kind"}
    if first.shape == second.shape:
        found.add("batch lost")
    if first.shape[:1] != (2,) or second.shape[:1] != (3,):
        return found | {"answer kind"}
    if error(second, again) > tolerance:
        found.add("chance")
    if any(len(value) != 3 for value in three.values()):
        return found
    alone = [run({key: value[row : row + 1] for key, value in three.items()}) for row in range(3)]
    if error(second, np.concatenate(alone)) > max(tolerance, 1e-3):
        found.add("no batch")
    return found
