"""What converters get wrong in silence: numbers out of range, tensors carried through, files that end a process."""

import sys

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from splitplace.errors import IntegrityError, SplitPlaceError, UsageError
from splitplace.export.convert import precision
from splitplace.export.convert.precision import with_precision
from splitplace.inference import trial
from splitplace.inference.executor import Executor
from splitplace.splitting.layerwise import cutting


def numbers(*shape):
    """Weights by a fixed generator."""
    return np.random.default_rng(3).normal(0, 0.4, shape).astype(np.float32)


def split_of(nodes, weights, fragments=1, width=8, answers=3):
    """A split of a model of one input x and one output y."""
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "test",
        [info("x", TensorProto.FLOAT, ["n", width])],
        [info("y", TensorProto.FLOAT, ["n", answers])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return cutting.split(model.SerializeToString(), fragments, slack=0.0)


def answer(artifact, x):
    """What a split answers."""
    return Executor(artifact.split, artifact.models.__getitem__).run({"x": x})


def test_numbers_beyond_float16_stay_in_float32():
    """An offset of 300,000 in the weights, and a product that reaches it: both survive, and the rest is float16."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Tanh", ["h"], ["t"]),
        helper.make_node("MatMul", ["t", "v"], ["s"]),
        helper.make_node("Mul", ["s", "scale"], ["p"]),
        helper.make_node("Add", ["p", "offset"], ["y"]),
    ]
    weights = {"w": numbers(8, 8), "v": numbers(8, 3), "scale": np.float32(90_000), "offset": np.float32(300_000)}
    artifact = split_of(nodes, weights)
    narrow = with_precision(artifact, "float16")
    x = np.random.default_rng(4).normal(size=(16, 8)).astype(np.float32)
    expected, got = answer(artifact, x), answer(narrow, x)
    assert np.abs(got - expected).max() < 0.01 * np.ptp(expected)
    assert narrow.split.fragments[0].weight_bytes < artifact.split.fragments[0].weight_bytes


def test_a_conversion_that_answers_something_else_is_refused(monkeypatch):
    """The comparison does not trust the converter: one that loses a weight is found out."""
    artifact = split_of([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": numbers(8, 3)})

    def losing(model, feed):
        zeros = numpy_helper.from_array(np.zeros((8, 3), np.float32), model.graph.initializer[0].name)
        model.graph.initializer[0].CopyFrom(zeros)
        return model

    monkeypatch.setattr(precision, "float16", losing)
    with pytest.raises(SplitPlaceError, match=r"in float16 'y' is off by 100\.0% of its largest value"):
        with_precision(artifact, "float16")


@pytest.mark.parametrize("kind", ["float16", "int8"])
def test_what_a_fragment_carries_through_stays_as_it_is(kind):
    """A skip connection over a whole fragment: its tensor is an input and an output of it."""
    nodes = [helper.make_node("MatMul", ["x", "w0"], ["h0"])]
    weights = {"w0": numbers(8, 8), "v": numbers(8, 3)}
    for i in range(4):
        weights[f"u{i}"] = numbers(8, 8)
        nodes += [
            helper.make_node("MatMul", [f"h{i}", f"u{i}"], [f"m{i}"]),
            helper.make_node("Tanh", [f"m{i}"], [f"h{i + 1}"]),
        ]
    nodes += [helper.make_node("Add", ["h4", "h0"], ["s"]), helper.make_node("MatMul", ["s", "v"], ["y"])]
    artifact = split_of(nodes, weights, fragments=3)
    through = [f for f in artifact.split.fragments if {s.name for s in f.inputs} & {s.name for s in f.outputs}]
    assert through
    x = np.random.default_rng(4).normal(size=(40, 8)).astype(np.float32)
    converted = with_precision(artifact, kind, x)
    expected = answer(artifact, x)
    assert np.abs(answer(converted, x) - expected).max() < 0.2 * np.ptp(expected)


def test_a_file_that_ends_its_process_ends_nobody_elses(tmp_path, monkeypatch):
    """The process that runs it dies by a signal: one line says so; a file that does not load is another line."""
    artifact = split_of([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": numbers(8, 3)})
    fragment, model = artifact.split.fragments[0], artifact.models["f0"]
    x = {"x": numbers(2, 8)}
    np.testing.assert_allclose(trial.run_apart(fragment, model, x)["y"], answer(artifact, x["x"]), rtol=1e-6)
    with pytest.raises(IntegrityError, match="f0: onnxruntime cannot load it"):
        trial.run_apart(fragment, b"no model", x)
    killer = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    monkeypatch.setattr(trial, "python_child", lambda module: [sys.executable, "-c", killer])
    with pytest.raises(IntegrityError, match="ends the process by signal 11"):
        trial.run_apart(fragment, model, x)


def test_several_inputs_are_calibrated_by_name():
    """Two inputs: by name they convert, as one array they are refused."""
    nodes = [
        helper.make_node("MatMul", ["a", "w"], ["h"]),
        helper.make_node("Add", ["h", "b"], ["s"]),
        helper.make_node("MatMul", ["s", "v"], ["y"]),
    ]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "test",
        [info(name, TensorProto.FLOAT, ["n", 8]) for name in "ab"],
        [info("y", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(value, name) for name, value in {"w": numbers(8, 8), "v": numbers(8, 3)}.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    artifact = cutting.split(model.SerializeToString(), 1)
    real = {"a": numbers(32, 8), "b": numbers(32, 8)}
    assert with_precision(artifact, "int8", real).split.variant == "1-int8"
    with pytest.raises(UsageError, match="takes the inputs a, b"):
        with_precision(artifact, "int8", real["a"])
