"""export, catalog, evaluate, infer and profile as somebody types them."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from splitplace.export.catalog_writer import CatalogWriter
from splitplace.records.demand import Demand
from splitplace.records.split_document import SplitDocument
from splitplace.splitting.artifact import SplitArtifact
from tests.cli.conftest import called


@pytest.fixture(scope="module")
def source(tmp_path_factory, brightest):
    """A SPLIT folder of one fragment that answers with the class of the brightest of 2x2 pixels."""
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("Flatten", ["floats"], ["logits"]),
        ],
        "brightest",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 1, 2, 2])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 4])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()
    split = brightest(model)
    folder = tmp_path_factory.mktemp("split")
    (folder / "split.json").write_text(SplitDocument(split=split).model_dump_json())
    (folder / "full.onnx").write_bytes(model)
    return folder, SplitArtifact(split, {"full": model})


@pytest.fixture
def catalog(source, tmp_path):
    """A catalog that holds it."""
    CatalogWriter(tmp_path / "catalog").write(source[1])
    return tmp_path / "catalog"


def run(*arguments):
    """The command, of whatever is written as a path."""
    return called(*map(str, arguments))


def document(*arguments):
    """What a successful command prints with --json."""
    done = run(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_split_folder_goes_into_a_catalog_and_comes_up_in_ls_and_show(source, tmp_path):
    """Absolute path, the split's reference and digest."""
    written = document("export", source[0], "--catalog", tmp_path / "c")
    assert written["catalog"] == str(tmp_path / "c")
    listed = document("catalog", "ls", tmp_path / "c")["splits"]
    assert [(row["reference"], row["digest"]) for row in listed] == [("pixels.brightest.full", written["digest"])]
    shown = document("catalog", "show", f"{tmp_path / 'c'}:pixels.brightest.full")
    assert shown["split"]["fragments"][0]["name"] == "full"
    assert shown["evaluation"] is None


def test_a_split_folder_becomes_a_triton_repository(source, tmp_path):
    """`--format triton`."""
    document("export", source[0], "--catalog", tmp_path / "t", "--format", "triton")
    assert (tmp_path / "t" / "pixels.brightest.full.full" / "config.pbtxt").is_file()


def test_evaluate_keeps_the_accuracy_in_the_catalog(catalog, tmp_path):
    """Three of four right."""
    images = np.zeros((4, 1, 2, 2), np.uint8)
    images.reshape(4, 4)[np.arange(4), np.arange(4)] = 255
    np.save(tmp_path / "x.npy", images)
    np.save(tmp_path / "y.npy", np.array([0, 1, 2, 0]))
    done = document("evaluate", catalog, "--images", tmp_path / "x.npy", "--labels", tmp_path / "y.npy")
    assert done["evaluation"]["top1"] == 0.75
    assert document("catalog", "ls", catalog)["splits"][0]["top1"] == 0.75


def test_evaluate_says_and_draws_which_classes_are_taken_for_which(source, tmp_path):
    """Two images of the first class are taken for the last; the table has a line a class, by name."""
    folder, catalog = source[1], tmp_path / "catalog"
    split = folder.split.model_copy(update={"class_names": ("top left", "b", "c", "d")})
    CatalogWriter(catalog).write(SplitArtifact(split, folder.models))
    images = np.zeros((4, 1, 2, 2), np.uint8)
    images.reshape(4, 4)[np.arange(4), [0, 3, 3, 1]] = 255
    np.save(tmp_path / "x.npy", images)
    np.save(tmp_path / "y.npy", np.array([0, 0, 0, 1], np.uint8))
    command = ["evaluate", catalog, "--images", tmp_path / "x.npy", "--labels", tmp_path / "y.npy"]
    done = document(*command, "--plot", tmp_path / "taken.svg")
    assert done["evaluation"]["confusion"] == [[1, 0, 0, 2], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert done["evaluation"]["accuracy_by_class"] == [1 / 3, 1, None, None]
    assert done["plot"] == str(tmp_path / "taken.svg")
    assert "pixels.brightest.full: 50.0% of 4 right" in (tmp_path / "taken.svg").read_text()
    lines = [line.replace("\u2502", " ").split() for line in run(*command).stdout.splitlines()]
    assert ["top", "left", "0.3333", "3", "d", "(2)"] in lines
    assert ["b", "1.0000", "1"] in lines
    assert document("catalog", "show", catalog)["evaluation"] == done["evaluation"]


def test_evaluate_refuses_a_picture_before_it_measures(catalog, tmp_path):
    """Another ending."""
    np.save(tmp_path / "x.npy", np.zeros((1, 1, 2, 2), np.uint8))
    np.save(tmp_path / "y.npy", np.array([0]))
    done = run(
        *("evaluate", catalog, "--images", tmp_path / "x.npy", "--labels", tmp_path / "y.npy", "--plot", "taken.txt")
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "--plot taken.txt: expected a name that ends in" in done.stderr
    assert document("catalog", "show", catalog)["evaluation"] is None


def test_infer_takes_arrays_and_image_files(catalog, tmp_path):
    """Labels of both, logits on request, without torch or onnx."""
    pixels = np.array([[10, 20], [30, 5]], np.uint8)
    np.save(tmp_path / "x.npy", np.stack([pixels, pixels.T])[:, None])
    answered = document("infer", catalog, "--input", tmp_path / "x.npy", "--logits", "--out", tmp_path / "y.npy")
    assert answered["labels"] == [2, 1]
    assert answered["logits"][0] == [10, 20, 30, 5]
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), answered["logits"])
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert document("infer", catalog, "--input", tmp_path / "a.png")["labels"] == [2]
    Image.fromarray(pixels.T.copy()).save(tmp_path / "b.png")
    several = document("infer", catalog, "--input", tmp_path / "a.png", tmp_path / "b.png")  # as a shell makes of *.png
    assert (several["labels"], several["names"]) == ([2, 1], None)
    assert several["inputs"] == [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    code = (
        "import sys\nfrom splitplace.cli import main\n"
        f"main(['infer', {str(catalog)!r}, '--input', {str(tmp_path / 'x.npy')!r}])\n"
    )
    tail = (
        "import atexit\natexit.register(lambda: print(sorted({'torch', 'onnx'} & set(sys.modules)), file=sys.stderr))\n"
    )
    done = subprocess.run([sys.executable, "-c", "import sys\n" + tail + code], capture_output=True, text=True)
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["catalog", "ls", "nowhere"], 2, "is no catalog"),
        (["catalog", "show", "CATALOG:nope"], 2, "expected one of pixels.brightest.full"),
        (["infer", "CATALOG", "--input", "none.npy"], 2, "no file none.npy"),
        (["infer", "CATALOG", "--input", "none.txt"], 2, "expected one .npy file or image files"),
        (["infer", "CATALOG", "--input", "bad.npy"], 1, "not a numpy array"),
        (["infer", "CATALOG", "--input", "bad.png"], 1, "not an image"),
        (["infer", "CATALOG", "--input", "wrong.npy"], 1, "expected uint8"),
        (["infer", "CATALOG", "--input", "pickled.npy"], 1, "not a numpy array"),
        (["infer", "CATALOG", "--input", "wrong.npy", "--missing", "leaf"], 2, "unknown fragment"),
        (["evaluate", "CATALOG", "--images", "wrong.npy"], 2, "belong together"),
        (["export", "nowhere", "--catalog", "c"], 2, "no folder nowhere"),
        (["profile", "CATALOG", "--cpus", "0"], 2, "CPU share"),
        (["profile", "CATALOG", "--threads", "1,two"], 2, "--threads 1,two: expected whole numbers"),
        (["profile", "CATALOG", "--threads", "1,2", "--cpus", "1"], 2, "threads 1,2 under a quota of 1 cores"),
        (["profile", "CATALOG", "--plot", "bad.npy"], 2, "--plot bad.npy: cannot be written"),
        (["catalog", "demand", "CATALOG", "--out", "d.json"], 1, "no profile of full"),
    ],
)
def test_a_mistake_is_one_clear_line(catalog, tmp_path, monkeypatch, arguments, code, said):
    """Exit 2 for what cannot be meant, 1 for what failed; nothing on stdout, no traceback."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.npy").write_bytes(b"no array")
    (tmp_path / "bad.png").write_bytes(b"no image")
    np.save(tmp_path / "wrong.npy", np.zeros((1, 3, 2, 2)))
    np.save(tmp_path / "pickled.npy", np.array([{}], object), allow_pickle=True)
    done = run(*(argument.replace("CATALOG", str(catalog)) for argument in arguments))
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_verify_names_the_damaged_blob_and_exits_1(catalog):
    """The digest is in the message."""
    assert run("catalog", "verify", catalog).returncode == 0
    victim = max((catalog / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    victim.write_bytes(b"x" * victim.stat().st_size)
    done = run("catalog", "verify", catalog)
    assert done.returncode == 1
    assert victim.name in done.stderr


@pytest.mark.slow
def test_profile_prints_costs_held_out_errors_and_a_picture_a_split(catalog, tmp_path):
    """Every batch size of the quick choice, how far off the curve is without each, and where the picture is."""
    done = document("profile", catalog, "--quick", "--kind", "bench", "--plot", tmp_path / "plots")
    (row,) = done["profiles"]["pixels.brightest.full"]
    assert [latency["batch_size"] for latency in row["latency"]] == [1, 8, 32, 64]
    assert done["device"]["kind"] == "bench"
    assert [error["batch_size"] for error in done["held_out"]["pixels.brightest.full"]["full"]] == [8, 32]
    assert done["plots"] == [str(tmp_path / "plots" / "pixels.brightest.full.svg")]
    picture = (tmp_path / "plots" / "pixels.brightest.full.svg").read_text()
    assert "<svg" in picture and picture.count("batch size") == 3


@pytest.mark.slow
def test_several_thread_counts_are_measured_one_after_another(catalog, tmp_path):
    """A profile and a picture of each, of one kind of device; what the fragment gains is in the demand then."""
    done = document("profile", catalog, "--quick", "--kind", "pair", "--threads", "1,2", "--plot", tmp_path / "plots")
    one, two = done["profiles"]["pixels.brightest.full"]
    assert [(row["device"]["kind"], row["device"]["threads"]) for row in (one, two)] == [("pair", 1), ("pair", 2)]
    assert len(done["held_out"]["pixels.brightest.full"]["full"]) == 4
    names = [f"pixels.brightest.full.{count}-threads.svg" for count in (1, 2)]
    assert done["plots"] == [str(tmp_path / "plots" / name) for name in names]
    document("catalog", "demand", catalog, "--out", tmp_path / "demand.json")
    (entry,) = Demand.parse((tmp_path / "demand.json").read_text(), "demand").splits
    assert {row.device.threads for row in entry.profiles if row.device.kind == "pair"} == {1, 2}
