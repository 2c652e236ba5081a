"""RESULTS.md is what the results files say, and the commands in it are commands."""

import shlex
from dataclasses import replace
from functools import cache
from html import escape

import pytest

from splitplace.benchmarks import results_index, results_page
from splitplace.benchmarks.results_index import INDEX, index
from splitplace.benchmarks.results_page import CLAIMS, FOLDER, PAGE, page
from splitplace.cli import build


@pytest.fixture(scope="module")
def written():
    """The page and the index by what lies here: made once, each file read once for both."""
    claims = tuple(replace(claim, tell=cache(claim.tell)) for claim in CLAIMS)
    with pytest.MonkeyPatch.context() as patch:
        for module in (results_page, results_index):
            patch.setattr(module, "CLAIMS", claims)
        return page(), index()


@pytest.fixture(scope="module")
def written_page(written):
    """The page."""
    return written[0]


@pytest.fixture(scope="module")
def written_index(written):
    """The index."""
    return written[1]


def test_the_page_is_what_the_script_writes(written_page):
    """Whoever measures again runs `make results` as well."""
    assert PAGE.read_text(encoding="utf-8") == written_page


def test_the_index_is_what_the_script_writes(written_index):
    """As the page."""
    assert INDEX.read_text(encoding="utf-8") == written_index


def test_the_index_has_the_command_of_every_result(tmp_path, written_index):
    """Of those that were not run too; what is no HTML is escaped."""
    written = index(tmp_path)
    assert written.count("<p>Not run.</p>") == len(CLAIMS)
    for claim in CLAIMS:
        assert f"<pre>{escape(claim.command)}</pre>" in written
    assert "<b>does not hold</b>" in written_index and "O^P +" in written_index


def test_every_results_file_is_on_the_page():
    """A figure that nobody sees is no result."""
    files = [file.name for file in FOLDER.glob("*.json")]
    assert sorted(files) == sorted(claim.file for claim in CLAIMS)


def test_every_picture_is_shown(written_page):
    """A picture stands beside its file, by the same name."""
    for picture in FOLDER.glob("*.svg"):
        assert f"](results/{picture.name})" in written_page


def test_what_is_not_there_was_not_run(tmp_path):
    """An empty folder gives no figure at all."""
    written = page(tmp_path)
    assert written.count("\nNot run.\n") == len(CLAIMS)
    assert "|" not in written


def test_another_figure_is_another_page(tmp_path):
    """The page hangs on the files: one digit changed in one of them shows."""
    training = (FOLDER / "training.json").read_text(encoding="utf-8")
    (tmp_path / "training.json").write_text(training.replace('"accuracy": 0.9945', '"accuracy": 0.9145'))
    changed = page(tmp_path)
    assert "| mnist | mobilenetv2 | 99.2% | 91.45% |" in changed
    assert "mobilenetv2 on mnist at least 99.2%: **does not hold**" in changed


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.file)
def test_every_command_is_one(claim):
    """Names and options of the command line, as it takes them today."""
    program, *arguments = shlex.split(claim.command)
    assert program == "splitplace"
    build().parse_args(arguments, exit_on_error=False, print_error=False)
