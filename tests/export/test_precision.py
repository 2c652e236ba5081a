"""Splits in float16 and int8."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from splitplace.catalog import Catalog
from splitplace.errors import SplitPlaceError
from splitplace.export.catalog_writer import CatalogWriter
from splitplace.export.convert.precision import with_precision
from splitplace.inference.executor import Executor, boundary_values
from splitplace.splitting.layerwise import cutting


def images(n, seed=0):
    """Random bytes."""
    return np.random.default_rng(seed).integers(0, 256, (n, 1, 12, 12)).astype(np.uint8)


def relative_error(got, expected):
    """Of the range of the expected values."""
    return np.abs(got - expected).max() / np.ptp(expected)


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "bound"), [("float16", 0.01), ("int8", 0.15)])
def test_a_smaller_split_answers_nearly_the_same(tree_artifact, tmp_path, precision, bound):
    """Through the catalog, near to float32 on inputs it was not calibrated on; and no answer is float32's own."""
    small = with_precision(tree_artifact, precision, images(64))
    assert small.split.reference == f"fashionmnist.tiny.semantic-2x2-{precision}"
    catalog = CatalogWriter(tmp_path / "c")
    catalog.write(small)
    split = Catalog(tmp_path / "c").split(small.split.reference)
    x = {"image": images(50, seed=1)}
    expected = Executor(tree_artifact.split, tree_artifact.models.__getitem__).run(x)
    got = Executor(split, lambda name: catalog.load(split, name)).run(x)
    assert 0 < relative_error(got, expected) < bound


@pytest.mark.slow
def test_contracts_and_graph_stay_and_weights_shrink(full_artifact):
    """Boundaries, params and FLOPs as in float32; half the weight bytes in float16."""
    small = with_precision(full_artifact, "float16")
    before, after = full_artifact.split.by_name["full"], small.split.by_name["full"]
    assert (after.inputs, after.outputs, after.params) == (before.inputs, before.outputs, before.params)
    assert after.flops_per_sample == before.flops_per_sample
    assert after.weight_bytes < 0.6 * before.weight_bytes
    assert small.split.edges == full_artifact.split.edges
    assert with_precision(full_artifact, "float32") is full_artifact


def test_int8_holds_int8_weights_and_is_deterministic(full_artifact):
    """Convolutions between quantised tensors; the same calibration gives the same bytes."""
    small = with_precision(full_artifact, "int8", images(64))
    model = onnx.load_from_string(small.models["full"])
    assert onnx.TensorProto.INT8 in {tensor.data_type for tensor in model.graph.initializer}
    assert "QuantizeLinear" in {node.op_type for node in model.graph.node}
    assert with_precision(full_artifact, "int8", images(64)).split == small.split


def test_int8_without_real_inputs_is_refused(full_artifact):
    """None, or too few."""
    for calibration in (None, images(3)):
        with pytest.raises(SplitPlaceError, match="int8 needs calibration on real inputs"):
            with_precision(full_artifact, "int8", calibration)


def test_int8_of_an_old_opset_has_one_scale_a_weight():
    """A scale for each channel has been an attribute since opset 13."""
    x, y = (
        helper.make_tensor_value_info(name, 1, ["n", *sides]) for name, sides in (("x", (3, 8, 8)), ("y", (4, 8, 8)))
    )
    kernel = numpy_helper.from_array(np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32), "k")
    graph = helper.make_graph([helper.make_node("Conv", ["x", "k"], ["y"], pads=[1] * 4)], "g", [x], [y], [kernel])
    for opset in (11, 13):
        whole = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)
        artifact = cutting.split(whole.SerializeToString(), 1)
        given = np.random.default_rng(1).normal(size=(40, 3, 8, 8)).astype(np.float32)
        narrow = with_precision(artifact, "int8", given)
        scales = [
            tensor
            for tensor in onnx.load_from_string(narrow.models["f0"]).graph.initializer
            if "k_scale" in tensor.name
        ]
        assert [tuple(scale.dims) for scale in scales] == [() if opset < 13 else (4,)]
        got, expected = (Executor(one.split, one.models.__getitem__).run({"x": given}) for one in (narrow, artifact))
        assert np.abs(got - expected).max() < 0.05 * np.ptp(expected)


def test_boundary_values_are_what_the_fragments_pass(tree_artifact):
    """Every fragment is fed what its parents give."""
    fed = boundary_values(tree_artifact.split, tree_artifact.models.__getitem__, {"image": images(40)}, 16)
    assert fed["trunk"]["image"].shape == (40, 1, 12, 12)
    assert fed["inner1"]["trunk_out"].shape == (40, 6, 12, 12)
    np.testing.assert_array_equal(fed["inner0"]["trunk_out"], fed["inner1"]["trunk_out"])
