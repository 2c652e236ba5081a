"""Models nobody here wrote: fixed batches, local functions, control flow, external data, and what is no model."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from splitplace.errors import IntegrityError, SplitPlaceError, UsageError
from splitplace.inference.executor import Executor, open_session
from splitplace.records.split import Split
from splitplace.splitting.layerwise import cutting, fusion, normal_form
from splitplace.splitting.layerwise import model as reading

Builder = Callable[..., bytes]
RNG = np.random.default_rng(0)


def dense(n: int, m: int) -> np.ndarray:
    """A random weight matrix."""
    return RNG.normal(0, 0.5, (n, m)).astype(np.float32)


def test_a_fixed_batch_is_freed(residual_cnn: Builder) -> None:
    """A model exported for batch 1 becomes fragments for any batch, equal to it image by image."""
    artifact = cutting.split(residual_cnn(batch=1), 3)
    assert artifact.split.inputs[0].shape[0] == "batch"
    x = RNG.integers(0, 256, (5, 3, 16, 16)).astype(np.uint8)
    whole = open_session(residual_cnn(batch=1))
    one_by_one = np.concatenate([whole.run(None, {"image": x[i : i + 1]})[0] for i in range(5)])
    got = Executor(artifact.split, artifact.models.__getitem__).run({"image": x})
    np.testing.assert_allclose(got, one_by_one, rtol=1e-4, atol=1e-5)


def test_a_fixed_batch_in_a_reshape_is_freed(make_model: Builder) -> None:
    """The usual obstacle: a Reshape target that begins with the batch the model was exported for."""
    nodes = [
        helper.make_node("Reshape", ["x", "target"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "v"], ["y"]),
    ]
    weights = {"target": np.array([4, 12], np.int64), "w": dense(12, 8), "v": dense(8, 3)}
    artifact = cutting.split(make_model(nodes, weights, {"x": [4, 3, 4]}, {"y": [4, 3]}), 2)
    assert len(artifact.split.fragments) == 2


def test_a_batch_that_the_graph_depends_on_is_refused(make_model: Builder) -> None:
    """A model that sums over its fixed batch has no answer a sample."""
    nodes = [helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=1)]
    whole = make_model(nodes, {"axes": np.array([0], np.int64)}, {"x": [4, 3]}, {"y": [1, 3]})
    with pytest.raises(SplitPlaceError, match="symbolic batch"):
        cutting.split(whole, 2)


def test_local_functions_are_inlined(make_model: Builder) -> None:
    """A function of the model's own domain becomes the nodes it is made of."""
    body = [helper.make_node("MatMul", ["a", "b"], ["c"]), helper.make_node("Relu", ["c"], ["d"])]
    function = helper.make_function("own", "Layer", ["a", "b"], ["d"], body, [helper.make_opsetid("", 20)])
    nodes = [
        helper.make_node("Layer", ["x", "w0"], ["h"], domain="own"),
        helper.make_node("Layer", ["h", "w1"], ["y"], domain="own"),
    ]
    whole = make_model(
        nodes,
        {"w0": dense(6, 6), "w1": dense(6, 4)},
        {"x": ["n", 6]},
        {"y": ["n", 4]},
        functions=[function],
        domains=["own"],
    )
    artifact = cutting.split(whole, 2)
    operators = {node.op_type for data in artifact.models.values() for node in onnx.load_from_string(data).graph.node}
    assert len(artifact.models) == 2 and operators <= {"MatMul", "Relu", "Gemm"}


def test_no_shape_crosses_a_cut(make_model: Builder) -> None:
    """A model that computes shapes with its batch size: each fragment takes the batch from what it reads anyway."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["n"]),
        helper.make_node("Unsqueeze", ["n", "axes"], ["n1"]),
        helper.make_node("Concat", ["n1", "sizes"], ["target"], axis=0),
        helper.make_node("MatMul", ["x", "w"], ["h0"]),
    ]
    weights = {"zero": np.int64(0), "axes": np.array([0]), "sizes": np.array([4, 6]), "w": dense(6, 6)}
    for i in range(4):
        nodes += [
            helper.make_node("Reshape", [f"h{i}", "middle"], [f"m{i}"]),
            helper.make_node("Expand", [f"m{i}", "target"], [f"e{i}"]),
            helper.make_node("ReduceMax", [f"e{i}", "one"], [f"r{i}"], keepdims=0),
            helper.make_node("MatMul", [f"r{i}", f"w{i}"], [f"h{i + 1}"]),
        ]
        weights[f"w{i}"] = dense(6, 6)
    weights |= {"middle": np.array([-1, 1, 6]), "one": np.array([1])}
    whole = make_model(nodes, weights, {"x": ["n", 6]}, {"h4": ["n", 6]})
    split = cutting.split(whole, 3).split
    assert len(split.fragments) == 3
    for fragment in split.fragments:
        assert len(fragment.inputs) == len(fragment.outputs) == 1
        assert fragment.inputs[0].dtype == "float32"


def test_control_flow_is_kept_whole(make_model: Builder) -> None:
    """An If whose branches read values from outside stays one node, and what it reads is carried to it."""
    taken = helper.make_graph(
        [helper.make_node("MatMul", ["h", "w1"], ["a"])],
        "then",
        [],
        [helper.make_tensor_value_info("a", TensorProto.FLOAT, ["n", 6])],
    )
    other = helper.make_graph(
        [helper.make_node("Add", ["h", "x"], ["b"])],
        "else",
        [],
        [helper.make_tensor_value_info("b", TensorProto.FLOAT, ["n", 6])],
    )
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["h"]),
        helper.make_node("Exp", ["h"], ["above"]),  # so that it's the same branch for a row alone as for its batch
        helper.make_node("ReduceMax", ["above"], ["top"], keepdims=0),
        helper.make_node("Greater", ["top", "zero"], ["yes"]),
        helper.make_node("If", ["yes"], ["z"], then_branch=taken, else_branch=other),
        helper.make_node("MatMul", ["z", "w2"], ["y"]),
    ]
    weights = {"w0": dense(6, 6), "w1": dense(6, 6), "w2": dense(6, 3), "zero": np.float32(0)}
    artifact = cutting.split(make_model(nodes, weights, {"x": ["n", 6]}, {"y": ["n", 3]}), 3)
    graphs = [onnx.load_from_string(data).graph for data in artifact.models.values()]
    assert sum(node.op_type == "If" for graph in graphs for node in graph.node) == 1


def test_an_output_without_classes_is_passed_on(make_model: Builder) -> None:
    """A model that answers maps is cut as well; its split has no classes."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["h"], kernel_shape=[1, 1]),
        helper.make_node("Sigmoid", ["h"], ["y"]),
    ]
    whole = make_model(
        nodes, {"w": RNG.normal(size=(2, 3, 1, 1)).astype(np.float32)}, {"x": ["n", 3, 4, 4]}, {"y": ["n", 2, 4, 4]}
    )
    assert cutting.split(whole, 1).split.n_classes == 0


@pytest.mark.parametrize("channels", [32, 24])
def test_no_fusion_is_lost_by_cutting(residual_cnn: Builder, channels: int) -> None:
    """The fragments run the operators that the whole runs, once each, besides what enters and leaves a fragment.

    Also where the channels fill no whole number of onnxruntime's blocks.
    """

    def operators(data: bytes) -> list[str]:
        import onnxruntime as ort

        optimised = fusion.optimised(data, ort.GraphOptimizationLevel.ORT_ENABLE_ALL)
        body = [node for node in optimised.graph.node if "_blocked" not in node.name]  # without the anchors
        return sorted(node.op_type for node in body if node.op_type not in ("ReorderInput", "ReorderOutput"))

    whole = residual_cnn(channels=channels, depth=6)
    expected = operators(cutting.analyse(whole).graph.serialised())
    for count in (2, 3, 4):
        artifact = cutting.split(whole, count)
        assert sorted(name for data in artifact.models.values() for name in operators(data)) == expected


def test_external_data_is_read_from_the_folder_only(tmp_path: Path, residual_cnn: Builder) -> None:
    """Weights beside the model are read; a location outside its folder is refused."""
    folder = tmp_path / "model"
    folder.mkdir()
    proto = onnx.load_from_string(residual_cnn())
    onnx.save(proto, folder / "m.onnx", save_as_external_data=True, location="m.bin", size_threshold=0)
    assert len(cutting.split(reading.read(folder / "m.onnx"), 2).models) == 2

    moved = onnx.load(folder / "m.onnx", load_external_data=False)
    (folder / "m.bin").rename(tmp_path / "m.bin")
    for tensor in moved.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../m.bin"
    (folder / "m.onnx").write_bytes(moved.SerializeToString())
    with pytest.raises(IntegrityError, match="folder"):
        reading.read(folder / "m.onnx")


@pytest.mark.parametrize("data", [b"", b"hello, I am no model", b"\x08"])
def test_what_is_no_model_is_refused(tmp_path: Path, data: bytes) -> None:
    """Bytes that are not ONNX are refused in one line."""
    (tmp_path / "m.onnx").write_bytes(data)
    with pytest.raises(IntegrityError, match="not an ONNX model"):
        reading.read(tmp_path / "m.onnx")


def test_a_truncated_file_is_refused(tmp_path: Path, residual_cnn: Builder) -> None:
    """A file that lost its end is refused."""
    data = residual_cnn()
    (tmp_path / "m.onnx").write_bytes(data[: len(data) // 2])
    with pytest.raises(IntegrityError, match="truncated"):
        reading.read(tmp_path / "m.onnx")


def test_an_old_opset_is_refused(residual_cnn: Builder) -> None:
    """Below what onnxruntime promises to run the error says what would be accepted."""
    proto = onnx.load_from_string(residual_cnn())
    proto.opset_import[0].version = 6
    with pytest.raises(SplitPlaceError, match="opset 6, expected at least 7"):
        cutting.split(proto.SerializeToString(), 2)


def test_an_unknown_shape_is_refused(make_model: Builder) -> None:
    """An image size that is not stated is refused by name."""
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    with pytest.raises(SplitPlaceError, match="dimension 2 of input 'x' is height"):
        cutting.split(make_model(nodes, {}, {"x": ["n", 3, "height", 8]}, {"y": ["n", 3, "height", 8]}), 1)


def test_more_fragments_than_blocks_are_refused(make_model: Builder) -> None:
    """K over the number of blocks is a usage error that names the number."""
    from splitplace.splitting.layerwise import costs
    from splitplace.splitting.layerwise.hosts import Host

    whole = make_model([helper.make_node("Relu", ["x"], ["y"])], {}, {"x": ["n", 3]}, {"y": ["n", 3]})
    network = cutting.analyse(whole)
    work = costs.work(network, costs.analytic(network, 8), 8)
    with pytest.raises(UsageError, match="1 blocks"):
        cutting.propose(network, work, [Host("a"), Host("b")], 2)


def test_tensors_keep_their_names(residual_cnn: Builder) -> None:
    """Boundary tensors bear the names they have in the model, whatever the input is called."""
    split: Split = cutting.split(residual_cnn(), 2).split
    known = {name for node in onnx.load_from_string(residual_cnn()).graph.node for name in node.output}
    assert split.inputs[0].name == "image"
    assert {spec.name for spec in split.fragments[0].outputs} <= known


def test_weights_are_counted_once(residual_cnn: Builder) -> None:
    """The fragments' weight bytes add up to the whole's, besides the shapes and scales."""
    artifact = cutting.split(residual_cnn(), 3)
    folded = normal_form.normalise(residual_cnn())
    total = sum(value.const_value.nbytes for value in folded.graph.initializers.values())
    assert sum(fragment.weight_bytes for fragment in artifact.split.fragments) == total
