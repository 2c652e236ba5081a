"""Every option of every command is given what it cannot take; both are found by walking the application.

Values are drawn by hypothesis, the same in every run: files of the right kind but damaged, of another kind, places that
cannot be, numbers and names that nothing takes. All other options have good values, so that a bad one is met where it
is read. What a call may answer is in conftest.py.
"""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from splitplace.errors import SplitPlaceError
from tests.mistakes import good_files, strange_files
from tests.mistakes.bad_values import ENDINGS, KINDS, NAMES, NUMBERS, PLACES
from tests.mistakes.calls import ARGUMENTS, BESIDE, CHAIN, GOOD, WHOLE, spelled

Place = Any
"""conftest.py has it."""

CALLS, FEW = 26, 1
"""Of each option: in all, and in the fast part of the suite, where one command stands for all that have it."""
ONE_OF_EACH = [(command, name) for name, command in {name: command for command, name in ARGUMENTS}.items()]


def make(root: Path) -> None:
    """Everything."""
    here, zoo = root / "here", root / "here" / "zoo"
    for folder in (zoo, root / "tmp"):
        folder.mkdir(parents=True)
    good_files.make(here)
    strange_files.make(zoo, here)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, stand_up: Callable[..., Place]) -> Place:
    """The folder, with the stand-ins for work."""
    return stand_up(tmp_path_factory.mktemp("mistakes"), make)


def values(place: Place, name: str) -> list[st.SearchStrategy[str]]:
    """What an option of this name is given: of its own kind first."""
    found = sorted(entry.name for entry in (place.here / "zoo").iterdir())
    kinds = [kind for kind, (options, _) in KINDS.items() if name in options]
    own = [[f"zoo/{file}" for file in found if re.search(KINDS[kind][1], file)] for kind in kinds]
    if "catalogs" in kinds:
        catalogs = ["catalog", *(f"zoo/{file}" for file in found if file.startswith("catalog-"))]
        own.append([f"{catalog}:{reference}" for catalog in catalogs for reference in (WHOLE, CHAIN)])
        own.append([f"catalog:{name}" for name in NAMES])
    ended = [place + ending for place in PLACES for ending in ENDINGS]
    anything = [PLACES, ended, NAMES, NUMBERS, [f"zoo/{file}" for file in found]]
    return [st.sampled_from(values) for values in own * 2 + anything] + [st.text(max_size=12)]


def fuzz(place: Place, name: str, option: str, calls: int) -> None:
    """So many calls of a command, one of its options bad in each; the first that breaks the promise fails."""
    argument = ARGUMENTS[name, option]
    good = BESIDE.get(f"{name} {option}", GOOD.get(name, []))
    good = [token for token in good if not token.startswith(f"{argument.names[0] if argument.names else '--'}=")]
    if argument.is_positional_only() or argument.is_var_positional():
        good = [token for token in good if token.startswith("--")]

    @settings(
        max_examples=calls, derandomize=True, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(value=st.one_of(values(place, option)), json=st.booleans())
    def check(value: str, json: bool) -> None:
        answer = place.call(*name.split(), *good, spelled(argument, value), *(["--json"] * json))
        assert not answer.faults, f"{answer}\n" + "\n".join(answer.faults)

    check()


@pytest.mark.parametrize("name", sorted({name for name, _ in ARGUMENTS}))
def test_the_good_call_of_every_command_comes_to_its_work(place: Place, name: str) -> None:
    """Else a bad value would be hidden by another."""
    answer = place.call(*name.split(), *GOOD.get(name, []))
    assert answer.worked, answer


@pytest.mark.parametrize(("name", "option"), ONE_OF_EACH, ids=lambda value: value.replace(" ", "-"))
def test_a_bad_value_is_one_line(place: Place, name: str, option: str) -> None:
    """Some of each option."""
    fuzz(place, name, option, FEW)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "option"), ARGUMENTS, ids=lambda value: value.replace(" ", "-"))
def test_no_bad_value_is_more_than_one_line(place: Place, name: str, option: str) -> None:
    """Many of each."""
    fuzz(place, name, option, CALLS)


WRITTEN = [
    (name, option)
    for name, option in ARGUMENTS
    if option in ("out", "results", "plot", "trace_dir", "work") or (name, option) == ("export", "catalog")
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "option"), WRITTEN, ids=lambda value: value.replace(" ", "-"))
def test_what_cannot_be_written_is_refused_before_the_work(place: Place, name: str, option: str) -> None:
    """Under a file, under a link to itself, where no files are, by a name that is too long."""
    spelling = ARGUMENTS[name, option].names[0]
    good = [token for token in GOOD.get(name, []) if not token.startswith(f"{spelling}=")]
    for value in ("file/below.svg", "loop/below.svg", "/proc/nobody/below.svg", "n" * 300 + ".svg"):
        answer = place.call(*name.split(), *good, f"{spelling}={value}")
        assert (answer.code, answer.worked, answer.faults) == (2, False, []), answer
        assert "cannot be written" in answer.err, answer


def test_so_many_calls() -> None:
    """What the slow part does in all."""
    assert len(ARGUMENTS) * CALLS >= 5_000


def _says_much() -> None:
    print("one\ntwo", file=sys.stderr)
    sys.exit(1)


def _leaves() -> None:
    Path("left").write_text("")
    raise SplitPlaceError("no")


def _exits() -> None:
    sys.exit(3)


def _goes_on() -> None:
    while True:
        len("")


@pytest.mark.parametrize(
    ("broken", "fault"),
    [
        (lambda: 1 // 0, "ZeroDivisionError"),
        (_says_much, "2 lines on stderr"),
        (_leaves, "left or changed here/left"),
        (_exits, "exit 3"),
        pytest.param(_goes_on, "still goes on", marks=pytest.mark.slow),
        (lambda: print("hm", file=sys.stderr), "something on stderr"),
        (lambda: print("\udcff"), "UnicodeEncodeError"),
        (lambda: [None][os.write(2, b"a library's word\n") * 0], "something on stderr"),
    ],
)
def test_a_broken_command_is_found(
    place: Place, monkeypatch: pytest.MonkeyPatch, broken: Callable[[], Any], fault: str
) -> None:
    """The check itself can fail."""
    monkeypatch.setitem(sys.modules, "broken_commands", SimpleNamespace(broken=broken))
    monkeypatch.setattr("splitplace.cli.COMMANDS", (("broken", "broken_commands:broken", "Broken."),))
    assert fault in " ".join(place.call("broken").faults)
