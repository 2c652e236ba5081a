"""Each example runs as it stands, in an empty folder, and says what it should."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
FAST = {
    "own_decider": r"reward 0\.\d+, decisions \{'layer': \d+, 'semantic': \d+\}",
    "own_placer": r"reward 0\.\d+, response \d+\.\d s",
    "own_bandit": r"reward 0\.\d+, decisions",
}
SLOW = {
    "own_learner": r"explains \d\d% of the variance .*\nreward 0\.\d+, decisions",
    "compare": r"daso-tasks over least-loaded: \+0\.\d+ \[\+0\.\d+, \+0\.\d+\]",
    "own_fleet": r"(?s)f0 on .*f2 on .*\d+ tasks, reward 0\.\d+",
    "own_timm": r"(?s)f0 on .*catalog:custom\.mobilenetv3_small_100\.layer-3",
    "own_model": r"(?s)0\.\d+ of held-out images.*catalog:fashionmnist\.my_net-Net\.layer-2",
    "own_data": r"held out: (0\.[89]\d|1\.00)\nphotos/pear/0\.png: pear",
    "serve": r"(?s)(\d+\.\d\d s, \(32, 1000\)\n){4}",
    "front_door": r"\[2, 1000\] by noise\.mobilenetv3_small_100\.layer-2",
    "first": r"(?s)layer-3: 0\.\d+.*reward 0\.\d+, deadlines missed",
}
"""What trains, measures or opens a network takes most of a minute."""
MODULES = {"my_net", "own_onnx", "remote", "reward", "serve_grpc", "serve_triton", "train_on_ray"}
"""Imported by those that are run, run on their page (docs/howto/serve.md, model.md, simulate.md), or in
(test_train_on_ray.py)."""


def run(name, folder):
    """What an example prints."""
    # One thread: what others do beside it decides less, and nothing is learned otherwise.
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(EXAMPLES / f"{name}.py")]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@pytest.mark.parametrize("name", FAST)
def test_an_example_runs(name, tmp_path):
    """The ones that simulate only."""
    assert re.search(FAST[name], run(name, tmp_path))


@pytest.mark.slow
@pytest.mark.timeout(1600)
@pytest.mark.parametrize("name", SLOW)
def test_an_example_that_takes_longer_runs(name, tmp_path):
    """The ones that train, split or measure."""
    assert re.search(SLOW[name], run(name, tmp_path))


@pytest.mark.slow
def test_the_example_that_stands_for_files_writes_them_again(tmp_path):
    """Who runs docs/howto/model.md a second time has them already."""
    run("own_onnx", tmp_path)
    (tmp_path / "sorter.onnx").unlink()
    run("own_onnx", tmp_path)
    assert (tmp_path / "sorter.onnx").is_file()


def test_no_example_is_forgotten():
    """Every file is run, or imported by one that is."""
    assert {path.stem for path in EXAMPLES.glob("*.py")} == FAST.keys() | SLOW.keys() | MODULES


def test_examples_use_the_public_api_alone():
    """`import splitplace as sp`, and nothing below it."""
    for path in EXAMPLES.iterdir():
        if path.is_file():
            assert not re.search(r"(from|import) splitplace\.", path.read_text(encoding="utf-8")), path.name


def cells():
    """The notebook's code cells."""
    document = json.loads((EXAMPLES / "tour.ipynb").read_text(encoding="utf-8"))
    assert (document["nbformat"], document["nbformat_minor"]) == (4, 5)
    return document, [cell for cell in document["cells"] if cell["cell_type"] == "code"]


def test_the_notebook_is_stripped():
    """Outputs are of whoever ran it last, and no part of the project."""
    document, code = cells()
    assert code
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert len({cell["id"] for cell in document["cells"]}) == len(document["cells"])


@pytest.mark.slow
def test_the_notebook_runs(tmp_path, monkeypatch):
    """From top to bottom in one namespace, as a kernel runs it; its last picture is there."""
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    for cell in cells()[1]:
        exec(compile("".join(cell["source"]), cell["id"], "exec"), namespace)  # noqa: S102 - our own file
    assert (tmp_path / "timeline.svg").is_file()
    rewards = namespace["rewards"]
    assert max(rewards, key=rewards.get) == "joint"
