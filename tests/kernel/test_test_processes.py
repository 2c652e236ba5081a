"""How many processes the tests run in, of `make test` and of `make fast`."""

import os
import shutil
import subprocess
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def processes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    """What `-n auto` comes to with these variables, on a machine of so many cores of which so many may be used."""
    config = request.config

    def count(cores: int, usable: int, **variables: str) -> int:
        with monkeypatch.context() as played:
            for name in ("ONE_PROCESS_MORE", "PYTEST_XDIST_AUTO_NUM_WORKERS"):
                played.delenv(name, raising=False)
            for name, value in variables.items():
                played.setenv(name, value)
            played.setattr(psutil, "cpu_count", lambda logical=True: cores * (2 if logical else 1))
            played.setattr(os, "sched_getaffinity", lambda pid: set(range(usable)), raising=False)
            return int(config.hook.pytest_xdist_auto_num_workers(config=config))

    return count


def test_the_whole_suite_runs_in_as_many_processes_as_xdist_says(processes):
    """Physical cores: that they are two threads each makes no difference."""
    assert processes(4, 8) == 4


@pytest.mark.parametrize(("cores", "usable", "expected"), [(4, 8, 5), (4, 2, 3), (1, 1, 2)])
def test_fast_tests_run_in_one_process_more_than_there_are_cores_to_use(processes, cores, usable, expected):
    """For they wait; what this process may not run on does not count."""
    assert processes(cores, usable, ONE_PROCESS_MORE="1") == expected


def test_a_number_that_is_named_is_kept(processes):
    """To the process, in either."""
    for more in ({}, {"ONE_PROCESS_MORE": "1"}):
        assert processes(4, 2, PYTEST_XDIST_AUTO_NUM_WORKERS="7", **more) == 7


@pytest.mark.parametrize(("target", "more"), [("fast", True), ("test", False)])
def test_of_the_makefile_fast_alone_asks_for_one_more(target, more):
    """And leaves the number to the above."""
    make, alone = shutil.which("make") or "make", {"PATH": os.environ["PATH"]}  # not a part of a make around it
    told = subprocess.run([make, "--dry-run", target], cwd=ROOT, env=alone, capture_output=True, text=True, check=True)
    (line,) = (line for line in told.stdout.splitlines() if "pytest" in line and "-n auto" in line)
    assert ("ONE_PROCESS_MORE=1 " in line) is more
