"""A model of normalised images that becomes one of image files."""

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import splitplace as sp
from splitplace.splitting.layerwise.detached import Detached
from splitplace.splitting.layerwise.image_input import of_bytes

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def network(shape=("n", 3, 8, 8), dtype=TensorProto.FLOAT, inputs=("image",), ir_version=9, answers_input=False):
    """Two convolutions, their mean, and a name inside that the normalisation might have taken."""
    weights = np.random.default_rng(0)
    tensors = [("a", (4, shape[1], 3, 3)), ("b", (5, 4, 3, 3))]
    stored = [numpy_helper.from_array(weights.normal(size=size).astype(np.float32), name) for name, size in tensors]
    given = [helper.make_tensor_value_info(name, dtype, shape) for name in inputs]
    if ir_version < 4:
        given += [helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name, size in tensors]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", [(*inputs, "a")[0], "a"], ["image/Cast"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["image/Cast"], ["r"]),
            helper.make_node("Conv", ["r", "b"], ["c"], pads=[1, 1, 1, 1]),
            helper.make_node("GlobalAveragePool", ["c"], ["p"]),
            helper.make_node("Flatten", ["p"], ["logits"]),
        ],
        "own",
        given,
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 5]), *(given[:1] if answers_input else [])],
        stored,
    )
    opset = 18 if ir_version > 3 else 7
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)
    return made.SerializeToString()


def run(model, x):
    """What it answers."""
    (answer,) = ort.InferenceSession(model, providers=["CPUExecutionProvider"]).run(["logits"], {"image": x})
    return answer


@pytest.mark.parametrize("ir_version", [3, 9])
def test_bytes_answer_as_the_normalised_image_did(ir_version):
    """By channel, with the input's name kept and no name taken twice; weights of IR version 3 are inputs, too."""
    x = np.random.default_rng(1).integers(0, 256, (3, 3, 8, 8), dtype=np.uint8)
    mean_C, std_C = (np.array(values, np.float32).reshape(3, 1, 1) for values in (MEAN, STD))
    whole = network(ir_version=ir_version)
    made, reading = of_bytes(whole, MEAN, STD, "own")
    np.testing.assert_allclose(run(made, x), run(whole, (x / np.float32(255) - mean_C) / std_C), rtol=1e-5, atol=1e-5)
    assert (reading.before.height, reading.before.channels, reading.inside.std_C) == (8, 3, STD)


def test_a_model_that_answers_its_input_too_is_one_of_bytes():
    """Which it then answers."""
    x = np.random.default_rng(1).integers(0, 256, (3, 3, 8, 8), dtype=np.uint8)
    made, _ = of_bytes(network(answers_input=True), MEAN, STD, "own")
    np.testing.assert_array_equal(run(made, x), run(of_bytes(network(), MEAN, STD, "own")[0], x))


def test_weights_that_lie_beside_the_message_stay_there():
    """Those of a model of more than 2 GB."""
    beside = {"large": np.zeros(3)}
    made, _ = of_bytes(Detached(network(), beside), MEAN, STD, "own")
    assert made.beside is beside


@pytest.mark.parametrize(
    ("other", "got"),
    [
        ({"dtype": TensorProto.FLOAT16}, r"takes FLOAT16\['?n?"),
        ({"shape": ("n", 3, "h", "w")}, "expected one FLOAT"),
        ({"inputs": ("image", "more")}, "expected one FLOAT"),
        ({"inputs": ()}, "takes no input, expected one FLOAT"),
        ({"shape": ("n", 3, -1, 8)}, r"takes FLOAT\[n,3,-1,8\], expected one FLOAT"),
        ({"shape": ("n", 4, 8, 8)}, "takes images of 4 channels, got 3 means"),
    ],
)
def test_another_input_is_refused_by_its_type(other, got):
    """Nobody can say how an image becomes it."""
    with pytest.raises(sp.ContractError, match=got):
        of_bytes(network(**other), MEAN, STD, "own")


def test_a_split_of_it_reads_image_files(tmp_path):
    """The whole way: cut, held against the whole on bytes, exported, and asked by a file and by its bytes."""
    done = sp.split(network(), fragments=2, mean="0.485,0.456,0.406", std=STD, out=tmp_path / "halves")
    assert str(done.split.inputs[0].dtype) == "uint8"
    where = sp.export(tmp_path / "halves", tmp_path / "catalog").location
    x = np.random.default_rng(2).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(x).save(tmp_path / "x.png")
    by_file = sp.infer(where, [tmp_path / "x.png"]).logits
    np.testing.assert_array_equal(by_file, sp.infer(where, x.transpose(2, 0, 1)[None]).logits)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mean": MEAN}, "belong together"),
        ({"mean": "red", "std": STD}, "--mean red: expected a number a channel"),
        ({"mean": MEAN, "std": "1,0,1"}, "--std 1,0,1: expected a number above 0 a channel"),
        ({"mean": "nan", "std": "1"}, "--mean nan"),
        ({"mean": [[0.5]], "std": "1"}, "--mean .*expected a number a channel"),
        ({"mean": "123.675,116.28,103.53", "std": "58.4,57.1,57.4"}, "--mean 123.*from 0 to 1.*from 0 to 255 by 255"),
        ({"mean": MEAN, "std": "58.4,57.1,57.4"}, "--std 58.*from 0 to 1.*: divide those"),
        ({"mean": MEAN, "std": "0.2,1e-50,0.2"}, "--std 0.2,1e-50.*from 0 to 1"),
    ],
)
def test_numbers_are_looked_at_before_the_model_is(given, message):
    """One line: what was got, what is expected."""
    with pytest.raises(sp.UsageError, match=message):
        sp.split(b"", fragments=2, **given)


def test_one_number_is_that_of_a_grey_image():
    """As text, in a list or by itself: the model is looked at next."""
    for mean, std in (("0.13", "0.3"), ([0.13], [0.3]), (0.13, 0.3), (0, 1), (np.float32(0.13), np.float32(0.3))):
        with pytest.raises(sp.ContractError, match="takes images of 3 channels, got 1 means and 1 deviations"):
            sp.split(network(), fragments=2, mean=mean, std=std)


def test_a_model_that_reads_images_already_is_not_normalised_twice(tmp_path):
    """A whole of a catalog that says how."""
    whole = sp.export(sp.split(network(), fragments=1, mean=MEAN, std=STD), tmp_path / "catalog").location
    with pytest.raises(sp.UsageError, match="normalises images itself"):
        sp.split(whole, fragments=2, mean=MEAN, std=STD)
