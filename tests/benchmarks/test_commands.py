"""`splitplace bench NAME`, whatever NAME: what its help says, and what it loads for that."""

import subprocess
import sys

import pytest

from splitplace.cli import COMMANDS, build

pytestmark = pytest.mark.base

BENCHES = [name for name, _, _ in COMMANDS if name.startswith("bench ")]


@pytest.mark.parametrize("name", BENCHES)
def test_every_option_of_a_bench_is_explained(name):
    """By its docstring, or by the type of an option that several have."""
    app = build()
    for word in name.split():
        app = app[word]
    arguments = [one for one in app.assemble_argument_collection(parse_docstring=True) if one.names != ("*",)]
    assert len(arguments) >= 3
    assert [one.name for one in arguments if not one.parameter.help] == []


def test_help_of_the_benches_loads_none_of_them():
    """Nor any other file of the room: they load torch, or what it takes a second to load."""
    code = (
        "import contextlib, io, sys\n"
        "from splitplace.cli import build\n"
        "app = build()\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        f"    for name in {BENCHES}:\n"
        "        app([*name.split(), '--help'], exit_on_error=False, result_action='return_value')\n"
        "print(*(name for name in sys.modules if name.startswith('splitplace.benchmarks')), sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=300)
    loaded = done.stdout.split()
    assert "splitplace.benchmarks.commands.fleets" in loaded
    assert [name for name in loaded if not name.startswith("splitplace.benchmarks.commands.")] == [
        "splitplace.benchmarks",
        "splitplace.benchmarks.commands",
    ]
