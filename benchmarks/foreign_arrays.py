"""Graphs around operators on arrays: taking, putting, ordering and adding up numbers along axes."""

import numpy as np

from splitplace.benchmarks.foreign_graphs import ForeignGraph, of_text, tokens, vector

F32 = np.float32

INDEXING = (
    tokens("gather", "gather", "z = Gather <axis = 1> (h, i)", {"i": [5, 3, 1, 0, 2, 2]}),
    tokens(
        "gather-negative-scalar",
        "gather",
        "g = Gather <axis = 1> (h, i) u = Unsqueeze (g, one) z = Add (h, u)",
        {"i": np.array(-1), "one": [1]},
    ),
    tokens(
        "gather-elements", "gather", "t, i = TopK <axis = 1> (h, k) z = GatherElements <axis = 1> (h, i)", {"k": [6]}
    ),
    tokens(
        "gather-nd",
        "gather",
        "z = GatherND <batch_dims = 0> (h, i)",
        {"i": np.tile(np.arange(2)[:, None], (1, 1))},
        refusals=("batch lost", "answer kind"),
    ),
    of_text(
        "embedding",
        "gather",
        "int64[N, 6] x => float[N, 4] y",
        "e = Gather (table, x) t = Tanh (e) f = Flatten (t) a = MatMul (f, w) b = Relu (a) y = MatMul (b, v)",
        {"table": (50, 8), "w": (48, 8), "v": (8, 4)},
        high=50,
    ),
    of_text(
        "embedding-int32-positions",
        "gather",
        "int32[N, 6] x => float[N, 4] y",
        "e = Gather (table, x) p = Gather (places, order) s = Add (e, p) f = Flatten (s) "
        "a = MatMul (f, w) b = Relu (a) y = MatMul (b, v)",
        {"table": (50, 8), "places": (6, 8), "order": [0, 1, 2, 3, 4, 5], "w": (48, 8), "v": (8, 4)},
        high=50,
    ),
    vector(
        "slice",
        "gather",
        "p = Slice (h, s, e, ax) q = Slice (h, e, big, ax) z = Concat <axis = 1> (q, p)",
        {"s": [0], "e": [4], "ax": [1], "big": [2**31 - 1]},
    ),
    vector(
        "slice-thirds",
        "gather",
        "p = Slice (h, s, e, ax) q = Slice (h, e, big, ax) z = Concat <axis = 1> (q, p)",
        {"s": [0], "e": [3], "ax": [1], "big": [8]},
    ),
    vector("slice-backwards", "gather", "z = Slice (h, s, e, ax, st)", {"s": [-1], "e": [-9], "ax": [-1], "st": [-1]}),
    vector(
        "slice-9",
        "gather",
        "p = Slice <axes = [1], starts = [0], ends = [4]> (h) "
        "q = Slice <axes = [1], starts = [4], ends = [8]> (h) z = Concat <axis = 1> (q, p)",
        opset=9,
    ),
    vector(
        "slice-halves-opset-13",
        "gather",
        "p = Slice (h, s, e, ax) q = Slice (h, e, t, ax) z = Concat <axis = 1> (q, p)",
        {"s": [0], "e": [4], "ax": [1], "t": [8]},
        opset=13,
    ),
    vector(
        "one-hot",
        "gather",
        "i = ArgMax <axis = 1, keepdims = 0> (h) o = OneHot (i, depth, values) z = Add (o, h)",
        {"depth": np.array(8), "values": np.array([0, 1], F32)},
    ),
    vector(
        "compress",
        "gather",
        "c = Compress <axis = 1> (h, keep) z = Concat <axis = 1> (c, c)",
        {"keep": np.array([1, 0, 1, 0, 1, 0, 1, 0], bool)},
    ),
    tokens(
        "scatter-elements",
        "scatter",
        "z = ScatterElements <axis = 1> (h, i, u)",
        {"i": np.zeros((1, 2, 8), np.int64), "u": (1, 2, 8)},
    ),
    tokens(
        "scatter-nd-add",
        "scatter",
        'z = ScatterND <reduction = "add"> (h, i, u)',
        {"i": np.array([[0, 1]]), "u": (1, 8)},
        opset=18,
        refusals=("no batch",),
    ),
    vector(
        "scatter-elements-over-batch-shape",
        "scatter",
        "s = Shape (h) e = Expand (zero, s) z = ScatterElements <axis = 1> (h, e, h)",
        {"zero": np.array([[0]])},
    ),
    vector(
        "nonzero",
        "gather",
        "b = Greater (h, zero) n = NonZero (b) t = Transpose (n) g = GatherND (h, t) m = ReduceMean (g) z = Add (h, m)",
        {"zero": 0.0},
    ),
    vector("where", "gather", "c = Less (h, zero) n = Neg (h) z = Where (c, n, h)", {"zero": 0.0}),
    vector(
        "reverse-sequence",
        "gather",
        "r = Reshape (h, s) n = Shape <start = 0, end = 1> (h) lens = Expand (three, n) "
        "q = ReverseSequence <batch_axis = 0, time_axis = 1> (r, lens) z = Reshape (q, b)",
        {"s": [-1, 4, 2], "b": [-1, 8], "three": [3]},
    ),
)

REDUCTION = (
    *(
        tokens(f"{op.lower()}-attribute", "reduce", f"r = {op} <axes = [1], keepdims = 1> (h) z = Add (h, r)")
        for op in ("ReduceMax", "ReduceL2", "ReduceLogSumExp", "ReduceProd")
    ),
    tokens("reduce-sum-input", "reduce", "r = ReduceSum (h, ax) z = Add (h, r)", {"ax": [-1]}),
    tokens("reduce-mean-18", "reduce", "r = ReduceMean (h, ax) z = Mul (h, r)", {"ax": [1, 2]}, opset=18),
    tokens("reduce-nothing", "reduce", "r = ReduceSum <noop_with_empty_axes = 1> (h) z = Add (h, r)"),
    tokens("reduce-all", "reduce", "r = ReduceMax <keepdims = 0> (h) z = Sub (h, r)"),
    tokens("reduce-over-batch", "reduce", "r = ReduceMax <axes = [0]> (h) z = Sub (h, r)"),
    vector("cumsum", "reduce", "z = CumSum <reverse = 1> (h, ax)", {"ax": np.array(1)}),
    vector("cumsum-over-batch", "reduce", "z = CumSum (h, ax)", {"ax": np.array(0)}),
    vector("argmax-cast", "reduce", "i = ArgMax <axis = 1> (h) f = Cast <to = 1> (i) z = Add (h, f)"),
    vector(
        "topk",
        "reduce",
        "v, i = TopK <largest = 0> (h, k) f = Cast <to = 1> (i) z = Concat <axis = 1> (v, f)",
        {"k": [4]},
    ),
    vector("hardmax", "reduce", "m = Hardmax (h) z = Add (h, m)"),
    vector("softmax-12", "reduce", "z = Softmax (h)", opset=12),
    tokens("softmax-flattening-11", "reduce", "z = Softmax <axis = 1> (h)", opset=11),
    tokens("log-softmax", "reduce", "z = LogSoftmax <axis = 1> (h)"),
    vector("einsum", "einsum", 'z = Einsum <equation = "ij,jk->ik"> (h, w)', {"w": (8, 8)}),
    tokens(
        "einsum-heads",
        "einsum",
        's = Einsum <equation = "bqd,bkd->bqk"> (h, h) z = Einsum <equation = "bqk,bkd->bqd"> (s, h)',
    ),
    tokens(
        "einsum-across-the-batch",
        "einsum",
        's = Einsum <equation = "bqd,cqd->bc"> (h, h) z = Einsum <equation = "bc,cqd->bqd"> (s, h)',
    ),
    tokens("matmul-broadcast", "einsum", "z = MatMul (w, h)", {"w": (1, 6, 6)}),
    vector(
        "gemm-transposed",
        "einsum",
        "z = Gemm <transB = 1, alpha = 0.5, beta = 2.0> (h, w, b)",
        {"w": (8, 8), "b": (8,)},
    ),
    vector("gemm-zero-bias-9", "einsum", "z = Gemm (h, w, b)", {"w": (8, 8), "b": np.zeros(8, F32)}, opset=9),
    vector(
        "gemm-bn",
        "einsum",
        "g = Gemm <beta = 0.5> (h, w, b) z = BatchNormalization (g, s, b, m, v)",
        {"w": (8, 8), "b": (8,), "s": (8,), "m": (8,), "v": np.arange(1, 9, dtype=F32)},
    ),
    vector("det", "einsum", "r = Reshape (h, s) d = Det (r) z = Concat <axis = 1> (d, d, d, d)", {"s": [-1, 2, 2, 2]}),
)

ARRAYS: tuple[ForeignGraph, ...] = (*INDEXING, *REDUCTION)
