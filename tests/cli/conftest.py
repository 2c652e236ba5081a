"""One demo folder for all tests of this room: trained once, then warm."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

MAIN = "from splitplace.cli import main; main()"


@dataclass(frozen=True)
class Demo:
    """A finished demo and how long it took."""

    folder: Path
    document: dict[str, Any]
    wall_s: float


def run_demo(folder: Path) -> Demo:
    """`splitplace demo --json`, as a user calls it."""
    start = time.monotonic()
    command = [sys.executable, "-c", MAIN, "demo", "--json", "--out", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-4000:]
    return Demo(folder, json.loads(done.stdout), time.monotonic() - start)


@pytest.fixture(scope="session")
def cold_demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The first run, which trains."""
    return run_demo(tmp_path_factory.mktemp("demo") / "splitplace-demo")


@pytest.fixture(scope="session")
def warm_demo(cold_demo: Demo) -> Demo:
    """The second run in the same folder."""
    return run_demo(cold_demo.folder)


@pytest.fixture
def another_demo(cold_demo: Demo) -> Callable[[], Demo]:
    """One more run in the same folder, whenever it is called."""
    return lambda: run_demo(cold_demo.folder)
