"""Operators that onnxruntime has beside the standard, as its optimiser writes them; sizes that exporters compute."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper, parser

from splitplace.errors import IntegrityError
from splitplace.export.convert.precision import with_precision
from splitplace.inference.executor import Array, Executor, open_session
from splitplace.splitting.layerwise import cutting

RNG = np.random.default_rng(15)


def numbers(*shape: int) -> Array:
    """Random weights."""
    return RNG.normal(0, 0.4, shape).astype(np.float32)


def model(
    body: str, opset: int, weights: dict[str, Array], x: str = "float[n, 8] x", y: str = "float[n, 4] y"
) -> onnx.ModelProto:
    """A model in ONNX's text form of these weights."""
    made = parser.parse_graph(f"g ({x}) => ({y}) {{ {body} }}")
    made.initializer.extend(numpy_helper.from_array(value, name) for name, value in weights.items())
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def off(whole: onnx.ModelProto, x: Array, fragments: int = 3) -> float:
    """By what share of the largest answer so many fragments differ from the whole, whose batch may be fixed at one."""
    artifact = cutting.split(whole.SerializeToString(), fragments, slack=0.0)
    assert len(artifact.models) == fragments
    session = open_session(whole.SerializeToString())
    expected = np.concatenate([session.run(None, {"x": x[i : i + 1]})[0] for i in range(len(x))])
    got = Executor(artifact.split, artifact.models.__getitem__).run({"x": x})
    return float(np.abs(got - expected).max() / np.abs(expected).max())


NORM = "a = MatMul (x, v) h = {norm} y = MatMul (h, w)"
LAYER = "LayerNormalization <axis = -1> (a, s, b)"
SIMPLE = "SimplifiedLayerNormalization <axis = -1, epsilon = 1e-5, stash_type = 1> (a, s)"


@pytest.mark.parametrize(("norm", "opset"), [(LAYER, 9), (LAYER, 16), (SIMPLE, 13), (SIMPLE, 18)])
def test_what_the_runtimes_optimiser_writes_is_cut(norm: str, opset: int) -> None:
    """A norm as one operator, in an opset before the standard had it: the ONNX checker knows none."""
    weights = {"v": numbers(8, 8), "w": numbers(8, 4), "s": numbers(8), "b": numbers(8)}
    assert off(model(NORM.format(norm=norm), opset, weights), numbers(5, 8)) < 1e-5


def test_in_a_branch_it_is_taken_as_well() -> None:
    """The checker looks into branches, too."""
    body = f"""a = MatMul (x, v) m = ReduceMax <keepdims = 0> (a) zero = Constant <value_float = -9.0> ()
               t = Greater (m, zero)
               h = If (t) <then_branch = p () => (float[n, 8] i) {{ i = {LAYER} }},
                           else_branch = q () => (float[n, 8] j) {{ j = Identity (a) }}> y = MatMul (h, w)"""
    weights = {"v": numbers(8, 8), "w": numbers(8, 4), "s": numbers(8), "b": numbers(8)}
    assert off(model(body, 16, weights), numbers(5, 8), 2) < 1e-5


def test_what_the_standard_has_no_more_is_taken_where_the_runtime_has_it() -> None:
    """GroupNormalization of opset 18, deprecated since."""
    body = """c = Conv (x, k) h = GroupNormalization <num_groups = 2> (c, s, b) p = GlobalAveragePool (h)
              q = Flatten (p) y = MatMul (q, w)"""
    weights = {"k": numbers(8, 3, 3, 3), "s": numbers(2), "b": numbers(2), "w": numbers(8, 4)}
    assert off(model(body, 18, weights, "float[n, 3, 6, 6] x"), numbers(5, 3, 6, 6), 2) < 1e-5


def test_it_is_converted_to_smaller_numbers() -> None:
    """The checker looks at what the converter made as well."""
    weights = {"v": numbers(8, 8), "w": numbers(8, 4), "s": numbers(8), "b": numbers(8)}
    artifact = cutting.split(model(NORM.format(norm=SIMPLE), 16, weights).SerializeToString(), 2, slack=0.0)
    x = numbers(40, 8)
    for precision in ("float16", "int8"):
        narrow = with_precision(artifact, precision, x)
        got, expected = (Executor(one.split, one.models.__getitem__).run({"x": x}) for one in (narrow, artifact))
        assert np.abs(got - expected).max() < 0.1 * np.abs(expected).max()


@pytest.mark.parametrize("operator", ["Frobnicate (a)", "Tanh (a, b)"])
def test_what_nobody_has_is_refused_in_the_checkers_words(operator: str) -> None:
    """Neither an operator that the runtime does not know, nor one of the standard's that is called wrongly, passes."""
    weights = {"v": numbers(8, 8), "w": numbers(8, 4), "b": numbers(8)}
    with pytest.raises(IntegrityError, match="the ONNX checker refuses it"):
        cutting.split(model(NORM.format(norm=operator), 16, weights).SerializeToString(), 2)


def test_a_token_of_a_size_that_is_computed_is_folded() -> None:
    """A class token expanded to a fixed batch of 1 as PyTorch writes it: inference does not follow the size's Where."""
    body = """a = MatMul (x, v) given = Constant <value_ints = [1, -1, -1]> () minus = Constant <value_ints = [-1]> ()
              ones = Constant <value_ints = [1, 1, 1]> () e = Equal (given, minus) to = Where (e, ones, given)
              t = Expand (token, to) c = Concat <axis = 1> (t, a) h = Tanh (c) b = MatMul (h, v) y = MatMul (b, w)"""
    weights = {"v": numbers(8, 8), "w": numbers(8, 4), "token": numbers(1, 1, 8)}
    whole = model(body, 17, weights, "float[1, 5, 8] x", "float[1, 6, 4] y")
    assert off(whole, numbers(3, 5, 8)) < 1e-5
