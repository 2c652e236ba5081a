"""Conversions of fragments that hold more than float32 numbers, and answers that are no numbers."""

import logging

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser
from onnxruntime.quantization import quantize_dynamic

import splitplace as sp
from splitplace.errors import ContractError, SplitPlaceError
from splitplace.export.catalog_writer import CatalogWriter
from splitplace.export.convert import precision
from splitplace.export.convert.precision import with_precision
from splitplace.inference.executor import RUNTIME_ERRORS, Executor, one_line, open_session
from splitplace.splitting.layerwise import cutting

RNG = np.random.default_rng(8)
X = RNG.normal(size=(40, 8)).astype(np.float32)


def model(body, opset=21, dtype=np.float32, weights=(), x="float[n, 8] x", y="float[n, 4] y"):
    """A model in ONNX's text form of the weights v [8, 8] and w [8, 4]."""
    made = parser.parse_graph(f"g ({x}) => ({y}) {{ {body} }}")
    for name, shape in (("v", (8, 8)), ("w", (8, 4))):
        made.initializer.append(numpy_helper.from_array(RNG.normal(0, 0.4, shape).astype(dtype), name))
    made.initializer.extend(weights)
    for i, node in enumerate(made.node):
        node.name = f"node {i}"
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


LAYERS = "a = MatMul (x, v) h = Tanh (a) b = MatMul (h, v) t = Tanh (b) y = MatMul (t, w)"


def cut(whole, fragments=2):
    """The verified split."""
    return cutting.split(whole.SerializeToString(), fragments, slack=0.0)


def answer(artifact, x=X):
    """What a split answers."""
    return Executor(artifact.split, artifact.models.__getitem__).run({"x": x})


def near(got, expected, share):
    """Within this share of the answers' range."""
    return np.abs(got - expected).max() < share * np.ptp(expected)


MASKED = """a = MatMul (x, v) zero = Constant <value = float {0}> () m = Greater (a, zero) p = MatMul (a, v)
            low = Constant <value = float {-1e30}> () s = Where (m, p, low) h = Softmax (s) y = MatMul (h, w)"""


def test_truths_between_fragments_are_compared_as_truths():
    """A mask crosses a cut: it was subtracted as if it were a number, which is a traceback."""
    artifact = cut(model(MASKED), 5)
    assert "bool" in {spec.dtype for fragment in artifact.split.fragments for spec in fragment.outputs}
    assert near(answer(with_precision(artifact, "float16")), answer(artifact), 0.05)


def test_truths_that_turn_over_in_float16_are_refused(monkeypatch):
    """The comparison looks at them: a converter that turns them over is found out."""
    convert = precision.float16

    def turned(proto, feed):
        done = convert(proto, feed)
        for node in done.graph.node:
            node.op_type = "LessOrEqual" if node.op_type == "Greater" else node.op_type
        return done

    monkeypatch.setattr(precision, "float16", turned)
    with pytest.raises(SplitPlaceError, match=r"100\.0% of 'm' are others"):
        with_precision(cut(model(MASKED), 5), "float16")


def test_four_bit_numbers_inside_a_fragment_are_no_obstacle():
    """Of which numpy has no type: looking for numbers beyond float16 asks for none of them."""
    body = "q = QuantizeLinear <axis = 1> (x, s, z) d = DequantizeLinear (q, s, z) a = MatMul (d, v) y = MatMul (a, w)"
    weights = [
        numpy_helper.from_array(np.array(0.3, np.float32), "s"),
        helper.make_tensor("z", TensorProto.INT4, [], [0]),
    ]
    narrow = precision.float16(model(body, weights=weights), {"x": X})
    assert TensorProto.FLOAT16 in {tensor.data_type for tensor in narrow.graph.initializer}


@pytest.mark.parametrize("kind", ["float16", "int8"])
def test_a_conversion_that_changes_nothing_is_refused(kind):
    """A model in float64 keeps its numbers: `REF-float16` would be a name for what is none."""
    artifact = cut(model(LAYERS, dtype=np.float64, x="double[n, 8] x", y="double[n, 4] y"))
    with pytest.raises(ContractError, match=f"{kind} changes nothing.*float64"):
        with_precision(artifact, kind, X.astype(np.float64))


def quantised(tmp_path):
    """A model that onnxruntime's quantiser made, its scales taken from the batch as it comes."""
    onnx.save(model(LAYERS, opset=13), tmp_path / "m.onnx")
    quantize_dynamic(tmp_path / "m.onnx", tmp_path / "q.onnx")
    return cutting.split((tmp_path / "q.onnx").read_bytes(), 2, slack=0.0)


def test_a_quantised_split_is_not_quantised_again(tmp_path):
    """In the converter's words it failed for 'h_scale'; the operator is named, and what to do."""
    with pytest.raises(SplitPlaceError, match="makes 8-bit numbers already: export it as it is"):
        with_precision(quantised(tmp_path), "int8", X)


def test_float16_leaves_quantising_operators_alone(tmp_path):
    """They take float32; what is around them becomes smaller."""
    artifact = quantised(tmp_path)
    assert near(answer(with_precision(artifact, "float16")), answer(artifact), 0.05)


def test_weights_of_four_bits_count_half_a_byte():
    """As in the split that they are converted from."""
    weights = [
        helper.make_tensor("q", TensorProto.INT4, [8, 8], RNG.integers(-8, 8, 64)),
        numpy_helper.from_array(np.float32(0.1).reshape(()), "s"),
    ]
    body = "d = DequantizeLinear (q, s) a = MatMul (x, d) h = Tanh (a) b = MatMul (h, v) t = Tanh (b) y = MatMul (t, w)"
    artifact = cut(model(body, weights=weights))
    first = with_precision(artifact, "float16").split.fragments[0]
    assert first.weight_bytes <= artifact.split.fragments[0].weight_bytes == 32 + 4


def test_nothing_but_the_error_is_said_of_a_run_that_fails(capfd):
    """The runtime would write it to the terminal as well, in colours."""
    whole = model("to = Constant <value_ints = [-1, 5]> () r = Reshape (x, to) y = Identity (r)", y="float[m, 5] y")
    session = open_session(whole.SerializeToString())
    with pytest.raises(Exception, match="reshape"):
        session.run(["y"], {"x": X[:1]})
    assert capfd.readouterr() == ("", "")


def test_a_run_that_fails_is_told_without_places_in_foreign_code():
    """What comes after them is what a user can do something with."""
    whole = model("to = Constant <value_ints = [-1, 5]> () r = Reshape (x, to) y = Identity (r)", y="float[m, 5] y")
    session = open_session(whole.SerializeToString())
    with pytest.raises(RUNTIME_ERRORS) as caught:
        session.run(["y"], {"x": X[:1]})
    assert "onnxruntime_src" in str(caught.value) and "onnxruntime_src" not in one_line(caught.value)
    assert "reshape" in one_line(caught.value)


@pytest.fixture
def catalog(tmp_path):
    """A catalog of one split with classes that have names."""
    artifact = cut(model(LAYERS)).described(("ant", "bee", "cat", "dog"), None)
    CatalogWriter(tmp_path / "catalog").write(artifact)
    return tmp_path / "catalog"


def test_an_answer_that_is_no_number_has_no_class(catalog, caplog):
    """Of all that cannot be compared, the first class would be the largest; it was answered without a word."""
    x = X[:5].copy()
    x[[1, 3], 2] = np.nan
    with caplog.at_level(logging.WARNING):
        done = sp.infer(str(catalog), x)
    assert (done.labels == -1).tolist() == [False, True, False, True, False]
    assert [name == "" for name in done.names] == [False, True, False, True, False]
    assert "2 of 5 inputs are NaN" in caplog.text


def test_no_accuracy_is_made_of_answers_that_are_no_numbers(catalog):
    """They counted as the first class, right where that is the label."""
    x = X.copy()
    x[7] = np.nan
    with pytest.raises(SplitPlaceError, match="answers to 1 of 40 images are NaN"):
        sp.evaluate(str(catalog), images=x, labels=np.zeros(40, np.int64))


def test_arrays_are_taken_in_any_byte_order(catalog):
    """As fleets take them: the numbers are the same."""
    np.testing.assert_array_equal(sp.infer(str(catalog), X.astype(">f4")).logits, sp.infer(str(catalog), X).logits)


def test_numbers_of_another_type_are_told_how_to_be_given(catalog):
    """float64 is what numpy makes by itself."""
    with pytest.raises(SplitPlaceError, match=r"got float64\[40, 8\], expected float32.*\.astype\('float32'\)"):
        sp.infer(str(catalog), X.astype(np.float64))


@pytest.mark.parametrize("opset", [12, 17, 21])
@pytest.mark.parametrize("operator", ["h = Celu <alpha = 2.0> (a)", "i = IsInf (a) h = Where (i, v0, a)"])
def test_operators_that_take_float32_alone_keep_it(operator, opset):
    """The converter does not know them as such: it was refused in the words of the checker."""
    zero = numpy_helper.from_array(np.float32(0), "v0")
    artifact = cut(model(f"a = MatMul (x, v) {operator} y = MatMul (h, w)", opset=opset, weights=[zero]))
    assert near(answer(with_precision(artifact, "float16")), answer(artifact), 0.01)


TURNED = """t = Transpose <perm = [1, 0, 2]> (x) m = MatMul (t, v) h = Tanh (m)
            y = Transpose <perm = [1, 0, 2]> (h)"""


def test_a_product_of_turned_batches_becomes_float16():
    """Onnxruntime fuses both and ends the process: attention with time in front was refused."""
    artifact = cut(model(TURNED, x="float[n, 3, 8] x", y="float[n, 3, 8] y"), 1)
    x = RNG.normal(size=(32, 3, 8)).astype(np.float32)
    assert near(answer(with_precision(artifact, "float16"), x), answer(artifact, x), 0.01)


def test_a_scaler_makes_float32_in_a_float16_split_too():
    """Operators of ai.onnx.ml have one type of answer: joined with float16 they were refused."""
    whole = model(
        f"s = Identity (x) c = Concat <axis = 1> (s, x) k = MatMul (c, u) {LAYERS.replace('(x, v)', '(k, v)')}"
    )
    whole.graph.initializer.append(numpy_helper.from_array(RNG.normal(size=(16, 8)).astype(np.float32), "u"))
    scaler = helper.make_node("Scaler", ["x"], ["s"], name="node 0", domain="ai.onnx.ml", offset=[0.1], scale=[2.0])
    whole.graph.node[0].CopyFrom(scaler)
    whole.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    artifact = cut(whole)
    assert near(answer(with_precision(artifact, "float16")), answer(artifact), 0.02)


def test_a_loop_that_reads_what_is_made_around_it_becomes_int8():
    """The quantiser does not see what a body reads, and put the loop before what makes it."""
    body = """h = Tanh (a) trips = Constant <value_ints = [2]> () yes = Constant <value = bool {1}> ()
              l = Loop (trips, yes, x) <body = g (int64 i, bool c, float[n, 8] k) => (bool e, float[n, 8] o)
                { e = Identity (c) t = Add (k, h) o = Tanh (t) }>
              y = MatMul (l, w)"""
    whole = model(f"a = MatMul (x, v) {body}")
    artifact = cut(whole, 1)
    got = answer(with_precision(artifact, "int8", X))
    assert near(got, answer(artifact), 0.1)


def test_a_mask_that_only_later_rows_have_is_left_alone_by_int8():
    """Numbers that stand for infinity were looked for on the first four rows, and beside them 8 bits tell nothing."""
    body = """z = Constant <value = float {3.0}> () i = Constant <value_ints = [0]> () f = Gather <axis = 1> (x, i)
              m = Greater (f, z) low = Constant <value = float {-1e30}> () a = MatMul (x, v) s = Where (m, low, a)
              h = Softmax (s) b = MatMul (h, v) y = MatMul (b, w)"""
    x = np.clip(X, -2, 2)
    x[20:24, 0] = 4
    artifact = cut(model(body), 1)
    assert near(answer(with_precision(artifact, "int8", x), x), answer(artifact, x), 0.1)


def test_rows_of_no_number_are_named_where_int8_is_calibrated_on_them():
    """A row whose mask leaves nothing: the quantiser says "scale issue"."""
    artifact = cut(model("a = MatMul (x, v) l = Log (a) b = MatMul (l, v) y = MatMul (b, w)"), 1)
    with pytest.raises(SplitPlaceError, match=r"f0: cannot be converted: its .* \(NaN\) on some rows of --calibration"):
        with_precision(artifact, "int8", X)


def test_a_model_of_float16_without_scales_of_it_is_refused_for_that():
    """Before opset 19 a scale is of float32: it was the checker's word for it, in the quantiser's names."""
    artifact = cut(model(LAYERS, 17, np.float16, x="float16[n, 8] x", y="float16[n, 4] y"), 1)
    with pytest.raises(
        SplitPlaceError, match=r"weight .* is of float16, and scales are of float32 alone before opset 19"
    ):
        with_precision(artifact, "int8", X.astype(np.float16))
