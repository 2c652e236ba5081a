"""Reading a catalog: everything by digest, nothing accepted that is not what it says."""

import json
import os
import re

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from splitplace.catalog import Catalog, oci
from splitplace.catalog.location import open_split, parse_location
from splitplace.catalog.onnxfile import check_model
from splitplace.errors import IntegrityError, SplitPlaceError, UsageError
from splitplace.export.catalog_writer import CatalogWriter
from splitplace.inference.executor import Executor
from splitplace.splitting.artifact import digest

REFERENCE = "toy.linear.semantic-2"


@pytest.fixture
def stored(artifact, tmp_path):
    """A catalog with one split."""
    CatalogWriter(tmp_path / "catalog").write(artifact)
    return Catalog(tmp_path / "catalog")


def blob(catalog, text):
    """The one blob that contains this text: its path."""
    found = [path for path in (catalog.path / "blobs" / "sha256").iterdir() if text in path.read_bytes()]
    assert len(found) == 1, found
    return found[0]


def rewrite(catalog, change):
    """Change the first fragment's manifest and re-point index and tag at it, as somebody who means harm would."""
    folder = catalog.path / "blobs" / "sha256"

    def put(document):
        data = json.dumps(document).encode()
        (folder / digest(data)[7:]).write_bytes(data)
        return {"digest": digest(data), "size": len(data)}

    layout = json.loads((catalog.path / "index.json").read_bytes())
    index = json.loads((folder / layout["manifests"][0]["digest"][7:]).read_bytes())
    manifest = json.loads((folder / index["manifests"][0]["digest"][7:]).read_bytes())
    change(manifest)
    index["manifests"][0] |= put(manifest)
    layout["manifests"][0] |= put(index)
    (catalog.path / "index.json").write_text(json.dumps(layout))


def test_a_split_comes_back_as_it_was_written(stored, artifact):
    """Graph, contracts, models and answers."""
    assert stored.references() == (REFERENCE,)
    split = stored.split(REFERENCE)
    assert split == artifact.split
    assert {name: stored.load(split, name) for name in split.by_name} == dict(artifact.models)
    logits = Executor(split, lambda name: stored.load(split, name)).run({"x": np.eye(4, dtype=np.float32)})
    assert logits.shape == (4, 4)
    found = stored.verify()
    assert (found.splits, found.records, found.problems) == (1, 0, ())
    assert found.blobs == 9  # index; per fragment a manifest, config, contract and model


def test_manifests_are_what_modelpack_says(stored):
    """Media types, the three objects of the config, diffIds, file names (ModelPack v0.0.7, and its main since)."""
    item = stored.fragments(REFERENCE)[0]
    manifest = item.manifest
    assert manifest.artifactType == "application/vnd.cncf.model.manifest.v1+json"
    assert [layer.mediaType for layer in manifest.layers] == [
        "application/vnd.cncf.model.weight.v1.raw",
        "application/vnd.cncf.model.weight.config.v1.raw",
    ]
    assert [layer.annotations["org.cncf.model.filepath"] for layer in manifest.layers] == [
        "model.onnx",
        "fragment.json",
    ]
    config = json.loads(stored.blobs.read(manifest.config, "application/vnd.cncf.model.config.v1+json"))
    # Its schema is closed: what it does not name must not be there.
    assert set(config) == {"descriptor", "config", "modelfs"}
    assert set(config["descriptor"]) == {"family", "name"}
    assert set(config["config"]) == {"architecture", "format", "paramSize"}
    assert re.fullmatch(r"[0-9]+(\.[0-9])?[KMBTQ]", config["config"]["paramSize"])
    assert (config["config"]["architecture"], config["config"]["format"]) == ("cnn", "onnx")
    assert config["modelfs"] == {"type": "layers", "diffIds": [layer.digest for layer in manifest.layers]}


def test_an_unknown_split_is_answered_with_what_is_there(stored):
    """Usage error, one line."""
    with pytest.raises(UsageError, match=rf"unknown split .* 'toy': expected one of {REFERENCE}"):
        stored.split("toy")


@pytest.mark.parametrize("content", [None, "{}", '{"imageLayoutVersion": "2.0.0"}', "not json", '{"a":' * 5000])
def test_a_folder_that_is_no_layout_is_refused(tmp_path, content):
    """No `oci-layout`, or not the version we read."""
    if content is not None:
        (tmp_path / "oci-layout").write_text(content)
    with pytest.raises(SplitPlaceError, match="oci-layout"):
        Catalog(tmp_path)


def test_a_damaged_model_is_refused_by_digest(stored, artifact):
    """One flipped bit: loading names the blob, verifying lists it."""
    wanted = artifact.split.by_name["leaf1"].digest
    path = stored.path / "blobs" / "sha256" / wanted[7:]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    split = stored.split(REFERENCE)
    stored.load(split, "leaf0")
    with pytest.raises(IntegrityError, match=f"blob {wanted} is damaged"):
        stored.load(split, "leaf1")
    (problem,) = stored.verify().problems
    assert wanted in problem


def test_a_truncated_or_missing_model_is_noticed_without_reading_it(stored, artifact):
    """The size stands in the manifest."""
    wanted = artifact.split.by_name["leaf0"].digest
    path = stored.path / "blobs" / "sha256" / wanted[7:]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match=f"blob {wanted}: got .* bytes"):
        stored.split(REFERENCE)
    path.unlink()
    with pytest.raises(IntegrityError, match=f"blob {wanted} is missing"):
        stored.split(REFERENCE)


def test_a_blob_that_is_a_link_is_refused(stored, artifact, tmp_path):
    """Even to the very bytes."""
    path = stored.path / "blobs" / "sha256" / artifact.split.by_name["leaf0"].digest[7:]
    elsewhere = tmp_path / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    with pytest.raises(IntegrityError):
        stored.load(stored.split(REFERENCE), "leaf0")


def test_a_blob_that_is_a_pipe_does_not_hang(stored, artifact):
    """Refused as no regular file."""
    wanted = artifact.split.by_name["leaf0"].digest
    path = stored.path / "blobs" / "sha256" / wanted[7:]
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(IntegrityError):
        stored.load(artifact.split, "leaf0")


def set_in(*keys_and_value):
    """A change that sets one value deep in a manifest."""
    *keys, last, value = keys_and_value

    def change(manifest):
        for key in keys:
            manifest = manifest[key]
        manifest[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (set_in("artifactType", "application/vnd.example"), "expected a fragment's manifest"),
        (set_in("mediaType", "application/vnd.docker.distribution.manifest.v2+json"), "mediaType"),
        (set_in("config", "mediaType", "application/vnd.oci.image.config.v1+json"), "expected a fragment's manifest"),
        (set_in("layers", 0, "annotations", oci.FILEPATH, "../../model.onnx"), "expected model.onnx"),
        (set_in("layers", 0, "annotations", oci.FILEPATH, "/etc/passwd"), "expected model.onnx"),
        (set_in("layers", 0, "annotations", oci.TITLE, "other.onnx"), "expected model.onnx"),
        (set_in("layers", 0, "mediaType", "application/vnd.cncf.model.weight.v1.tar"), "expected None"),
        (set_in("layers", 0, "size", 100 * 2**30), "size"),
        (set_in("layers", 0, "size", -1), "size"),
        (set_in("layers", 0, "digest", "sha256:../../../../etc/passwd"), "digest"),
        (set_in("layers", 0, "digest", "sha256:" + "0" * 64), "its contract is for"),
        (set_in("layers", 1, "size", 3), "were stated"),
        (set_in("layers", []), "layers"),
        (set_in("schemaVersion", 3), "schemaVersion"),
    ],
)
def test_a_manifest_of_another_form_is_refused(stored, change, said):
    """Although every digest holds: wrong types, names that lead out of the folder, sizes nobody has."""
    rewrite(stored, change)
    with pytest.raises(IntegrityError, match=said):
        stored.split(REFERENCE)
    assert stored.verify().problems


def test_a_tag_that_names_another_split_is_refused(stored):
    """The reference in index.json must be the split's own."""
    index = json.loads((stored.path / "index.json").read_bytes())
    index["manifests"][0]["annotations"][oci.REF_NAME] = "toy.linear.full"
    (stored.path / "index.json").write_text(json.dumps(index))
    with pytest.raises(IntegrityError, match=r"tagged 'toy.linear.full', but it is 'toy.linear.semantic-2'"):
        stored.split("toy.linear.full")


def test_a_huge_index_is_refused_unread(stored):
    """A sparse file of 100 GB costs neither memory nor time."""
    with (stored.path / "index.json").open("wb") as file:
        file.truncate(100 * 2**30)
    with pytest.raises(IntegrityError, match="107374182400 bytes, expected at most"):
        stored.references()


def onnx_file(node=None, tensor=None):
    """A one-node model with a part of it replaced."""
    weight = tensor or helper.make_tensor("w", TensorProto.FLOAT, [4], [0.0] * 4)
    graph = helper.make_graph(
        [node or helper.make_node("Add", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        [weight],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


@pytest.mark.parametrize("location", ["weights.bin", "../secret", "/etc/passwd"])
def test_external_data_is_refused_wherever_it_points(location):
    """In an initializer, and in a constant inside a subgraph."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    constant = helper.make_node("Constant", [], ["c"], value=tensor)
    body = helper.make_graph([constant], "b", [], [helper.make_tensor_value_info("c", TensorProto.FLOAT, [4])])
    inside = helper.make_node("If", ["x"], ["y"], then_branch=body, else_branch=body)
    for model in (onnx_file(tensor=tensor), onnx_file(node=inside)):
        with pytest.raises(IntegrityError, match="external data"):
            check_model(model.SerializeToString(), "it")


def test_a_custom_operator_is_refused_by_name():
    """It would need foreign code to run."""
    model = onnx_file(node=helper.make_node("Evil", ["x"], ["y"], domain="com.example"))
    with pytest.raises(IntegrityError, match=r"custom operator com.example::Evil"):
        check_model(model.SerializeToString(), "it")


def test_what_every_runtime_has_is_taken_but_nothing_that_loads_more():
    """Operators of com.microsoft are built in; those that read a file or run code of somebody else's are not taken."""
    check_model(
        onnx_file(node=helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")).SerializeToString(), "it"
    )
    for operator in ("EPContext", "PythonOp"):
        model = onnx_file(node=helper.make_node(operator, ["x"], ["y"], domain="com.microsoft"))
        with pytest.raises(IntegrityError, match=f"com.microsoft::{operator}"):
            check_model(model.SerializeToString(), "it")


@pytest.mark.parametrize("data", [b"", b"\x00", b"\xff" * 50, b"GIF89a", b"\x3a\xff\xff\xff\xff\x7f"])
def test_bytes_that_are_no_onnx_are_refused(data):
    """Empty, garbage, lengths beyond the end."""
    with pytest.raises(IntegrityError, match="no ONNX file"):
        check_model(data, "it")


def test_a_self_contained_model_passes():
    """The check takes what the checker of onnx takes."""
    model = onnx_file()
    onnx.checker.check_model(model)
    check_model(model.SerializeToString(), "it")


def test_a_location_is_a_folder_and_perhaps_a_reference(stored, tmp_path):
    """CATALOG, CATALOG:REF; a folder whose name has a colon is a folder."""
    odd = tmp_path / "a:b"
    odd.mkdir()
    assert parse_location(str(odd)) == (odd, "")
    assert parse_location(f"{odd}:toy.x.full") == (odd, "toy.x.full")
    assert open_split(str(stored.path))[1] == REFERENCE
    with pytest.raises(UsageError, match="unknown split"):
        open_split(f"{stored.path}:nope")
