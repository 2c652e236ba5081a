"""One demo folder for all tests of this room: trained once, then warm."""

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from splitplace.catalog.oci import digest
from splitplace.cli import main
from splitplace.records.fragment import Fragment, TensorSpec
from splitplace.records.split import INPUT, Edge, Merge, Split

DEMO_LIMIT_S = 2700
"""So that one that hangs ends; how long one takes is for `bench timings` to say."""
MAIN = "from splitplace.cli import main; main()"


def called(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What a command says and how it ends, called in this process: another one takes longer to begin than most do."""
    out, err, code = StringIO(), StringIO(), 0
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main(arguments)
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def brightest() -> Callable[[bytes], Split]:
    """A split of one fragment, whose file holds these bytes: the class of the brightest of 2x2 pixels."""

    def make(model: bytes) -> Split:
        fragment = Fragment(
            name="full",
            inputs=(TensorSpec(name="image", dtype="uint8", shape=("batch", 1, 2, 2)),),
            outputs=(TensorSpec(name="logits", dtype="float32", shape=("batch", 4)),),
            classes=(0, 1, 2, 3),
            params=0,
            flops_per_sample=0,
            weight_bytes=0,
            digest=digest(model),
        )
        return Split(
            application="pixels",
            model="brightest",
            strategy="full",
            fragments=(fragment,),
            edges=(Edge(src=INPUT, dst="full", tensor="image", bytes_per_sample=4),),
            merge=Merge(kind="identity", class_order=(0, 1, 2, 3)),
        )

    return make


@dataclass(frozen=True)
class Demo:
    """A finished demo."""

    folder: Path
    document: dict[str, Any]


def run_demo(folder: Path) -> Demo:
    """`splitplace demo --json`, as a user calls it."""
    command = [sys.executable, "-c", MAIN, "demo", "--json", "--out", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEMO_LIMIT_S)
    assert done.returncode == 0, done.stderr[-4000:]
    return Demo(folder, json.loads(done.stdout))


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
