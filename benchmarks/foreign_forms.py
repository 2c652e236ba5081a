"""Graphs by form: control flow, functions, sequences, several inputs, float16, quantised, weights over 2 GB."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from splitplace.benchmarks.foreign_graphs import (
    EIGHT_BIT_TOLERANCE,
    FLOAT16_TOLERANCE,
    ForeignGraph,
    Weight,
    of_model,
    of_text,
    parsed,
    vector,
)

F32 = np.float32
LARGE_ROWS = 160_000
"""Rows of 4,000 numbers in each of the large weights: 2.56 GB in one, 320 MB in eight."""


def _attributes(model: onnx.ModelProto, op_type: str, **graphs: str) -> onnx.ModelProto:
    """Gives the one node of this operator its subgraphs, in text."""
    (node,) = (node for node in model.graph.node if node.op_type == op_type)
    for name, text in graphs.items():
        node.attribute.append(helper.make_attribute(name, onnx.parser.parse_graph(text)))
    return model


def _flow(statements: str, op_type: str, weights: dict[str, Weight], opset: int = 17, **graphs: str) -> onnx.ModelProto:
    own: dict[str, Weight] = {"first": (8, 8), "last": (8, 4)}
    text = f"a = MatMul (x, first) h = Tanh (a) {statements} y = MatMul (z, last)"
    return _attributes(parsed("float[N, 8] x => float[N, 4] y", text, own | weights, opset), op_type, **graphs)


CONTROL_FLOW = (
    of_model(
        "if-by-constant",
        "control",
        lambda: _flow(
            "z = If (yes)",
            "If",
            {"yes": np.array(True)},
            then_branch="t () => (float[N, 8] tz) { tz = Sigmoid (h) }",
            else_branch="e () => (float[N, 8] ez) { ez = Relu (h) }",
        ),
    ),
    of_model(
        "if-by-shape",
        "control",
        lambda: _flow(
            "s = Shape (h) r = Gather (s, one) c = Equal (r, eight) z = If (c)",
            "If",
            {"one": np.array(1), "eight": np.array(8)},
            then_branch="t () => (float[N, 8] tz) { tz = Mul (h, a) }",
            else_branch="e () => (float[N, 8] ez) { ez = Relu (h) }",
        ),
    ),
    of_model(
        "if-by-data-of-the-batch",
        "control",
        lambda: _flow(
            "m = ReduceMax <keepdims = 0> (h) c = Greater (m, half) z = If (c)",
            "If",
            {"half": 0.8},
            then_branch="t () => (float[N, 8] tz) { tz = Mul (h, a) }",
            else_branch="e () => (float[N, 8] ez) { ez = Relu (h) }",
        ),
        refusals=("no batch",),
    ),
    of_model(
        "loop-for",
        "control",
        lambda: _flow(
            "z = Loop (times, , h)",
            "Loop",
            {"times": np.array(3), "w": (8, 8)},
            body="b (int64 i, bool c, float[N, 8] v) => (bool d, float[N, 8] o) { d = Identity (c) "
            "m = MatMul (v, w) o = Tanh (m) }",
        ),
    ),
    of_model(
        "loop-scan-outputs",
        "control",
        lambda: _flow(
            "l, all = Loop (times, , h) t = Transpose <perm = [1, 0, 2]> (all) "
            "z = ReduceMean <axes = [1], keepdims = 0> (t)",
            "Loop",
            {"times": np.array(3)},
            body="b (int64 i, bool c, float[N, 8] v) => (bool d, float[N, 8] o, float[N, 8] p) { "
            "d = Identity (c) o = Sin (v) p = Identity (o) }",
        ),
    ),
    of_model(
        "loop-while",
        "control",
        lambda: _flow(
            "z = Loop (most, go, h)",
            "Loop",
            {"most": np.array(10), "go": np.array(True), "lim": np.array(4)},
            body="b (int64 i, bool c, float[N, 8] v) => (bool d, float[N, 8] o) { d = Less (i, lim) o = Cos (v) }",
        ),
    ),
    of_model(
        "scan-over-features",
        "control",
        lambda: _flow(
            "r = Reshape (h, s) st = ReduceSum <keepdims = 0> (r, one) "
            "l, all = Scan <num_scan_inputs = 1, scan_input_axes = [1], scan_output_axes = [1]> (st, r) "
            "z = Reshape (all, b)",
            "Scan",
            {"s": [-1, 4, 2], "b": [-1, 8], "one": [1]},
            body="b (float[N, 2] v, float[N, 2] e) => (float[N, 2] o, float[N, 2] p) { o = Add (v, e) p = Tanh (o) }",
        ),
    ),
    of_model(
        "scan-over-the-batch",
        "control",
        lambda: _flow(
            "l, z = Scan <num_scan_inputs = 1> (st, h)",
            "Scan",
            {"st": (8,)},
            body="b (float[8] v, float[8] e) => (float[8] o, float[8] p) { o = Add (v, e) p = Tanh (o) }",
        ),
    ),
    vector(
        "sequence-split-concat",
        "sequence",
        "q = SplitToSequence <axis = 1> (h, two) z = ConcatFromSequence <axis = 1> (q)",
        {"two": np.array(2)},
    ),
    vector(
        "sequence-split-uneven-13",
        "sequence",
        "q = SplitToSequence <axis = 1> (h, three) z = ConcatFromSequence <axis = 1> (q)",
        {"three": np.array(3)},
        opset=13,
    ),
    vector(
        "sequence-split-keepdims-11",
        "sequence",
        "q = SplitToSequence <axis = 1, keepdims = 0> (h) z = ConcatFromSequence <axis = 1, new_axis = 1> (q)",
        opset=11,
    ),
    vector(
        "sequence-at",
        "sequence",
        "q = SequenceConstruct (h, a) p = SequenceAt (q, one) z = Add (p, h)",
        {"one": np.array(1)},
    ),
    vector(
        "sequence-insert-erase",
        "sequence",
        "q = SequenceEmpty () r = SequenceInsert (q, h) s = SequenceInsert (r, a) "
        "t = SequenceErase (s, zero) z = SequenceAt (t, zero)",
        {"zero": np.array(0)},
    ),
    vector(
        "optional",
        "sequence",
        "o = Optional (h) e = OptionalHasElement (o) g = OptionalGetElement (o) z = Where (e, g, h)",
        opset=18,
    ),
    of_text(
        "sequence-answer",
        "sequence",
        "float[N, 8] x => seq(float[N, 8]) y",
        "a = MatMul (x, w) h = Tanh (a) y = SequenceConstruct (h, a)",
        {"w": (8, 8)},
    ),
    of_text(
        "string-input",
        "string",
        "string[N, 2] x => float[N, 4] y",
        "e = Equal (x, word) f = Cast <to = 1> (e) a = MatMul (f, w) y = Tanh (a)",
        {"word": np.array(["a", "b"], object), "w": (2, 4)},
        opset=19,
        refusals=("string",),
    ),
    of_text(
        "string-answer",
        "string",
        "float[N, 8] x => string[N] y",
        "a = MatMul (x, w) i = ArgMax <axis = 1, keepdims = 0> (a) y = Gather (words, i)",
        {"words": np.array(["cat", "dog", "cow"], object), "w": (8, 3)},
    ),
    vector(
        "strings-inside",
        "string",
        "i = ArgMax <axis = 1> (h) s = Gather (words, i) e = Equal (s, word) f = Cast <to = 1> (e) z = Add (h, f)",
        {"words": np.array(list("abcdefgh"), object), "word": np.array(["c"], object)},
        opset=19,
    ),
    vector(
        "label-encoder-ml",
        "string",
        "i = ArgMax <axis = 1> (h) "
        "f = ai.onnx.ml.LabelEncoder <keys_int64s = [0, 1, 2], values_floats = [0.5, 1.5, 2.5], "
        "default_float = 0.1> (i) "
        "z = Add (h, f)",
        domains={"ai.onnx.ml": 3},
    ),
    vector(
        "scaler-ml", "string", "z = ai.onnx.ml.Scaler <offset = [0.1], scale = [2.0]> (h)", domains={"ai.onnx.ml": 3}
    ),
)


def _function(text: str) -> onnx.FunctionProto:
    return onnx.parser.parse_function(text)


FUNCTIONS = (
    vector(
        "function",
        "function",
        "z = own.Layer (h, w)",
        {"w": (8, 8)},
        domains=("own",),
        functions=(
            _function(
                '<domain: "own", opset_import: ["" : 17]> Layer (x, w) => (y) { m = MatMul (x, w) y = Tanh (m) }'
            ),
        ),
    ),
    vector(
        "function-attributes",
        "function",
        "z = own.Scale <by = 3.0> (h)",
        domains=("own",),
        functions=(
            _function(
                '<domain: "own", opset_import: ["" : 17]> Scale <by> (x) => (y) { '
                "c = Constant <value_float: float = @by> () y = Mul (x, c) }"
            ),
        ),
    ),
    vector(
        "function-nested",
        "function",
        "p = own.Twice (h, w) z = own.Twice (p, w)",
        {"w": (8, 8)},
        domains=("own",),
        functions=(
            _function(
                '<domain: "own", opset_import: ["" : 17, "own" : 1]> Twice (x, w) => (y) { '
                "m = own.Once (x, w) y = own.Once (m, w) }"
            ),
            _function('<domain: "own", opset_import: ["" : 17]> Once (x, w) => (y) { m = MatMul (x, w) y = Tanh (m) }'),
        ),
    ),
    vector(
        "function-other-opset",
        "function",
        "z = own.Mean (h)",
        domains=("own",),
        opset=17,
        functions=(
            _function(
                '<domain: "own", opset_import: ["" : 18]> Mean (x) => (y) { '
                "c = Constant <value_ints = [1]> () m = ReduceMean (x, c) y = Sub (x, m) }"
            ),
        ),
        refusals=("checker", "does not run", "opsets"),
    ),
)

MANY = (
    of_text(
        "two-inputs",
        "inputs",
        "float[N, 8] x, float[N, 6] u => float[N, 4] y",
        "a = MatMul (x, w) b = MatMul (u, v) c = Add (a, b) d = Tanh (c) y = MatMul (d, last)",
        {"w": (8, 8), "v": (6, 8), "last": (8, 4)},
    ),
    of_text(
        "image-and-numbers",
        "inputs",
        "uint8[N, 3, 8, 8] x, float[N, 5] u => float[N, 4] y",
        "f = Cast <to = 1> (x) a = Conv (f, w) r = Relu (a) p = GlobalAveragePool (r) "
        "q = Flatten (p) c = Concat <axis = 1> (q, u) y = MatMul (c, last)",
        {"w": (8, 3, 3, 3), "last": (13, 4)},
    ),
    of_text(
        "ids-and-mask",
        "inputs",
        "int64[N, 6] ids, int64[N, 6] mask => float[N, 4] y",
        "e = Gather (table, ids) f = Cast <to = 1> (mask) g = Unsqueeze (f, last1) "
        "m = Mul (e, g) s = ReduceSum <keepdims = 0> (m, one) t = Tanh (s) y = MatMul (t, v)",
        {"table": (9, 8), "last1": [-1], "one": [1], "v": (8, 4)},
        high=2,
    ),
    of_text(
        "late-second-input",
        "inputs",
        "float[N, 8] x, float[N, 8] u => float[N, 4] y",
        "a = MatMul (x, w) b = Relu (a) c = MatMul (b, w) d = Tanh (c) e = Add (d, u) y = MatMul (e, last)",
        {"w": (8, 8), "last": (8, 4)},
    ),
    of_text(
        "unread-input",
        "inputs",
        "float[N, 8] x, float[N, 3] nobody => float[N, 4] y",
        "a = MatMul (x, w) b = Relu (a) y = MatMul (b, last)",
        {"w": (8, 8), "last": (8, 4)},
    ),
    of_text(
        "one-number-a-sample",
        "inputs",
        "float[N] x => float[N] y",
        "u = Unsqueeze (x, one) a = MatMul (u, w) t = Tanh (a) b = MatMul (t, v) y = Squeeze (b, one)",
        {"one": [1], "w": (1, 8), "v": (8, 1)},
    ),
    of_text(
        "other-batch-of-a-second-input",
        "inputs",
        "float[N, 8] x, float[1, 8] u => float[N, 4] y",
        "a = MatMul (x, w) b = Add (a, u) c = Tanh (b) y = MatMul (c, last)",
        {"w": (8, 8), "last": (8, 4)},
        refusals=("batches differ",),
    ),
    of_text(
        "two-answers",
        "outputs",
        "float[N, 8] x => float[N, 4] y, float[N, 8] features",
        "a = MatMul (x, w) features = Tanh (a) b = MatMul (features, w) c = Relu (b) y = MatMul (c, last)",
        {"w": (8, 8), "last": (8, 4)},
    ),
    of_text(
        "answer-in-the-middle",
        "outputs",
        "float[N, 8] x => float[N, 8] mid, float[N, 4] y",
        "a = MatMul (x, w) mid = Tanh (a) b = MatMul (mid, w) c = Relu (b) y = MatMul (c, last)",
        {"w": (8, 8), "last": (8, 4)},
    ),
    of_text(
        "answer-is-an-input",
        "outputs",
        "float[N, 8] x => float[N, 8] y, float[N, 8] x2",
        "a = MatMul (x, w) y = Tanh (a) x2 = Identity (x)",
        {"w": (8, 8)},
    ),
    of_text(
        "map-answer",
        "outputs",
        "float[N, 3, 8, 8] x => float[N, 2, 8, 8] y",
        "a = Conv <kernel_shape = [1, 1]> (x, w) r = Relu (a) y = Conv <kernel_shape = [1, 1]> (r, v)",
        {"w": (4, 3, 1, 1), "v": (2, 4, 1, 1)},
    ),
    of_text(
        "integer-answer",
        "outputs",
        "float[N, 8] x => int64[N] y",
        "a = MatMul (x, w) r = Relu (a) b = MatMul (r, v) y = ArgMax <axis = 1, keepdims = 0> (b)",
        {"w": (8, 8), "v": (8, 4)},
    ),
    of_text(
        "bool-answer",
        "outputs",
        "float[N, 8] x => bool[N, 4] y",
        "a = MatMul (x, w) r = Relu (a) b = MatMul (r, v) y = Greater (b, t)",
        {"w": (8, 8), "v": (8, 4), "t": 0.0},
    ),
    of_text(
        "scalar-answer",
        "outputs",
        "float[N, 8] x => float y",
        "a = MatMul (x, w) y = ReduceMean <keepdims = 0> (a)",
        {"w": (8, 8)},
    ),
    of_text("no-input", "inputs", " => float[4] y", "a = Tanh (w) y = Exp (a)", {"w": (4,)}),
    of_text(
        "dynamic-image",
        "batch",
        "float[N, 3, H, W] x => float[N, 4] y",
        "a = Conv (x, w) r = Relu (a) p = GlobalAveragePool (r) f = Flatten (p) y = MatMul (f, v)",
        {"w": (8, 3, 3, 3), "v": (8, 4)},
    ),
    of_text(
        "dynamic-time",
        "batch",
        "float[N, T, 8] x => float[N, T, 4] y",
        "a = MatMul (x, w) r = Relu (a) y = MatMul (r, v)",
        {"w": (8, 8), "v": (8, 4)},
    ),
    of_text(
        "time-first",
        "batch",
        "float[T, 8] x => float[T, 4] y",
        "a = MatMul (x, w) c = CumSum (a, zero) r = Relu (c) y = MatMul (r, v)",
        {"w": (8, 8), "v": (8, 4), "zero": np.array(0)},
    ),
    of_text(
        "batch-second",
        "batch",
        "float[6, N, 8] x => float[6, N, 4] y",
        "a = MatMul (x, w) r = Relu (a) y = MatMul (r, v)",
        {"w": (8, 8), "v": (8, 4)},
    ),
    of_text(
        "fixed-batch-1",
        "batch",
        "float[1, 8] x => float[1, 4] y",
        "a = MatMul (x, w) r = Relu (a) s = Reshape (r, to) y = MatMul (s, v)",
        {"w": (8, 8), "v": (8, 4), "to": [1, 8]},
    ),
    of_text(
        "fixed-batch-3",
        "batch",
        "float[3, 8] x => float[3, 4] y",
        "a = MatMul (x, w) r = Relu (a) y = MatMul (r, v)",
        {"w": (8, 8), "v": (8, 4)},
    ),
    of_text(
        "fixed-batch-in-constant",
        "batch",
        "float[1, 8] x => float[1, 4] y",
        "a = MatMul (x, w) c = Concat <axis = 0> (a, row) r = Relu (c) "
        "m = ReduceMax <axes = [0]> (r) y = MatMul (m, v)",
        {"w": (8, 8), "v": (8, 4), "row": (1, 8)},
    ),
    of_text(
        "flattened-with-the-batch",
        "batch",
        "float[N, 6, 8] x => float[N, 4] y",
        "r = Reshape (x, flat) a = MatMul (r, w) t = Tanh (a) b = Reshape (t, back) f = Flatten (b) y = MatMul (f, v)",
        {"flat": [-1, 8], "back": [-1, 6, 8], "w": (8, 8), "v": (48, 4)},
    ),
    of_text(
        "ir-3-weights-are-inputs",
        "batch",
        "float[N, 8] x, float[8, 8] w, float[8, 4] v => float[N, 4] y",
        "a = MatMul (x, w) r = Relu (a) y = MatMul (r, v)",
        {"w": (8, 8), "v": (8, 4)},
        opset=8,
        ir_version=3,
    ),
    of_text("one-operator", "batch", "float[N, 8] x => float[N, 8] y", "y = Tanh (x)", {}, blocks=1),
    of_text(
        "infinite-answers",
        "batch",
        "float[N, 8] x => float[N, 8] y",
        "a = MatMul (x, w) b = Add (a, m) c = Exp (b) y = Log (c)",
        {"w": (8, 8), "m": np.array([0, -np.inf, 0, 0, 0, 0, 0, 0], F32)},
    ),
    of_text(
        "opset-6",
        "opset",
        "float[N, 8] x => float[N, 4] y",
        "a = MatMul (x, w) r = Relu (a) y = MatMul (r, v)",
        {"w": (8, 8), "v": (8, 4)},
        opset=6,
    ),
)

_OLD = (
    "a = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w) b = BatchNormalization (a, s, t, m, v) r = Relu (b)"
)


def _of_opset(opset: int) -> Iterator[ForeignGraph]:
    """A small network in the forms of one opset: its reductions, paddings, clips and shapes."""
    axes = "ReduceMean <axes = [2, 3], keepdims = 0> (r)" if opset < 18 else "ReduceMean <keepdims = 0> (r, ax)"
    clip = "Clip <min = 0.0, max = 0.4> (q)" if opset < 11 else "Clip (q, lo, hi)"
    pad = "Pad <pads = [0, 0, 0, 1]> (c)" if opset < 11 else "Pad (c, pads)"
    body = f"{_OLD} q = {axes} c = {clip} p = {pad} d = Dropout (p) n = Shape (d) e = Reshape (d, n) y = MatMul (e, u)"
    weights: dict[str, Weight] = {
        "w": (8, 3, 3, 3),
        "s": (8,),
        "t": (8,),
        "m": (8,),
        "v": np.arange(1, 9, dtype=F32),
        "u": (9, 4),
    }
    weights |= {} if opset < 18 else {"ax": [2, 3]}
    weights |= {} if opset < 11 else {"lo": 0.0, "hi": 0.4, "pads": [0, 0, 0, 1]}
    yield of_text(f"opset-{opset}", "opset", "float[N, 3, 8, 8] x => float[N, 4] y", body, weights, opset=opset)


OPSETS = tuple(graph for opset in (*range(7, 24),) for graph in _of_opset(opset))


def _small_cnn(seed: int = 0) -> onnx.ModelProto:
    body = """a = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w0, b0) r = Relu (a)
        c = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (r, w1, b1) d = Add (c, r) e = Relu (d)
        p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (e) g = GlobalAveragePool (p)
        f = Flatten (g) y = Gemm (f, u, v)"""
    weights: dict[str, Weight] = {
        "w0": (8, 3, 3, 3),
        "b0": (8,),
        "w1": (8, 8, 3, 3),
        "b1": (8,),
        "u": (8, 4),
        "v": (4,),
    }
    return parsed("float[N, 3, 12, 12] x => float[N, 4] y", body, weights, 17)


def _small_transformer() -> onnx.ModelProto:
    body = """h = MatMul (x, w0) q = MatMul (h, wq) k = MatMul (h, wk) v = MatMul (h, wv)
        kt = Transpose <perm = [0, 2, 1]> (k) s = MatMul (q, kt) p = Softmax <axis = -1> (s)
        o = MatMul (p, v) z = Add (o, h)
        l = LayerNormalization (z, ls, lb) f = Flatten (l) y = MatMul (f, u)"""
    shapes = {"w0": (8, 16), "wq": (16, 16), "wk": (16, 16), "wv": (16, 16), "ls": (16,), "lb": (16,), "u": (96, 4)}
    return parsed("float[N, 6, 8] x => float[N, 4] y", body, dict(shapes), 17)


def _quantised(make: Callable[[], onnx.ModelProto], how: str, **options: Any) -> Callable[[], onnx.ModelProto]:
    """What onnxruntime's own quantiser makes of a model."""

    def build() -> onnx.ModelProto:
        from onnxruntime import quantization as q

        with TemporaryDirectory() as folder:
            source, target = Path(folder) / "s.onnx", Path(folder) / "t.onnx"
            onnx.save(make(), source)
            if how == "dynamic":
                q.quantize_dynamic(source, target, **options)
            else:
                shape = [d.dim_value or 4 for d in make().graph.input[0].type.tensor_type.shape.dim]
                rng = np.random.default_rng(0)
                rows = iter([{"x": rng.standard_normal(shape).astype(F32)} for _ in range(4)])

                class Reader(q.CalibrationDataReader):  # type: ignore[misc]  # onnxruntime publishes no types
                    def get_next(self) -> dict[str, Any] | None:
                        return next(rows, None)

                form = q.QuantFormat.QOperator if how == "qoperator" else q.QuantFormat.QDQ
                q.quantize_static(source, target, Reader(), quant_format=form, **options)
            return onnx.load(target)

    return build


def _float16(make: Callable[[], onnx.ModelProto], **options: Any) -> Callable[[], onnx.ModelProto]:
    def build() -> onnx.ModelProto:
        from onnxruntime.transformers.float16 import convert_float_to_float16

        converted: onnx.ModelProto = convert_float_to_float16(make(), **options)
        return converted

    return build


NARROW = tuple(
    of_model(f"{kind}-{name}", family, wrap(make), tolerance=tolerance)
    for name, make in (("cnn", _small_cnn), ("transformer", _small_transformer))
    for kind, family, tolerance, wrap in (
        ("qdq-static", "quantised", EIGHT_BIT_TOLERANCE, lambda m: _quantised(m, "qdq")),
        ("qdq-per-channel", "quantised", EIGHT_BIT_TOLERANCE, lambda m: _quantised(m, "qdq", per_channel=True)),
        ("qoperator-static", "quantised", EIGHT_BIT_TOLERANCE, lambda m: _quantised(m, "qoperator")),
        ("dynamic", "quantised", 0.1, lambda m: _quantised(m, "dynamic")),
        ("float16", "float16", FLOAT16_TOLERANCE, lambda m: _float16(m)),
        ("float16-inside", "float16", FLOAT16_TOLERANCE, lambda m: _float16(m, keep_io_types=True)),
    )
)


def _large(layers: int, rows: int, refused: bool = False) -> Callable[[Path], None]:
    """Layers of [4000, rows], whose weights are holes of one file beside the model: it takes no disk."""

    def build(path: Path) -> None:
        size = 4000 * rows * 4
        body, h = "", "x"
        for i in range(layers):
            body += f"a{i} = MatMul ({h}, w{i}) m{i} = ReduceMax <axes = [1]> (a{i}) h{i} = MatMul (m{i}, v{i}) "
            h = f"h{i}"
        body += f"y = MatMul ({h}, u)"
        weights: dict[str, Weight] = {f"v{i}": (1, 4000) for i in range(layers)} | {"u": (4000, 4)}
        model = parsed("float[N, 4000] x => float[N, 4] y", body, weights, 17)
        for i in range(layers):
            tensor = model.graph.initializer.add(
                name=f"w{i}", data_type=TensorProto.FLOAT, dims=[4000, rows], data_location=TensorProto.EXTERNAL
            )
            for key, value in (("location", "large.bin"), ("offset", i * size), ("length", size)):
                tensor.external_data.add(key=key, value=str(value))
        path.write_bytes(model.SerializeToString())
        with (path.parent / "large.bin").open("wb") as file:
            file.truncate(layers * size)
        with (path.parent / "large.bin").open("r+b") as file:  # not all of it zeros
            rng = np.random.default_rng(0)
            for i in range(layers):
                os.lseek(file.fileno(), i * size, os.SEEK_SET)
                file.seek(i * size)
                file.write(rng.standard_normal(2**16).astype(F32).tobytes())

    return build


LARGE = (
    ForeignGraph("over-2-gb", "large", _large(8, LARGE_ROWS // 8), blocks=8, fragments=(2,), memory_bytes=18 * 2**30),
    ForeignGraph(
        "one-weight-over-2-gb",
        "large",
        _large(1, LARGE_ROWS),
        refusals=frozenset({"too large"}),
        memory_bytes=18 * 2**30,
    ),
)

FORMS: tuple[ForeignGraph, ...] = (*CONTROL_FLOW, *FUNCTIONS, *MANY, *OPSETS, *NARROW, *LARGE)
