"""The gRPC server, in the event loop of the HTTP server: who may call, what is refused, and what is noted."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import Any, NoReturn, Self

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from splitplace.errors import ContractError, SplitPlaceError, UsageError
from splitplace.placement.grpc.calls import CallUnderWay, GrpcCalls, as_they_end
from splitplace.placement.grpc.protocol import CALLS, PACKAGE, SERVICE, SETTINGS, SHARED_MEMORY, GrpcCall, Message
from splitplace.placement.http.access import Visited
from splitplace.placement.http.body import Hold
from splitplace.placement.http.guard import OPEN, Caller, Guard
from splitplace.placement.http.refusals import one_line
from splitplace.placement.http.server import LAST_WORDS_S, Certificate
from splitplace.placement.http.service import HttpService

log = logging.getLogger(__name__)
Context = Any
"""`grpc.aio.ServicerContext`, of messages that are made at import."""
Handler = Callable[[Message, CallUnderWay], Awaitable[Message]]
ANYONE = {"ServerLive": OPEN[0], "ServerReady": OPEN[1]}
"""Calls that take no token, as the same questions over HTTP."""


class GrpcServer:
    """Serves a front door over gRPC: an async context manager, for the event loop that the front door is in.

    Args:
        front: What the HTTP routes use as well.
        guard: Who may call; of HTTP and gRPC together, so that a token's rate is one.
        host: An address of this machine, or a name for one.
        port: 0 takes a free one.
        certificate: For TLS; none: plain.
    """

    def __init__(self, front: HttpService, guard: Guard, host: str, port: int, certificate: Certificate | None = None):
        self._front, self._guard, self._calls = front, guard, GrpcCalls(front)
        self._host, self._certificate = host, certificate
        self.port = port

    async def __aenter__(self) -> Self:
        """Open.

        Raises:
            UsageError: The address cannot be taken, or the certificate not be read.
        """
        limits = self._front.limits
        self._server = grpc.aio.server(
            options=(
                ("grpc.so_reuseport", 0),  # a port that somebody has is refused
                ("grpc.max_receive_message_length", limits.body_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_metadata_size", limits.head_bytes),
                ("grpc.absolute_max_metadata_size", limits.head_bytes),
                ("grpc.max_concurrent_streams", limits.requests),
                ("grpc.max_connection_idle_ms", round(1000 * limits.idle_s)),
            ),
            maximum_concurrent_rpcs=limits.requests,
        )
        handlers = {call.name: self._handler(call) for call in CALLS}
        generic = grpc.method_handlers_generic_handler(f"{PACKAGE}.{SERVICE}", handlers)
        self._server.add_generic_rpc_handlers((generic,))
        host = f"[{self._host}]" if ":" in self._host else self._host
        address = f"{host}:{self.port}"
        try:
            if self._certificate is None:
                self.port = self._server.add_insecure_port(address)
            else:
                pair = self._certificate.key.read_bytes(), self._certificate.chain.read_bytes()
                self.port = self._server.add_secure_port(address, grpc.ssl_server_credentials((pair,)))
        except (RuntimeError, OSError) as error:
            raise UsageError(
                f"--host {self._host} --grpc-port {self.port}: cannot be taken: give another one"
            ) from error
        await self._server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._server.stop(LAST_WORDS_S)

    @property
    def address(self) -> str:
        """HOST:PORT, as clients take it."""
        return f"{f'[{self._host}]' if ':' in self._host else self._host}:{self.port}"

    def _handler(self, call: GrpcCall) -> Any:
        both = {"request_deserializer": call.request.FromString, "response_serializer": call.response.SerializeToString}
        if call.streams:
            return grpc.stream_stream_rpc_method_handler(partial(self._stream, call), **both)
        refused = call.name in (*SHARED_MEMORY, *SETTINGS)
        handler: Handler = self._calls.refused if refused else getattr(self._calls, call.name)
        return grpc.unary_unary_rpc_method_handler(partial(self._answer, call, handler), **both)

    async def _answer(self, call: GrpcCall, handler: Handler, asked: Message, context: Context) -> Message:
        """One request, one answer or one reason."""
        with self._front.coming.hold() as hold:
            under_way = self._begun(call, hold, context)
            try:
                under_way.caller = self._admit(call, context)
                response = await handler(asked, under_way)
                under_way.visited.status, under_way.visited.bytes_out = 200, response.ByteSize()
                return response
            except SplitPlaceError as error:
                under_way.visited.status, under_way.visited.error = error.http_status, one_line(str(error))
                await self._refuse(context, error)
            except asyncio.CancelledError:
                self._front.metrics.hang_ups.inc()
                raise
            except grpc.aio.AbortError:
                raise
            except Exception as error:
                log.exception("%s", call.path)
                under_way.visited.status, under_way.visited.error = 500, repr(error)[:200]
                await self._refuse(context, SplitPlaceError("the front door failed: its log has why"))
            finally:
                self._front.note_end(under_way, "GRPC")

    async def _stream(self, call: GrpcCall, coming: AsyncIterator[Message], context: Context) -> AsyncIterator[Message]:
        """Many requests, answered as they are done; each is admitted and noted by itself."""
        with self._front.coming.hold() as hold:
            opened = self._begun(call, hold, context)
            try:
                self._admit(call, context)
            except SplitPlaceError as error:
                opened.visited.status, opened.visited.error = error.http_status, one_line(str(error))
                self._front.note_end(opened, "GRPC")
                await self._refuse(context, error)

        async def begun() -> AsyncIterator[asyncio.Task[Message]]:
            async for asked in coming:
                yield asyncio.create_task(self._answer_in_stream(call, asked, context))

        try:
            async for response in as_they_end(begun()):
                yield response
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except DecodeError:
            await self._refuse(context, ContractError("a message that is none of the protocol's"))
        except Exception:
            log.exception("%s", call.path)
            await self._refuse(context, SplitPlaceError("the front door failed: its log has why"))

    async def _answer_in_stream(self, call: GrpcCall, asked: Message, context: Context) -> Message:
        with self._front.coming.hold() as hold:
            under_way = self._begun(call, hold, context)
            try:
                under_way.caller = self._admit(call, context)
                return await self._calls.one_of_a_stream(asked, under_way)
            except SplitPlaceError as error:  # its token was revoked, or asks too often
                return self._calls.failed_in_stream(asked, under_way, error)
            except asyncio.CancelledError:
                self._front.metrics.hang_ups.inc()
                raise
            except Exception:
                log.exception("%s", call.path)
                fault = SplitPlaceError("the front door failed: its log has why")
                return self._calls.failed_in_stream(asked, under_way, fault)
            finally:
                self._front.note_end(under_way, "GRPC")

    def _begun(self, call: GrpcCall, hold: Hold, context: Context) -> CallUnderWay:
        visited = Visited(context.peer(), "GRPC", call.path, call.path)
        return CallUnderWay(received_s=self._front.clock(), visited=visited, hold=hold, left_s=context.time_remaining())

    def _admit(self, call: GrpcCall, context: Context) -> Caller:
        headers = {name: value for name, value in context.invocation_metadata() or () if isinstance(value, str)}
        return self._guard.admit(headers, ANYONE.get(call.name, call.path))

    async def _refuse(self, context: Context, error: SplitPlaceError) -> NoReturn:
        if (after_s := await self._front.retry_after_s(error)) is not None:
            context.set_trailing_metadata((("retry-after", str(after_s)),))
        await context.abort(grpc.StatusCode[error.grpc_status], one_line(str(error)))
        raise AssertionError  # `abort` raises
