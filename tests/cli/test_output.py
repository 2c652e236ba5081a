"""What a command prints, and through which streams."""

import io
import subprocess
import sys

import pytest

from splitplace.cli.output import emit

pytestmark = pytest.mark.base

PATIENCE_S = 240


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
