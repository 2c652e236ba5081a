"""`infer` and `evaluate` on splits that take several inputs, or answer something else than scores of classes."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import splitplace as sp
from splitplace.cli import main
from splitplace.export.catalog_writer import CatalogWriter
from splitplace.splitting.layerwise import cutting


def numbers(*shape: int) -> np.ndarray:
    """The same in every test."""
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def catalog(place: Path, inputs: tuple[str, ...], answer: list, *last: object, names: Sequence[str] = ()) -> str:
    """CATALOG of a split: the inputs added up, a layer to h, then these nodes to y."""
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Sum", list(inputs), ["s"]), helper.make_node("MatMul", ["s", "w"], ["h"]), *last],
        "answers",
        [info(name, TensorProto.FLOAT, ["n", 4]) for name in inputs],
        [info("y", TensorProto.FLOAT, answer)],
        [numpy_helper.from_array(numbers(4, 3), "w"), numpy_helper.from_array(np.array([1]), "axis")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    CatalogWriter(place / "catalog").write(cutting.split(model.SerializeToString(), 1).described(tuple(names), None))
    return str(place / "catalog")


def test_several_inputs_are_given_by_name(tmp_path: Path) -> None:
    """As arrays, as an .npz file and as NAME=FILE the same logits; evaluated, too; one array alone is refused."""
    where = catalog(tmp_path, ("a", "b"), ["n", 3], helper.make_node("Tanh", ["h"], ["y"]))
    given = {"a": numbers(40, 4), "b": numbers(40, 4) + 1}
    np.savez(tmp_path / "both.npz", **given)
    for name, values in given.items():
        np.save(tmp_path / f"{name}.npy", values)
    done = sp.infer(where, given)
    for files in ([tmp_path / "both.npz"], [f"{name}={tmp_path / name}.npy" for name in given]):
        np.testing.assert_array_equal(sp.infer(where, files).logits, done.logits)
    assert sp.evaluate(where, images=given, labels=done.labels).top1 == 1.0
    with pytest.raises(sp.UsageError, match="takes the inputs a, b"):
        sp.infer(where, given["a"])
    with pytest.raises(sp.UsageError, match="expected at least 1 of each"):
        sp.evaluate(where, images=given, labels=done.labels, micro_batch=-5)
    with pytest.raises(sp.UsageError, match="at most 1024 threads"):
        sp.infer(where, given, threads=100_000)
    with pytest.raises(sp.SplitPlaceError, match="as many rows for every input"):
        sp.infer(where, given | {"b": given["b"][:7]})


@pytest.mark.parametrize("channels", [2, 4])
def test_arrays_of_other_channels_than_image_files_have_are_evaluated_as_they_are(
    tmp_path: Path, channels: int
) -> None:
    """A split of theirs says nothing of image files, and needs not."""
    info = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Cast", ["image"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["f"], ["s"]),
        helper.make_node("MatMul", ["s", "w"], ["y"]),
    ]
    given = [info("image", TensorProto.UINT8, ["n", channels, 8, 8])]
    of_class = np.arange(channels * 64) % 3 == np.arange(3)[:, None]  # which numbers of an image are bright
    weights = [numpy_helper.from_array(of_class.T.astype(np.float32), "w")]
    graph = helper.make_graph(nodes, "bands", given, [info("y", TensorProto.FLOAT, ["n", 3])], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    CatalogWriter(tmp_path / "catalog").write(cutting.split(model.SerializeToString(), 1).described((), None))
    y = np.arange(12) % 3
    x = (200 * of_class[y]).astype(np.uint8).reshape(-1, channels, 8, 8).transpose(0, 2, 3, 1)
    np.savez(tmp_path / "bands.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    assert sp.evaluate(str(tmp_path / "catalog"), path=tmp_path / "bands.npz").top1 == 1.0


def test_image_files_for_a_split_that_takes_none_are_refused_before_they_are_read(tmp_path: Path) -> None:
    """With what would have it take them."""
    where = catalog(tmp_path, ("a",), ["n", 3], helper.make_node("Tanh", ["h"], ["y"]))
    with pytest.raises(sp.UsageError, match=r"does not say how an image becomes that: .* --mean and --std"):
        sp.evaluate(where, path=tmp_path / "nowhere")


def test_labels_may_be_a_list(tmp_path: Path) -> None:
    """Of whole numbers, as notebooks have them; anything else is refused as of an array."""
    where = catalog(tmp_path, ("a",), ["n", 3], helper.make_node("Tanh", ["h"], ["y"]))
    labels = sp.infer(where, numbers(8, 4)).labels
    assert labels is not None
    assert sp.evaluate(where, images=numbers(8, 4), labels=labels.tolist()).top1 == 1.0
    with pytest.raises(sp.UsageError, match=r"labels: got float64\[8\], expected whole numbers"):
        sp.evaluate(where, images=numbers(8, 4), labels=(labels + 0.5).tolist())


@pytest.mark.parametrize("json_wanted", [True, False])
def test_an_answer_without_classes_is_given_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], json_wanted: bool
) -> None:
    """One number a sample: printed, written under the name that was given, and no label anywhere."""
    last = helper.make_node("ReduceSum", ["h", "axis"], ["y"], keepdims=0)
    where = catalog(tmp_path, ("x",), ["n"], last)
    np.save(tmp_path / "x.npy", numbers(5, 4))
    out = tmp_path / "answers.bin"
    command = ["infer", where, "--input", str(tmp_path / "x.npy"), "--out", str(out), "--logits"]
    with pytest.raises(SystemExit) as ended:
        main([*command, *(["--json"] if json_wanted else [])])
    assert not ended.value.code
    said = capsys.readouterr().out
    expected = numbers(5, 4) @ numbers(4, 3)
    np.testing.assert_allclose(np.load(out), expected.sum(axis=1), rtol=1e-5)
    if json_wanted:
        document = json.loads(said)
        assert "labels" not in document and document["out"] == str(out)
        np.testing.assert_allclose(document["answers"], expected.sum(axis=1), rtol=1e-5)
    with pytest.raises(sp.SplitPlaceError, match="no scores of classes"):
        sp.evaluate(where, images=numbers(5, 4), labels=np.zeros(5, np.int64))


@pytest.mark.parametrize(
    ("last", "answer", "expected"),
    [
        (helper.make_node("Tanh", ["h"], ["y"]), ["n", 3], ((0, 3), np.float32)),
        (helper.make_node("ReduceSum", ["h", "axis"], ["y"], keepdims=0), ["n"], ((0,), np.float32)),
        (helper.make_node("Unsqueeze", ["h", "axis"], ["y"]), ["n", 1, 3], ((0, 1, 3), np.float32)),
    ],
)
def test_no_inputs_are_answered_in_the_form_of_some(
    tmp_path: Path, last: object, answer: list, expected: tuple
) -> None:
    """Whatever that is: scores, a number a sample, a map."""
    where = catalog(tmp_path, ("x",), answer, last)
    none = sp.infer(where, numbers(0, 4)).logits
    assert (none.shape, none.dtype) == expected
    assert sp.infer(where, numbers(2, 4)).logits.dtype == none.dtype


@pytest.mark.parametrize("logits", [True, False])
def test_a_table_shows_names_as_they_are_and_logits_where_they_are_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], logits: bool
) -> None:
    """Brackets and colons are part of a name, not markup of the table's."""
    names = ["[red]fox[/]", ":cat:", "dog [small]"]
    where = catalog(tmp_path, ("x",), ["n", 3], helper.make_node("Floor", ["h"], ["y"]), names=names)
    np.save(
        tmp_path / "x.npy", 777.5 * np.linalg.pinv(numbers(4, 3)).astype(np.float32)
    )  # class c is the largest of row c
    with pytest.raises(SystemExit) as ended:
        main(["infer", where, "--input", str(tmp_path / "x.npy"), *["--logits"] * logits])
    assert not ended.value.code
    said = capsys.readouterr().out
    assert all((name in said) is not logits for name in names)
    assert ("777." in said) is logits


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"calibration": numbers(40, 4)}, "for --precision float16 and int8 only"),
        ({"calibration": "nobody.npy"}, "for --precision float16 and int8 only"),
    ],
)
def test_export_refuses_an_option_without_effect(tmp_path: Path, given: dict, words: str) -> None:
    """Before it is looked at."""
    where = catalog(tmp_path, ("x",), ["n", 3], helper.make_node("Tanh", ["h"], ["y"]))
    with pytest.raises(sp.UsageError, match=words):
        sp.export(tmp_path / "split", tmp_path / "another", **given)
    with pytest.raises(sp.UsageError, match="--skip-corrupt is for your own images"):
        sp.evaluate(where, images=numbers(5, 4), labels=np.zeros(5, np.int64), skip_corrupt=True)
    with pytest.raises(sp.UsageError, match=r"--skip-corrupt is for your own images .*\(--path\)"):
        sp.evaluate(where, skip_corrupt=True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["split", "m.onnx", "--fragments", "1.5"], "expected a whole number"),
        (["split", "m.onnx", "--fragments", "30000000"], "no network has so many blocks"),
        (["split", "m.onnx", "--fragments", "2", "--application", "My App"], "--application 'My App'"),
        (["split", "m.onnx", "--fragments", "2", "--size", "100000"], "--size 100000: expected 1 to 4096 pixels"),
        (["split", "m.onnx", "--fragments", "2", "--random-weights"], "for a timm name only"),
        (["split", "m.onnx", "--fragments", "2", "--out", "m.onnx/below"], "give another place"),
        (["export", "m.onnx", "--catalog", "c"], "cut it first, by `splitplace split"),
    ],
)
def test_what_cannot_be_meant_is_one_line_before_any_work(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    """Exit 2 and nothing written."""
    monkeypatch.chdir(tmp_path)
    Path("m.onnx").write_bytes(b"no model")
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert words in said.err and said.err.count("\n") == 1 and not said.out
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
