"""Graphs with parts of their own: branches, loops, functions, and values that are no tensors of numbers."""

import numpy as np
import onnx
from onnx import helper

from splitplace.benchmarks.foreign_graphs import (
    ForeignGraph,
    Weight,
    of_model,
    of_text,
    parsed,
    vector,
)

F32 = np.float32


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

FLOW: tuple[ForeignGraph, ...] = (*CONTROL_FLOW, *FUNCTIONS)
