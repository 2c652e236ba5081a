"""Whom a client in an event loop keeps waiting: nobody but those that ask through it."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from splitplace.errors import NotReadyError
from splitplace.placement.serve import awaited_client
from splitplace.placement.serve.awaited_client import AwaitedClient

pytestmark = pytest.mark.base
PATIENCE_S = 240.0


class Away:
    """A client whose fleet answers nothing until it is closed."""

    def __init__(self):
        self.closed = threading.Event()

    def cancel(self, task_id):
        """Waits."""
        assert self.closed.wait(PATIENCE_S)
        raise NotReadyError("the client was closed")

    def close(self):
        """Ends what waits."""
        self.closed.set()


def test_a_fleet_that_is_away_keeps_no_thread_of_the_program_s():
    """More requests wait than the loop has threads: what else the program does in them goes on."""

    async def visit():
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        async with AwaitedClient(Away) as client:
            waiting = [asyncio.ensure_future(client.cancel(number)) for number in range(3)]
            await asyncio.sleep(0)
            assert await asyncio.wait_for(asyncio.to_thread(lambda: "done"), PATIENCE_S) == "done"
            assert not any(request.done() for request in waiting)
        return await asyncio.gather(*waiting, return_exceptions=True)

    assert all(isinstance(ended, NotReadyError) for ended in asyncio.run(visit()))


def test_who_leaves_does_not_queue_behind_those_who_wait(monkeypatch):
    """Each thread of its own waits for the fleet, and leaving is what ends them."""
    monkeypatch.setattr(awaited_client, "AT_ONCE", 1)

    async def visit():
        async with AwaitedClient(Away) as client:
            waiting = [asyncio.ensure_future(client.cancel(number)) for number in range(2)]
            await asyncio.sleep(0)
        return await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), PATIENCE_S)

    assert [type(ended) for ended in asyncio.run(visit())] == [NotReadyError, NotReadyError]
