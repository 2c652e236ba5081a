"""The command line in the hands of somebody who mistypes: one clear line on stderr, exit 2, no traceback."""

import io
import logging
import sys

import pytest
from rich.console import Group
from rich.table import Table

import splitplace as sp
from splitplace.cli import main
from splitplace.cli.output import emit
from tests.cli.conftest import called


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["demmo"], "demo"),
        (["demo", "--sed", "1"], "--seed"),
        (["demo", "--seed", "x"], "seed"),
        (["data", "fetch", "imagenet"], "fashionmnist"),
    ],
)
def test_a_mistyped_name_is_answered_with_what_is_valid(arguments, said):
    """Exit 2, one line, nothing on stdout."""
    done = called(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("advise", "upstream", "--fleet", "azure10", "--rate", "1", "--deadline", "9", "--application"),
        ("policy", "train", "--parts", "--runs", "2"),
    ],
)
def test_an_option_without_its_value_does_not_mean_all(arguments):
    """As a shell leaves it of an empty variable: exit 2, before any work."""
    done = called(*arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "requires at least 1 element" in done.stderr


@pytest.mark.parametrize(("columns", "told"), [(None, "│{}│{}│{}│"), ("40", "split{}digest{}machine{}")])
def test_no_table_is_cut_off(columns, told, capsys, monkeypatch):
    """Into a pipe, a row is a line however long; in a narrow terminal it is told cell by cell."""
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    cells = ("fashionmnist.mobilenetv2.semantic-4", "digest-of-a-fragment", "a-machine-of-some-kind")
    table = Table("split", "digest", "machine")
    table.add_row(*cells)
    emit({}, Group(table, "a remark"), json=False)
    assert told.format(*cells) in "".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("line", ["splitplace fleet join sp1-x\n", "sp1-x\n"])
def test_a_token_is_taken_from_standard_input(line, monkeypatch):
    """Where no other user of the machine sees it; the whole line that `fleet invite` printed will do."""
    taken = []
    monkeypatch.setattr(sys, "stdin", io.StringIO(line))
    monkeypatch.setattr(sp, "join_fleet", lambda token, **options: taken.append(token))
    with pytest.raises(SystemExit) as ended:
        main(["fleet", "join", "-"])
    assert taken == ["sp1-x"] and ended.value.code == 0


def test_serve_leaves_the_access_log_as_it_was():
    """Its handler has this call's standard error, which is closed when the next front door of this process is asked."""
    logger = logging.getLogger("splitplace.access")
    before = (logger.level, logger.propagate, list(logger.handlers))
    done = called("serve", "--fleet", "nowhere")
    assert done.returncode and "no fleet runs in" in done.stderr
    assert (logger.level, logger.propagate, logger.handlers) == before
