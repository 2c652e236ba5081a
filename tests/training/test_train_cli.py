import json
import re
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from splitplace.cli import main


def run(capsys, *tokens):
    """Exit code, stdout and stderr of one command."""
    code = 0
    try:
        main(list(tokens))
    except SystemExit as stop:
        code = int(stop.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


def test_own_images_train_from_the_command_line(capsys, image_folder, tmp_path):
    """One JSON document with accuracy, epochs, images a second and the run's absolute path."""
    code, out, _ = run(
        capsys,
        "train",
        "shades",
        "--path",
        str(image_folder),
        "--epochs",
        "1",
        "--out",
        str(tmp_path / "run"),
        "--json",
    )
    document = json.loads(out)
    assert code == 0
    assert document["run"] == str(tmp_path / "run")
    assert document["n"] == 8
    assert 0 <= document["accuracy"] <= 1
    assert document["epochs"] == 1
    assert document["images_per_s"] > 0


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (["train", "imagenet"], "unknown application 'imagenet': expected one of .*fashionmnist"),
        (["train", "mnist", "--model", "mobilenet9"], "unknown model 'mobilenet9'"),
        (
            ["train", "mnist", "--strategy", "layer"],
            "unknown strategy to train 'layer': expected one of compressed, full, semantic",
        ),
        (["train", "mnist", "--strategy", "semantic", "--tree", "1"], "tree '1'"),
        (["train", "mnist", "--preset", "slow"], "unknown preset 'slow'"),
        (["train", "mnist", "--epochs", "0"], "--epochs 0: expected 1 or more"),
        (["train", "mnist", "--strategy", "semantic", "--groups", "random?"], "groups 'random"),
        (["train", "mnist", "--colour", "red"], "(?i)unknown option"),
        (["train", "mnist", "--validation", "1"], "--validation 1: expected a share"),
        (["train", "mnist", "--strategy", "compressed"], "give --ratio, or have one picked"),
        (["train", "mnist", "--strategy", "compressed", "--ratio", "1.5"], "ratio 1.5: expected the share"),
        (["data", "fetch"], "name at least one application"),
        (["data", "fetch", "mnist", "svhn"], "unknown application 'svhn'"),
        (["data", "fetch", "mine", "--path", "/nowhere/at/all"], "no such file"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(capsys, tokens, message):
    """Says what was got and what is valid; nothing is fetched or trained."""
    code, out, err = run(capsys, *tokens)
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert re.search(message, err)


@pytest.fixture(scope="module")
def nine(tmp_path_factory):
    """An image folder of nine classes, two grey images each."""
    root = tmp_path_factory.mktemp("nine")
    for c in range(9):
        (root / f"grey{c}").mkdir()
        for i in range(2):
            Image.new("L", (28, 28), 20 * c + i).save(root / f"grey{c}" / f"{i}.png")
    return root


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (["--tree", "10"], "a tree of 10 has 10 groups, expected at most 9 classes"),
        (["--tree", "2,2,2"], "a tree of 3 levels needs 3 cuts, got 2"),
        (["--tree", "2,2,2", "--cuts", "blocks3"], "a tree of 3 levels needs 3 cuts, got 1"),
        (["--cuts", "blocks9"], "no cut before 'blocks9': expected one of blocks0, .*head"),
        (["--cuts", "front"], "no cut before 'front'"),
        (["--tree", "2,2", "--cuts", "blocks5,blocks3"], "not in the order of the network"),
        (["--groups", "0,1,2,3,4/4,5,6,7,8"], "groups list twice grey4: expected every class in one group"),
        (["--groups", "0,1,2,3/4,5,6,7"], "groups leave out grey8: expected every class in one group"),
        (["--groups", "0,1,2,3/4,5,6,7,8,9"], "no class '9', expected of grey0, grey1"),
        (["--overlap", "1.5"], "overlap 1.5: expected a share"),
        (["--cuts", "auto"], "--cuts auto and --budget belong together"),
        (["--budget", "0.5"], "--cuts auto and --budget belong together"),
        (["--recipe", "splitnet", "--groups", "random"], "learns its groups"),
        (["--recipe", "alchemy"], "(?i)invalid value"),
        (["--trunk", "both"], "(?i)invalid value"),
    ],
)
def test_a_tree_that_does_not_fit_is_refused_before_anything_is_trained(
    capsys, nine, tmp_path, monkeypatch, tokens, message
):
    """One line, exit 2, and not even a full model was begun."""
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, "train", "nine", "--path", str(nine), "--strategy", "semantic", *tokens)
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert re.search(message, err)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_budget_that_no_cut_keeps_is_refused_before_anything_is_trained(capsys, nine, tmp_path, monkeypatch):
    """Work that cannot be done: exit 1, with what the best cut takes."""
    monkeypatch.chdir(tmp_path)
    tokens = ("--strategy", "semantic", "--cuts", "auto", "--budget", "0.01")
    code, _, err = run(capsys, "train", "nine", "--path", str(nine), *tokens)
    assert code == 1
    assert re.search(r"keeps within 0.01 of the full model's time: the best takes 0\.\d\d", err)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_tree_trains_from_the_command_line(capsys, nine, tmp_path, monkeypatch):
    """A 2,2 tree in one document: accuracy, fragments with classes, parameters and FLOPs, edges, leaves missing."""
    monkeypatch.chdir(tmp_path)
    tokens = ("--strategy", "semantic", "--tree", "2,2", "--overlap", "0.25", "--groups", "confusions", "--json")
    code, out, _ = run(capsys, "train", "nine", "--path", str(nine), *tokens)
    document = json.loads(out)
    assert code == 0
    assert (document["recipe"], document["groups"], document["overlap"]) == ("distil", "confusions", 0.25)
    names = [fragment["name"] for fragment in document["fragments"]]
    assert names == ["trunk", "g0", "g0-0", "g0-1", "g1", "g1-0", "g1-1"]
    assert sorted(c for fragment in document["fragments"] for c in fragment["classes"]) == list(range(9))
    assert all(fragment["params"] > 0 and fragment["flops_per_sample"] > 0 for fragment in document["fragments"])
    assert document["flops_per_sample"] == sum(fragment["flops_per_sample"] for fragment in document["fragments"])
    assert {"src": "g0", "dst": "g0-1"} in document["edges"]
    assert len(document["accuracy_missing"]) == 3


@pytest.mark.slow
def test_splitnet_behind_a_cut_for_a_budget_from_the_command_line(capsys, nine, tmp_path, monkeypatch):
    """The cut that was chosen, the groups as learned, and what slicing cut off are in the document."""
    monkeypatch.chdir(tmp_path)
    tokens = ("--strategy", "semantic", "--recipe", "splitnet", "--tree", "4", "--cuts", "auto", "--budget", "0.45")
    code, out, _ = run(capsys, "train", "nine", "--path", str(nine), *tokens, "--json")
    document = json.loads(out)
    assert code == 0
    assert document["cuts"] == ["blocks3"]  # .37 of the whole by the roofline; behind blocks4 .51
    assert document["groups"] == "learned"
    assert 0 < document["off_group_energy"] < 1
    assert sorted(c for fragment in document["fragments"] for c in fragment["classes"]) == list(range(9))


def test_fetching_own_parquet_reports_what_it_holds(capsys, image_folder, tmp_path, monkeypatch):
    """Counts, classes, shape, hash and source in one document."""
    monkeypatch.setenv("SPLITPLACE_DATA", str(tmp_path))
    files = sorted(image_folder.rglob("*.png"))
    table = pa.table({"image": [f.read_bytes() for f in files], "label": [int("dark" in str(f)) for f in files]})
    pq.write_table(table, tmp_path / "all.parquet")
    code, out, _ = run(capsys, "data", "fetch", "shades", "--path", str(tmp_path / "all.parquet"), "--json")
    (found,) = json.loads(out)["datasets"]
    assert code == 0
    assert (found["n_train"], found["n_test"], found["shape"], found["classes"]) == (32, 8, [1, 28, 28], ["0", "1"])
    assert len(found["sha256"]) == 64


def test_help_of_train_imports_no_torch():
    """The command's help comes without the rooms behind it."""
    code = (
        "import sys\nfrom splitplace.cli import main\n"
        "try:\n    main(['train', '--help'])\nexcept SystemExit:\n    pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, timeout=300)
    assert done.returncode == 0
    assert b"--strategy" in done.stdout
