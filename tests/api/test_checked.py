"""What the verbs of models and catalogs are handed in Python is what their annotations say, or refused in a line."""

import numpy as np
import pytest

import splitplace as sp
from splitplace.api.checked import checked


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory, small_chain: bytes) -> sp.Exported:
    """A split of two fragments that takes float32 [batch, 6] and scores three classes."""
    return sp.export(sp.split(small_chain, fragments=2), tmp_path_factory.mktemp("checked") / "catalog")


@pytest.fixture(scope="module")
def small_chain() -> bytes:
    """Two layers as an ONNX file."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    weights = {"v": rng.normal(size=(6, 6)), "w": rng.normal(size=(6, 3))}
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "v"], ["a"]),
            helper.make_node("Tanh", ["a"], ["h"]),
            helper.make_node("MatMul", ["h", "w"], ["y"]),
        ],
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    data: bytes = proto.SerializeToString()
    return data


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"fragments": 2.0}, "--fragments 2.0: expected a whole number"),
        ({"fragments": "2"}, "--fragments '2': expected a whole number"),
        ({"fragments": True}, "--fragments True: expected a whole number"),
        ({"micro_batch": float("nan")}, "--micro-batch nan: expected a whole number"),
        ({"slack": "0.1"}, "--slack '0.1': expected a number"),
        ({"seed": None}, "--seed None: expected a whole number"),
        ({"objective": "bottlenecks"}, "--objective 'bottlenecks': expected bottleneck or latency or fewest"),
        ({"costs": None}, "--costs None: expected analytic or measured"),
        ({"random_weights": "no"}, "--random-weights 'no': expected True or False"),
        ({"application": 5}, "--application 5: expected text"),
        ({"out": 5}, "--out 5: expected a file's or folder's name"),
        ({"progress": None}, "--progress None: expected a function"),
        ({"devices": []}, "--devices: got none, expected a fleet, or one Device at least"),
        ({"devices": ["board"]}, "--devices: got str, expected a fleet"),
        ({"class_names": {"a", "b", "c"}}, "class names in a set, whose order says nothing"),
        ({"class_names": {"a": 0, "b": 1, "c": 2}}, "class names in a dict"),
        ({"images": [[0.0] * 6] * 40}, "got of list, expected a numpy array"),
        ({"images": {"x": None}}, "'x' is of NoneType, expected a numpy array"),
        ({"images": np.full((40, 6), np.nan, np.float32)}, "answers nothing but NaN"),
    ],
)
def test_a_split_of_what_is_none_of_its_kind(small_chain, changes, said):
    """By the option's name: these were tracebacks, or taken for something else without a word."""
    with pytest.raises(sp.SplitPlaceError) as raised:
        sp.split(small_chain, **({"fragments": 2} | changes))
    assert said in str(raised.value)


@pytest.mark.parametrize("source", [None, 5, [], object()])
def test_a_source_of_another_kind_is_named(source, tmp_path):
    """What a split or an export is of, and what may be given instead."""
    with pytest.raises(sp.UsageError, match=r"source of .*expected a run or its folder, CATALOG:REF"):
        sp.split(source, fragments=2)
    with pytest.raises(sp.UsageError, match=r"source of .*expected a run or a split"):
        sp.export(source, tmp_path / "catalog")


def test_a_model_in_memory_is_asked_for_as_bytes(small_chain):
    """What the onnx package calls a model."""
    import onnx

    with pytest.raises(sp.UsageError, match=r"of a ModelProto its SerializeToString\(\)"):
        sp.split(onnx.load_from_string(small_chain), fragments=2)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda at, x: sp.infer(5, x), "location 5: expected a file's or folder's name"),
        (lambda at, x: sp.infer(at, x, missing=None), "--missing None: expected a list"),
        (lambda at, x: sp.infer(at, {"x": x.tolist()}), "'x' is of list, expected a numpy array"),
        (lambda at, x: sp.infer(at, {1: x}), "no input x, got 1"),
        (lambda at, x: sp.evaluate(at, data=(x, x)), "data of tuple: expected what `fetch` gives"),
        (lambda at, x: sp.profile(at, threads="one"), "--threads one: expected whole numbers"),
        (lambda at, x: sp.profile(at, cpus="0.5"), "--cpus '0.5': expected a number"),
        (lambda at, x: sp.profile(at, example_inputs=x.tolist()), "got of list, expected a numpy array"),
        (lambda at, x: sp.profile(at, example_inputs=x[:0]), "no example inputs to measure on"),
        (lambda at, x: sp.push(None, "oci://localhost:1/x"), "catalog None: expected"),
        (lambda at, x: sp.push(at, 5), "remote 5: expected text"),
        (lambda at, x: sp.pull("oci://localhost:1/x", 5), "catalog 5: expected"),
        (lambda at, x: sp.build_images(at, 5), "out 5: expected"),
        (lambda at, x: sp.load_demand(5), "source 5: expected"),
    ],
)
def test_a_verb_of_what_is_none_of_its_kind(chain, call, said):
    """Likewise."""
    with pytest.raises(sp.SplitPlaceError) as raised:
        call(chain.location, np.zeros((4, 6), np.float32))
    assert said in str(raised.value)


@pytest.mark.parametrize(("option", "value"), [("precision", "float17"), ("precision", None), ("format", "OCI")])
def test_an_export_in_a_form_that_there_is_not(chain, small_chain, tmp_path, option, value):
    """A split of float17 was written, which was of int8."""
    with pytest.raises(sp.UsageError, match=rf"--{option} {value!r}: expected .* or "):
        sp.export(sp.split(small_chain, fragments=2), tmp_path / "catalog", **{option: value})
    assert not (tmp_path / "catalog").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"application": None}, "application of NoneType: expected a name"),
        ({"application": ["mnist"]}, "application of list"),
        ({"recipe": "Distil"}, "--recipe 'Distil': expected distil or splitnet or scratch"),
        ({"trunk": "Shared"}, "--trunk 'Shared': expected shared or replicated"),
        ({"tree": 2.5}, "--tree 2.5: expected a whole number"),
        ({"cuts": 5}, "--cuts 5: expected"),
        ({"groups": 5}, "--groups 5: expected"),
        ({"full": 5}, "--full of int: expected a run, or its folder"),
        ({"mirror": "no"}, "--mirror 'no': expected True or False"),
    ],
)
def test_a_training_of_what_is_none_of_its_kind(changes, said):
    """Before any image is read; a recipe that there is not was told after the full model was trained."""
    with pytest.raises(sp.UsageError) as raised:
        sp.train(**({"application": "mnist", "strategy": "semantic"} | changes))
    assert said in str(raised.value)


def test_a_place_may_be_a_path_and_numbers_numpys(chain, small_chain, tmp_path):
    """As they come out of pathlib and arrays: both were tracebacks."""
    x = np.ones((3, 6), np.float32)
    assert sp.infer(chain.catalog, x).logits.tolist() == sp.infer(chain.location, x).logits.tolist()
    made = sp.split(bytearray(small_chain), fragments=np.int64(2), slack=np.float32(0), memory_limit=2.0**26)
    assert len(made.models) == 2 and type(made.slack) is float
    (profiles,) = sp.profile(chain.catalog, quick=True, threads=np.int64(1)).values()
    assert [profile.device.threads for profile in profiles] == [1, 1]


def test_what_is_given_is_as_it_was_where_nothing_has_to_change():
    """Whole numbers in a number's place stay whole, texts texts, and what only the function can tell is left to it."""

    @checked("odd", n=1)
    def given(*, n: int, share: float, name: str | None = None, odd: int = 0, later: "Unknown" = None):  # noqa: F821
        return n, share, name, odd, later

    assert repr(given(n=1, share=1, odd="x", later=7)) == repr((1, 1, None, "x", 7))
    with pytest.raises(sp.UsageError, match="--n 0: expected 1 or more"):
        given(n=0, share=1)
    with pytest.raises(sp.UsageError, match="--name of list: expected text"):
        given(n=1, share=1, name=["x" * 100])
