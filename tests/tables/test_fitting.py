"""Tables where the terminal is narrower than they are."""

import pytest
from rich.console import Console
from rich.table import Table

from splitplace.tables.fitting import fitting

pytestmark = pytest.mark.base

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
