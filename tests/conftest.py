"""What the tests of every room may use: work counted instead of seconds, since no test judges the machine."""

import logging
import os
import random
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from typing import Any

import hypothesis
import psutil
import pytest

import splitplace  # noqa: F401 - before any test has onnxruntime, which it tells to send nothing anywhere

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Of a shell's background the suite inherits that Ctrl-C is nothing, and what it starts would, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)


hypothesis.settings.register_profile("counted", deadline=None)
hypothesis.settings.load_profile("counted")

TOGETHER = {
    **dict.fromkeys(("cli/test_demo.py", "cli/test_documentation.py"), "the demo"),
    **dict.fromkeys(
        (f"export/test_{name}.py" for name in ("measure", "conformance", "onnx_export", "precision", "triton")),
        "the tree's files",
    ),
    **dict.fromkeys(("placement/fleet/test_ray_fleet.py", "benchmarks/test_grid_ray.py"), "Ray's client servers"),
}
"""Files whose tests use one thing that takes long to make: a trained demo, an exported tree. Or disturb each other: Ray
looks for a client's port from 23000 on and does not hold it, so that of two clusters on one machine, asked in the same
second, one has no server, or the other's."""
LONG = (
    "the tree's files",
    "training/test_spare.py",
    "distribution/test_docker_registry.py",
    "placement/advice/test_trials.py",
    "placement/advice/test_verdict.py",
    "placement/advice/test_race.py",
    "placement/fleet/test_relay.py",
    "placement/engines/test_gate.py",
    "placement/fleet/test_stream.py",
    "placement/standalone/test_process.py",
    "placement/http/test_generated.py",
    "placement/simulator/test_shown.py",
    "placement/joint/test_search.py",
    "placement/fleet/test_keys_that_change.py",
    "export/test_conversions.py",
    "examples/test_examples.py",
    "kernel/test_fresh_interpreter.py",
    "kernel/test_catalog_mutation.py",
    "benchmarks/test_bandit_training.py",
)
"""What takes seconds by few tests. It begins first: what has the fewest tests ends last, and one process would do that
alone."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--shuffle 7`: files in another order, and in each its tests, the same for the same seed."""
    parser.addoption("--shuffle", type=int, metavar="SEED", help="files and their tests in the random order of SEED")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Shuffled, if that was asked for: every test must pass whatever ran before it in its process.

    A file's tests stay together, as side by side they must. The generator is nobody else's, so tests draw the same.
    """
    if (seed := config.getoption("shuffle")) is None:
        return
    rng, tests_of = random.Random(seed), dict[str, list[pytest.Item]]()
    for item in items:
        tests_of.setdefault(item.nodeid.partition("::")[0], []).append(item)
    files = list(tests_of.values())
    rng.shuffle(files)
    for tests in files:
        rng.shuffle(tests)
    items[:] = (item for tests in files for item in tests)
    config.option.loadscopereorder = False  # xdist would put the files with the most tests first again


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Side by side (`-n`), a file's tests stay in one process, and so do those of files that share what takes long.

    (xdist's own groups do nothing under this pytest: they are written into a field that it no longer reads.)
    """
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        """Files, of which some are one and some come first."""

        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0].removeprefix("tests/")
            return TOGETHER.get(file, file)

        def _assign_work_unit(self, node: Any) -> None:
            if self.config.option.loadscopereorder and (first := next(filter(self.workqueue.__contains__, LONG), None)):
                self.workqueue.move_to_end(first, last=False)
            super()._assign_work_unit(node)

    return ByFile(config, log)


@pytest.hookimpl(optionalhook=True, wrapper=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> Generator[None, int, int]:
    """For `-n auto`: as many as xdist says, and of `make fast` one more than it may use cores.

    Who names a number (`PYTEST_XDIST_AUTO_NUM_WORKERS`) gets that one.
    """
    count = yield
    if "ONE_PROCESS_MORE" not in os.environ or os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS"):
        return count
    # xdist counts the machine's cores, also those that this process may not run on.
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else count
    return min(count, usable) + 1


def count_calls(work: Callable[[], Any]) -> int:
    """How many Python and C functions `work` calls in this thread: the same number however busy the machine is."""
    calls = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
    return calls


@pytest.fixture
def calls() -> Callable[[Callable[[], Any]], int]:
    """The counter above."""
    return count_calls


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def alive() -> Callable[[int], bool]:
    """The question above."""
    return is_alive


_FIRST_STATES: dict[str, Any] = {}


@pytest.fixture(autouse=True)
def drawn_anew(request: pytest.FixtureRequest) -> None:
    """A test draws the same whatever ran before it, from its module's `RNG` and from torch's own generator."""
    generator = getattr(request.module, "RNG", None)
    if generator is not None:
        state = _FIRST_STATES.setdefault(request.module.__name__, generator.bit_generator.state)
        generator.bit_generator.state = state
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(autouse=True)
def remarks() -> Iterator[None]:
    """A command takes the library's remarks to itself for the rest of its process; the next test hears them again."""
    logger = logging.getLogger("splitplace")
    before = logger.propagate, list(logger.handlers)
    yield
    logger.propagate, logger.handlers = before[0], before[1]
