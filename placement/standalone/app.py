"""Requests to one model, by the Open Inference Protocol v2: one is run at a time, the others wait their turn."""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from splitplace.errors import NotFoundError, OverloadedError, SplitPlaceError, UnansweredError, UsageError, unknown
from splitplace.placement.http import codec, compression, models
from splitplace.placement.http.body import ClientGoneError, Coming, Hold, read_body, unless_gone
from splitplace.placement.http.limits import Limits
from splitplace.placement.http.refusals import refusal
from splitplace.placement.standalone.models_folder import LoadedModel

log = logging.getLogger(__name__)

LIMITS = Limits(connections=256, requests=64, body_bytes=2**26, coming_bytes=2**27)
"""Less than a front door's: a device has little memory, and one model."""
EXTENSIONS = ("classification", "model_configuration", "binary_tensor_data", "parameters")
SOONEST_S = 1
"""When to come again with what was refused."""
HOLD = "splitplace.hold"
"""Where a request's scope has its room."""

Answer = Callable[[Request], Awaitable[Response]]


class StandaloneApp:
    """Answers for one model, in the thread that runs it.

    Args:
        loaded: The model.
        version: Of this program.
        limits: In force.
        clock: Seconds.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        version: str,
        limits: Limits = LIMITS,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.limits, self._loaded, self._version, self._clock = limits, loaded, version, clock
        self._coming = Coming(limits.coming_bytes)
        self._under_way = 0
        self._running = ThreadPoolExecutor(1, "model")
        self._router = Router(self._routes(), redirect_slashes=False, default=_nothing)

    def leave(self) -> None:
        """Nothing here goes on for as long as a client listens."""

    def close(self) -> None:
        """Start no more."""
        self._running.shutdown(wait=False, cancel_futures=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http":
            return
        try:
            with self._coming.hold() as hold:
                scope[HOLD] = hold
                await self._answer(scope, receive, send)
        except ClientGoneError:
            log.info("%s %s: its client left", scope["method"], scope["path"])

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._router(scope, receive, send)
        except (SplitPlaceError, HTTPException) as error:
            await self._refuse(error, scope, receive, send)
        except ClientGoneError:
            raise
        except Exception:
            log.exception("%s %s", scope["method"], scope["path"])
            await self._refuse(SplitPlaceError("the model failed: its log has why"), scope, receive, send)

    async def _refuse(self, error: SplitPlaceError | HTTPException, scope: Scope, receive: Receive, send: Send) -> None:
        again = isinstance(error, SplitPlaceError) and error.http_status in (429, 503)
        response = refusal(error, SOONEST_S if again else None)
        response.headers["connection"] = "close"  # of its body nobody may have read the rest
        await response(scope, receive, send)

    def _routes(self) -> list[Route]:
        place = "/v2/models/{model}"
        table: list[tuple[str, str, Answer]] = [
            ("GET", "/v2", self._server),
            ("GET", "/v2/health/live", _well),
            ("GET", "/v2/health/ready", _well),
        ]
        for start in (place, place + "/versions/{version}"):
            table += [
                ("GET", start, partial(self._told, models.metadata)),
                ("GET", start + "/config", partial(self._told, models.configuration)),
                ("GET", start + "/ready", self._ready),
                ("POST", start + "/infer", self._infer),
            ]
        return [Route(path, _plain(answer), methods=[method]) for method, path, answer in table]

    async def _server(self, request: Request) -> Response:
        return _document({"name": "splitplace", "version": self._version, "extensions": list(EXTENSIONS)})

    def _model(self, request: Request) -> models.ServedModel:
        where, model = request.path_params, self._loaded.model
        if where["model"] != model.name:
            raise unknown("model", where["model"][:200], [model.name])
        if where.get("version", models.VERSION) != models.VERSION:
            raise NotFoundError(f"model {model.name} has no version {where['version'][:40]!r}: expected 1")
        return model

    async def _told(self, what: Callable[[models.ServedModel], dict[str, Any]], request: Request) -> Response:
        return _document(what(self._model(request)))

    async def _ready(self, request: Request) -> Response:
        self._model(request)
        return Response()

    async def _infer(self, request: Request) -> Response:
        """Of all requests the one kind that is bounded in number: how a busy server is, it still says."""
        model = self._model(request)
        if self._under_way >= self.limits.requests:
            raise OverloadedError(f"{self.limits.requests} requests are under way, which are all that is taken on")
        self._under_way += 1
        try:
            return await self._inferred(model, request)
        finally:
            self._under_way -= 1

    async def _inferred(self, model: models.ServedModel, request: Request) -> Response:
        received_s = self._clock()
        hold: Hold = request.scope[HOLD]
        coding = compression.coding_of(request.headers.get("content-encoding", ""))
        body = await read_body(request.receive, request.headers.get("content-length"), self.limits, hold)
        stated = request.headers.get("inference-header-content-length")
        work = partial(self._run, model, body, coding, stated, hold, received_s)
        running = asyncio.get_running_loop().run_in_executor(self._running, work)
        answer, header_length = await unless_gone(running, _gone(request))
        headers = {} if header_length is None else {"Inference-Header-Content-Length": str(header_length)}
        return Response(
            answer,
            headers=headers,
            media_type="application/json" if header_length is None else "application/octet-stream",
        )

    def _run(
        self,
        model: models.ServedModel,
        body: bytes | bytearray,
        coding: str,
        header_length: str | None,
        hold: Hold,
        received_s: float,
    ) -> tuple[bytes, int | None]:
        """In the one thread that works: decode, run, encode."""
        if coding:
            body = compression.decompress(body, coding, self.limits.body_bytes, hold.add)
        question = codec.decode(body, header_length, model, self.limits)
        wish = question.wish
        if wish.detach:
            raise UsageError("parameter detach: no tasks are kept here, expected a client that waits for its answer")
        if wish.deadline_s is not None and not wish.late and self._clock() - received_s > wish.deadline_s:
            raise UnansweredError(
                f"its {wish.deadline_s:g} s had passed when its turn came: send it sooner, or allow more"
            )
        answers = self._loaded.run(question.inputs)
        known = {"id": question.id} if question.id else {}
        head = {"model_name": model.name, "model_version": models.VERSION, **known}
        return codec.encode(head, answers, question.outputs, model)


def _plain(answer: Answer) -> Answer:
    """An endpoint as the routes take it: a function, whatever it is bound to."""

    async def endpoint(request: Request) -> Response:
        return await answer(request)

    return endpoint


def _document(told: dict[str, Any]) -> Response:
    return Response(json.dumps(told, allow_nan=False), media_type="application/json")


async def _well(request: Request) -> Response:
    return Response()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    raise NotFoundError(f"no path {scope['path'][:200]!r}: expected one of the Open Inference Protocol, under /v2")
