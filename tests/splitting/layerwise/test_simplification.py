"""What is left out or rewritten on the way to normal form answers as it did, on inputs that no noise shows, too."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from splitplace.errors import IntegrityError
from splitplace.inference.executor import Array, Executor
from splitplace.splitting.artifact import SplitArtifact
from splitplace.splitting.layerwise import cutting

RNG = np.random.default_rng(6)


def model(body: str, weights: dict[str, Array], x: str = "float[n, 8] x", y: str = "float[n, 4] y") -> onnx.ModelProto:
    """A model in ONNX's text form, with w [8, 4] beside these weights."""
    made = parser.parse_graph(f"g ({x}) => ({y}) {{ {body} }}")
    for name, value in ({"w": RNG.normal(0, 0.4, (8, 4)).astype(np.float32)} | weights).items():
        made.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def numbers(*shape: int) -> Array:
    """Random weights."""
    return RNG.normal(0, 0.4, shape).astype(np.float32)


def cut(whole: onnx.ModelProto, fragments: int = 2) -> SplitArtifact:
    """The verified split."""
    return cutting.split(whole.SerializeToString(), fragments, slack=0.0)


def both(whole: onnx.ModelProto, x: Array) -> tuple[Array, Array]:
    """What the whole answers, and what its split does."""
    artifact = cut(whole)
    session = ort.InferenceSession(whole.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0], Executor(artifact.split, artifact.models.__getitem__).run({"x": x})


@pytest.mark.parametrize(("operator", "epsilon"), [("Add", 1e-8), ("Add", 1e-12), ("Sub", -1e-9)])
def test_an_epsilon_is_no_zero(operator: str, epsilon: float) -> None:
    """A norm of a row of zeros is kept from being divided by: as small as it is, left out the answer is NaN."""
    body = f"""a = MatMul (x, v) s = Mul (a, a) m = ReduceMean (s, last) e = {operator} (m, epsilon)
               r = Sqrt (e) d = Div (a, r) y = MatMul (d, w)"""
    weights = {"v": numbers(8, 8), "last": np.array([-1]), "epsilon": np.float32(epsilon)}
    whole, ours = both(model(body, weights), np.zeros((3, 8), np.float32))
    assert not whole.any() and np.array_equal(whole, ours)


@pytest.mark.parametrize(("operator", "number"), [("Mul", 1.000009), ("Div", 1.000009), ("Add", 0.0), ("Mul", 1.0)])
def test_what_is_close_to_one_is_not_one(operator: str, number: float) -> None:
    """The difference to what was multiplied is all that is answered; what really is one, or zero, is left out."""
    body = f"a = MatMul (x, v) b = {operator} (a, k) c = Sub (b, a) y = MatMul (c, w)"
    whole = model(body, {"v": numbers(8, 8), "k": np.float32(number)})
    x = numbers(32, 8)
    expected, ours = both(whole, x)
    assert np.array_equal(expected, ours)
    kept = [n.op_type for n in cutting.analyse(whole.SerializeToString()).graph.nodes]
    assert (operator in kept) == (number not in (0.0, 1.0))


@pytest.mark.parametrize(
    ("body", "taken"),
    [
        ("a = MatMul (x, v) f = Flatten (a) g = Add (f, more) y = MatMul (g, w)", "a/shape"),
        ("a = MatMul (x, v) f = Reshape (a, one) g = Reshape (f, two) h = Add (g, more) y = MatMul (h, w)", "g/shape"),
    ],
)
def test_a_weight_that_a_rule_makes_takes_no_name_of_others(body: str, taken: str) -> None:
    """The target that a rule makes for a Reshape took the place of a weight of that name."""
    weights = {"v": numbers(4, 4), "one": np.array([-1, 4, 2]), "two": np.array([-1, 8]), "more": numbers(8)}
    whole = model(body, weights, x="float[n, 2, 4] x")
    for tensor in (*whole.graph.initializer, *whole.graph.node):
        if isinstance(tensor, onnx.NodeProto):
            tensor.input[:] = [taken if name == "more" else name for name in tensor.input]
        elif tensor.name == "more":
            tensor.name = taken
    expected, ours = both(whole, numbers(5, 2, 4))
    assert np.allclose(expected, ours, atol=1e-6)


def convolutions(norm: str, weights: dict[str, Array], dtype: type = np.float32) -> onnx.ModelProto:
    """A convolution by k without a bias, what norm does with it, and a linear layer."""
    kind = int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
    body = f"""h = Cast <to = {kind}> (x) c = Conv <pads = [1, 1, 1, 1]> (h, k{", " * (dtype is np.float32)}) {norm}
               f = Cast <to = 1> (z) p = GlobalAveragePool (f) q = Flatten (p) y = MatMul (q, w)"""
    names = ("scale", "bias", "mean", "variance")
    stated = {name: np.abs(numbers(8)) + np.float32(0.5) for name in names}
    return model(body, {"k": numbers(8, 3, 3, 3).astype(dtype)} | stated | weights, x="float[n, 3, 6, 6] x")


NORM = "BatchNormalization (c, scale, bias, mean, variance)"


@pytest.mark.parametrize(
    ("norm", "dtype"),
    [(f"z = {NORM}", np.float32), (f"z = {NORM}", np.float16), (f"b = {NORM} z = Add (b, k_bias)", np.float32)],
)
def test_a_batch_normalisation_is_merged_where_it_is_of_the_same_numbers(norm: str, dtype: type) -> None:
    """Behind an input left empty, with statistics of another type than the layer's, and where names are taken."""
    whole = convolutions(norm, {"k_bias": numbers(8, 1, 1)}, dtype)
    expected, ours = both(whole, numbers(4, 3, 6, 6))
    assert np.allclose(expected, ours, atol=1e-2 if dtype is np.float16 else 1e-5)


@pytest.mark.parametrize(("value", "kind"), [(-1, TensorProto.UINT8), (300, TensorProto.UINT8), (2, TensorProto.INT32)])
def test_a_constant_that_is_cast_may_be_beyond_the_type(value: int, kind: int) -> None:
    """It is what onnxruntime makes of it, and no error of the rule that would write it so at once."""
    body = f"""a = MatMul (x, v) s = Shape (a) o = ConstantOfShape <value = int64[1] {{{value}}}> (s)
               c = Cast <to = {kind}> (o) f = Cast <to = 1> (c) b = Mul (a, f) y = MatMul (b, w)"""
    expected, ours = both(model(body, {"v": numbers(8, 8)}), numbers(4, 8))
    assert np.allclose(expected, ours, rtol=1e-5)


def test_sizes_of_minus_one_inside_a_model_vary() -> None:
    """Some exporters write -1 for the sizes of all values: it was taken for a number, twice in one target."""
    body = """a = MatMul (x, v) s = Shape <start = 0, end = 1> (x) to = Concat <axis = 0> (s, rest) r = Reshape (a, to)
              t = Transpose <perm = [0, 2, 1]> (r) u = Shape <start = 0, end = 1> (t) back = Concat <axis = 0> (u, flat)
              z = Reshape (t, back) y = MatMul (z, w)"""
    whole = model(body, {"v": numbers(8, 8), "rest": np.array([2, 4]), "flat": np.array([8])}, y="float[n, 4] y")
    stated = {"r": [-1, -1, -1], "t": [-1, -1, -1], "z": [-1, -1], "a": [-1, 8]}
    for name, sizes in stated.items():
        whole.graph.value_info.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes))
    expected, ours = both(whole, numbers(5, 8))
    assert np.allclose(expected, ours, atol=1e-6)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("a = MatMul (x, v) u = Tanh (w) w = Tanh (a) y = MatMul (w, v)", "makes 'w', as one of its weights is called"),
        ("a = MatMul (x, v) u = Tanh (x) x = Tanh (a) y = MatMul (x, w)", "makes 'x', as one of its inputs is called"),
    ],
)
def test_a_node_that_makes_what_is_there_is_refused(body: str, words: str) -> None:
    """By its name, where it was a traceback."""
    with pytest.raises(IntegrityError, match=words):
        cut(model(body, {"v": numbers(8, 8)}))
