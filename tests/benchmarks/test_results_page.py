"""RESULTS.md is what the results files say, and the commands in it are commands."""

import shlex
from html import escape

import pytest

from splitplace.benchmarks.results_index import INDEX, index
from splitplace.benchmarks.results_page import CLAIMS, FOLDER, PAGE, page
from splitplace.cli import build

PAPER = [f"fig{number}.json" for number in (9, 10, 13, 16, 19)]
NOT_RUN_YET = [
    *PAPER,
    *("fair.json", "fair-adversaries.json", "policies.json", "robustness.json"),
    *("requests.json", "ray_overhead.json", "testbed-loaded.json"),
]
"""The page says so of them; the last two are to be measured on a machine that does nothing else."""


def test_the_page_is_what_the_script_writes():
    """Whoever measures again runs `make results` as well."""
    assert PAGE.read_text(encoding="utf-8") == page()


def test_the_index_is_what_the_script_writes():
    """As the page."""
    assert INDEX.read_text(encoding="utf-8") == index()


def test_the_index_has_the_command_of_every_result(tmp_path):
    """Of those that were not run too; what is no HTML is escaped."""
    written = index(tmp_path)
    assert written.count("<p>Not run.</p>") == len(CLAIMS)
    for claim in CLAIMS:
        assert f"<pre>{escape(claim.command)}</pre>" in written
    assert "<b>does not hold</b>" in index() and "O^P +" in index()


def test_every_results_file_is_on_the_page():
    """A figure that nobody sees is no result."""
    files = [file.name for file in FOLDER.glob("*.json")]
    assert sorted([*files, *NOT_RUN_YET]) == sorted(claim.file for claim in CLAIMS)


def test_every_picture_is_shown():
    """A picture stands beside its file, by the same name."""
    shown = page()
    for picture in FOLDER.glob("*.svg"):
        assert f"](results/{picture.name})" in shown


def test_what_is_not_there_was_not_run(tmp_path):
    """An empty folder gives no figure at all."""
    written = page(tmp_path)
    assert written.count("\nNot run.\n") == len(CLAIMS)
    assert "|" not in written


def test_another_figure_is_another_page(tmp_path):
    """The page hangs on the files: one digit changed in one of them shows."""
    for file in FOLDER.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    training = tmp_path / "training.json"
    changed = training.read_text(encoding="utf-8").replace('"accuracy": 0.9945', '"accuracy": 0.9145')
    training.write_text(changed, encoding="utf-8")
    assert "| mnist | mobilenetv2 | 99.2% | 91.45% |" in page(tmp_path)
    assert "mobilenetv2 on mnist at least 99.2%: **does not hold**" in page(tmp_path)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.file)
def test_every_command_is_one(claim):
    """Names and options of the command line, as it takes them today."""
    program, *arguments = shlex.split(claim.command)
    assert program == "splitplace"
    build().parse_args(arguments, exit_on_error=False, print_error=False)
