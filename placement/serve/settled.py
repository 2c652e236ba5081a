"""The future of a task, awaited in an event loop."""

import asyncio
from contextlib import suppress

from splitplace.placement.outcome import TaskFuture, TaskResult, when_settled


async def ended(future: TaskFuture) -> TaskResult:
    """The result of a task, however long it takes; the task is not cancelled where this is."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def note(_: object) -> None:
        with suppress(RuntimeError):  # the door has closed: nobody waits
            loop.call_soon_threadsafe(done.set)

    when_settled(future, note)
    await done.wait()
    return future.result()
