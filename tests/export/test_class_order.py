"""Own images in class folders, of splits that order, name or size things otherwise: measured, told, or refused."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import splitplace as sp

COLOURS = ("red", "green", "blue")


def colours(order: tuple[int, ...]) -> bytes:
    """A model of images of 8 x 8 pixels that scores how much there is of each of these channels."""
    weight = np.zeros((3, len(order)), np.float32)
    weight[order, range(len(order))] = 1
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
            helper.make_node("GlobalAveragePool", ["f"], ["p"]),
            helper.make_node("Flatten", ["p"], ["q"]),
            helper.make_node("MatMul", ["q", "w"], ["y"]),
        ],
        "colours",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", len(order)])],
        [numpy_helper.from_array(weight, "w")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    data: bytes = proto.SerializeToString()
    return data


def exported(folder, order=(0, 1, 2), names=None) -> str:
    """Its place in a catalog."""
    split = sp.split(colours(order), fragments=1, class_names=names, application="paint")
    return sp.export(split, folder / "catalog").location


@pytest.fixture
def own(tmp_path):
    """Three images a class, not of the model's size."""
    rng = np.random.default_rng(4)
    for channel, name in enumerate(COLOURS):
        (tmp_path / "own" / name).mkdir(parents=True)
        for i in range(3):
            pixels = rng.integers(0, 60, (20, 14, 3)).astype(np.uint8)
            pixels[..., channel] = 220 + i
            Image.fromarray(pixels).save(tmp_path / "own" / name / f"{i}.png")
    return tmp_path / "own"


def test_images_of_another_size_are_read_as_infer_reads_them(own, tmp_path, caplog):
    """Of a model of bytes that does not say how: they were refused, by `evaluate` alone."""
    found = sp.evaluate(exported(tmp_path, names=COLOURS), path=own, unseen=True)
    assert (found.top1, found.n) == (1.0, 9)
    assert "does not say how it reads images: read as RGB of 8x8 pixels" in caplog.text


def test_an_order_of_classes_that_nobody_stated_is_said(own, tmp_path, caplog):
    """Folders are in the order of their names, a model's answers in its own: accuracy was chance without a word."""
    assert sp.evaluate(exported(tmp_path), path=own, unseen=True).top1 < 0.5
    assert (
        "(0 is 'blue', 1 is 'green', 2 is 'red'): if the model has another, split it with --class-names" in caplog.text
    )


def test_classes_of_one_name_are_refused_where_images_are_of_it(own, tmp_path):
    """The last of them was taken for all."""
    location = exported(tmp_path, (0, 1, 2, 0), (*COLOURS, "red"))
    with pytest.raises(sp.ContractError, match="images of the class 'red', and the split calls 2 of its classes so"):
        sp.evaluate(location, path=own, unseen=True)
    found = sp.evaluate(exported(tmp_path, (0, 1, 2, 0), (*COLOURS, "grey")), path=own, unseen=True)
    assert found.n == 9


def test_a_folder_given_as_images_is_told_from_a_file(own, tmp_path):
    """It was "no file", though it is there."""
    with pytest.raises(sp.UsageError, match="is a folder: of class folders or Parquet give it as --path"):
        sp.evaluate(exported(tmp_path), images=own, labels=[0] * 9)


@pytest.mark.parametrize(
    ("suffix", "said"), [(".csv", "expected what numpy.save writes"), (".npz", "expected one, as")]
)
def test_labels_in_a_file_of_another_kind(tmp_path, suffix, said):
    """Numpy takes any text for a pickle, and offers to run it."""
    file = tmp_path / f"labels{suffix}"
    np.savez(file, a=[0], b=[1]) if suffix == ".npz" else file.write_text("label\n0\n1\n")
    with pytest.raises(sp.IntegrityError, match=said) as caught:
        sp.evaluate(exported(tmp_path), images=np.zeros((2, 3, 8, 8), np.uint8), labels=file)
    assert "pickle" not in str(caught.value)


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((5, 8, 8, 3), r"give it as \.transpose\(0, 3, 1, 2\), channels first"),
        ((3, 8, 8), r"give it as x\[None\], a batch of one"),
    ],
)
def test_arrays_of_another_shape_are_told_how_they_become_what_is_taken(tmp_path, shape, said):
    """One image, or channels last."""
    with pytest.raises(sp.ContractError, match=said):
        sp.infer(exported(tmp_path), np.zeros(shape, np.uint8))
