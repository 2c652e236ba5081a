"""What is printed for people: tables where the terminal is narrower than they are, and numbers."""

import io
import subprocess
import sys

import pytest
from rich.console import Console
from rich.table import Table

from splitplace.cli.output import emit, fitting, number

pytestmark = pytest.mark.base

PATIENCE_S = 240
WIDE = ("network", "0.1 MB/s"), ("fragments", "12"), ("digest", "sha256:0123456789")


def shown(width: int, rows: int = 1) -> list[str]:
    """The lines of a table of these columns, at this width."""
    table = Table(*(header for header, _ in WIDE), title="of a fleet", caption="all is well")
    for _ in range(rows):
        table.add_row(*(cell for _, cell in WIDE))
    console = Console(width=width, markup=False)
    with console.capture() as capture:
        console.print(fitting(table, console))
    return [line.strip() for line in capture.get().splitlines()]


def words(lines: list[str]) -> list[str]:
    """All of them, without what a table is drawn with."""
    return " ".join(lines).translate(str.maketrans("", "", "┏┓┡┩┃│└┘━─┴┳╇")).split()


@pytest.mark.parametrize("width", range(28, 60))
def test_no_word_is_broken_or_lost_at_any_width(width: int) -> None:
    """From the longest name beside the longest word on."""
    everything = {word for pair in WIDE for cell in pair for word in cell.split()} | {"of", "well"}
    assert everything <= set(words(shown(width)))


def test_rules_go_before_words_are_broken() -> None:
    """A column too narrow for a cell breaks it between words."""
    assert shown(47)[1].startswith("┏")
    lines = shown(40)
    assert lines[0].strip() == "of a fleet" and lines[1].split() == ["network", "fragments", "digest"]
    assert lines[2].split() == ["0.1", "MB/s", "12", "sha256:0123456789"]


def test_what_does_not_fit_at_all_is_told_row_by_row() -> None:
    """A line a cell, below the title; an empty line between two rows."""
    record = ["network    0.1 MB/s", "fragments  12", "digest     sha256:0123456789"]
    assert shown(30, rows=2) == ["of a fleet", *record, "", *record, "all is well"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0.0, "0"),
        (1.2e-5, "0.0000120"),
        (-9.996e-7, "-0.00000100"),
        (1.2345e-3, "0.00123"),
        (0.5, "0.500"),
        (99.96, "100"),
        (999.7, "1000"),
        (1912.4, "1912"),
    ],
)
def test_a_number_has_three_digits_and_no_exponent(value: float | None, text: str) -> None:
    """However small a response is it is not 0, and a rate is not 1.91e+03."""
    assert number(value) == text


def test_a_result_has_left_when_it_is_printed(monkeypatch) -> None:
    """A command that goes on to serve is waited for by who reads the file or the pipe that it prints to."""
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), write_through=False))
    emit({"up": True}, "it is up", json=False)
    assert sys.stdout.buffer.getvalue() == b"it is up\n"  # type: ignore[attr-defined]


def closed(code: str) -> int:
    """What some code exits with whose process has no standard streams."""
    shut = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]
    return subprocess.run([*shut, sys.executable, "-c", code], timeout=PATIENCE_S).returncode


def test_closed_standard_streams_lead_nowhere() -> None:
    """What is printed is dropped, and no file that is opened later is taken for one of them."""
    printed = "emit({}, 'table', False); emit({}, '', True); remark('remark'); sys.stdin.read()"
    opened = "sys.exit(os.open(os.devnull, os.O_RDONLY))"
    code = f"import os, sys; from splitplace.cli.output import *; open_standard_streams(); {printed}; {opened}"
    assert closed(code) > 2


def test_a_command_without_standard_streams_ends_as_with_them() -> None:
    """With its own code, though nobody reads why."""
    assert closed("from splitplace.cli import main; main(['nosuch'])") == 2
    assert closed("from splitplace.cli import main; main(['fleet', 'start', '--help'])") == 0


@pytest.mark.parametrize(
    ("ranks", "prints"),
    [
        ({"RANK": ""}, True),
        ({"RANK": "first", "LOCAL_RANK": "-1"}, True),
        ({"RANK": "3"}, True),
        ({"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}, True),
        ({"RANK": "1", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}, False),
        ({"LOCAL_RANK": "1", "WORLD_SIZE": "2"}, False),
        ({"LOCAL_RANK": "1", "MASTER_PORT": "29500"}, False),
    ],
)
def test_of_those_that_train_together_the_first_prints(monkeypatch, capsys, ranks, prints) -> None:
    """As torchrun and Lightning number them; what a batch system calls a rank keeps nobody from printing."""
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ranks.items():
        monkeypatch.setenv(name, value)
    emit({"done": True}, "done", json=True)
    assert bool(capsys.readouterr().out) is prints
