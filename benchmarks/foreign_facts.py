"""What is true of a model, so that a refusal can be held against it: by onnx and onnxruntime alone."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from splitplace.benchmarks.foreign_check import Arrays, draw, error, session

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
    return bool(len(made) != rows)


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
