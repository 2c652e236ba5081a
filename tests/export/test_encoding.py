"""What images take as PNG."""

import io
import json

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import splitplace as sp
from splitplace.catalog import Catalog
from splitplace.errors import SplitPlaceError
from splitplace.export.catalog_writer import CatalogWriter
from splitplace.export.measure import encoding, profiler
from splitplace.export.measure.profiler import Effort, profile_split
from splitplace.placement.simulator.demands import build
from splitplace.records.encoded_input import EncodedInput
from splitplace.records.view import NONE
from splitplace.splitting.layerwise import cutting

SHORT = Effort((1, 3), rounds=1, budget_s=0.01)
PNG = EncodedInput(codec="png", bytes_per_sample=99, decode_s=0.5, source="by hand")
REFERENCE = "custom.model.layer-2"


@pytest.mark.parametrize("channels", [1, 3])
def test_bytes_are_those_of_the_files_and_decoding_is_timed(channels):
    """Flat images compress well, noise does not at all; what it takes is the mean of the files."""
    flat = np.full((20, channels, 32, 32), 7, np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, flat.shape, dtype=np.uint8)
    small, large = encoding.png_input(flat, "by hand"), encoding.png_input(noise)
    assert small.bytes_per_sample < 150 < channels * 32 * 32 <= large.bytes_per_sample
    file = io.BytesIO()
    Image.fromarray(flat[0, 0] if channels == 1 else flat[0].transpose(1, 2, 0)).save(file, "png", optimize=True)
    assert small.bytes_per_sample == len(file.getvalue())
    assert (small.codec, small.source) == ("png", "by hand")
    assert small.decode_s > 0


def test_seconds_are_those_of_a_core_of_speed_1(monkeypatch):
    """A clock that ticks .5 s a look and a probe of speed 2: 20 images in .5 s are .05 s each on a core of speed 1."""
    ticks = iter(np.arange(100) * 0.5)
    monkeypatch.setattr(encoding.time, "perf_counter", lambda: next(ticks))
    monkeypatch.setattr(encoding.probe, "core_speed", lambda *_: 2.0)
    assert encoding.png_input(np.zeros((20, 1, 8, 8), np.uint8)).decode_s == pytest.approx(0.5 / 20 * 2)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    """A chain of two fragments, the first of which takes grey images of 28 x 28."""
    rng, info = np.random.default_rng(0), helper.make_tensor_value_info
    weights = [rng.standard_normal(shape).astype(np.float32) for shape in ((784, 16), (16, 4))]
    nodes = [
        helper.make_node("Cast", ["image"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["x"], ["row"]),
        helper.make_node("MatMul", ["row", "w0"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w1"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "pictures",
        [info("image", TensorProto.UINT8, ["n", 1, 28, 28])], [info("y", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(weight, f"w{i}") for i, weight in enumerate(weights)],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    writer = CatalogWriter(tmp_path_factory.mktemp("encoding") / "catalog")
    writer.write(cutting.split(model.SerializeToString(), 2))
    return writer


@pytest.mark.slow
def test_a_profile_says_what_images_take_if_that_was_measured(catalog, monkeypatch):
    """Of the fragment that reads them alone; one that was there before says so, too, and is not measured again."""
    before = profile_split(catalog, REFERENCE, SHORT, again=True)
    assert "encoded" not in json.loads(before[0].model_dump_json())
    monkeypatch.setattr(profiler, "measure", lambda *given, **named: pytest.fail("it was measured again"))
    found = profile_split(catalog, REFERENCE, SHORT, encoded=PNG)
    assert [profile.encoded for profile in found] == [PNG, None]
    assert Catalog(catalog.path).profiles(REFERENCE) == found
    assert [profile.model_copy(update={"encoded": None}) for profile in found] == list(before)
    other = PNG.model_copy(update={"bytes_per_sample": 98})
    assert profile_split(catalog, REFERENCE, SHORT, encoded=other) == found  # what is measured stays


@pytest.mark.slow
def test_a_catalog_says_what_its_images_take_on_the_wire(catalog, monkeypatch, tmp_path):
    """From `profile` on real images to the simulator's tables: fewer bytes to whom reads them, and time to decode."""
    monkeypatch.setattr(profiler, "QUICK", SHORT)
    device = sp.load_fleet("azure50").units()[0]
    profile_split(catalog, REFERENCE, SHORT, again=True)
    with pytest.raises(SplitPlaceError, match="nobody says what an encoded input of custom takes"):
        build(sp.demand(catalog.path), [device], encoded={})
    flat = np.full((40, 1, 28, 28), 9, np.uint8)
    sp.profile(catalog.path, quick=True, example_inputs=flat)
    value = sp.demand(catalog.path, out=tmp_path / "demand.json")
    assert value == sp.load_demand(tmp_path / "demand.json")
    (measured,) = value.encoded.values()
    assert measured.bytes_per_sample == encoding.png_input(flat).bytes_per_sample < 784 / 4
    assert measured.decode_s > 0 and measured.source == "example inputs"
    raw, encoded = (build(value, [device], encoded=how).fragments for how in (None, {}))
    reads = raw.edge_src_X == NONE
    assert raw.edge_bytes_X[reads].tolist() == [784]
    assert encoded.edge_bytes_X[reads].tolist() == [measured.bytes_per_sample]
    more_s = encoded.latency_s_FD - raw.latency_s_FD
    assert more_s[:, 0] == pytest.approx([64 * measured.decode_s / device.core_speed, 0.0])


@pytest.mark.slow
def test_images_that_lie_here_are_measured_without_being_given(catalog, monkeypatch, tmp_path):
    """The decoded copy of a known data set, if its images are those that the split takes; nothing is fetched."""
    monkeypatch.setattr(profiler, "QUICK", SHORT)
    monkeypatch.setenv("SPLITPLACE_DATA", str(tmp_path / "none"))
    profile_split(catalog, REFERENCE, SHORT, again=True)
    assert not sp.demand(catalog.path).encoded and sp.profile(catalog.path, quick=True)[REFERENCE][0].encoded is None
    asked = []
    data = type("Data", (), {"x_test_NCHW": np.full((40, 1, 28, 28), 9, np.uint8), "source": "a shelf"})
    monkeypatch.setattr(
        "splitplace.training.data.applications.copy_here", lambda application: asked.append(application) or data
    )
    assert sp.profile(catalog.path, quick=True)[REFERENCE][0].encoded.source == "a shelf"
    assert asked == ["custom"]
    data.x_test_NCHW = np.zeros((40, 3, 28, 28), np.uint8)
    profile_split(catalog, REFERENCE, SHORT, again=True)
    assert sp.profile(catalog.path, quick=True)[REFERENCE][0].encoded is None
