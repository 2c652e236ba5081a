"""What models of other exporters declare oddly: sizes, names, inputs that nobody reads, weights in other files."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

import splitplace as sp
from splitplace.errors import ContractError, IntegrityError
from splitplace.inference.executor import Executor, open_session
from splitplace.records.fragment import MAX_TENSOR_NAME
from splitplace.splitting.artifact import SplitArtifact
from splitplace.splitting.layerwise import cutting
from splitplace.splitting.layerwise import model as reading

RNG = np.random.default_rng(9)
LAYERS = "a = MatMul (x, v) h = Tanh (a) b = MatMul (h, v) t = Tanh (b) y = MatMul (t, w)"


def graph(x: str = "float[n, 8] x", body: str = LAYERS, y: str = "float[n, 4] y") -> onnx.ModelProto:
    """A model in ONNX's text form of the weights v [8, 8] and w [8, 4]."""
    made = parser.parse_graph(f"g ({x}) => ({y}) {{ {body} }}")
    for name, shape in (("v", (8, 8)), ("w", (8, 4))):
        made.initializer.append(numpy_helper.from_array(RNG.normal(0, 0.4, shape).astype(np.float32), name))
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def cut(whole: onnx.ModelProto, fragments: int = 2) -> SplitArtifact:
    """The verified split."""
    return cutting.split(whole.SerializeToString(), fragments, slack=0.0)


def test_a_batch_of_minus_one_varies() -> None:
    """As some exporters write what they do not know."""
    whole = graph()
    for value in (whole.graph.input[0], whole.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = -1
    artifact = cut(whole)
    x = RNG.normal(size=(5, 8)).astype(np.float32)
    (expected,) = open_session(whole.SerializeToString()).run(["y"], {"x": x})
    np.testing.assert_allclose(Executor(artifact.split, artifact.models.__getitem__).run({"x": x}), expected, atol=1e-5)
    assert len(artifact.models) == 2 and artifact.split.inputs[0].shape == ("batch", 8)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        ("float[n, m] x", "dimension 1 of input 'x' is m; expected a size"),
        ("float[n, -1] x", "dimension 1 of input 'x' is -1; expected a size"),
        ("float x", "input 'x' is one value for all samples, expected"),
        ("float[] x", "input 'x' has no shape, expected"),
        ("float[n, 8] x, float[1, 8] z", r"different batch sizes \(x \[n,8\], z \[1,8\]\), expected one"),
    ],
)
def test_an_input_that_no_batch_can_be_of_is_said_as_it_is(x: str, words: str) -> None:
    """By name, with what it is."""
    whole = graph(x.replace("-1", "1"), "s = Mul (x, z) y = MatMul (s, w)" if "z" in x else LAYERS)
    if "-1" in x:
        whole.graph.input[0].type.tensor_type.shape.dim[1].dim_value = -1
    with pytest.raises(ContractError, match=words):
        cut(whole)


def test_values_with_names_longer_than_any_record_are_cut() -> None:
    """Scopes in scopes: they get shorter names, each its own; that of the input, by which it is fed, is refused."""
    long = {name: f"{'block/' * 100}{name}" for name in "ahbty"}
    whole = graph()
    for node in whole.graph.node:
        node.input[:] = [long.get(name, name) for name in node.input]
        node.output[:] = [long[name] for name in node.output]
    whole.graph.output[0].name = long["y"]
    artifact = cut(whole, 3)
    names = [spec.name for fragment in artifact.split.fragments for spec in fragment.outputs]
    assert len(names) == len(set(names)) == 3 and max(map(len, names)) == MAX_TENSOR_NAME


UNREAD = {
    "text": helper.make_tensor_value_info("u", TensorProto.STRING, ["n"]),
    "one text": helper.make_tensor_value_info("u", TensorProto.STRING, []),
    "bfloat16": helper.make_tensor_value_info("u", TensorProto.BFLOAT16, ["n", 3]),
    "float8": helper.make_tensor_value_info("u", TensorProto.FLOAT8E4M3FN, ["n", 3]),
    "a truth value": helper.make_tensor_value_info("u", TensorProto.BOOL, []),
    "no shape": helper.make_tensor_value_info("u", TensorProto.FLOAT, None),
    "a sequence": helper.make_tensor_sequence_value_info("u", TensorProto.FLOAT, None),
}


@pytest.mark.parametrize("unread", UNREAD.values(), ids=UNREAD)
def test_an_input_that_nobody_reads_may_be_of_any_type(unread: onnx.ValueInfoProto) -> None:
    """File names, flags, what another version of the model took: no value for it need be made up."""
    whole = graph()
    whole.graph.input.append(unread)
    artifact = cut(whole)
    assert [spec.name for spec in artifact.split.inputs] == ["x"] and len(artifact.models) == 2


BRANCHES = """r = If (c) <then_branch = t () => (float[n, 8] j) { j = Relu (h) },
                           else_branch = e () => (float[n, 8] k) { k = Add (h, z) }>"""
SIZES = "s = Shape <start = 1> (z) f = Cast <to = 1> (s) r = Div (h, f)"
DROPPED = {
    "the shape of one batch": ("float[1, 8] x, float[1, 8] z", "s = Shape (z) r = Reshape (h, s)"),
    "sizes beside the batch": ("float[n, 8] x, float[n, 7] z", SIZES),
    "sizes of one text before any batch": ("string[1, 7] z, float[n, 8] x", SIZES),
    "a branch that is never taken": ("float[n, 8] x, float[n, 8] z", BRANCHES),
}


def dropping(x: str, body: str) -> onnx.ModelProto:
    """A model that reads its input z where nothing is left to read when it is cut."""
    batch = "1" if "[n" not in x else "n"
    whole = graph(x, f"a = MatMul (x, v) h = Tanh (a) {body} q = Relu (r) y = MatMul (q, w)", f"float[{batch}, 4] y")
    whole.graph.initializer.append(numpy_helper.from_array(np.array(True), "c"))
    return whole


@pytest.mark.parametrize(("x", "body"), DROPPED.values(), ids=DROPPED)
def test_an_input_whose_numbers_never_matter_is_fed_to_the_whole_alone(x: str, body: str) -> None:
    """Exporters write inputs that are read for their shape; the split does without, and is held against the whole."""
    artifact = cut(dropping(x, body))
    assert [spec.name for spec in artifact.split.inputs] == ["x"] and len(artifact.models) == 2


def test_an_input_that_cannot_be_made_up_is_named() -> None:
    """Numpy has no such numbers, and onnxruntime wants some."""
    whole = dropping("bfloat16[1, 8] z, float[1, 8] x", "s = Shape (z) r = Reshape (h, s)")
    with pytest.raises(
        ContractError, match=r"the whole model asks for 'z' of tensor\(bfloat16\), .* without this input"
    ):
        cut(whole)


def test_what_only_another_output_reads_need_not_run() -> None:
    """A second head that no made-up input suits: the first is cut and held against the whole."""
    body = f"{LAYERS} z = Reshape (t, sizes)"
    whole = graph("float[n, 8] x, int64[2] sizes", body, "float[n, 4] y, float[p, q] z")
    artifact = cut(whole)
    assert [spec.name for spec in artifact.split.inputs] == ["x"]


def test_external_weights_need_not_say_how_long_they_are(tmp_path: Path) -> None:
    """By the standard that is optional; they are as long as their numbers are."""
    place = tmp_path / "m.onnx"
    onnx.save(graph(), place, save_as_external_data=True, location="m.data", size_threshold=0)
    expected = cutting.split(reading.read(place), 2, slack=0.0).models
    shown = onnx.load(place, load_external_data=False)
    for tensor in shown.graph.initializer:
        kept = [(entry.key, entry.value) for entry in tensor.external_data if entry.key != "length"]
        del tensor.external_data[:]
        for key, value in kept:
            tensor.external_data.add(key=key, value=value)
    place.write_bytes(shown.SerializeToString())
    assert cutting.split(reading.read(place), 2, slack=0.0).models == expected


@pytest.mark.parametrize("length", ["64", None])
@pytest.mark.parametrize("kind", [TensorProto.STRING, TensorProto.UNDEFINED, 99])
def test_external_weights_of_no_numbers_are_refused(tmp_path: Path, kind: int, length: str | None) -> None:
    """A damaged model: in a sentence, whether it says how many bytes they have or not."""
    whole = graph()
    weight = whole.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_type, weight.data_location = kind, TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="m.data")
    if length is not None:
        weight.external_data.add(key="length", value=length)
    (tmp_path / "m.data").write_bytes(bytes(256))
    (tmp_path / "m.onnx").write_bytes(whole.SerializeToString())
    beside = "external data of 'v': .*(STRING|UNDEFINED|99 is not a valid DataType)"
    words = "the ONNX checker refuses it" if length and kind != 99 else beside
    with pytest.raises(IntegrityError, match=words):
        cutting.split(reading.read(tmp_path / "m.onnx"), 2)


@pytest.mark.parametrize("what", ["shape", "type"])
def test_an_answer_need_not_state_its_shape_or_type(what: str) -> None:
    """Onnxruntime infers them; what the checker asks for besides is not what the fragments hang on."""
    whole, bare = graph(), graph()
    value = bare.graph.output[0]
    value.type.tensor_type.ClearField("shape") if what == "shape" else value.ClearField("type")
    for tensor, same in zip(bare.graph.initializer, whole.graph.initializer, strict=True):
        tensor.CopyFrom(same)
    assert cut(bare).models == cut(whole).models


def with_map(first: bool = False) -> onnx.ModelProto:
    """A classifier as converters of scikit-learn write it: an answer y, and a map m of each sample's scores."""
    scores = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    whole = graph(body=f"{LAYERS} m = ai.onnx.ml.ZipMap <classlabels_int64s = [0, 1, 2, 3]> (y)")
    whole.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
    outputs = [*whole.graph.output, helper.make_value_info("m", helper.make_sequence_type_proto(scores))]
    del whole.graph.output[:]
    whole.graph.output.extend(reversed(outputs) if first else outputs)
    return whole


def test_an_answer_beside_maps_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    """And it is said that there is more than what is cut."""
    artifact = cut(with_map())
    operators = {node.op_type for data in artifact.models.values() for node in onnx.load_from_string(data).graph.node}
    assert len(artifact.models) == 2 and operators == {"MatMul", "Tanh"}
    assert "of its outputs y, m the first is cut" in caplog.text


@pytest.mark.parametrize("first", [True, False])
def test_a_map_as_the_answer_is_refused_by_its_name(first: bool) -> None:
    """Whether it comes first or was asked for; the other one is offered, and can be cut."""
    data = with_map(first).SerializeToString()
    with pytest.raises(ContractError, match="its output 'm' is a map, expected a tensor: --output NAME of y"):
        cutting.split(data, 2, output=None if first else "m")
    assert len(cutting.split(data, 2, output="y", slack=0.0).models) == 2


def test_an_input_that_is_passed_out_is_no_answer() -> None:
    """As a fragment passes on what a later one reads: nothing is computed, and what is can be asked for."""
    whole = graph(y="float[n, 8] x, float[n, 4] y")
    with pytest.raises(ContractError, match="its output 'x' is its input as it is, nothing to cut: --output NAME of y"):
        cut(whole)
    assert len(cutting.split(whole.SerializeToString(), 2, output="y", slack=0.0).models) == 2


def test_a_batch_of_one_that_is_dropped_is_said() -> None:
    """Squeeze without axes takes every size of 1 away, the batch's too."""
    whole = graph(body="a = MatMul (x, v) h = Tanh (a) s = Squeeze (h) y = MatMul (s, w)")
    with pytest.raises(IntegrityError, match=r"answers float32\[4\] to a batch of 1, expected 1 rows: .*Squeeze"):
        cut(whole)


@pytest.mark.parametrize("by", ["a weight", "a value"])
def test_names_that_the_splitter_would_give_may_be_taken(by: str) -> None:
    """A target that is written for a Reshape does not take the place of what has that name."""
    name, target = ("a", "r_target") if by == "a weight" else ("r_target", "sizes")
    body = f"{name} = MatMul (x, v) r = Reshape ({name}, {target}) h = Tanh (r) f = Reshape (h, flat) y = MatMul (f, w)"
    whole = graph("float[1, 8] x", body, "float[1, 4] y")
    whole.graph.node[1].name = "r"
    for taken, sizes in ((target, [1, 2, 4]), ("flat", [1, 8])):
        whole.graph.initializer.append(numpy_helper.from_array(np.array(sizes), taken))
    assert len(cut(whole).models) == 2


@pytest.mark.parametrize("letters", [1, 600])
@pytest.mark.parametrize("part", ["batch", "sizes", "rows", "rest", "row"])
def test_what_is_made_of_a_joined_constant_has_names_that_are_free_and_short(part: str, letters: int) -> None:
    """A token of each sample, from a batch of two: however long its node's name, whatever bears the names already."""
    node = letters * "c"
    body = (
        f"a = MatMul (x, v) {node}_0_{part} = Tanh (a) j = Concat <axis = 1> (token, {node}_0_{part}) y = MatMul (j, u)"
    )
    whole = graph("float[2, 8] x", body, "float[2, 4] y")
    whole.graph.node[2].name = node
    for name, weight in (("token", np.ones((2, 1))), ("u", RNG.normal(size=(9, 4)))):
        whole.graph.initializer.append(numpy_helper.from_array(weight.astype(np.float32), name))
    artifact = cut(whole, 3)
    assert len(artifact.models) == 3
    assert all(len(spec.name) <= MAX_TENSOR_NAME for piece in artifact.split.fragments for spec in piece.outputs)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("other", ["Add (h, h)", "Identity (h)"])
def test_a_branch_that_hands_on_a_value_from_around_it_is_cut(nested: bool, other: str) -> None:
    """Its Identity is no dead weight: without it the branch would have an output that it does not make."""
    same, more = "{ i = Identity (h) }", f"{{ j = {other} }}"
    inner = f"If (c) <then_branch = one () => (float[n, 8] j) {more}, else_branch = two () => (float[n, 8] i) {same}>"
    if nested:
        outer = f"then_branch = t () => (float[n, 8] k) {{ k = {inner} }}"
        inner = f"If (c) <{outer}, else_branch = e () => (float[n, 8] l) {{ l = Add (h, h) }}>"
    head = "a = MatMul (x, v) h = Tanh (a) m = ReduceMax <keepdims = 0> (x) c = Less (m, low)"
    whole = graph(body=f"{head} z = {inner} y = MatMul (z, w)")
    whole.graph.initializer.append(numpy_helper.from_array(np.float32(-100), "low"))
    assert len(cut(whole).models) == 2


@pytest.mark.parametrize(("operator", "same"), [("Relu", True), ("ReduceMean", False)])
def test_a_function_may_be_of_another_opset_than_the_model(operator: str, same: bool) -> None:
    """As long as what it calls is the same in both; else it is refused, not called by another opset's rules."""
    attributes = {} if same else {"axes": [1], "keepdims": 1}
    call = helper.make_node(operator, ["X"], ["Y"], **attributes)
    function = helper.make_function("own", "Act", ["X"], ["Y"], [call], [helper.make_opsetid("", 14)])
    whole = graph(body="a = MatMul (x, v) h = own.Act (a) b = MatMul (h, v) y = MatMul (b, w)")
    whole.opset_import.append(helper.make_opsetid("own", 1))
    whole.functions.append(function)
    if same:
        assert len(cut(whole).models) == 2
        return
    with pytest.raises(IntegrityError, match=r"ReduceMean.* not compatible with the version imported by model"):
        cut(whole)


@pytest.mark.parametrize(("operator", "same"), [("Relu", True), ("ReduceMean", False)])
def test_what_the_bodies_of_a_function_call_is_the_same_in_both_opsets_too(operator: str, same: bool) -> None:
    """The checker looks at the function's own nodes alone."""
    attributes = {} if same else {"axes": [1], "keepdims": 1}
    bodies = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node(operator, ["X"], [name], **attributes)],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)],
        )
        for name in ("then", "else")
    }
    call = helper.make_node("If", ["c"], ["Y"], **bodies)
    function = helper.make_function("own", "Act", ["X", "c"], ["Y"], [call], [helper.make_opsetid("", 17)])
    head = "a = MatMul (x, v) m = ReduceMax <keepdims = 0> (x) c = Less (m, low)"
    whole = graph(body=f"{head} h = own.Act (a, c) b = MatMul (a, v) s = Add (h, b) y = MatMul (s, w)")
    whole.graph.initializer.append(numpy_helper.from_array(np.float32(1), "low"))
    whole.opset_import.append(helper.make_opsetid("own", 1))
    whole.functions.append(function)
    if same:
        assert len(cut(whole).models) == 2
        return
    with pytest.raises(IntegrityError, match=r"function Act calls ReduceMean of opset 17, .* the model's opset 18"):
        cut(whole)


@pytest.mark.parametrize("by", ["bytes", "a file"])
def test_scores_that_are_zipped_into_a_map_are_answered(
    by: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What converters of scikit-learn write by default was good for its labels alone, of which nothing is measured."""
    whole = with_map()
    (tmp_path / "m.onnx").write_bytes(whole.SerializeToString())
    source = tmp_path / "m.onnx" if by == "a file" else whole.SerializeToString()
    found = sp.split(source, fragments=2, output="m", slack=0.0)
    assert found.split.n_classes == 4 and len(found.models) == 2
    assert "its output 'm' is a map, and taken as the scores in it, in the order of 0, 1, 2, 3" in caplog.text
    scores = sp.split(source, fragments=2, output="y", slack=0.0)
    x = np.random.default_rng(3).normal(size=(4, 8)).astype(np.float32)
    answers = [Executor(of.split, of.models.__getitem__).run({"x": x}) for of in (found, scores)]
    assert np.array_equal(*answers)


def test_a_graph_need_not_have_a_name() -> None:
    """Onnxruntime asks for none, as the checker does."""
    whole, bare = graph(), graph()
    for tensor, same in zip(bare.graph.initializer, whole.graph.initializer, strict=True):
        tensor.CopyFrom(same)
    bare.graph.name = ""
    assert len(cut(bare).models) == 2


def test_an_opset_that_is_not_there_yet_is_refused_without_places_in_foreign_code() -> None:
    """What onnxruntime says of it comes after one of its functions with all that this takes."""
    whole = graph()
    whole.opset_import[0].version = 99
    with pytest.raises(IntegrityError, match=r"FAIL : ONNX Runtime only \*guarantees\* support") as caught:
        cut(whole)
    assert "onnxruntime_src" not in str(caught.value)


def test_a_function_that_calls_itself_is_refused() -> None:
    """Already where the model is read: it was a traceback of the library that infers shapes."""
    whole = graph(body=LAYERS.replace("h = Tanh (a)", "h = own.Act (a)"))
    opsets = [helper.make_opsetid("own", 1)]
    body = [helper.make_node("Act", ["X"], ["Y"], domain="own")]
    whole.functions.append(helper.make_function("own", "Act", ["X"], ["Y"], body, opsets))
    whole.opset_import.extend(opsets)
    with pytest.raises(sp.SplitPlaceError, match="own"):
        sp.split(whole.SerializeToString(), fragments=2)


def test_weights_that_lie_beside_are_asked_for_by_the_path_of_the_model() -> None:
    """Of bytes nobody knows where that is; the checker says that the file is none."""
    whole = graph()
    weight = whole.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="m.data")
    with pytest.raises(sp.UsageError, match="give the path of the model, not its bytes"):
        sp.split(whole.SerializeToString(), fragments=2)
