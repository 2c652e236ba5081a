"""Graphs of each family of operators: number by number, recurrent, boxes, integers; and those of layers and arrays."""

import numpy as np

from splitplace.benchmarks.foreign_arrays import ARRAYS
from splitplace.benchmarks.foreign_graphs import EIGHT_BIT_TOLERANCE, ForeignGraph, image, of_text, tokens, vector
from splitplace.benchmarks.foreign_layers import LAYERS

F32 = np.float32

ELEMENTWISE = (
    *(
        vector(f"{op.lower()}", "elementwise", f"z = {op} (h)", opset=opset)
        for op, opset in (
            ("Elu", 17),
            ("Selu", 17),
            ("HardSwish", 17),
            ("Mish", 18),
            ("Gelu", 20),
            ("Softplus", 17),
            ("Erf", 17),
            ("ThresholdedRelu", 17),
            ("Celu", 17),
            ("Shrink", 17),
            ("Swish", 24),
        )
    ),
    vector("prelu", "elementwise", "z = PRelu (h, s)", {"s": (8,)}),
    vector(
        "clips-that-do-not-meet",
        "elementwise",
        "c = Clip (h, a0, b0) d = Clip (c, a1, b1) z = Add (d, h)",
        {"a0": 0.0, "b0": 0.2, "a1": 0.5, "b1": 0.7},
    ),
    vector(
        "relu-of-negative-clip",
        "elementwise",
        "c = Clip (h, a0, b0) r = Relu (c) z = Add (r, h)",
        {"a0": -3.0, "b0": -0.1},
    ),
    vector(
        "clip-6",
        "elementwise",
        "r = Relu (h) c = Clip <max = 0.5, min = 0.1> (r) d = Clip <max = 0.4> (c) z = Add (d, h)",
        opset=7,
    ),
    vector(
        "two-clamps-of-one-tensor",
        "elementwise",
        "a0 = Max (h, p) b0 = Min (a0, q) c0 = Max (h, r) d0 = Min (c0, s) z = Add (b0, d0)",
        {"p": -0.5, "q": 0.5, "r": -0.1, "s": 0.1},
    ),
    vector(
        "minimum-of-minima",
        "elementwise",
        "a0 = Min (h, p) b0 = Min (a0, q) c0 = Min (h, r) d0 = Min (c0, s) z = Add (b0, d0)",
        {"p": 0.5, "q": (8,), "r": 0.1, "s": (8,)},
    ),
    vector(
        "times-one-of-more-axes",
        "elementwise",
        "m = Mul (h, one) z = Reshape (m, s)",
        {"one": np.ones((1, 1, 1), F32), "s": [-1, 8]},
        refusals=("batch lost",),
    ),
    vector(
        "add-zeros-broadcast",
        "elementwise",
        "g = Slice (h, s, e, ax) z = Add (g, zeros)",
        {"s": [0], "e": [1], "ax": [1], "zeros": np.zeros((1, 8), F32)},
    ),
    vector("divide-by-ones", "elementwise", "z = Div (h, ones)", {"ones": np.ones(8, F32)}),
    vector("cast-there-and-back", "elementwise", "c = Cast <to = 7> (h) z0 = Cast <to = 1> (c) z = Add (h, z0)"),
    vector("cast-to-double", "elementwise", "c = Cast <to = 11> (h) d = Exp (c) z = Cast <to = 1> (d)"),
    vector("pow-int-exponent", "elementwise", "z = Pow (h, two)", {"two": np.array(2)}),
    vector("mod-fmod", "elementwise", "z = Mod <fmod = 1> (h, c)", {"c": 0.3}),
    vector("is-nan-inf", "elementwise", "l = Log (h) n = IsNaN (l) i = IsInf (l) b = Or (n, i) z = Where (b, h, l)"),
    vector(
        "bitwise",
        "bitwise",
        "m = Mul (h, k) c = Cast <to = 6> (m) a1 = BitwiseAnd (c, mask) "
        "o = BitwiseXor (a1, one) s = BitwiseNot (o) z = Cast <to = 1> (s)",
        {"k": 100.0, "mask": np.array(60, np.int32), "one": np.array(1, np.int32)},
        opset=18,
    ),
    vector(
        "bit-shift",
        "bitwise",
        "ab = Abs (h) m = Mul (ab, k) c = Cast <to = 12> (m) "
        's = BitShift <direction = "LEFT"> (c, n) z = Cast <to = 1> (s)',
        {"k": 100.0, "n": np.array(2, np.uint32)},
    ),
    vector("dropout-7", "elementwise", "z = Dropout <ratio = 0.5> (h)", opset=7),
    vector(
        "dropout-in-training", "random", "z = Dropout (h, r, t)", {"r": 0.5, "t": np.array(True)}, refusals=("chance",)
    ),
    vector("random-normal-like", "random", "n = RandomNormalLike (h) z = Add (h, n)", refusals=("chance",)),
    vector("identities", "elementwise", "i = Identity (h) j = Identity (i) z = Identity (j)"),
    vector("transposes", "elementwise", "t = Transpose (h) u = Transpose (t) z = Tanh (u)"),
    vector(
        "shape-of-shape", "elementwise", "s = Shape (h) e = ConstantOfShape <value = float[1] {2.0}> (s) z = Mul (h, e)"
    ),
    vector(
        "range-by-batch",
        "elementwise",
        "n = Shape <start = 0, end = 1> (h) m = Squeeze (n) r = Range (zero, m, one) g = Gather (h, r) z = Tanh (g)",
        {"zero": np.array(0), "one": np.array(1)},
    ),
    vector(
        "tile-expand",
        "elementwise",
        "u = Unsqueeze (h, ax) t = Tile (u, times) z = ReduceMean <axes = [1], keepdims = 0> (t)",
        {"ax": [1], "times": [1, 3, 1]},
    ),
    vector(
        "unsqueeze-twice-11",
        "elementwise",
        "u = Unsqueeze <axes = [1]> (h) v = Unsqueeze <axes = [1]> (u) z = Squeeze <axes = [1, 2]> (v)",
        opset=11,
    ),
    vector(
        "empty-tensor", "elementwise", "e = Slice (h, s, s, ax) z = Concat <axis = 1> (e, h)", {"s": [0], "ax": [1]}
    ),
    vector(
        "two-flattens",
        "elementwise",
        "r = Reshape (h, s) f = Flatten <axis = 1> (r) g = Flatten <axis = 2> (r) k = Reshape (g, b) z = Add (f, k)",
        {"s": [-1, 2, 4], "b": [-1, 8]},
    ),
    vector("scalar-and-gate", "elementwise", "g = Sigmoid (gate) z = Mul (h, g)", {"gate": 0.3}),
)

RECURRENT = (
    *(
        tokens(
            f"{op.lower()}-batch-second",
            "rnn",
            f"""t = Transpose <perm = [1, 0, 2]> (h) o, l = {op} <hidden_size = 8> (t, w, r)
            s = Squeeze (o, one) z = Transpose <perm = [1, 0, 2]> (s)""",
            {"w": (1, gates * 8, 8), "r": (1, gates * 8, 8), "one": [1]},
        )
        for op, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1))
    ),
    tokens(
        "lstm-bidirectional",
        "rnn",
        """t = Transpose <perm = [1, 0, 2]> (h)
        o, l, c = LSTM <hidden_size = 4, direction = "bidirectional"> (t, w, r, b)
        u = Transpose <perm = [2, 0, 1, 3]> (o) z = Reshape (u, s)""",
        {"w": (2, 16, 8), "r": (2, 16, 4), "b": (2, 32), "s": [0, 6, 8]},
    ),
    tokens(
        "lstm-initial-states",
        "rnn",
        """t = Transpose <perm = [1, 0, 2]> (h) n = Shape <start = 0, end = 1> (h)
        s0 = Concat <axis = 0> (one, n, eight) h0 = Expand (zero, s0)
        o, l, c = LSTM <hidden_size = 8> (t, w, r, , , h0, h0)
        s = Squeeze (o, one) z = Transpose <perm = [1, 0, 2]> (s)""",
        {"w": (1, 32, 8), "r": (1, 32, 8), "one": [1], "eight": [8], "zero": 0.0},
    ),
    tokens(
        "gru-7",
        "rnn",
        """t = Transpose <perm = [1, 0, 2]> (h) o, l = GRU <hidden_size = 8> (t, w, r)
        s = Squeeze <axes = [1]> (o) z = Transpose <perm = [1, 0, 2]> (s)""",
        {"w": (1, 24, 8), "r": (1, 24, 8)},
        opset=7,
    ),
    tokens(
        "lstm-over-batch",
        "rnn",
        """o, l = LSTM <hidden_size = 8> (h, w, r) z = Squeeze (o, one)""",
        {"w": (1, 32, 8), "r": (1, 32, 8), "one": [1]},
    ),
)

DETECTION = (
    of_text(
        "boxes-nms",
        "detection",
        "float[N, 3, 8, 8] x => float[N, 4] y, int64[K, 3] kept",
        """
        a = Conv (x, w) r = Relu (a) f = Flatten (r) b = MatMul (f, u) y = Tanh (b)
        boxes = Reshape (b, bs) scores = Reshape (b, ss) kept = NonMaxSuppression (boxes, scores, top)""",
        {"w": (4, 3, 3, 3), "u": (144, 4), "bs": [-1, 1, 4], "ss": [-1, 4, 1], "top": np.array([3])},
        refusals=("does not run",),
    ),
    of_text(
        "only-nms",
        "detection",
        "float[N, 4] x => int64[K, 3] kept",
        """
        a = MatMul (x, w) t = Tanh (a) boxes = Reshape (t, bs) s = ReduceMax <axes = [1], keepdims = 1> (t)
        scores = Reshape (s, ss) kept = NonMaxSuppression (boxes, scores, top)""",
        {"w": (4, 4), "bs": [-1, 1, 4], "ss": [-1, 1, 1], "top": np.array([3])},
        refusals=("answer kind",),
    ),
)

INTEGERS = (
    vector(
        "qdq",
        "quantised",
        "q = QuantizeLinear (h, s, p) z = DequantizeLinear (q, s, p)",
        {"s": 0.02, "p": np.uint8(128)},
        tolerance=EIGHT_BIT_TOLERANCE,
    ),
    vector(
        "qdq-16-bits",
        "quantised",
        "q = QuantizeLinear (h, s, p) z = DequantizeLinear (q, s, p)",
        {"s": 0.001, "p": np.int16(0)},
        opset=21,
        tolerance=EIGHT_BIT_TOLERANCE,
    ),
    vector(
        "dynamic-quantize-linear",
        "quantised",
        "q, s, p = DynamicQuantizeLinear (h) z = DequantizeLinear (q, s, p)",
        tolerance=0.1,
    ),
    vector(
        "matmul-integer",
        "quantised",
        "q, s, p = DynamicQuantizeLinear (h) m = MatMulInteger (q, w, p) c = Cast <to = 1> (m) z = Mul (c, s)",
        {"w": np.arange(-32, 32, dtype=np.int8).reshape(8, 8)},
        tolerance=0.1,
    ),
    image(
        "conv-integer",
        "quantised",
        "q, s, p = DynamicQuantizeLinear (h) m = ConvInteger (q, w, p) c = Cast <to = 1> (m) z = Mul (c, s)",
        {"w": np.arange(-32, 32, dtype=np.int8).reshape(8, 8, 1, 1)},
        tolerance=0.1,
    ),
    image(
        "pad-into-conv-integer",
        "quantised",
        "q, s, p = DynamicQuantizeLinear (h) pq = Pad (q, pads) m = ConvInteger (pq, w, p) "
        "c = Cast <to = 1> (m) z = Mul (c, s)",
        {"pads": [0, 0, 1, 1, 0, 0, 1, 1], "w": np.arange(-36, 36, dtype=np.int8).reshape(1, 8, 3, 3)},
        channels=1,
        tolerance=0.1,
    ),
    vector(
        "qlinear-matmul",
        "quantised",
        "q = QuantizeLinear (h, s, p) m = QLinearMatMul (q, s, p, w, s, wp, s2, p) z = DequantizeLinear (m, s2, p)",
        {
            "s": 0.02,
            "s2": 0.05,
            "p": np.uint8(128),
            "wp": np.int8(0),
            "w": np.arange(-32, 32, dtype=np.int8).reshape(8, 8),
        },
        tolerance=EIGHT_BIT_TOLERANCE,
    ),
    of_text(
        "integer-input-mean",
        "quantised",
        "int8[N, 8] x => float[N, 4] y",
        "f = Cast <to = 1> (x) a = MatMul (f, w) t = Tanh (a) b = MatMul (t, u) r = Relu (b) y = MatMul (r, v)",
        {"w": (8, 8), "u": (8, 8), "v": (8, 4)},
        high=100,
    ),
)

OPERATORS: tuple[ForeignGraph, ...] = (*LAYERS, *ARRAYS, *ELEMENTWISE, *RECURRENT, *DETECTION, *INTEGERS)
