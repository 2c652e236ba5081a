import json
import re
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

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
        (["train", "mnist", "--epochs", "0"], "--epochs 0: expected at least 1"),
        (["train", "mnist", "--groups", "random?"], "groups 'random"),
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
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, timeout=60)
    assert done.returncode == 0
    assert b"--strategy" in done.stdout
