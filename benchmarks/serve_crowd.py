"""Many clients at once, each with one request under way all the time: when each was answered, and which were not."""

import asyncio
import time
from dataclasses import dataclass, field

from splitplace.benchmarks import serve_models
from splitplace.benchmarks.serve_models import Image

PATIENCE_S = 60.0


@dataclass
class CrowdRun:
    """What came of one number of clients."""

    seconds: list[float] = field(default_factory=list)
    """Of each answer that came in the counted time."""
    lost: int = 0
    """Requests without a right answer, of the whole run."""
    counted_s: float = 0.0


async def crowd(port: int, where: str, headers: dict[str, str], x: Image, clients: int, seconds: float) -> CrowdRun:
    """So many clients for so long, after a fifth of it that is not counted.

    Args:
        port: Of this machine.
        where: The path that is asked.
        headers: Beside the length.
        x: What each asks.
        clients: How many.
        seconds: That are counted.
    """
    body, expected = x.tobytes(), serve_models.answer(x).tobytes()
    stated = {"host": "127.0.0.1", "content-length": str(len(body)), **headers}
    head = f"POST {where} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in stated.items()) + "\r\n"
    request, found = head.encode() + body, CrowdRun(counted_s=seconds)
    begin_s = time.perf_counter() + seconds / 5
    end_s = begin_s + seconds

    async def client() -> None:
        reader = writer = None
        while time.perf_counter() < end_s:
            try:
                if reader is None or writer is None:
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                start_s = time.perf_counter()
                async with asyncio.timeout(PATIENCE_S):
                    writer.write(request)
                    right = await _answered(reader, expected)
            except (OSError, EOFError, TimeoutError, ValueError):
                right, reader = False, None
            now_s = time.perf_counter()
            found.lost += not right
            if right and begin_s <= now_s < end_s:
                found.seconds.append(now_s - start_s)
        if writer is not None:
            writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return found


async def _answered(reader: asyncio.StreamReader, expected: bytes) -> bool:
    """Whether the right answer came."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
    stated = dict(line.split(":", 1) for line in lines[1:] if line)
    body = await reader.readexactly(int(stated["content-length"]))
    return lines[0].split(" ")[1] == "200" and body.endswith(expected)
