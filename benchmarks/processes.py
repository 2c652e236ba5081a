"""Runs tasks in processes of a few threads each, so many at once: small networks gain little from more threads."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import TypeVar

import torch

from splitplace.children import end_with_parent, safe_spawn
from splitplace.errors import SplitPlaceError, UsageError

Task = TypeVar("Task", bound=Hashable)

TUNABLES = "GLIBC_TUNABLES"
KEEP_MEMORY = "glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=17179869184"
"""What a training step frees the next takes again; given back in between, it is zeroed anew, page by page. Measured on
MobileNetV2 at 28 px, a process alone: 8.4 million page faults became .5 million, 386 and 402 images a second 441."""


def run_all(
    work: Callable[[Task], object],
    tasks: Mapping[Task, Task | None],
    jobs: int,
    log: Path,
    say: Callable[[str], None],
    go_on: bool = False,
) -> None:
    """Do every task once, in a fresh process each and in the order given; a failure or an interrupt ends the others.

    Args:
        work: What is done; it and the tasks must be picklable.
        tasks: Each with the one that has to be done before it, if any.
        jobs: How many at once; they share the threads that torch has here.
        log: What the processes write to stderr is appended there: their progress bars would mix.
        say: Told what goes on whenever that changes.
        go_on: After a failure, do what does not need the task that failed, and raise then.

    Raises:
        SplitPlaceError: The first that a task raised, or its process died of something else.
    """
    context = multiprocessing.get_context("spawn")  # a fork of a process that has used torch may hang
    threads = max(1, torch.get_num_threads() // jobs)
    log.parent.mkdir(parents=True, exist_ok=True)
    waiting = list(tasks)
    done: set[Task] = set()
    failed: dict[Task, SplitPlaceError] = {}
    running: dict[Connection, tuple[Task, SpawnProcess]] = {}
    try:
        while waiting or running:
            ready = [task for task in waiting if tasks[task] is None or tasks[task] in done]
            for task in ready[: jobs - len(running)]:
                answer, theirs = context.Pipe(duplex=False)
                process = context.Process(target=_do, args=(work, task, threads, log, theirs), daemon=True)
                with safe_spawn(), _memory_kept():
                    process.start()
                theirs.close()
                running[answer] = task, process
                waiting.remove(task)
            say(f"{len(done)} of {len(tasks)} done; now {', '.join(str(task) for task, _ in running.values())}")
            for ended in [answer for answer in wait(list(running)) if isinstance(answer, Connection)]:
                task, process = running[ended]
                try:
                    _raise_what_went_wrong(task, ended, process, log)
                    done.add(task)
                except SplitPlaceError as error:
                    if not go_on:
                        raise
                    failed[task] = error
                    say(f"{task} failed: {error}")
                del running[ended]
            for task in list(waiting):  # what it needs stands before it
                needed = tasks[task]
                if needed is not None and needed in failed:
                    waiting.remove(task)
                    failed[task] = failed[needed]
    finally:
        for _, process in running.values():
            process.kill()
            process.join()
    if failed:
        raise next(iter(failed.values()))


@contextmanager
def _memory_kept() -> Iterator[None]:
    """Processes that start within have glibc keep what they free, unless the user tunes it otherwise."""
    if TUNABLES in os.environ:
        yield
        return
    os.environ[TUNABLES] = KEEP_MEMORY
    try:
        yield
    finally:
        del os.environ[TUNABLES]


def _raise_what_went_wrong(task: object, answer: Connection, process: SpawnProcess, log: Path) -> None:
    try:
        error = answer.recv()
    except EOFError:
        process.join()
        raise SplitPlaceError(
            f"{task}: its process ended with {process.exitcode} (-9: killed, as when memory runs out); see {log}, "
            "and go on with fewer --jobs"
        ) from None
    process.join()
    if error is not None:
        raise error


def _do(work: Callable[[Task], object], task: Task, threads: int, log: Path, answer: Connection) -> None:
    """In the process: the task, and then its error if it is one that a user can act on."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C reaches the parent as well, which ends this process
    end_with_parent()
    torch.set_num_threads(threads)
    sys.stderr = log.open("a", buffering=1, encoding="utf-8")
    try:
        work(task)
    except SplitPlaceError as error:
        kind = UsageError if isinstance(error, UsageError) else SplitPlaceError
        answer.send(kind(str(error)))
    else:
        answer.send(None)
