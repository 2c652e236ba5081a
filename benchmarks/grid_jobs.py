"""Tasks that hang on nothing but what they say: done by many processes, here or elsewhere, each kept at once."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Protocol, TypeVar

from splitplace import provenance
from splitplace.benchmarks.results_file import stamped
from splitplace.children import ONE_THREAD, end_with_parent, safe_spawn
from splitplace.errors import SplitPlaceError

Task = TypeVar("Task")
Result = TypeVar("Result")


class Crew(Protocol):
    """Who does tasks elsewhere (`grid_ray.py`)."""

    def results(self, work: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """What comes of each task, as it comes; raises the first thing that one of them raised."""
        ...


Jobs = int | Crew
"""Processes of this machine, of one thread each, 1 for the calling one; or others'."""


def measure(
    work: Callable[[Task], Result],
    tasks: Sequence[Task],
    jobs: Jobs,
    keep: Callable[[Result], None],
    say: Callable[[str], None],
    what: str,
) -> None:
    """Do every task once; each result is kept as it comes, so that what is interrupted goes on where it stopped.

    Args:
        work: A function of a module: other processes call it.
        tasks: What it is called with; first things first.
        jobs: Who does them.
        keep: Told of every result, in this process.
        say: Told how far it is, and how long the rest may take.
        what: Is measured, as it says then.

    Raises:
        SplitPlaceError: The first that a task raised, or a process died of something else.
    """
    began, here = time.monotonic(), provenance.machine().words
    results: Iterator[Result]
    if isinstance(jobs, int):
        results = (stamped(result, here) for result in _results(work, tasks, jobs))
    else:
        results = jobs.results(work, tasks) if tasks else iter(())
    for done, result in enumerate(results, start=1):
        keep(result)
        left_s = (time.monotonic() - began) / done * (len(tasks) - done)
        say(f"{what}: {done} of {len(tasks)}, about {_duration(left_s)} left")


def _results(work: Callable[[Task], Result], tasks: Sequence[Task], jobs: int) -> Iterator[Result]:
    if jobs == 1 or len(tasks) < 2:
        yield from map(work, tasks)
        return
    pool = ProcessPoolExecutor(min(jobs, len(tasks)), get_context("spawn"), _begin)
    try:
        with safe_spawn(), _one_thread():  # all its processes start with the first task
            asked = [pool.submit(work, task) for task in tasks]
        for future in as_completed(asked):
            yield future.result()
    except BrokenProcessPool as error:
        raise SplitPlaceError(
            "a process that measured ended by itself (as when memory runs out): go on with fewer --jobs"
        ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _begin() -> None:
    """In each process: an interrupt, which the parent gets as well, ends it without a word, and so does the parent."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    end_with_parent()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Within, processes start with one thread each: the cores are shared out already."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    return f"{seconds:.0f} s" if seconds < 100 else f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"
