"""Forms of operators that the quantiser makes something else of, or nothing, unless they are stated otherwise."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper, parser

from splitplace.errors import SplitPlaceError
from splitplace.export.convert import precision
from splitplace.export.convert.int8 import int8
from splitplace.export.convert.odd_numbers import Feed
from splitplace.export.convert.precision import with_precision
from splitplace.inference.executor import Array, Executor, open_session
from splitplace.splitting.layerwise import cutting

RNG = np.random.default_rng(12)
X = RNG.normal(size=(64, 8)).astype(np.float32)


def numbers(*shape: int) -> Array:
    """Random weights."""
    return RNG.normal(0, 0.4, shape).astype(np.float32)


def model(body: str, weights: dict[str, Array], x: str = "float[n, 8] x", opset: int = 18) -> onnx.ModelProto:
    """A model in ONNX's text form, with names for its nodes."""
    made = parser.parse_graph(f"g ({x}) => (float[n, 4] y) {{ {body} }}")
    made.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items())
    for i, node in enumerate(made.node):
        node.name = f"node {i}"
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def off(whole: onnx.ModelProto, x: Array) -> float:
    """By what share of the largest answer int8 differs from float32, at most."""
    expected = open_session(whole.SerializeToString()).run(None, {"x": x})[0]
    got = open_session(int8(whole, {"x": x}).SerializeToString()).run(None, {"x": x})[0]
    return float(np.abs(got - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("beta", [1.0, 2.0, 0.1])
@pytest.mark.parametrize("bias", [(), (1,), (6,), (1, 6)])
def test_a_bias_counts_as_often_as_its_factor_says(beta: float, bias: tuple[int, ...]) -> None:
    """The quantiser leaves the factor out, which is more than a third of an answer, and fails on a row of biases."""
    body = f"a = Gemm <transB = 1, beta = {beta}, alpha = 0.5> (x, v, b) r = Relu (a) y = Gemm (r, w, c)"
    weights = {"v": numbers(6, 8), "b": 5 * numbers(*bias), "w": numbers(6, 4), "c": numbers(4)}
    assert off(model(body, weights), X) < 0.05


def test_a_bias_that_others_read_is_left_to_them() -> None:
    """Stated with its factor it is another weight, beside the one that an addition, and a branch, read."""
    body = """a = Gemm <beta = 3.0> (x, v, b) s = Add (a, b) one = Constant <value_float = 1.0> ()
              m = ReduceMax <keepdims = 0> (x) t = Greater (m, one)
              r = If (t) <then_branch = p () => (float[n, 4] i) { i = Identity (s) },
                          else_branch = q () => (float[n, 4] j) { j = Add (s, b) }> y = Relu (r)"""
    whole = model(body, {"v": numbers(8, 4), "b": numbers(4)})
    assert off(whole, X) < 0.05


@pytest.mark.parametrize(("low", "high"), [(-0.5, -0.1), (0.1, 0.6), (2.0, 1.0), (-0.5, 0.5)])
def test_limits_that_zero_is_outside_of_are_kept(low: float, high: float) -> None:
    """The quantiser leaves a Clip to the range of the 8 bits, in which zero always is."""
    body = "a = MatMul (x, v) h = Clip (a, low, high) y = MatMul (h, w)"
    weights = {"v": numbers(8, 8), "w": numbers(8, 4), "low": np.float32(low), "high": np.float32(high)}
    assert off(model(body, weights), X) < 0.05


def test_limits_are_attributes_in_an_old_opset() -> None:
    """As Clip had them before opset 11."""
    body = "a = MatMul (x, v) h = Clip <min = 0.1, max = 0.6> (a) y = MatMul (h, w)"
    assert off(model(body, {"v": numbers(8, 8), "w": numbers(8, 4)}, opset=10), X) < 0.05


@pytest.mark.parametrize("low", [-np.inf, -1e9, np.finfo(np.float32).min])
def test_what_stands_for_nothing_is_not_quantised(low: float) -> None:
    """Beside a mask of -inf all was NaN, beside one of -1e9 all scores were one number; no word was said."""
    body = """a = MatMul (x, v) s = Add (a, mask) h = Softmax <axis = 1> (s) t = Mul (h, far) y = MatMul (t, w)"""
    mask = np.where(np.arange(8) % 3 == 1, np.float32(low), np.float32(0))
    weights = {"v": 2 * numbers(8, 8), "w": numbers(8, 4), "mask": mask, "far": np.float32(3)}
    assert off(model(body, weights), X) < 0.1


def test_a_grouped_transposed_convolution_is_left_in_float32() -> None:
    """Its biases are by channel and its scales by channel of a group: the quantiser fails on it, and on it alone."""
    body = """h = Conv (x, k) z = ConvTranspose <group = 2, strides = [2, 2]> (h, t, b) p = GlobalAveragePool (z)
              q = Flatten (p) y = MatMul (q, w)"""
    weights = {"k": numbers(4, 3, 3, 3), "t": numbers(4, 3, 3, 3), "b": numbers(6), "w": numbers(6, 4)}
    whole = model(body, weights, x="float[n, 3, 8, 8] x")
    images = RNG.normal(size=(40, 3, 8, 8)).astype(np.float32)
    artifact = cutting.split(whole.SerializeToString(), 2, slack=0.0)
    narrow = with_precision(artifact, "int8", images)
    got, expected = (Executor(one.split, one.models.__getitem__).run({"x": images}) for one in (narrow, artifact))
    assert np.abs(got - expected).max() < 0.05 * np.abs(expected).max()
    kinds = {
        tensor.data_type for data in narrow.models.values() for tensor in onnx.load_from_string(data).graph.initializer
    }
    assert onnx.TensorProto.INT8 in kinds


@pytest.mark.parametrize("opset", [8, 9])
@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_pixels_of_an_old_opset_stay_where_they_are(mode: str, opset: int) -> None:
    """The quantiser raises the opset, by a converter that leaves out how an Upsample takes pixels: others came out."""
    scales = "" if opset == 9 else ", scales = [1.0, 1.0, 1.5, 2.5]"
    body = f"""c = Conv (x, k) r = Upsample <mode = "{mode}"{scales}> (c{", s" if opset == 9 else ""})
               q = Flatten (r) y = MatMul (q, w)"""
    weights = {"k": numbers(2, 3, 3, 3), "w": numbers(2 * 9 * 15, 4)}
    weights |= {"s": np.array([1, 1, 1.5, 2.5], np.float32)} if opset == 9 else {}
    whole = model(body, weights, x="float[n, 3, 8, 8] x", opset=opset)
    images = RNG.normal(size=(40, 3, 8, 8)).astype(np.float32)
    assert off(whole, images) < 0.05


@pytest.mark.parametrize("broken", ["shuffled", "zero", "not a number"])
def test_what_was_broken_rather_than_quantised_is_refused(monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    """By a converter that leaves something else of a weight, or of its scales; told by the tensor that is wrong."""
    kind = onnx.TensorProto.FLOAT if broken == "not a number" else onnx.TensorProto.INT8

    def breaks(whole: onnx.ModelProto, feed: Feed) -> onnx.ModelProto:
        converted = int8(whole, feed)
        for tensor in converted.graph.initializer:
            if tensor.data_type == kind and tensor.name.startswith("w"):
                values = numpy_helper.to_array(tensor)
                shuffled = np.random.default_rng(0).permutation(values.ravel()).reshape(values.shape)
                made = {"shuffled": shuffled, "zero": 0 * values, "not a number": np.full_like(values, np.nan)}
                tensor.CopyFrom(numpy_helper.from_array(made[broken], tensor.name))
        return converted

    whole = model("a = MatMul (x, v) h = Relu (a) y = MatMul (h, w)", {"v": numbers(8, 6), "w": numbers(6, 4)})
    artifact = cutting.split(whole.SerializeToString(), 1)
    with_precision(artifact, "int8", X)
    monkeypatch.setattr(precision, "int8", breaks)
    with pytest.raises(SplitPlaceError, match=r"f0: in int8 'y' is off by (inf|\d+)% of what its values differ by"):
        with_precision(artifact, "int8", X)
