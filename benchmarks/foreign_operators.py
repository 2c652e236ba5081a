"""Graphs of each family of operators, as other exporters write them: in ONNX's text form, a few nodes each."""

import numpy as np

from splitplace.benchmarks.foreign_graphs import EIGHT_BIT_TOLERANCE, ForeignGraph, image, of_text, tokens, vector

F32 = np.float32
PADS = "pads = [1, 1, 1, 1]"

CONVOLUTION = (
    image("conv-grouped", "conv", f"z = Conv <kernel_shape = [3, 3], {PADS}, group = 4> (h, w)", {"w": (8, 2, 3, 3)}),
    image("conv-depthwise-dilated", "conv", "z = Conv <group = 8, dilations = [2, 2]> (h, w)", {"w": (8, 1, 3, 3)}),
    image(
        "conv-same-upper", "conv", 'z = Conv <auto_pad = "SAME_UPPER", strides = [2, 2]> (h, w)', {"w": (8, 8, 3, 3)}
    ),
    image("conv-asymmetric-pads", "conv", "z = Conv <pads = [0, 2, 1, 0]> (h, w, b)", {"w": (8, 8, 3, 3), "b": (8,)}),
    image("conv-zero-bias", "conv", "z = Conv (h, w, b)", {"w": (8, 8, 1, 1), "b": np.zeros(8, F32)}),
    image(
        "conv-transpose",
        "conv",
        "z = ConvTranspose <strides = [2, 2], output_padding = [1, 1], group = 2> (h, w)",
        {"w": (8, 4, 3, 3)},
    ),
    image(
        "conv-computed-kernel",
        "conv",
        "m = ReduceMean <axes = [0, 2, 3], keepdims = 1> (w) c = Sub (w, m) z = Conv (h, c)",
        {"w": (8, 8, 3, 3)},
    ),
    image(
        "conv-bn-shared-kernel",
        "conv",
        f"""c = Conv <{PADS}> (h, w) d = BatchNormalization (c, s, b, mean, var)
        e = Conv <{PADS}> (d, w) z = BatchNormalization (e, s2, b, mean, var)""",
        {"w": (8, 8, 3, 3), "s": (8,), "s2": (8,), "b": (8,), "mean": (8,), "var": np.arange(1, 9, dtype=F32)},
    ),
    image(
        "conv-transpose-bn",
        "conv",
        "c = ConvTranspose <group = 2> (h, w) z = BatchNormalization (c, s, b, mean, var)",
        {"w": (8, 4, 3, 3), "s": (8,), "b": (8,), "mean": (8,), "var": np.arange(1, 9, dtype=F32)},
    ),
    of_text(
        "conv-1d",
        "conv",
        "float[N, 3, 20] x => float[N, 4] y",
        "a = Conv (x, w) b = Relu (a) c = Conv <strides = [2]> (b, v) d = GlobalMaxPool (c) "
        "e = Flatten (d) y = MatMul (e, u)",
        {"w": (8, 3, 3), "v": (8, 8, 3), "u": (8, 4)},
    ),
    of_text(
        "conv-3d",
        "conv",
        "float[N, 2, 6, 6, 6] x => float[N, 4] y",
        "a = Conv (x, w) b = LeakyRelu (a) c = MaxPool <kernel_shape = [2, 2, 2]> (b) "
        "d = Flatten (c) y = MatMul (d, u)",
        {"w": (4, 2, 3, 3, 3), "u": (4 * 27, 4)},
    ),
    image(
        "pad-into-conv",
        "conv",
        "p = Pad (h, pads) z = Conv (p, w)",
        {"pads": [0, 0, 1, 1, 0, 0, 1, 1], "w": (8, 8, 3, 3)},
    ),
    image(
        "pad-reflect",
        "conv",
        'p = Pad <mode = "reflect"> (h, pads) z = Conv (p, w)',
        {"pads": [0, 0, 2, 1, 0, 0, 1, 2], "w": (8, 8, 3, 3)},
    ),
    image(
        "pad-of-a-number",
        "conv",
        "p = Pad (h, pads, five) z = Conv (p, w)",
        {"pads": [0, 0, 1, 1, 0, 0, 1, 1], "five": 5.0, "w": (8, 8, 3, 3)},
    ),
    image(
        "deform-conv",
        "conv",
        "o = Conv (h, ow) z = DeformConv (h, w, o)",
        {"ow": (18, 8, 3, 3), "w": (8, 8, 3, 3)},
        opset=19,
    ),
)

POOLING = (
    image("max-pool-indices", "pool", "z, i = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (h)"),
    image("max-pool-ceil", "pool", "z = MaxPool <kernel_shape = [3, 3], strides = [2, 2], ceil_mode = 1> (h)"),
    image("average-pool-count", "pool", f"z = AveragePool <kernel_shape = [3, 3], {PADS}, count_include_pad = 1> (h)"),
    image("lp-pool", "pool", "z = LpPool <kernel_shape = [2, 2], p = 2> (h)"),
    image("global-lp-pool", "pool", "z = GlobalLpPool <p = 2> (h)"),
    image(
        "max-unpool",
        "pool",
        "p, i = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (h) "
        "z = MaxUnpool <kernel_shape = [2, 2], strides = [2, 2]> (p, i)",
        refusals=("no batch",),  # its indices run over the whole batch
    ),
    image(
        "roi-align",
        "pool",
        "z = RoiAlign <output_height = 2, output_width = 2> (h, rois, which)",
        {"rois": np.array([[0, 0, 6, 6]], F32), "which": [0]},
        refusals=("batch lost", "answer kind"),
    ),
)

NORMALISATION = (
    image(
        "bn-alone",
        "norm",
        "r = Relu (h) z = BatchNormalization (r, s, b, mean, var)",
        {"s": (8,), "b": (8,), "mean": (8,), "var": np.arange(1, 9, dtype=F32)},
    ),
    image(
        "bn-in-training",
        "norm",
        f"c = Conv <{PADS}> (h, w) z, m, v = BatchNormalization <training_mode = 1> (c, s, b, mean, var)",
        {"w": (8, 8, 3, 3), "s": (8,), "b": (8,), "mean": (8,), "var": np.arange(1, 9, dtype=F32)},
    ),
    image("instance-norm", "norm", "z = InstanceNormalization (h, s, b)", {"s": (8,), "b": (8,)}),
    image("group-norm", "norm", "z = GroupNormalization <num_groups = 2> (h, s, b)", {"s": (8,), "b": (8,)}, opset=21),
    image("lrn", "norm", "z = LRN <size = 3> (h)"),
    tokens("layer-norm", "norm", "z = LayerNormalization (h, s, b)", {"s": (8,), "b": (8,)}),
    tokens("rms-norm", "norm", "z = RMSNormalization (h, s)", {"s": (8,)}, opset=23),
    tokens("lp-norm", "norm", "z = LpNormalization (h)"),
    tokens(
        "layer-norm-by-hand",
        "norm",
        """m = ReduceMean <axes = [-1]> (h) d = Sub (h, m) q = Pow (d, two) v = ReduceMean <axes = [-1]> (q)
        e = Add (v, eps) r = Sqrt (e) n = Div (d, r) z = Mul (n, s)""",
        {"two": 2.0, "eps": 1e-5, "s": (8,)},
    ),
    image("mean-variance-norm", "norm", "z = MeanVarianceNormalization <axes = [2, 3]> (h)"),
    image("mean-variance-over-batch", "norm", "z = MeanVarianceNormalization (h)"),
)

RESIZING = (
    image("resize-nearest", "resize", "z = Resize (h, , scales)", {"scales": np.array([1, 1, 2, 2], F32)}),
    image(
        "resize-linear-sizes",
        "resize",
        """n = Shape <start = 0, end = 2> (h) sizes = Concat <axis = 0> (n, px)
        z = Resize <mode = "linear", coordinate_transformation_mode = "align_corners"> (h, , , sizes)""",
        {"px": [7, 9]},
    ),
    image(
        "resize-cubic",
        "resize",
        'z = Resize <mode = "cubic"> (h, , scales)',
        {"scales": np.array([1, 1, 1.5, 1.5], F32)},
    ),
    image("upsample-9", "resize", "z = Upsample (h, scales)", {"scales": np.array([1, 1, 2, 2], F32)}, opset=9),
    image("upsample-7", "resize", "z = Upsample <scales = [1.0, 1.0, 2.0, 2.0]> (h)", opset=7),
    image("resize-10", "resize", "z = Resize (h, scales)", {"scales": np.array([1, 1, 2, 2], F32)}, opset=10),
    image("depth-to-space", "resize", "z = DepthToSpace <blocksize = 2> (h)", channels=2),
    image("space-to-depth", "resize", "z = SpaceToDepth <blocksize = 2> (h)", channels=32),
    image(
        "grid-sample",
        "resize",
        """b = Shape <start = 0, end = 1> (h) s = Concat <axis = 0> (b, rest) t = Expand (theta, s)
        size = Concat <axis = 0> (b, chw) g = AffineGrid (t, size) z = GridSample (h, g)""",
        {"rest": [2, 3], "chw": [8, 6, 6], "theta": np.array([[[1, 0.1, 0], [0, 0.9, 0.1]]], F32)},
        opset=20,
    ),
    image("center-crop-pad", "resize", "z = CenterCropPad <axes = [2, 3]> (h, px)", {"px": [8, 14]}, opset=18),
)

ATTENTION = (
    tokens(
        "attention-by-hand",
        "attention",
        """q = MatMul (h, wq) k = MatMul (h, wk) v = MatMul (h, wv) kt = Transpose <perm = [0, 2, 1]> (k)
        s = MatMul (q, kt) p = Softmax <axis = -1> (s) o = MatMul (p, v) z = Add (o, h)""",
        {"wq": (8, 8), "wk": (8, 8), "wv": (8, 8)},
        blocks=3,
    ),
    tokens(
        "attention-heads",
        "attention",
        """qkv = MatMul (h, w) r = Reshape (qkv, heads) t = Transpose <perm = [2, 0, 3, 1, 4]> (r)
        q0, k0, v0 = Split <axis = 0> (t, ones) q = Squeeze (q0, zero) k = Squeeze (k0, zero) v = Squeeze (v0, zero)
        kt = Transpose <perm = [0, 1, 3, 2]> (k) s = MatMul (q, kt) p = Softmax (s) o = MatMul (p, v)
        u = Transpose <perm = [0, 2, 1, 3]> (o) z = Reshape (u, back)""",
        {"w": (8, 24), "heads": [0, 6, 3, 2, 4], "ones": [1, 1, 1], "zero": [0], "back": [0, 6, 8]},
    ),
    tokens("attention-23", "attention", "z = Attention <q_num_heads = 2, kv_num_heads = 2> (h, h, h)", opset=23),
    tokens(
        "attention-causal-23",
        "attention",
        "z = Attention <q_num_heads = 2, kv_num_heads = 2, is_causal = 1> (h, h, h)",
        opset=23,
    ),
    tokens(
        "attention-com-microsoft",
        "attention",
        "z = com.microsoft.Attention <num_heads = 2> (h, w, b)",
        {"w": (8, 24), "b": (24,)},
        domains=("com.microsoft",),
    ),
    tokens(
        "skip-layer-norm-com-microsoft",
        "attention",
        "z = com.microsoft.SkipLayerNormalization (h, a, s, b)",
        {"s": (8,), "b": (8,)},
        domains=("com.microsoft",),
    ),
    tokens("gelu-com-microsoft", "attention", "z = com.microsoft.Gelu (h)", domains=("com.microsoft",)),
    tokens(
        "mask-trilu",
        "attention",
        """t = Transpose <perm = [0, 2, 1]> (h) s = MatMul (h, t) up = Trilu <upper = 1> (full, one) m = Add (s, up)
        p = Softmax (m) z = MatMul (p, h)""",
        {"full": np.full((6, 6), -1e9, F32), "one": np.array(1)},
    ),
    tokens(
        "rotary-by-hand",
        "attention",
        "p, q = Split <axis = 2> (h) n = Neg (q) r = Concat <axis = 2> (n, p) "
        "c = Mul (h, cos) s = Mul (r, sin) z = Add (c, s)",
        {"cos": (6, 8), "sin": (6, 8)},
        opset=13,
    ),
    tokens(
        "attention-across-the-batch",
        "attention",
        "t = Transpose <perm = [1, 0, 2]> (h) u = Transpose <perm = [1, 2, 0]> (h) "
        "s = MatMul (t, u) p = Softmax (s) o = MatMul (p, t) "
        "z = Transpose <perm = [1, 0, 2]> (o)",
    ),
)

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

OPERATORS: tuple[ForeignGraph, ...] = (
    *CONVOLUTION,
    *POOLING,
    *NORMALISATION,
    *RESIZING,
    *ATTENTION,
    *INDEXING,
    *REDUCTION,
    *ELEMENTWISE,
    *RECURRENT,
    *DETECTION,
    *INTEGERS,
)
