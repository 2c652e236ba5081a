"""Graphs by their numbers: of each opset, quantised, float16, and with more than 2 GB of them."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from splitplace.benchmarks.foreign_graphs import (
    EIGHT_BIT_TOLERANCE,
    FLOAT16_TOLERANCE,
    ForeignGraph,
    Weight,
    of_model,
    of_text,
    parsed,
)

F32 = np.float32
Make = Callable[[], onnx.ModelProto]
LARGE_ROWS = 160_000
"""Rows of 4,000 numbers in each of the large weights: 2.56 GB in one, 320 MB in eight."""

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


def _small_cnn() -> onnx.ModelProto:
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
    shapes: dict[str, Weight] = {
        "w0": (8, 16),
        "wq": (16, 16),
        "wk": (16, 16),
        "wv": (16, 16),
        "ls": (16,),
        "lb": (16,),
        "u": (96, 4),
    }
    return parsed("float[N, 6, 8] x => float[N, 4] y", body, shapes, 17)


def _quantised(make: Make, how: str, **options: Any) -> Make:
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


def _float16(make: Make, **options: Any) -> Make:
    def build() -> onnx.ModelProto:
        from onnxruntime.transformers.float16 import convert_float_to_float16

        converted: onnx.ModelProto = convert_float_to_float16(make(), **options)
        return converted

    return build


_NARROWING: tuple[tuple[str, str, float, Callable[[Make], Make]], ...] = (
    ("qdq-static", "quantised", EIGHT_BIT_TOLERANCE, lambda make: _quantised(make, "qdq")),
    ("qdq-per-channel", "quantised", EIGHT_BIT_TOLERANCE, lambda make: _quantised(make, "qdq", per_channel=True)),
    ("qoperator-static", "quantised", EIGHT_BIT_TOLERANCE, lambda make: _quantised(make, "qoperator")),
    ("dynamic", "quantised", 0.1, lambda make: _quantised(make, "dynamic")),
    ("float16", "float16", FLOAT16_TOLERANCE, lambda make: _float16(make)),
    ("float16-inside", "float16", FLOAT16_TOLERANCE, lambda make: _float16(make, keep_io_types=True)),
)

NARROW = tuple(
    of_model(f"{kind}-{name}", family, narrow(make), tolerance=tolerance)
    for name, make in (("cnn", _small_cnn), ("transformer", _small_transformer))
    for kind, family, tolerance, narrow in _NARROWING
)


def _large(layers: int, rows: int) -> Callable[[Path], None]:
    """Layers of [4000, rows], whose weights are holes of one file beside the model: it takes no disk."""

    def build(path: Path) -> None:
        size = 4000 * rows * 4
        body, h = "", "x"
        for i in range(layers):
            body += f"a{i} = MatMul ({h}, w{i}) m{i} = ReduceMax <axes = [1]> (a{i}) h{i} = MatMul (m{i}, v{i}) "
            h = f"h{i}"
        body += f"y = MatMul ({h}, u)"
        weights: dict[str, Weight] = {"u": (4000, 4)}
        weights |= {f"v{i}": (1, 4000) for i in range(layers)}
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

NUMBERS: tuple[ForeignGraph, ...] = (*OPSETS, *NARROW, *LARGE)
