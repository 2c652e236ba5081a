"""Freed memory that the C library keeps: as little as can be, and what can be given back to the system is.

glibc has arenas of their own for many threads, and keeps in every one what its largest moment took. Bodies of megabytes
in sixteen threads left two hundred megabytes that nobody used, and ever more: after nine hundred thousand generated
requests 45 MB were in use, of 470 that the process held.
"""

import asyncio
from collections.abc import Callable

from splitplace.inference import memory

GROWN_BYTES = 16 * 2**20
ARENAS = 4
"""Of all threads that begin once a front door is open."""
LOOK_S = 10.0
"""Seconds between two looks at what the process holds, which take microseconds; giving back takes milliseconds."""


class SpareMemory:
    """Has it given back whenever the process has grown since the last time.

    Args:
        held: Resident bytes of this process.
        give_back: Returns what is free to the system, as far as it can.
    """

    def __init__(self, held: Callable[[], int] = memory.rss_bytes, give_back: Callable[[], None] = memory.trim):
        memory.few_arenas(ARENAS)
        self._held, self._give_back = held, give_back
        self._least = held()

    def look(self) -> bool:
        """Whether there was cause to."""
        if self._held() < self._least + GROWN_BYTES:
            return False
        self._give_back()
        self._least = self._held()
        return True

    async def watch(self) -> None:
        """Look again and again, in a thread: requests go on meanwhile."""
        while True:
            await asyncio.sleep(LOOK_S)
            await asyncio.to_thread(self.look)
