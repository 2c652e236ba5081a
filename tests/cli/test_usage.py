"""The command line in the hands of somebody who mistypes: one clear line on stderr, exit 2, no traceback."""

import subprocess
import sys

import pytest


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The installed command, in a process of its own."""
    code = "from splitplace.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120)


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
    done = run(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
