"""A split as a Triton model repository."""

import re

import onnx
import pytest
from google.protobuf import text_format

from splitplace.errors import UsageError
from splitplace.export.convert.triton import config, write_triton
from splitplace.records.fragment import Fragment, TensorSpec
from splitplace.records.split_document import SplitDocument


def test_each_fragment_is_a_model_with_config_and_version(tree_artifact, tmp_path):
    """Names, types and sizes without the batch; the file under version 1 is the fragment's."""
    models = write_triton(tree_artifact, tmp_path / "repository")
    assert [model.name.rpartition(".")[2] for model in models] == [f.name for f in tree_artifact.split.fragments]
    assert (models[0] / "1" / "model.onnx").read_bytes() == tree_artifact.models["trunk"]
    text = (models[0] / "config.pbtxt").read_text()
    assert 'platform: "onnxruntime_onnx"' in text
    assert 'input [ { name: "image" data_type: TYPE_UINT8 dims: [ 1, 12, 12 ] } ]' in text
    assert 'output [ { name: "trunk_out" data_type: TYPE_FP32 dims: [ 6, 12, 12 ] } ]' in text
    assert re.search(r'^name: "fashionmnist\.tiny\.semantic-2x2\.trunk"$', text, re.MULTILINE)
    written = (tmp_path / "repository" / "split.json").read_bytes()
    assert SplitDocument.parse(written, "file").split == tree_artifact.split


def test_a_folder_in_use_is_refused(tree_artifact, tmp_path):
    """Nothing of anybody's is overwritten."""
    (tmp_path / "x").write_text("x")
    with pytest.raises(UsageError, match="not empty"):
        write_triton(tree_artifact, tmp_path)


def test_a_tensor_of_one_number_a_sample_has_a_dimension():
    """Triton refuses a shape of none: one of one, reshaped to none, is what it takes for it."""
    spec = TensorSpec(name="y", dtype="float32", shape=("batch",))
    fragment = Fragment(
        name="f",
        inputs=(spec,),
        outputs=(spec,),
        params=0,
        flops_per_sample=0,
        weight_bytes=0,
        digest="sha256:" + "0" * 64,
    )
    assert 'output [ { name: "y" data_type: TYPE_FP32 dims: [ 1 ] reshape { shape: [ ] } } ]' in config("f", fragment)


@pytest.mark.parametrize("name", ["images:0", "é", "入力", 'a"b\\c', "two\nlines", "a\x01b", "😀"])
def test_a_tensor_may_have_any_name(name):
    """What a reader of text format makes of the quoted name is the name."""
    spec = TensorSpec(name=name, dtype="float32", shape=("batch", 2))
    fragment = Fragment(
        name="f",
        inputs=(spec,),
        outputs=(spec,),
        classes=(),
        params=0,
        flops_per_sample=0,
        weight_bytes=0,
        digest="sha256:" + "0" * 64,
    )
    (quoted,) = set(re.findall(r"put \[ \{ name: (.*) data_type", config("m", fragment)))
    assert text_format.Parse(f"key: {quoted}", onnx.StringStringEntryProto()).key == name
