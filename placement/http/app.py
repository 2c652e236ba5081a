"""The front door as an ASGI application: who may come in, what is answered, what is refused, and what is noted."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Router
from starlette.types import Message, Receive, Scope, Send

from splitplace.errors import OverloadedError, SplitPlaceError, UnknownCallerError
from splitplace.placement.http import routes, watching
from splitplace.placement.http.access import Visited
from splitplace.placement.http.body import ClientGoneError
from splitplace.placement.http.guard import FREE, LOGOUT, PAGE, ROOT
from splitplace.placement.http.refusals import one_line, refusal
from splitplace.placement.http.service import ONGOING, HttpService, OngoingRequest

log = logging.getLogger(__name__)

PIECE_BYTES = 2**20
"""Of an answer; a client may take so long for each."""
UNWANTED_BYTES = 2**20
"""Of a body that is refused: what is read of it, so that its sender hears why."""
METHODS = ("GET", "HEAD", "POST", "DELETE")


class FrontApp:
    """Answers requests.

    Args:
        service: What the routes use.
    """

    def __init__(self, service: HttpService):
        self.service, self.limits = service, service.limits
        self._under_way = self._taken_on = 0
        self._router = Router(routes.build(self._bind), redirect_slashes=False, default=self._nothing)

    def leave(self) -> None:
        """End what would go on for as long as its client listens; from any thread."""
        self.service.watch.close()

    def close(self) -> None:
        """Ask the fleet no more."""
        self.service.desk.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http":
            return
        client = scope.get("client") or ("", 0)
        visited = Visited(client[0], scope["method"], scope["path"])
        self._under_way += 1
        self.service.metrics.under_way.set(self._under_way)
        with self.service.coming.hold() as hold:
            expects = any(name == b"expect" for name, _ in scope["headers"])
            ongoing = OngoingRequest(
                received_s=self.service.clock(), visited=visited, hold=hold, receive=receive, expects=expects
            )
            scope[ONGOING], scope["app"] = ongoing, self
            try:
                await self._answer(scope, receive, partial(self._send, send, visited), ongoing)
            except ClientGoneError:
                self.service.metrics.hang_ups.inc()
            finally:
                self._under_way -= 1
                self._note(ongoing)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, ongoing: OngoingRequest) -> None:
        try:
            ongoing.caller = self.service.guard.admit(Headers(scope=scope), scope["path"])
            with self._place(scope["path"]):
                await self._router(scope, receive, send)
        except (SplitPlaceError, HTTPException) as error:
            by_browser = isinstance(error, UnknownCallerError) and scope["path"] in (ROOT, PAGE, LOGOUT)
            response = watching.to_login() if by_browser else await self._refused(error, ongoing)
            await response(scope, receive, send)
        except ClientGoneError:
            raise
        except Exception as error:
            log.exception("%s %s", scope["method"], ongoing.visited.route)
            ongoing.visited.error = repr(error)[:200]
            if not ongoing.visited.status:
                response = await self._refused(SplitPlaceError("the front door failed: its log has why"), ongoing)
                await response(scope, receive, send)

    @contextmanager
    def _place(self, path: str) -> Iterator[None]:
        """Among the requests that are taken on; who has shown no token takes none, however slow he is."""
        if path in FREE:
            yield
            return
        if self._taken_on >= self.limits.requests:
            raise OverloadedError(f"{self.limits.requests} requests are under way, which are all that is taken on")
        self._taken_on += 1
        try:
            yield
        finally:
            self._taken_on -= 1

    async def _refused(self, error: SplitPlaceError | HTTPException, ongoing: OngoingRequest) -> Response:
        retry_after_s = await self.service.retry_after_s(error) if isinstance(error, SplitPlaceError) else None
        response = refusal(error, retry_after_s)
        ongoing.visited.error = one_line(str(error))
        if not ongoing.body_read and (ongoing.expects or not await self._rest(ongoing)):
            response.headers["connection"] = "close"
        return response

    async def _rest(self, ongoing: OngoingRequest) -> bool:
        """Read the rest of a small body that nobody wants, so that its sender hears the answer; whether it was all."""
        left = UNWANTED_BYTES
        try:
            async with asyncio.timeout(1.0):
                while left > 0:
                    message = await ongoing.receive()
                    left -= len(message.get("body", b""))
                    if not message.get("more_body", False):
                        return bool(message["type"] == "http.request")
        except TimeoutError:
            pass
        return False

    async def _send(self, send: Send, visited: Visited, message: Message) -> None:
        """On to the server, in pieces, so that each may take its time and is counted."""
        if message["type"] == "http.response.start":
            visited.status = message["status"]
            await send(message)
            return
        body, more = memoryview(message.get("body", b"")), message.get("more_body", False)
        visited.bytes_out += len(body)
        for start in range(0, max(len(body), 1), PIECE_BYTES):
            piece = bytes(body[start : start + PIECE_BYTES])
            last = start + PIECE_BYTES >= len(body)
            await send({"type": "http.response.body", "body": piece, "more_body": more or not last})

    def _note(self, ongoing: OngoingRequest) -> None:
        self.service.metrics.under_way.set(self._under_way)
        method = ongoing.visited.method
        self.service.note_end(ongoing, method if method in METHODS else "other")

    def _bind(self, handler: routes.Handler) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            self.service.ongoing(request).visited.route = request.scope["route"].path
            return await handler(self.service, request)

        return endpoint

    async def _nothing(self, scope: Scope, receive: Receive, send: Send) -> None:
        await routes.nothing(self.service, Request(scope))
