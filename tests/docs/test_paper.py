"""The map from the paper to the code leads somewhere."""

import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")
SYMBOLS = sorted(set(re.findall(r"`(splitplace(?:\.\w+)+)`", PAGE)))
FILES = sorted(set(re.findall(r"`(\w+/[\w./-]+)`", PAGE)))


def find(symbol: str) -> object:
    """The thing of this dotted name: the longest module, then attributes."""
    parts = symbol.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found: object = import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            found = getattr(found, part)
        return found
    raise AssertionError(symbol)


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_every_symbol_is_there(symbol):
    """And is a class or function with a docstring."""
    assert find(symbol).__doc__


@pytest.mark.parametrize("file", FILES)
def test_every_file_is_there(file):
    """Of the repository."""
    assert (ROOT / file).is_file()


def test_the_map_knows_every_equation_and_section():
    """(1) to (16), whichever way they are written; table 3 and 4; each part of the appendix."""
    for number in range(1, 17):
        assert re.search(rf"\({number}\)", PAGE) or (number == 14 and "(13) to (15)" in PAGE)
    for part in ("algorithm 1", "table 3", "table 4", *(f"A.{number}" for number in range(1, 7))):
        assert part in PAGE


def test_a_symbol_that_is_none_would_fail():
    """The check itself can fail."""
    with pytest.raises(AttributeError):
        find("splitplace.placement.plan.no_such_thing")
