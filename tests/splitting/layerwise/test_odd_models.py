"""Models that say of themselves what is not so, or whose sizes nobody can say, and files that are no models."""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

import splitplace as sp
from splitplace.errors import ContractError, IntegrityError
from splitplace.inference.executor import Array, Executor
from splitplace.splitting.artifact import SplitArtifact
from splitplace.splitting.layerwise import cutting, recompose
from splitplace.splitting.layerwise import model as reading

RNG = np.random.default_rng(4)
LAYERS = "a = MatMul (x, v) h = Tanh (a) b = MatMul (h, v) t = Tanh (b) y = MatMul (t, w)"


def graph(body: str = LAYERS, x: str = "float[n, 8] x", y: str = "float[n, 4] y", opset: int = 18) -> onnx.ModelProto:
    """A model in ONNX's text form of the weights v [8, 8] and w [8, 4]."""
    made = parser.parse_graph(f"g ({x}) => ({y}) {{ {body} }}")
    for name, shape in (("v", (8, 8)), ("w", (8, 4))):
        made.initializer.append(numpy_helper.from_array(RNG.normal(0, 0.4, shape).astype(np.float32), name))
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def unoptimised(whole: onnx.ModelProto, feed: dict[str, Array]) -> Array:
    """What the operators answer, whatever the file states of their shapes."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = ort.InferenceSession(whole.SerializeToString(), options, providers=["CPUExecutionProvider"])
    answer: Array = session.run(["y"], feed)[0]
    return answer


def run(artifact: SplitArtifact, feed: dict[str, Array]) -> Array:
    """What the split answers."""
    return Executor(artifact.split, artifact.models.__getitem__).run(feed)


FLATTENED = """a = MatMul (x, v) h = Tanh (a) s = Shape <start = 0, end = 1> (h) rest = Constant <value_ints = [-1]> ()
               to = Concat <axis = 0> (s, rest) r = Reshape (h, to) b = MatMul (r, v) t = Tanh (b) y = MatMul (t, w)"""


@pytest.mark.parametrize(("name", "stated"), [("h", [1, 8]), ("r", [1, 8]), ("a", ["n", 9]), ("y", [1, 4]), ("t", [8])])
def test_shapes_that_are_not_so_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, stated: list[int | str]
) -> None:
    """A batch that was freed by editing the input leaves the old one in what the file states of all else."""
    whole = graph(FLATTENED)
    if name == "y":
        whole.graph.output[0].CopyFrom(helper.make_tensor_value_info(name, TensorProto.FLOAT, stated))
    else:
        whole.graph.value_info.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, stated))
    onnx.save(whole, tmp_path / "m.onnx")
    with caplog.at_level(logging.WARNING):
        artifact = cutting.split(reading.read(tmp_path / "m.onnx"), 2, slack=0.0)
    assert f"it states {name!r} as float[" in caplog.text
    x = RNG.normal(size=(5, 8)).astype(np.float32)
    assert len(artifact.models) == 2
    np.testing.assert_allclose(run(artifact, {"x": x}), unoptimised(whole, {"x": x}), atol=1e-5)


def test_shapes_that_are_so_are_read_as_before(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file whose statements hold, by whatever names of sizes, is read byte by byte as it is."""
    whole = graph(FLATTENED)
    whole.graph.value_info.append(helper.make_tensor_value_info("h", TensorProto.FLOAT, ["another", 8]))
    whole.graph.value_info.append(helper.make_tensor_value_info("t", TensorProto.FLOAT, None))
    onnx.save(whole, tmp_path / "m.onnx")
    assert reading.read(tmp_path / "m.onnx") == whole.SerializeToString(deterministic=True) and not caplog.records


def test_a_type_that_is_not_so_is_left_out(tmp_path: Path) -> None:
    """Such a file is refused by onnxruntime itself, over a note that nothing needs."""
    whole = graph()
    whole.graph.value_info.append(helper.make_tensor_value_info("h", TensorProto.INT64, ["n", 8]))
    onnx.save(whole, tmp_path / "m.onnx")
    assert len(cutting.split(reading.read(tmp_path / "m.onnx"), 2, slack=0.0).models) == 2


LENGTHS = """h = MatMul (x, v) m = ReduceMax <keepdims = 0> (length) one = Constant <value_int = 1> ()
             zero = Constant <value_int = 0> () k = Add (m, one) range = Range (zero, k, one)
             axis = Constant <value_ints = [1]> () wide = Unsqueeze (length, axis) mask = LessOrEqual (range, wide)
             f = Cast <to = 1> (mask) s = Shape <start = 0, end = 1> (x) first = Constant <value_ints = [0]> ()
             ku = Unsqueeze (k, first) last = Constant <value_ints = [1]> () to = Concat <axis = 0> (s, ku, last)
             r = Reshape (f, to) c = ReduceSum <keepdims = 0> (r, axis) z = Mul (h, c) t = Tanh (z) b = MatMul (t, v)
             y = MatMul (b, w)"""


def test_sizes_that_depend_on_numbers_are_no_constants() -> None:
    """A mask as wide as the longest sequence: the one of zeros, which shapes were read from, is no rule."""
    whole = graph(LENGTHS, "float[n, 8] x, int64[n] length")
    artifact = cutting.split(whole.SerializeToString(), 3, slack=0.0)
    feed = {"x": RNG.normal(size=(6, 8)).astype(np.float32), "length": np.array([3, 0, 7, 5, 1, 2])}
    assert len(artifact.models) == 3
    np.testing.assert_allclose(run(artifact, feed), unoptimised(whole, feed), atol=1e-4)


def test_an_answer_whose_size_depends_on_numbers_is_said_to() -> None:
    """Not that it was a sequence."""
    whole = graph("h = MatMul (x, v) b = Cast <to = 9> (h) y = NonZero (b)", y="int64[2, p] y")
    with pytest.raises(ContractError, match="a tensor whose sizes depend on the numbers"):
        cutting.split(whole.SerializeToString(), 2)


@pytest.mark.parametrize(
    ("body", "y", "words"),
    [
        ("z = Identity (v) " + LAYERS, "float[8, 8] z, float[n, 4] y", "no inputs lead to its output 'z'.*NAME of y"),
        ("z = Shape (x) " + LAYERS, "int64[2] z, float[n, 4] y", r"which is int64\[2\].*--output NAME of y"),
        (LAYERS + " z = Cast <to = 8> (y)", "string[n, 4] z, float[n, 4] y", "it answers string.*--output NAME of y"),
        (LAYERS + " z = Cast <to = 8> (y)", "string[n, 4] z", "it answers string(?!.*--output)"),
    ],
)
def test_an_answer_that_cannot_be_cut_names_those_that_may(body: str, y: str, words: str) -> None:
    """Constants, sizes and texts come first in many models: what else is there is said."""
    with pytest.raises(ContractError, match=words):
        cutting.split(graph(body, y=y).SerializeToString(), 2)


def test_a_value_that_is_made_twice_is_refused_in_any_order_of_nodes() -> None:
    """By its name; where nodes had to be sorted first it was a traceback."""
    whole = graph("b = MatMul (h, v) h = MatMul (x, v) y = MatMul (b, w) b = Tanh (h)")
    with pytest.raises(IntegrityError, match="2 of its nodes make 'b'"):
        cutting.split(whole.SerializeToString(), 2)


def test_a_model_without_operators_is_told_from_a_damaged_one() -> None:
    """It is whole, and there is nothing to cut."""
    whole = graph("", y="float[n, 8] x")
    with pytest.raises(ContractError, match="without operators"):
        cutting.split(whole.SerializeToString(), 2)


def test_weights_need_not_be_inputs_in_an_old_file() -> None:
    """By IR version 3 they had to be, but converters left them out, and onnxruntime takes such files."""
    whole = graph(opset=9)
    whole.ir_version = 3
    assert len(cutting.split(whole.SerializeToString(), 2, slack=0.0).models) == 2


OTHERS = {
    "git lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "Git LFS"),
    "torch": (b"PK\x03\x04" + bytes(99), "zip archive"),
    "keras": (b"\x89HDF\r\n\x1a\n" + bytes(99), "HDF5"),
    "tflite": (b"\x1c\0\0\0TFL3" + bytes(99), "TensorFlow Lite"),
    "ort": (b"\x1c\0\0\0ORTM" + bytes(99), r"\.ort form"),
    "a page": (b"<!DOCTYPE html><html>Not found</html>", "markup"),
    "printed": (onnx.printer.to_text(graph()).encode(), "printed as text"),
    "text": (str(graph()).encode(), "a model as text"),
}


@pytest.mark.parametrize(("data", "words"), OTHERS.values(), ids=OTHERS)
def test_a_file_that_is_no_model_is_called_what_it_is(tmp_path: Path, data: bytes, words: str) -> None:
    """And what to do with it."""
    (tmp_path / "m.onnx").write_bytes(data)
    with pytest.raises(IntegrityError, match=f"not an ONNX model, but .*{words}"):
        reading.read(tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("data", "words"), [(OTHERS["git lfs"][0], "is a pointer of Git LFS"), (None, "bring the file")]
)
def test_weights_that_did_not_come_along_are_said(tmp_path: Path, data: bytes | None, words: str) -> None:
    """A clone without Git LFS brings a pointer in their place, a download of one file nothing."""
    onnx.save(graph(), tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    (tmp_path / "m.data").unlink()
    if data is not None:
        (tmp_path / "m.data").write_bytes(data)
    with pytest.raises(IntegrityError, match=words):
        reading.read(tmp_path / "m.onnx")


TRAINING = {
    "dropout": (18, "q = Constant <value = float {0.5}> () on = Constant <value = bool {1}> () d = Dropout (h, q, on)"),
    "batch norm": (18, "d, mean, var = BatchNormalization <training_mode = 1> (h, s, s, s, s)"),
    "batch norm of before": (9, "d, mean, var, m, o = BatchNormalization (h, s, s, s, s)"),
}


@pytest.mark.parametrize(("opset", "operator"), TRAINING.values(), ids=TRAINING)
def test_a_model_in_training_mode_is_refused_for_it(opset: int, operator: str) -> None:
    """By its operator's name: that the answers are others does not help who exported it."""
    body = f"a = MatMul (x, v) h = Tanh (a) {operator} b = MatMul (d, v) t = Tanh (b) y = MatMul (t, w)"
    whole = graph(body, opset=opset)
    whole.graph.initializer.append(numpy_helper.from_array(np.linspace(0.5, 2, 8, dtype=np.float32), "s"))
    with pytest.raises(IntegrityError, match=r"(Dropout|BatchNormalization) 'd' was exported in training mode: export"):
        cutting.split(whole.SerializeToString(), 2, slack=0.0)


def test_a_fixed_batch_that_cannot_be_freed_is_said_first() -> None:
    """Each of two samples has numbers of its own added to it; what the runtime says comes after."""
    whole = graph(
        "a = Add (x, each) h = Tanh (a) b = MatMul (h, v) y = MatMul (b, w)", "float[2, 8] x", "float[2, 4] y"
    )
    whole.graph.initializer.append(numpy_helper.from_array(RNG.normal(size=(2, 8)).astype(np.float32), "each"))
    with pytest.raises(ContractError, match=r"^model: the batch is fixed at 2 .*export it with a symbolic batch"):
        sp.split(whole.SerializeToString(), fragments=2)


LSTM = """s = Transpose <perm = [1, 0, 2]> (x) o = LSTM <hidden_size = 4> (s, lw, lr, , , state, state)
          p = Transpose <perm = [0, 2, 1, 3]> (o) back = Constant <value_ints = [5, 1, 4]> () r = Reshape (p, back)
          t = Transpose <perm = [1, 0, 2]> (r) h = Tanh (t) y = MatMul (h, u)"""
RESIZED = """a = Tanh (x) to = Constant <value_ints = [1, 5, 4]> ()
             r = Resize <mode = "nearest"> (a, , , to) h = Tanh (r)
             y = MatMul (h, u)"""


@pytest.mark.parametrize("body", [LSTM, RESIZED], ids=["states and time in front", "sizes"])
def test_what_a_fixed_batch_of_one_states_is_freed(body: str) -> None:
    """Zeros that a recurrent layer begins with, sizes to be resized to, and a batch that is not the first axis."""
    whole = graph(body, "float[1, 5, 8] x", "float[1, 5, 4] y")
    for name, shape in (("lw", (1, 16, 8)), ("lr", (1, 16, 4)), ("u", (4, 4))):
        whole.graph.initializer.append(numpy_helper.from_array(RNG.normal(0, 0.4, shape).astype(np.float32), name))
    whole.graph.initializer.append(numpy_helper.from_array(np.zeros((1, 1, 4), np.float32), "state"))
    artifact = cutting.split(whole.SerializeToString(), 2, slack=0.0)
    x = RNG.normal(size=(3, 5, 8)).astype(np.float32)
    alone = [unoptimised(whole, {"x": x[i : i + 1]}) for i in range(3)]
    assert len(artifact.models) == 2
    np.testing.assert_allclose(run(artifact, {"x": x}), np.concatenate(alone), atol=1e-5)


@pytest.mark.parametrize("block", [0, 4])
def test_weights_of_four_bits_are_multiplied_alike_everywhere(block: int) -> None:
    """They are fused with what is around, or not; its 8-bit shortcut where it does is not taken."""
    body = "d = DequantizeLinear <axis = 0, block_size = BLOCK> (q, s) a = MatMul (x, d) o = Add (a, c) h = Relu (o)"
    whole = graph(f"{body.replace('BLOCK', str(block))} b = MatMul (h, v) t = Tanh (b) y = MatMul (t, w)", opset=21)
    scale = np.full((2, 8), 0.05, np.float32) if block else np.float32(0.05)
    whole.graph.initializer.append(helper.make_tensor("q", TensorProto.INT4, [8, 8], RNG.integers(-8, 8, 64)))
    whole.graph.initializer.append(numpy_helper.from_array(np.asarray(scale), "s"))
    whole.graph.initializer.append(numpy_helper.from_array(RNG.normal(size=8).astype(np.float32), "c"))
    whole.ir_version = 10
    artifact = cutting.split(whole.SerializeToString(), 3, slack=0.0)
    x = RNG.normal(size=(40, 8)).astype(np.float32)
    np.testing.assert_allclose(run(artifact, {"x": x}), unoptimised(whole, {"x": x}), atol=1e-5)


def test_a_model_that_uses_no_operator_of_the_standards_states_no_opset_of_it() -> None:
    """Trees of gradient boosting are one operator of ai.onnx.ml."""
    trees = {
        "nodes_treeids": [0] * 3,
        "nodes_nodeids": [0, 1, 2],
        "nodes_featureids": [0] * 3,
        "nodes_values": [0.5, 0.0, 0.0],
        "nodes_modes": ["BRANCH_LT", "LEAF", "LEAF"],
        "nodes_truenodeids": [1, 0, 0],
        "nodes_falsenodeids": [2, 0, 0],
        "target_treeids": [0, 0],
        "target_nodeids": [1, 2],
        "target_ids": [0, 0],
        "target_weights": [1.0, 2.0],
    }
    node = helper.make_node("TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", n_targets=1, **trees)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size]) for name, size in (("x", 3), ("y", 1)))
    made = helper.make_graph([node], "trees", [x], [y])
    whole = helper.make_model(made, opset_imports=[helper.make_opsetid("ai.onnx.ml", 1)], ir_version=6)
    artifact = cutting.split(whole.SerializeToString(), 1)
    np.testing.assert_array_equal(run(artifact, {"x": np.array([[0, 0, 0], [1, 0, 0]], np.float32)}), [[1], [2]])


def test_a_text_input_is_refused_as_that_whatever_its_operators_say_of_made_up_texts() -> None:
    """An unknown category, a number that is none: no text that is made up suits a model."""
    node = helper.make_node(
        "OneHotEncoder", ["x"], ["h"], domain="ai.onnx.ml", zeros=0, cats_strings=["a", "b"], name="one-hot"
    )
    cast = helper.make_node("Cast", ["h"], ["y"], to=TensorProto.FLOAT)
    x = helper.make_tensor_value_info("x", TensorProto.STRING, ["n", 1])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    whole = helper.make_model(helper.make_graph([node, cast], "g", [x], [y]), opset_imports=imports, ir_version=9)
    with pytest.raises(ContractError, match=r"input 'x' is string\[batch, 1\], expected \[batch, ...\] of a type"):
        cutting.split(whole.SerializeToString(), 1)


def test_an_answer_with_time_in_front_is_told_from_a_batch_that_is_fixed() -> None:
    """Text recognisers answer time first; that their file states a batch of 1 is not what is in the way."""
    body = "a = MatMul (x, v) h = Tanh (a) b = MatMul (h, w) y = Transpose <perm = [1, 0, 2]> (b)"
    with pytest.raises(ContractError, match=r"it answers float32\[5, batch, 4\], expected \[batch, ...\]"):
        cutting.split(graph(body, "float[1, 5, 8] x", "float[5, 1, 4] y").SerializeToString(), 2)


def test_a_weak_dependence_on_other_rows_is_refused() -> None:
    """A hundredth of the batch's mean is added to every row: less than a rounding may make, and no rounding."""
    body = "m = ReduceMean (x, zero) c = Constant <value_float = 0.01> () s = Mul (m, c) z = Add (x, s) "
    whole = graph(body + LAYERS.replace("(x, v)", "(z, v)"))
    whole.graph.initializer.append(numpy_helper.from_array(np.array([0]), "zero"))
    with pytest.raises(IntegrityError, match="first axis of its inputs is no batch"):
        cutting.split(whole.SerializeToString(), 2)


def test_what_only_the_number_of_rows_rounds_otherwise_is_no_dependence_on_them() -> None:
    """Onnxruntime picks kernels by it, and a norm of numbers that are nearly alike makes much of a rounding."""
    whole = graph()
    artifact, x = cutting.split(whole.SerializeToString(), 2), RNG.normal(size=(32, 8)).astype(np.float32)

    def rounded(inputs: Mapping[str, Array]) -> Array:
        answer = unoptimised(whole, dict(inputs))
        return answer + np.float32(0.01) if len(answer) == 1 else answer

    recompose.check(artifact, rounded, {"x": x}, batches=(32,))
    with pytest.raises(IntegrityError, match="row 0 of a batch of 32 answers otherwise"):
        recompose.check(artifact, lambda inputs: rounded(inputs) * (len(inputs["x"]) / 32), {"x": x}, batches=(32,))
