"""What goes wrong has a cause, and one table says what that means to a shell: each by a command that provokes it."""

import errno
import os

import numpy as np
import pytest

from splitplace.cli import main
from splitplace.errors import CAUSES, Answer, NotFoundError, SplitPlaceError, UsageError, explained
from splitplace.export.catalog_writer import CatalogWriter
from splitplace.placement.http.tokens import add_token
from splitplace.records.split import Merge
from splitplace.splitting.artifact import SplitArtifact

COMMANDS = {
    "usage": ("data", "fetch"),
    "not-found": ("catalog", "show", "{catalog}:toy.linear.layer-9"),
    "contract": ("infer", "{catalog}", "--input", "{wrong}"),
    "not-ready": ("profile", "{empty}"),
    "overloaded": ("simulate", "--policy", "random+random", "--intervals", "1000", "--rate", "1e9"),
    "integrity": ("infer", "{catalog}", "--input", "{junk}"),
    "failed": ("simulate", "--policy", "layer+exact", "--demand", "upstream", "--intervals", "1"),
    "conflict": ("token", "add", "ann", "--tokens", "{tokens}"),
}
OF_A_SERVER = {"unanswered", "unknown-caller", "forbidden", "too-large", "too-slow"}
"""What only those meet who ask over HTTP: tests/placement/http provokes each."""


@pytest.fixture
def places(tmp_path, artifact: SplitArtifact) -> dict[str, str]:
    """A catalog of one split, an empty one, inputs of the right form, of another and of none."""
    CatalogWriter(tmp_path / "catalog").write(artifact)
    CatalogWriter(tmp_path / "empty")
    np.save(tmp_path / "right.npy", np.zeros((1, 4), np.float32))
    np.save(tmp_path / "wrong.npy", np.zeros((1, 5), np.float32))
    (tmp_path / "junk.npy").write_bytes(b"no array")
    add_token(tmp_path / "tokens.npy", "ann")
    names = {"catalog": "catalog", "empty": "empty"}
    return {
        name: str(tmp_path / names.get(name, f"{name}.npy")) for name in (*names, "right", "wrong", "junk", "tokens")
    }


def test_the_table_says_what_a_shell_gets():
    """2 for what cannot be meant, 77 for what is refused for good, else 1; each cause has one, and is provoked."""
    assert {cause: answer.exit_code for cause, answer in CAUSES.items()} == {
        "usage": 2,
        "not-found": 2,
        "contract": 1,
        "not-ready": 1,
        "overloaded": 1,
        "integrity": 1,
        "failed": 1,
        "conflict": 1,
    } | dict.fromkeys(OF_A_SERVER, 1) | {"forbidden": 77}
    assert set(COMMANDS) | OF_A_SERVER == set(CAUSES)


@pytest.mark.parametrize("cause", COMMANDS)
def test_a_command_exits_as_the_table_says_of_its_cause(cause, places, monkeypatch, capsys):
    """With an exit code for each cause alone, so that neither another cause nor another table can answer it."""
    for code, name in enumerate(CAUSES, 40):
        monkeypatch.setitem(CAUSES, name, Answer(code, 0, ""))
    with pytest.raises(SystemExit) as stopped:
        main([token.format(**places) for token in COMMANDS[cause]])
    said = capsys.readouterr()
    assert stopped.value.code == CAUSES[cause].exit_code, said.err
    assert said.err.count("\n") == 1 and said.out == ""


@pytest.mark.parametrize(
    ("number", "cause", "said"),
    [
        (errno.ENOENT, NotFoundError, "x: No such file or directory: expected one that is there"),
        (errno.ENAMETOOLONG, UsageError, "x: File name too long: give another name"),
        (errno.EISDIR, UsageError, "x: Is a directory: give another name"),
        (errno.EACCES, SplitPlaceError, "x: Permission denied: give another place, or the permission"),
        (errno.ENOSPC, SplitPlaceError, "x: No space left on device: make room and try again"),
        (errno.EIO, SplitPlaceError, "x: Input/output error"),
    ],
)
def test_what_the_system_refuses_is_one_of_our_errors(number, cause, said):
    """By what it says, with the file and what to do."""
    with pytest.raises(SplitPlaceError) as caught, explained():
        raise OSError(number, os.strerror(number), "x")
    assert type(caught.value) is cause
    assert str(caught.value) == said


def test_a_value_that_no_record_takes_is_one_of_our_errors():
    """Its place and its form, not pydantic's page of them."""
    with (
        pytest.raises(UsageError, match=r"^Merge: kind: Input should be 'identity' or 'concat', got 'sum'"),
        explained(),
    ):
        Merge(kind="sum", class_order=())


def test_more_memory_than_there_is_is_one_of_our_errors():
    """Numpy says how much."""
    with (
        pytest.raises(SplitPlaceError, match=r"^not enough memory: Unable to allocate .*: ask for less at once$"),
        explained(),
    ):
        np.zeros(2**60, np.uint8)


@pytest.mark.parametrize(
    "fault", [ValueError("x"), KeyError("x"), TypeError("x"), ZeroDivisionError(), BrokenPipeError()]
)
def test_what_is_a_fault_of_ours_stays_one(fault):
    """Nothing else is explained away; nor that nobody reads our output any more, which is no error."""
    with pytest.raises(type(fault)) as caught, explained():
        raise fault
    assert caught.value is fault
    assert not isinstance(caught.value, SplitPlaceError)


@pytest.mark.parametrize("argument", ["a\0b", "caf\udce9"])
def test_an_argument_that_is_no_text_is_refused(argument, capsys):
    """Whatever it is for: no record, no JSON and no file's name can hold it."""
    with pytest.raises(SystemExit) as stop:
        main(["catalog", "ls", argument])
    assert stop.value.code == 2
    assert "expected text in UTF-8" in capsys.readouterr().err
