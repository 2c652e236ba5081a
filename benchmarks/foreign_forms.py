"""Graphs by what they take and answer: several inputs, several outputs, batches that are fixed, second or none."""

import numpy as np

from splitplace.benchmarks.foreign_flow import FLOW
from splitplace.benchmarks.foreign_graphs import ForeignGraph, of_text
from splitplace.benchmarks.foreign_numbers import NUMBERS

F32 = np.float32

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

FORMS: tuple[ForeignGraph, ...] = (*FLOW, *MANY, *NUMBERS)
