"""Graphs of the layers of networks, as other exporters write them: in ONNX's text form, a few nodes each."""

import numpy as np

from splitplace.benchmarks.foreign_graphs import ForeignGraph, image, of_text, tokens

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

LAYERS: tuple[ForeignGraph, ...] = (*CONVOLUTION, *POOLING, *NORMALISATION, *RESIZING, *ATTENTION)
