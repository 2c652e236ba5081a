"""Whatever one byte or value of a catalog becomes: the same split, or one clear error; never a traceback."""

import json
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from splitplace.catalog import Catalog
from splitplace.catalog.onnxfile import check_model
from splitplace.errors import SplitPlaceError
from splitplace.export.catalog_writer import CatalogWriter
from splitplace.splitting.artifact import digest

REFERENCE = "toy.linear.semantic-2"
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
    st.sampled_from(["../x", "/etc/passwd", "sha256:", "sha256:" + "0" * 64, "a" * 5000]),
)


@pytest.fixture(scope="module")
def original(artifact, tmp_path_factory):
    """A whole catalog, never changed."""
    path = tmp_path_factory.mktemp("original") / "catalog"
    CatalogWriter(path).write(artifact)
    return path


def read_all(path):
    """Everything a device reads of the split."""
    catalog = Catalog(path)
    split = catalog.split(REFERENCE)
    return split, {name: catalog.load(split, name) for name in split.by_name}


def outcome(path):
    """What reading gives, or the one-line error it is refused with; any other exception is a failure."""
    try:
        return read_all(path)
    except SplitPlaceError as error:
        assert "Traceback" not in str(error)
        return None


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_changed_byte_is_never_accepted(original, tmp_path_factory, data):
    """Flip, cut, insert or blank bytes of any file: what is read is the original, or an error."""
    path = tmp_path_factory.mktemp("bytes") / "catalog"
    shutil.copytree(original, path)
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.name != ".lock")
    file = data.draw(st.sampled_from(files))
    content = bytearray(file.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    kind = data.draw(st.sampled_from(["flip", "cut", "insert", "blank"]))
    if kind == "flip":
        content[at] ^= 1 << data.draw(st.integers(0, 7))
    elif kind == "cut":
        del content[at:]
    elif kind == "insert":
        content[at:at] = data.draw(st.binary(min_size=1, max_size=8))
    else:
        content[:] = bytes(len(content))
    file.write_bytes(content)
    assert outcome(path) in (None, read_all(original))
    shutil.rmtree(path)


def places(value, here=()):
    """Every path into a JSON document."""
    yield here
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in pairs:
        yield from places(below, (*here, key))


@pytest.mark.slow
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_changed_value_with_right_digests_never_breaks_the_reader(original, tmp_path_factory, data):
    """Any value of any document becomes junk, digests re-made: an error, or a split that still fits its models."""
    path = tmp_path_factory.mktemp("values") / "catalog"
    shutil.copytree(original, path)
    folder = path / "blobs" / "sha256"
    layout = json.loads((path / "index.json").read_bytes())
    index = json.loads((folder / layout["manifests"][0]["digest"][7:]).read_bytes())
    manifest = json.loads((folder / index["manifests"][0]["digest"][7:]).read_bytes())
    contract = json.loads((folder / manifest["layers"][1]["digest"][7:]).read_bytes())
    graph = json.loads(index["annotations"]["org.splitplace.split"])
    documents = {"layout": layout, "index": index, "manifest": manifest, "contract": contract, "graph": graph}
    chosen = data.draw(st.sampled_from(sorted(documents)))
    where = data.draw(st.sampled_from([place for place in places(documents[chosen]) if place]))
    target = documents[chosen]
    for key in where[:-1]:
        target = target[key]
    target[where[-1]] = data.draw(JUNK)

    def put(document):
        encoded = json.dumps(document).encode()
        (folder / digest(encoded)[7:]).write_bytes(encoded)
        return {"digest": digest(encoded), "size": len(encoded)}

    if chosen == "contract":
        manifest["layers"][1] |= put(contract)
    if chosen == "graph":
        index["annotations"]["org.splitplace.split"] = json.dumps(graph)
    if chosen in ("contract", "manifest"):
        index["manifests"][0] |= put(manifest)
    if chosen != "layout":
        layout["manifests"][0] |= put(index)
    (path / "index.json").write_text(json.dumps(layout))
    read = outcome(path)
    if read is not None:
        split, models = read
        assert all(digest(models[fragment.name]) == fragment.digest for fragment in split.fragments)
        assert split.reference == REFERENCE
    assert isinstance(Catalog(path).verify().problems if chosen != "layout" else (), tuple)
    shutil.rmtree(path)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_mutated_model_never_breaks_the_check(artifact, data):
    """Bytes of an ONNX file changed at will: taken or refused, nothing else."""
    model = bytearray(artifact.models["leaf0"])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(model) - 1))
        model[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
        if not model:
            break
    try:
        check_model(bytes(model), "it")
    except SplitPlaceError as error:
        assert str(error).startswith("it: ")
