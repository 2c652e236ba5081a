"""What the tests of every room may use: work counted instead of seconds, since no test judges the machine."""

import logging
import signal
import sys
from collections.abc import Callable, Iterator
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

ONE_DEMO = {"test_demo.py", "test_documentation.py"}
"""Files whose tests use the one trained demo."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Side by side (`-n`), a file's tests stay in one process, and so do those of the files that share the demo.

    (xdist's own groups do nothing under this pytest: they are written into a field that it no longer reads.)
    """
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        """Files, of which some are one."""

        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "the demo" if file.rpartition("/")[2] in ONE_DEMO else file

    return ByFile(config, log)


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
