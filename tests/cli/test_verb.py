"""`cli/verb.py`: a command that is a function of the library has its options, defaults and words."""

import inspect
from pathlib import Path
from typing import Literal

import pytest
from cyclopts import App

import splitplace as sp
from splitplace.cli.verb import named, verb


def weigh(  # noqa: D417 - as functions of the library, whose progress says what it is
    things: "str | Path | bytes",
    *,
    unit: Literal["g", "kg"] = "g",
    counts: int | str = 1,
    out: str | Path = "weights",
    limit_s: float | None = None,
    only: str | tuple[str, ...] = (),
    watch: "Watch | None" = None,  # noqa: F821 - a class that no command line states
    progress=lambda what, share: None,
):
    """Weigh things; see `out`.

    Args:
        things: A file. From Python, also its bytes.
        unit: Of the answer, with
            `limit_s`.
        counts: How often. From Python, also a number: 1.5 is none. At least once.
        out: Where.
        limit_s: Seconds.
        only: These.
        watch: Called.

    Returns:
        What was stated.
    """
    progress("weighing", 0.5)
    return {"things": things, "unit": unit, "counts": counts, "out": out, "limit_s": limit_s, "only": only}


@pytest.fixture
def command(monkeypatch):
    """A command that prints what it was told."""
    monkeypatch.setattr(sp, "weigh", weigh, raising=False)
    told = []

    @verb("weigh", out=Path, limit_s=named("--limit", float), progress=lambda what, share: told.append((what, share)))
    def shown(done, *, out: Path, loud: bool = False):  # noqa: D417 - the others are the verb's
        """What was weighed.

        Args:
            loud: In capitals.
        """
        return {"done": done, "printed": [out, loud], "told": list(told)}, "weighed"

    return shown


def ask(command, *tokens):
    """What the command line makes of these words."""
    app = App(result_action="return_value")
    app.default(command)
    return app(list(tokens), exit_on_error=False, print_error=False)


def test_options_go_to_the_function_as_they_are_stated(command, capsys):
    """The first by its place; the command's own do not go there."""
    ask(command, "box", "--unit", "kg", "--limit", "2", "--only", "a", "--only", "b", "--loud", "--json")
    document = sp_json(capsys)
    assert document["done"] == {
        "things": "box", "unit": "kg", "counts": "1", "out": "weights", "limit_s": 2.0, "only": ["a", "b"]
    }  # fmt: skip
    assert document["printed"] == ["weights", True]
    assert document["told"] == [["weighing", 0.5]]


def test_people_are_told_without_json(command, capsys):
    """What the printer made for them."""
    ask(command, "box")
    assert capsys.readouterr().out == "weighed\n"


def test_words_are_those_of_the_function(command):
    """Options by their names there, without what is said to Python alone; a printer's own follow."""
    assert inspect.getdoc(command) == (
        "Weigh things; see --out.\n\nArgs:\n    things: A file.\n    unit: Of the answer, with --limit.\n"
        "    counts: How often. At least once.\n    out: Where.\n    limit_s: Seconds.\n    only: These.\n"
        "    loud: In capitals.\n    json: Print one JSON document."
    )


def test_what_no_command_line_can_state_is_no_option(command):
    """A function to be called."""
    taken = inspect.signature(command).parameters
    assert list(taken) == ["things", "unit", "counts", "out", "limit_s", "only", "loud", "json"]


def sp_json(capsys):
    """The one document that was printed."""
    import json

    return json.loads(capsys.readouterr().out)
