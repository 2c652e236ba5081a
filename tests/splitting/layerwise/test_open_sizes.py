"""Sizes that exporters leave open besides the batch: heights, widths, tokens."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper, parser

import splitplace as sp
from splitplace.api.sample_shape import MAX_NUMBERS, SampleShape
from splitplace.inference.executor import Array, open_session

RNG = np.random.default_rng(12)
LAYERS = """a = Conv <pads = [1, 1, 1, 1]> (x, w) r = Relu (a) b = Conv <pads = [1, 1, 1, 1]> (r, v) s = Shape (b)
            two = Constant <value_ints = [2]> () end = Constant <value_ints = [9]> () sizes = Slice (s, two, end)
            scale = Constant <value_ints = [2, 2]> () large = Mul (sizes, scale)
            zero = Constant <value_ints = [0]> () first = Slice (s, zero, two) to = Concat <axis = 0> (first, large)
            u = Resize <mode = "nearest"> (b, , , to) y = GlobalAveragePool (u)"""
TOKENS = """h = Gather (t, x) m = Cast <to = 1> (mask) last = Constant <value_ints = [-1]> () n = Unsqueeze (m, last)
            k = Mul (h, n) p = ReduceMean <keepdims = 0> (k, one) a = MatMul (p, q) b = Tanh (a) y = MatMul (b, q)"""


def images(x: str = "float[n, 3, H, W] x") -> bytes:
    """A model of images of any size."""
    return model(LAYERS, x, "float[n, 4, 1, 1] y", w=RNG.normal(size=(8, 3, 3, 3)), v=RNG.normal(size=(4, 8, 3, 3)))


def tokens(x: str) -> bytes:
    """A model of tokens and their mask."""
    return model(TOKENS, x, "float[n, 6] y", t=RNG.normal(size=(9, 6)), q=RNG.normal(size=(6, 6)), one=np.array([1]))


def model(body: str, x: str, y: str, **weights: Array) -> bytes:
    """A model in ONNX's text form."""
    made = parser.parse_graph(f"g ({x}) => ({y}) {{ {body} }}")
    for name, value in weights.items():
        numbers = value.astype(np.float32) if value.dtype.kind == "f" else value
        made.initializer.append(numpy_helper.from_array(numbers, name))
    whole = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    for value in whole.graph.input:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == "unknown":
                dim.ClearField("dim_param")
    written: bytes = whole.SerializeToString()
    return written


@pytest.mark.parametrize("x", ["n, 3, H, W", "n, 3, H, H", "n, unknown, unknown, unknown", "1, 3, H, W"])
@pytest.mark.parametrize("shape", [(3, 6, 10), "3,6,10", ["x=3,6,10"], {"x": (3, 6, 10)}])
def test_a_model_of_images_of_any_size_is_cut_for_one(x: str, shape: SampleShape, tmp_path: object) -> None:
    """However they are called, two by one name as Paddle's, or not at all; it answers what the whole answers."""
    whole = images(f"float[{x}] x")
    done = sp.split(whole, fragments=2, slack=0, shape=shape)
    assert len(done.fragments) == 2 and done.split.inputs[0].shape == ("batch", 3, 6, 10)
    x_NCHW = RNG.normal(size=(1, 3, 6, 10)).astype(np.float32)
    answer = sp.infer(sp.export(done, f"{tmp_path}/c").location, x_NCHW).logits
    np.testing.assert_allclose(answer, open_session(whole).run(["y"], {"x": x_NCHW})[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", ["5", 5, "x=5", {"mask": [5]}, {"x": 5}, ["x=5", "mask=5"]])
def test_inputs_share_what_they_call_alike(shape: SampleShape) -> None:
    """The length of one of several token inputs is that of all."""
    done = sp.split(tokens("int64[n, len] x, int64[n, len] mask"), fragments=2, shape=shape)
    assert {spec.name: spec.shape for spec in done.split.inputs} == {"x": ("batch", 5), "mask": ("batch", 5)}


def test_inputs_that_call_it_otherwise_are_asked_for() -> None:
    """By the name of the one whose size is not known yet."""
    with pytest.raises(sp.ContractError, match=r"dimension 1 of input 'mask' is other; .*--shape mask=other"):
        sp.split(tokens("int64[n, len] x, int64[n, other] mask"), fragments=2, shape="x=5")


def test_an_input_without_a_shape_gets_one() -> None:
    """Its first size is the batch."""
    whole = onnx.ModelProto.FromString(images())
    whole.graph.input[0].type.tensor_type.ClearField("shape")
    done = sp.split(whole.SerializeToString(), fragments=2, shape=(3, 6, 6))
    assert done.split.inputs[0].shape == ("batch", 3, 6, 6)


def test_what_is_missing_is_said_with_the_option() -> None:
    """As it is to be written, but for the numbers."""
    with pytest.raises(sp.ContractError, match=r"dimension 2 of input 'x' is H; .*--shape x=3,H,W, with numbers"):
        sp.split(images(), fragments=2)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ("6,6", "--shape 6,6 for input 'x', expected the sizes of a sample as 3,H,W"),
        ("4,6,6", "--shape 4,6,6 for input 'x', expected the sizes of a sample as 3,H,W"),
        ("z=3,6,6", "unknown input of the model 'z'|unknown input of model 'z'"),
        ("3,6,x", "--shape 3,6,x: expected the sizes of a sample"),
        (3.5, "--shape 3.5: expected the sizes of a sample"),
        ("3,0,6", "--shape 3,0,6: expected the sizes of a sample"),
        ((3, -1, 6), "--shape 3,-1,6: expected the sizes of a sample"),
        (["x=3,6,6", "x=3,6,6"], "--shape x=3,6,6: expected the sizes of a sample"),
        ("3,99999,99999", f"numbers a sample, expected at most {MAX_NUMBERS}"),
    ],
)
def test_sizes_that_are_none_or_others_than_the_models_are_refused(shape: SampleShape, words: str) -> None:
    """In a line: what was given, what is expected."""
    with pytest.raises(sp.SplitPlaceError, match=words):
        sp.split(images(), fragments=2, shape=shape)


def test_sizes_of_a_model_that_leaves_none_open_are_refused() -> None:
    """The option would be without effect."""
    with pytest.raises(sp.UsageError, match="leaves no size open but the batch"):
        sp.split(images("float[n, 3, 6, 6] x"), fragments=2, shape=(3, 6, 6))


def test_normalised_images_of_any_size_become_a_split_that_reads_files() -> None:
    """The size is known before `mean` and `std` look for it."""
    done = sp.split(images(), fragments=1, shape=(3, 6, 6), mean=[0.5] * 3, std=[0.5] * 3)
    rule = done.split.preprocessing.before if done.split.preprocessing else None
    assert rule is not None and (rule.channels, rule.height, rule.width) == (3, 6, 6)
