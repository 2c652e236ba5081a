"""A batch that an exporter fixed is freed wherever it stands: each row is answered as the file answers it."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper, parser

from splitplace.errors import ContractError, IntegrityError
from splitplace.inference.executor import Array, Executor, open_session
from splitplace.splitting.layerwise import cutting
from splitplace.splitting.layerwise.batch_place import BatchPlace, reshaped

RNG = np.random.default_rng(21)


def numbers(*shape: int) -> Array:
    """Random weights."""
    return RNG.normal(0, 0.4, shape).astype(np.float32)


def model(body: str, weights: dict[str, Array], x: list[int], y: list[int], opset: int = 17) -> onnx.ModelProto:
    """A model in ONNX's text form of these weights."""
    made = parser.parse_graph(f"g (float{x} x) => (float{y} y) {{ {body} }}")
    made.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items())
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def off(whole: onnx.ModelProto, x: Array, batch: int) -> float:
    """By what share of the largest answer a split in two differs from the file, which takes `batch` rows at once."""
    artifact = cutting.split(whole.SerializeToString(), 2, slack=0.0)
    session = open_session(whole.SerializeToString())
    fed = [np.repeat(x[i : i + 1], batch, axis=0) for i in range(len(x))]
    expected = np.concatenate([session.run(None, {"x": rows})[0][:1] for rows in fed])
    got = Executor(artifact.split, artifact.models.__getitem__).run({"x": x})
    assert got.shape == expected.shape
    return float(np.abs(got - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("batch", [1, 3])
def test_attention_with_time_in_front_is_freed(batch: int) -> None:
    """PyTorch's MultiheadAttention: heads stand behind the batch in one axis, then rows behind time in another."""
    body = """s = Transpose <perm = [1, 0, 2]> (x) a = MatMul (s, p) r = Reshape (a, heads)
              q = Transpose <perm = [1, 0, 2]> (r) k = Transpose <perm = [1, 2, 0]> (r) l = MatMul (q, k)
              m = Softmax <axis = -1> (l) o = MatMul (m, q) t = Transpose <perm = [1, 0, 2]> (o) f = Reshape (t, rows)
              g = Gemm (f, p) h = Reshape (g, back) u = Transpose <perm = [1, 0, 2]> (h) e = Tanh (u) y = MatMul (e, w)
           """
    targets = {"heads": [5, 2 * batch, 4], "rows": [5 * batch, 8], "back": [5, batch, 8]}
    weights = {name: np.array(sizes) for name, sizes in targets.items()} | {"p": numbers(8, 8), "w": numbers(8, 4)}
    assert off(model(body, weights, [batch, 5, 8], [batch, 5, 4]), numbers(4, 5, 8), batch) < 1e-5


def test_a_batch_that_is_as_large_as_other_sizes_is_told_from_them() -> None:
    """Patches of 2 by 2, of two images: the batch is in front of the first axis, and each further 2 is none."""
    body = """r = Reshape (x, patches) t = Transpose <perm = [0, 2, 1, 3]> (r) h = Tanh (t) f = Reshape (h, rows)
              y = MatMul (f, w)"""
    weights = {"patches": np.array([2 * 4, 2, 2, 2]), "rows": np.array([2, 32]), "w": numbers(32, 4)}
    assert off(model(body, weights, [2, 4, 2, 4], [2, 4]), numbers(4, 4, 2, 4), 2) < 1e-5


@pytest.mark.parametrize("kept", ["Squeeze (q, two)", "ReduceMax <axes = [2]> (q)", "Gather <axis = 2> (q, zero)"])
def test_the_batch_is_followed_through_axes_that_come_and_go(kept: str) -> None:
    """Unsqueezed, transposed, and one axis taken out again, before it becomes a part of another one."""
    keeps = "" if "Reduce" not in kept else " , keepdims = 0"
    body = f"""s = Transpose <perm = [1, 0, 2]> (x) u = Unsqueeze (s, none) q = Transpose <perm = [1, 2, 0, 3]> (u)
               z = {kept.replace("[2]", f"[2]{keeps}")} r = Reshape (z, heads) n = Transpose <perm = [1, 0, 2]> (r)
               l = Softmax <axis = 1> (n) b = Transpose <perm = [1, 0, 2]> (l) f = Reshape (b, back)
               t = Transpose <perm = [1, 0, 2]> (f) e = Tanh (t) y = MatMul (e, w)"""
    weights = {"none": np.array([0]), "two": np.array([2]), "zero": np.array(0), "w": numbers(8, 4)}
    weights |= {"heads": np.array([5, 2, 4]), "back": np.array([5, 1, 8])}
    assert off(model(body, weights, [1, 5, 8], [1, 5, 4]), numbers(4, 5, 8), 1) < 1e-5


@pytest.mark.parametrize("operator", ["Add (each, a)", "Mul (a, each)", "Where (mask, a, each)"])
def test_of_what_is_added_to_every_sample_one_row_is_kept(operator: str) -> None:
    """Positions, folded to a row for each of three samples."""
    body = f"a = MatMul (x, p) b = {operator} h = Tanh (b) y = MatMul (h, w)"
    weights = {"p": numbers(8, 8), "w": numbers(8, 4), "each": np.repeat(numbers(1, 5, 8), 3, axis=0)}
    weights |= {"mask": np.repeat(RNG.random((1, 5, 8)) < 0.5, 3, axis=0)}
    assert off(model(body, weights, [3, 5, 8], [3, 5, 4]), numbers(4, 5, 8), 3) < 1e-5


def test_rows_that_differ_are_kept_apart() -> None:
    """They are no constant of every sample: nobody can say what a fourth one has."""
    body = "a = MatMul (x, p) b = Add (a, each) h = Tanh (b) y = MatMul (h, w)"
    weights = {"p": numbers(8, 8), "w": numbers(8, 4), "each": numbers(3, 5, 8)}
    with pytest.raises(ContractError, match="the batch is fixed at 3"):
        off(model(body, weights, [3, 5, 8], [3, 5, 4]), numbers(4, 5, 8), 3)


def test_what_cannot_be_freed_is_no_riddle() -> None:
    """That the rows of other batches answer otherwise is no news to who exported it: what to do is said."""
    body = "r = Reshape (x, apart) l = Softmax <axis = 0> (r) f = Reshape (l, back) h = Tanh (f) y = MatMul (h, w)"
    weights = {"apart": np.array([2, 4]), "back": np.array([1, 8]), "w": numbers(8, 4)}
    with pytest.raises(IntegrityError, match=r"is refused at batch .* fixed at 1 .*: export it with a symbolic batch"):
        off(model(body, weights, [1, 8], [1, 4]), numbers(4, 8), 1)


def test_an_expand_leaves_the_batch_as_it_is() -> None:
    """A norm, one number a sample, brought to the form of what it divides."""
    body = """a = MatMul (x, p) n = ReduceL2 <axes = [1], keepdims = 1> (a) e = Expand (n, form) d = Div (a, e)
              y = MatMul (d, w)"""
    weights = {"p": numbers(8, 8), "w": numbers(8, 4), "form": np.array([3, 8])}
    assert off(model(body, weights, [3, 8], [3, 4]), numbers(4, 8), 3) < 1e-5


LSTM = """s = Transpose <perm = [1, 0, 2]> (x) {state} o = LSTM <hidden_size = 4> (s, lw, lr, , , {name}, {name})
          q = Squeeze (o, one) t = Transpose <perm = [1, 0, 2]> (q) h = Tanh (t) y = MatMul (h, u)"""
COMPUTED = """z = Shape (s) b = Gather (z, one) to = Concat <axis = 0> (one, b, four) state = Expand (given, to)"""


@pytest.mark.parametrize("opset", [13, 17])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("state", ["", COMPUTED], ids=["stated", "expanded"])
def test_states_that_are_no_zeros_are_stated_once_a_sample(batch: int, state: str, opset: int) -> None:
    """What a recurrent layer begins with, learned: one row, for each sample of the fixed batch."""
    weights = {"lw": numbers(1, 16, 8), "lr": numbers(1, 16, 4), "u": numbers(4, 4), "one": np.array([1])}
    weights |= {"given": np.repeat(numbers(1, 1, 4), batch, axis=1), "four": np.array([4])}
    body = LSTM.format(state=state, name="state" if state else "given")
    assert off(model(body, weights, [batch, 5, 8], [batch, 5, 4], opset), numbers(4, 5, 8), batch) < 1e-5


@pytest.mark.parametrize(
    ("place", "given", "made", "batch", "after"),
    [
        (BatchPlace(0), [3, 20], [3, 4, 5], 3, BatchPlace(0)),
        (BatchPlace(1), [7, 3, 6], [7, 6, 3], 3, BatchPlace(1, 2)),
        (BatchPlace(1, 2), [7, 6, 3], [21, 6], 3, BatchPlace(0)),
        (BatchPlace(1, 2), [7, 6, 3], [7, 3, 6], 3, BatchPlace(1)),
        (BatchPlace(1, 2), [7, 6, 3], [7 * 6 * 3], 3, BatchPlace(0, 6)),
        (BatchPlace(1), [7, 1, 6], [7, 2, 3], 1, BatchPlace(1, 2)),
        (BatchPlace(1, 2), [7, 2, 3], [7, 6], 1, BatchPlace(0)),
        (BatchPlace(0), [1, 8, 8], [4, 4, 4], 1, BatchPlace(0, 4)),
        (BatchPlace(0), [4, 6], [3, 8], 4, None),
    ],
)
def test_a_reshape_takes_the_batch_along_by_its_stride(
    place: BatchPlace, given: list[int], made: list[int], batch: int, after: BatchPlace | None
) -> None:
    """As a digit of the flat index; nowhere, where it would be in parts of two axes."""
    assert reshaped(place, given, made, batch) == after
