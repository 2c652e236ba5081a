"""One connection, in bounds that the HTTP server does not set: its headers, its chunks, its silence, its reading."""

import asyncio
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from splitplace.placement.http.limits import Limits

_REASONS = {400: b"Bad Request", 408: b"Request Timeout", 431: b"Request Header Fields Too Large"}


READ_AHEAD_BYTES = 2**18
"""Of a body that its reader has not taken yet, before no more is read: what the event loop takes from a socket at once.
With uvicorn's own 64 KiB, it stopped and went on listening to the socket with every piece."""


class BoundsError(Exception):
    """Raised inside of the parser, which ends the connection by it."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's, with the bounds of `limits`; made by `bounded`."""

    limits: ClassVar[Limits]

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._timer: asyncio.TimerHandle | None = None
        """Runs while headers come in, and while the rest of a body does that nobody wants."""
        self._reading: asyncio.TimerHandle | None = None
        """Runs while an answer does not go out."""
        self._in_head = True
        self._head_bytes = self._chunks = 0
        self._fault = (400, "no HTTP request that can be read")

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """One more; that there is room for it, `accepting.py` has seen to."""
        super().connection_made(transport)
        self._timer = self.loop.call_later(self.limits.head_s, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        for timer in (self._timer, self._reading):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some bytes; headers that never end are not kept."""
        if self._in_head:
            self._head_bytes += len(data)
            if self._timer is None:
                self._timer = self.loop.call_later(self.limits.head_s, self._too_slow)
        super().data_received(data)
        if self._in_head and self._head_bytes > self.limits.head_bytes and not self.transport.is_closing():
            self._fault = (431, self._too_long())
            self.send_400_response("")

    def on_message_begin(self) -> None:
        """A request's first byte."""
        super().on_message_begin()
        self._in_head, self._chunks, self._stated = True, 0, 0

    def on_url(self, url: bytes) -> None:
        """Counted."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Counted."""
        self._count(len(name) + len(value) + 4)
        super().on_header(name, value)

    def _count(self, size: int) -> None:
        self._stated += size
        if self._stated > self.limits.head_bytes:
            self._fault = (431, self._too_long())
            raise BoundsError

    def _too_long(self) -> str:
        return f"headers of more than {self.limits.head_bytes} bytes, expected at most so many"

    def on_headers_complete(self) -> None:
        """The body may take its own time."""
        self._in_head, self._head_bytes = False, 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of a body, for its reader: as it is, if that comes for each; no more may lie here than so much."""
        if self.cycle.response_complete:
            return
        if not self.cycle.body:
            self.cycle.body = body  # type: ignore[assignment]  # who takes it asks for `bytes` of it, which it is
        elif isinstance(self.cycle.body, bytes):
            self.cycle.body = bytearray(self.cycle.body) + body
        else:
            self.cycle.body += body
        if len(self.cycle.body) > READ_AHEAD_BYTES:
            self.flow.pause_reading()
        self.cycle.message_event.set()

    def on_chunk_header(self) -> None:
        """A body in ever so many pieces costs more than its bytes."""
        self._chunks += 1
        if self._chunks > self.limits.chunks:
            self._fault = (
                400,
                f"a body of more than {self.limits.chunks} chunks, expected at most so many: use larger ones",
            )
            raise BoundsError

    def on_message_complete(self) -> None:
        """The next bytes are of another request."""
        super().on_message_complete()
        self._in_head = True
        if self._timer is not None:  # it was answered before its end
            self._timer.cancel()
            self._timer = None
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def on_response_complete(self) -> None:
        """An answer before the end of its request: what is still to come of that is passed over, for a moment."""
        super().on_response_complete()
        if self.cycle.response_complete and self.cycle.more_body and self._timer is None:
            self._timer = self.loop.call_later(self.limits.still_s, self.transport.close)

    def send_400_response(self, msg: str) -> None:
        """As every other refusal; the base calls it for what its parser does not take."""
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.abort()  # in the middle of an answer nothing else can be said
            return
        status, said = self._fault
        body = b'{"error": "' + said.encode() + b'"}'
        head = b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(head % (status, _REASONS[status], len(body)) + body)
        self.transport.close()

    def _too_slow(self) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        if not self._head_bytes:
            self.transport.close()
            return
        self._fault = (408, f"headers took more than {self.limits.head_s:g} s to come in: send them faster")
        self.send_400_response("")

    def pause_writing(self) -> None:
        """It does not read what it is told."""
        super().pause_writing()
        self._reading = self.loop.call_later(self.limits.send_s, self.transport.abort)

    def resume_writing(self) -> None:
        """It does."""
        super().resume_writing()
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None


def bounded(limits: Limits) -> type[BoundedProtocol]:
    """The protocol with these limits, for a server that makes one a connection."""
    return type("BoundedProtocolOf", (BoundedProtocol,), {"limits": limits})
