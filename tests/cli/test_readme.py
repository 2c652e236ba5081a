"""Every command of the README works as written."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def commands() -> list[str]:
    """The lines of the README's sh blocks, in order."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line and not line.startswith("#")]


def test_every_make_target_named_exists():
    """`make -n` knows each target the README and CONTRIBUTING name; what they do is this suite, or tested beside it."""
    text = (ROOT / "README.md").read_text() + (ROOT / "CONTRIBUTING.md").read_text()
    for target in sorted(set(re.findall(r"(?:^ *|`)make ([a-z]+)", text, re.MULTILINE))):
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, timeout=60)  # noqa: S607
        assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_splitplace_command_runs(warm_demo):
    """One after another beside the demo's folder, as a reader would; `make demo` is the demo that went before."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    ran = [line for line in commands() if not line.startswith("make ")]
    assert ran
    for line in ran:
        done = subprocess.run(
            ["bash", "-euc", line],  # noqa: S607 - the README's own line, as a shell takes it
            cwd=warm_demo.folder.parent,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, f"{line}\n{done.stderr[-3000:]}"
