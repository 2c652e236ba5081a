"""What a profile is taken on: integers that every table has, or the user's own inputs."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from splitplace.errors import SplitPlaceError
from splitplace.export.catalog_writer import CatalogWriter
from splitplace.export.measure.profiler import Effort, profile_split
from splitplace.inference.noise import draw
from splitplace.records.fragment import TensorSpec
from splitplace.splitting.layerwise import cutting

SHORT = Effort((1, 3), rounds=1, budget_s=0.01)


@pytest.fixture
def catalog(tmp_path):
    """A split of a table of five rows and a layer over what is looked up."""
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "ids"], ["rows"]),
            helper.make_node("ReduceMax", ["rows", "axis"], ["h"], keepdims=0),
            helper.make_node("MatMul", ["h", "w"], ["y"]),
        ],
        "table",
        [info("ids", TensorProto.INT64, ["n", 3])],
        [info("y", TensorProto.FLOAT, ["n", 2])],
        [
            numpy_helper.from_array(np.ones((5, 4), np.float32), "table"),
            numpy_helper.from_array(np.array([1]), "axis"),
            numpy_helper.from_array(np.ones((4, 2), np.float32), "w"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    writer = CatalogWriter(tmp_path / "catalog")
    writer.write(cutting.split(model.SerializeToString(), 1))
    return writer


@pytest.mark.slow
def test_made_up_indices_are_in_every_table(catalog):
    """Zero and one: a table of five rows is profiled."""
    (profile,) = profile_split(catalog, "custom.model.layer-1", SHORT)
    assert [row.batch_size for row in profile.latency] == [1, 3]


@pytest.mark.slow
def test_a_profile_is_taken_on_the_examples(catalog):
    """The user's own rows are what runs: one that no table has is refused, in the words of who ran it."""
    examples = np.array([[0, 4, 2], [3, 3, 1]])
    (profile,) = profile_split(catalog, "custom.model.layer-1", SHORT, examples=examples)
    assert profile.fragment == "f0"
    with pytest.raises(SplitPlaceError, match="out of data bounds"):
        profile_split(catalog, "custom.model.layer-1", SHORT, again=True, examples=examples + 3)
    with pytest.raises(SplitPlaceError, match=r"tensor 'ids' got float32\[2, 3\]"):
        profile_split(catalog, "custom.model.layer-1", SHORT, again=True, examples=examples.astype(np.float32))


@pytest.mark.slow
def test_examples_are_measured_on_where_a_profile_exists(catalog):
    """One taken on made-up rows is no answer to somebody who gives real ones: these run, and fail as they must."""
    profile_split(catalog, "custom.model.layer-1", SHORT)
    with pytest.raises(SplitPlaceError, match="out of data bounds"):
        profile_split(catalog, "custom.model.layer-1", SHORT, examples=np.array([[5, 6, 7]]))


@pytest.mark.parametrize(
    ("dtype", "shape", "low", "high"),
    [
        ("int64", (7,), 0, 1),
        ("int32", (7, 7), 0, 1),
        ("bool", (9,), 0, 1),
        ("uint8", (3,), 0, 1),
        ("uint8", (1, 9, 9), 0, 255),
    ],
)
def test_integers_are_indices_unless_they_are_maps_of_bytes(dtype, shape, low, high):
    """One rule for the check, for profiles and for conversions."""
    made = draw(TensorSpec(name="x", dtype=dtype, shape=("batch", *shape)), 64, np.random.default_rng(0))
    assert made.dtype == dtype and made.shape == (64, *shape)
    assert (int(made.min()), int(made.max())) == (low, high)
