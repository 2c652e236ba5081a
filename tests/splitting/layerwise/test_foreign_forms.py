"""Forms of models that other exporters write and onnxruntime runs: each is cut, or refused for what it is."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from splitplace.errors import IntegrityError, NotFoundError, SplitPlaceError
from splitplace.inference.executor import Executor, open_session
from splitplace.splitting.artifact import SplitArtifact
from splitplace.splitting.layerwise import cutting, normal_form, recompose, simplify
from splitplace.splitting.layerwise import model as reading
from splitplace.splitting.layerwise.weights import of_weights

node = helper.make_node
RNG = np.random.default_rng(5)


def numbers(*shape: int) -> np.ndarray:
    """Random weights."""
    return RNG.normal(0, 0.4, shape).astype(np.float32)


def model(
    nodes: list,
    weights: Mapping[str, np.ndarray],
    x: list,
    y: list,
    *,
    dtype: int = TensorProto.FLOAT,
    ir: int = 10,
    domain: str = "",
    more_inputs: list = (),
    more_outputs: list = (),
) -> onnx.ModelProto:
    """A model of the input x and the output y."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", dtype, x), *more_inputs],
        [helper.make_tensor_value_info("y", dtype, y), *more_outputs],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    opsets = [helper.make_opsetid(domain, 18), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir)


def stack(depth: int = 4, width: int = 12, dtype: type = np.float32, domain: str = "") -> onnx.ModelProto:
    """Layers of MatMul and Tanh."""
    names = ["x", *(f"h{i}" for i in range(1, depth)), "y"]
    nodes = []
    for i in range(depth):
        nodes += [
            node("MatMul", [names[i], f"w{i}"], [f"m{i}"], domain=domain),
            node("Tanh", [f"m{i}"], [names[i + 1]], domain=domain),
        ]
    weights = {f"w{i}": numbers(width, width).astype(dtype) for i in range(depth)}
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return model(nodes, weights, ["n", width], ["n", width], dtype=kind, domain=domain)


def cut(proto: onnx.ModelProto, fragments: int = 2, **options: object) -> SplitArtifact:
    """The verified split."""
    return cutting.split(proto.SerializeToString(), fragments, slack=0.0, **options)


def two_layers(*between: onnx.NodeProto, out: int = 5) -> list:
    """MatMul with w, what is in between from h to z, MatMul with v."""
    return [node("MatMul", ["x", "w"], ["h"]), *between, node("MatMul", ["z", "v"], ["y"])]


def test_a_float16_model_is_cut_where_its_float32_twin_is() -> None:
    """Onnxruntime renames values for the casts it puts in; a name that is gone is no fusion."""
    narrow, wide = (cutting.analyse(stack(dtype=dtype).SerializeToString()) for dtype in (np.float16, np.float32))
    assert narrow.members == wide.members and len(wide.members) == 8
    artifact = cut(stack(6, dtype=np.float16), 3)
    assert len(artifact.models) == 3 and artifact.split.fragments[0].outputs[0].dtype == "float16"


def quantised(kind: int) -> onnx.ModelProto:
    """Three layers between quantised tensors, as quantisers write them (QDQ)."""
    zero = np.array(0, np.int8 if kind == TensorProto.INT8 else np.uint8)
    weights: dict[str, np.ndarray] = {"scale": np.float32(0.05), "zero": zero, "w_zero": np.array(0, np.int8)}
    nodes, current = [node("QuantizeLinear", ["x", "scale", "zero"], ["q0"])], "q0"
    for i in range(3):
        weights[f"w{i}"] = RNG.integers(-40, 40, (8, 8)).astype(np.int8)
        nodes += [
            node("DequantizeLinear", [current, "scale", "zero"], [f"a{i}"]),
            node("DequantizeLinear", [f"w{i}", "scale", "w_zero"], [f"d{i}"]),
            node("MatMul", [f"a{i}", f"d{i}"], [f"m{i}"]),
            node("QuantizeLinear", [f"m{i}", "scale", "zero"], [f"q{i + 1}"]),
        ]
        current = f"q{i + 1}"
    nodes.append(node("DequantizeLinear", [current, "scale", "zero"], ["y"]))
    return model(nodes, weights, ["n", 8], ["n", 8])


@pytest.mark.parametrize("kind", [TensorProto.INT8, TensorProto.UINT8])
def test_a_quantised_model_is_cut_between_its_integer_operators(kind: int) -> None:
    """Blocks are an integer product with its scales; what passes between fragments is 8 bits wide."""
    network = cutting.analyse(quantised(kind).SerializeToString())
    assert sum("MatMul" in [network.graph.nodes[i].op_type for i in members] for members in network.members) == 3
    artifact = cut(quantised(kind), 3)
    assert len(artifact.models) == 3
    assert {spec.dtype for fragment in artifact.split.fragments[:-1] for spec in fragment.outputs} <= {"int8", "uint8"}


def test_a_first_axis_that_is_no_batch_is_refused() -> None:
    """A running sum over the rows: row by row the model answers something else."""
    nodes = two_layers(node("CumSum", ["h", "axis"], ["z"]))
    proto = model(nodes, {"w": numbers(6, 6), "v": numbers(6, 3), "axis": np.array(0)}, ["time", 6], ["time", 3])
    with pytest.raises(IntegrityError, match=r"row .* answers otherwise than alone.*no batch of independent samples"):
        cut(proto)


def test_scales_by_batch_are_no_dependence_of_rows() -> None:
    """Dynamic quantisation takes one scale for a whole batch: rows differ by a rounding, and it is cut."""
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        node("MatMul", ["d", "w"], ["h"]),
        node("Tanh", ["h"], ["t"]),
        node("MatMul", ["t", "v"], ["y"]),
    ]
    assert len(cut(model(nodes, {"w": numbers(6, 6), "v": numbers(6, 3)}, ["n", 6], ["n", 3])).models) == 2


@pytest.mark.parametrize("position", [0, 1, 30, 31])
def test_the_rows_that_are_looked_at_tell_neighbours_from_none(
    position: int, residual_cnn: Callable[..., bytes]
) -> None:
    """A whole whose last rows depend on those before fails whichever of the ends they lean on."""
    artifact = cutting.split(residual_cnn(depth=1), 1)
    session = open_session(residual_cnn(depth=1))

    def leaning(inputs):  # type: ignore[no-untyped-def]  # test double
        answer = session.run(None, dict(inputs))[0]
        return answer + (np.abs(inputs["image"][min(position, len(answer) - 1)]).mean() if len(answer) > 1 else 0)

    x = RNG.integers(0, 256, (32, 3, 16, 16)).astype(np.uint8)
    with pytest.raises(IntegrityError):
        recompose.check(artifact, leaning, {"image": x})


def test_answers_that_are_not_finite_are_compared() -> None:
    """A masked class is -inf in both; an infinity in another place is another answer."""
    mask = np.array([0, -np.inf, 0], np.float32)
    nodes = [
        *two_layers(node("Tanh", ["h"], ["z"]))[:-1],
        node("MatMul", ["z", "v"], ["s"]),
        node("Add", ["s", "mask"], ["y"]),
    ]
    artifact = cut(model(nodes, {"w": numbers(6, 6), "v": numbers(6, 3), "mask": mask}, ["n", 6], ["n", 3]))
    x = numbers(32, 6)
    answer = Executor(artifact.split, artifact.models.__getitem__).run({"x": x})
    assert np.isneginf(answer[:, 1]).all() and np.isfinite(answer[:, 0]).all()
    with pytest.raises(IntegrityError, match="inf"):
        recompose.check(artifact, lambda inputs: np.zeros((len(inputs["x"]), 3), np.float32), {"x": x})


def test_large_answers_close_together_may_differ_in_their_last_place() -> None:
    """One number a sample around 250,000: a unit in the last place is no error, a thousandth of the size is."""
    nodes = [
        *two_layers(node("Tanh", ["h"], ["z"]))[:-1],
        node("MatMul", ["z", "v"], ["s"]),
        node("Add", ["s", "far"], ["y"]),
    ]
    weights = {"w": numbers(6, 6), "v": numbers(6, 1), "far": np.float32(250_000)}
    artifact = cut(model(nodes, weights, ["n", 6], ["n", 1]))
    x = numbers(32, 6)
    executor = Executor(artifact.split, artifact.models.__getitem__)

    def off(by: float) -> recompose.Whole:
        return lambda inputs: executor.run(inputs) + np.float32(by)

    recompose.check(artifact, off(0.03), {"x": x})
    with pytest.raises(IntegrityError):
        recompose.check(artifact, off(250.0), {"x": x})


def test_an_output_is_chosen_by_name() -> None:
    """Of several, the first or the named one is answered; what only the others need is in no fragment."""
    features = helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", 6])
    proto = model(
        two_layers(node("Tanh", ["h"], ["z"])),
        {"w": numbers(6, 6), "v": numbers(6, 3)},
        ["n", 6],
        ["n", 3],
        more_outputs=[features],
    )
    assert cut(proto).split.fragments[-1].outputs[0].name == "y"
    chosen = cut(proto, 1, output="z")
    assert chosen.split.fragments[-1].outputs[0].name == "z"
    assert chosen.split.fragments[0].params == 36
    with pytest.raises(NotFoundError, match="expected one of y, z"):
        cut(proto, output="nothing")


def test_an_input_that_nothing_reads_is_no_input_of_the_split() -> None:
    """It is fed to the whole in the check, and to nobody after."""
    unread = [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n", 3])]
    proto = model(
        two_layers(node("Tanh", ["h"], ["z"])),
        {"w": numbers(6, 6), "v": numbers(6, 3)},
        ["n", 6],
        ["n", 3],
        more_inputs=unread,
    )
    assert [spec.name for spec in cut(proto).split.inputs] == ["x"]


def test_what_lies_around_a_sequence_stays_together() -> None:
    """A sequence cannot pass between devices; the layers before and after it can be parted."""
    between = [
        node("SplitToSequence", ["h", "size"], ["seq"], axis=1),
        node("ConcatFromSequence", ["seq"], ["c"], axis=1),
        node("Tanh", ["c"], ["z"]),
    ]
    proto = model(
        two_layers(*between), {"w": numbers(6, 6), "v": numbers(6, 3), "size": np.array(2)}, ["n", 6], ["n", 3]
    )
    network = cutting.analyse(proto.SerializeToString())
    together = [{network.graph.nodes[i].op_type for i in members} for members in network.members]
    assert any({"SplitToSequence", "ConcatFromSequence"} <= block for block in together) and len(together) >= 3
    assert len(cut(proto).models) == 2


def test_sparse_weights_are_made_dense() -> None:
    """By linear indices and by coordinates, as initializer; a shape that memory cannot hold is refused."""
    proto = model(two_layers(node("Tanh", ["h"], ["z"])), {"v": numbers(6, 3)}, ["n", 6], ["n", 3])
    values, places = numpy_helper.from_array(numbers(3), "w"), np.array([[0, 1], [2, 2], [5, 0]])
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, numpy_helper.from_array(places), [6, 6]))
    dense = normal_form.normalise(proto.SerializeToString()).graph.initializers["w"].const_value.numpy()
    assert [dense[tuple(place)] for place in places] == numpy_helper.to_array(values).tolist()
    assert np.count_nonzero(dense) == 3
    cut(proto)
    proto.graph.sparse_initializer[0].dims[:] = [2**20, 2**20]
    with pytest.raises(IntegrityError, match="too large to be made dense"):
        normal_form.normalise(proto.SerializeToString())


def test_the_default_domain_may_be_named(residual_cnn: Callable[..., bytes]) -> None:
    """`ai.onnx` on imports and nodes is the same domain as none; IR version 3 lists its weights as inputs."""
    assert len(cut(stack(domain="ai.onnx"), 2).models) == 2
    old = stack()
    old.ir_version = 3
    for weight in old.graph.initializer:
        old.graph.input.append(helper.make_tensor_value_info(weight.name, TensorProto.FLOAT, list(weight.dims)))
    artifact = cut(old, 2)
    assert [spec.name for spec in artifact.split.inputs] == ["x"]


def test_what_is_made_of_weights_alone_is_folded_where_that_is_no_larger() -> None:
    """A packed weight taken apart: each fragment holds its part, and no node is left that reads weights alone."""
    nodes = [
        node("Split", ["packed", "sizes"], ["wa", "wb"], axis=0),
        node("Transpose", ["wa"], ["ta"], perm=[1, 0]),
        node("Transpose", ["wb"], ["tb"], perm=[1, 0]),
        node("MatMul", ["x", "ta"], ["a"]),
        node("Tanh", ["a"], ["t"]),
        node("MatMul", ["t", "tb"], ["y"]),
    ]
    proto = model(nodes, {"packed": numbers(16, 8), "sizes": np.array([8, 8])}, ["n", 8], ["n", 8])
    normal = normal_form.normalise(proto.SerializeToString())
    assert of_weights(normal.graph) == []
    assert [fragment.params for fragment in cut(proto).split.fragments] == [64, 64]


def test_weights_that_grow_are_not_folded_and_tie_nothing() -> None:
    """One row repeated a thousand times stays one row in the file, and both its readers are cut apart."""
    nodes = [
        node("Expand", ["row", "shape"], ["rows"]),
        node("MatMul", ["x", "w"], ["h"]),
        node("MatMul", ["h", "rows"], ["a"]),
        node("ReduceMax", ["a", "axis"], ["b"], keepdims=1),
        node("MatMul", ["b", "u"], ["c"]),
        node("MatMul", ["c", "rows"], ["d"]),
        node("ReduceMax", ["d", "axis"], ["y"], keepdims=1),
    ]
    weights = {
        "row": numbers(1, 20_000),
        "shape": np.array([8, 20_000]),
        "w": numbers(8, 8),
        "u": numbers(1, 8),
        "axis": np.array([1]),
    }
    proto = model(nodes, weights, ["n", 8], ["n", 1])
    artifact = cut(proto, 2)
    assert len(artifact.models) == 2 and max(map(len, artifact.models.values())) < 200_000


def test_a_reshape_whose_zeros_are_zeros_is_freed_of_a_fixed_batch() -> None:
    """allowzero=1 and a -1, as torch's exporter writes: the batch's place takes the input's size over."""
    nodes = [
        node("MatMul", ["x", "w"], ["h"]),
        node("Reshape", ["h", "shape"], ["r"], allowzero=1),
        node("Transpose", ["r"], ["t"], perm=[0, 2, 1]),
        node("Reshape", ["t", "flat"], ["z"], allowzero=1),
        node("MatMul", ["z", "v"], ["y"]),
    ]
    weights = {"w": numbers(6, 6), "v": numbers(6, 3), "shape": np.array([1, 2, -1]), "flat": np.array([1, 6])}
    assert len(cut(model(nodes, weights, [1, 6], [1, 3])).models) == 2


def test_a_loop_body_that_gives_a_value_twice_is_cut() -> None:
    """The Identity between the two names of a body's outputs is no dead weight: without it they are one name."""
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [node("Add", ["state", "item"], ["next"]), node("Identity", ["next"], ["seen"])],
        "body",
        [info("state", 1, ["n", 4]), info("item", 1, ["n", 4])],
        [info("next", 1, ["n", 4]), info("seen", 1, ["n", 4])],
    )
    nodes = [
        node("MatMul", ["x", "w"], ["h"]),
        node("ReduceSum", ["h", "axis"], ["start"], keepdims=0),
        node(
            "Scan",
            ["start", "h"],
            ["last", "all"],
            body=body,
            num_scan_inputs=1,
            scan_input_axes=[1],
            scan_output_axes=[1],
        ),
        node("MatMul", ["all", "v"], ["y"]),
    ]
    proto = model(nodes, {"w": numbers(4, 4), "v": numbers(4, 2), "axis": np.array([1])}, ["n", 3, 4], ["n", 3, 2])
    assert len(cut(proto).models) == 2


def test_a_batch_that_a_constant_ties_is_said_with_its_operator() -> None:
    """A token of its own in front of each of two images: the words name the fixed batch and the Concat."""
    nodes = two_layers(node("Concat", ["token", "h"], ["z"], axis=1))
    weights = {"w": numbers(6, 6), "v": numbers(6, 3), "token": numbers(2, 1, 6)}
    with pytest.raises(
        SplitPlaceError, match=r"batch is fixed at 2 and its graph depends on it .*Concat.*symbolic batch"
    ):
        cut(model(nodes, weights, [2, 4, 6], [2, 5, 3]))


def test_an_answer_that_cannot_travel_is_said_as_it_is() -> None:
    """The batch comes second: type and shape are in the words, and no advice that was followed already."""
    nodes = two_layers(node("Transpose", ["h"], ["z"], perm=[1, 0, 2]))
    proto = model(nodes, {"w": numbers(6, 6), "v": numbers(6, 3)}, ["n", 4, 6], [4, "n", 3])
    with pytest.raises(SplitPlaceError, match=r"float32\[4, batch, 3\], expected \[batch, \.\.\.\]"):
        cut(proto)


def test_a_wide_answer_has_no_classes() -> None:
    """A flattened map is no label set, whatever its rank."""
    proto = model([node("Tile", ["x", "times"], ["y"])], {"times": np.array([1, 20_000])}, ["n", 4], ["n", 80_000])
    split = cut(proto, 1).split
    assert split.n_classes == 0 and len(split.model_dump_json()) < 10_000


@pytest.mark.parametrize(("scores", "classes"), [(1, 0), (2, 2)])
def test_one_score_is_no_class(scores: int, classes: int) -> None:
    """A regression, or a probability, was answered as label 0 whatever it was: of one class the best is that one."""
    nodes = two_layers(node("Tanh", ["h"], ["z"]))
    proto = model(nodes, {"w": numbers(6, 6), "v": numbers(6, scores)}, ["n", 6], ["n", scores])
    assert cut(proto, 1).split.n_classes == classes


def test_weights_behind_links_are_read(tmp_path: Path) -> None:
    """A folder of links into a store holds model and weights; a link that leads elsewhere is refused."""
    store, shown, away = tmp_path / "store", tmp_path / "shown", tmp_path / "away"
    for folder in (store, shown, away):
        folder.mkdir()
    onnx.save(stack(), tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    (tmp_path / "m.onnx").rename(store / "1")
    (tmp_path / "m.data").rename(store / "2")
    (shown / "m.onnx").symlink_to(store / "1")
    (shown / "m.data").symlink_to(store / "2")
    assert len(cutting.split(reading.read(shown / "m.onnx"), 2).models) == 2
    (store / "2").rename(away / "2")
    (shown / "m.data").unlink()
    (shown / "m.data").symlink_to(away / "2")
    with pytest.raises(IntegrityError, match="no file in its folder"):
        reading.read(shown / "m.onnx")


def test_a_weight_that_no_fragment_holds_is_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """3 GB stated of a file with a hole in it: one line, and the file is never opened."""
    proto = model([node("MatMul", ["x", "w"], ["y"])], {}, ["n", 4], ["n", 2])
    tensor = proto.graph.initializer.add(name="w", data_type=1, dims=[4, 200_000_000], data_location=1)
    for key, value in (("location", "w.bin"), ("length", str(4 * 4 * 200_000_000))):
        tensor.external_data.add(key=key, value=value)
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    with (tmp_path / "w.bin").open("wb") as file:
        file.truncate(4 * 4 * 200_000_000)
    opened = Path.open

    def opening(path: Path, *arguments: object, **options: object) -> object:
        assert path.name != "w.bin"
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", opening)
    with pytest.raises(IntegrityError, match="weight 'w' has 3200000000 bytes, expected at most"):
        reading.read(tmp_path / "m.onnx")


def test_rules_are_tried_on_the_operators_they_are_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The work of simplifying is counted: a rule for Conv is never tried on a model of MatMul and Tanh."""
    tried: list[str] = []
    of_operator = simplify._OfOperator.try_rewrite

    def counting(self, model, graph, node, **options):  # type: ignore[no-untyped-def]  # test double
        tried.extend([node.op_type] if node.op_type == self.op_type else [])
        return of_operator(self, model, graph, node, **options)

    monkeypatch.setattr(simplify._OfOperator, "try_rewrite", counting)
    normal_form.normalise(stack(50).SerializeToString())
    assert tried == []


def test_a_fragment_that_ends_its_process_ends_nobody_elses() -> None:
    """Onnxruntime does not survive some products in float16 that are cut from what is around them: it is said."""
    turn = {"perm": [1, 0, 2]}
    nodes = [
        node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
        node("MatMul", ["h", "w"], ["a"]),
        node("Transpose", ["a"], ["t"], **turn),
        node("MatMul", ["t", "v"], ["b"]),
        node("Transpose", ["b"], ["z"], **turn),
        node("Cast", ["z"], ["y"], to=TensorProto.FLOAT),
    ]
    weights = {"w": numbers(12, 12).astype(np.float16), "v": numbers(12, 5).astype(np.float16)}
    whole = model(nodes, weights, ["n", 10, 12], ["n", 10, 5]).SerializeToString()
    apart = "import sys, splitplace as sp; sp.split(sys.stdin.buffer.read(), fragments=2)"
    done = subprocess.run([sys.executable, "-c", apart], input=whole, capture_output=True, check=False)
    # A later onnxruntime may run it.
    assert not done.returncode or b"a fault of this onnxruntime" in done.stderr
