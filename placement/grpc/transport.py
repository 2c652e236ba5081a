"""grpcio's asyncio server, but for one fault of it: whoever asks for a path that is no UTF-8 ends no server.

grpcio (seen in 1.85) decodes the path of a call that is none of the registered methods in the loop that takes on all
calls. Bytes that are no UTF-8 end that loop, and with it the server and every call: a stranger's 60 bytes, before a
token. Here our methods are registered, whose names are grpcio's own by then; what asks for anything else is taken on by
a loop of ours, which looks at no path. Where a server registers nothing, a path is decoded within its call, which
alone fails. `tests/placement/grpc/test_beyond.py` sends such paths.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import grpc.aio
from grpc._cython import cygrpc

from splitplace.placement.grpc.protocol import PACKAGE, SERVICE

REGISTERS = hasattr(cygrpc.AioServer, "_make_request_call_future")


def make_server(handlers: Mapping[str, Any], other: Any, options: Sequence[tuple[str, int]], most_calls: int) -> Any:
    """A `grpc.aio.Server` that is not started; in the event loop that it is to run in.

    Args:
        handlers: What answers each call of the service, by its name.
        other: What answers all else.
        options: Of the server.
        most_calls: At once; of other calls, as many again.
    """
    if not REGISTERS:
        made = grpc.aio.server(options=options, maximum_concurrent_rpcs=most_calls)
        made.add_generic_rpc_handlers((_ByPath(handlers, other),))
        return made
    from grpc.aio import _server

    made = _server.Server.__new__(_server.Server)
    made._loop = cygrpc.get_working_loop()
    made._server = _PathlessServer(made._loop, None, (), (), tuple(options), most_calls)
    made._server.prepare(other, most_calls)
    made.add_registered_method_handlers(f"{PACKAGE}.{SERVICE}", dict(handlers))
    return made


class _ByPath:
    """What answers a call, by its path; grpc asks for it."""

    def __init__(self, handlers: Mapping[str, Any], other: Any):
        self._handlers = {f"/{PACKAGE}.{SERVICE}/{name}": handler for name, handler in handlers.items()}
        self._other = other

    def service(self, asked: Any) -> Any:
        """As grpc has it."""
        return self._handlers.get(asked.method, self._other)

    resolve_handler = service
    """As its resolver is asked."""


class _PathlessServer(cygrpc.AioServer):  # type: ignore[misc]  # grpc has no types
    """Takes on what asks for none of the registered methods without a look at its path."""

    def prepare(self, other: Any, most: int) -> None:
        """What answers those, and how many at once; one more is ended."""
        self._resolver, self._most = _ByPath({}, other), most
        self._under_way: set[asyncio.Task[None]] = set()

    def _make_request_call_future(self, method: bytes | None) -> Any:
        if method is not None:
            return super()._make_request_call_future(method)
        return asyncio.get_running_loop().create_task(self._take_others())

    async def _take_others(self) -> None:
        loop = asyncio.get_running_loop()
        while True:  # until the server ends, which this is then told by a cancellation or an error of grpc's own
            call = await self._request_call()
            if len(self._under_way) < self._most:
                answering = cygrpc._handle_rpc("", self._resolver, (), call, loop, False)
                task = loop.create_task(cygrpc._schedule_rpc_coro(answering, call, loop, ""))
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)
            del call
