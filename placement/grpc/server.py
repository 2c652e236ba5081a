"""The gRPC server, in the event loop of the HTTP server: who may call, what is refused, and what is noted.

Every call is taken as a stream of bytes both ways, which it is on the wire: so its token is looked at before its
message is read, and messages are read in bounds of ours. Of a call that takes no token nothing is read.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import Any, NoReturn, Self
from urllib.parse import unquote

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from splitplace.errors import ContractError, NotFoundError, SplitPlaceError, UnknownCallerError, UsageError
from splitplace.placement.grpc import transport, wire
from splitplace.placement.grpc.calls import CallUnderWay, GrpcCalls, as_they_end
from splitplace.placement.grpc.protocol import CALLS, PACKAGE, SERVICE, SETTINGS, SHARED_MEMORY, GrpcCall, Message
from splitplace.placement.grpc.reading import Context, MessageReader
from splitplace.placement.http.access import Visited
from splitplace.placement.http.body import Hold
from splitplace.placement.http.guard import OPEN, Caller, Guard
from splitplace.placement.http.limits import Limits
from splitplace.placement.http.refusals import one_line
from splitplace.placement.http.server import LAST_WORDS_S, Certificate
from splitplace.placement.http.service import HttpService

log = logging.getLogger(__name__)
Handler = Callable[[Message, CallUnderWay], Awaitable[Message]]
ANYONE = {"ServerLive": OPEN[0], "ServerReady": OPEN[1]}
"""Calls that take no token, as the same questions over HTTP. Their messages have no fields: none is waited for."""


class NoSuchCallError(NotFoundError):
    """A call that the service does not have: programs that try whether a server has it know it by its status."""

    @property
    def grpc_status(self) -> str:
        """The protocol's own word for it."""
        return "UNIMPLEMENTED"


class NoMessageError(ContractError):
    """Bytes that are none of the protocol's messages."""


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
        self._reader = MessageReader(front.limits)
        self._host, self._certificate = host, certificate
        self.port = port

    async def __aenter__(self) -> Self:
        """Open.

        Raises:
            UsageError: The address cannot be taken, or the certificate not be read.
        """
        limits = self._front.limits
        handlers = {call.name: _as_bytes(self._behaviour(call)) for call in CALLS}
        options = options_of(limits, self._reader.most_bytes)
        self._server = transport.make_server(handlers, _as_bytes(self._unknown), options, limits.requests)
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

    def _behaviour(self, call: GrpcCall) -> Callable[..., Awaitable[None]]:
        if call.streams:
            return partial(self._stream, call)
        refused = call.name in (*SHARED_MEMORY, *SETTINGS)
        handler: Handler = self._calls.refused if refused else getattr(self._calls, call.name)
        return partial(self._answer, call, handler)

    async def _answer(self, call: GrpcCall, handler: Handler, _: object, context: Context) -> None:
        """One request, one answer or one reason."""
        with self._front.coming.hold() as hold:
            under_way = self._begun(call.path, call.path, hold, context)
            try:
                under_way.caller = self._admit(ANYONE.get(call.name, call.path), context)
                response = await handler(await self._asked(call, under_way, context), under_way)
                answer = response.SerializeToString()
                del response
                hold.add(len(answer))  # its client may take its time
                await context.write(answer)
                under_way.visited.status, under_way.visited.bytes_out = 200, len(answer)
            except SplitPlaceError as error:
                _note_refusal(under_way, error)
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

    async def _asked(self, call: GrpcCall, under_way: CallUnderWay, context: Context) -> Message:
        if call.name in ANYONE:  # who has shown no token is not waited for
            return call.request()
        return _parsed(call, under_way, await self._reader.only(context))

    async def _unknown(self, _: object, context: Context) -> None:
        """A call that there is not; who may not call does not hear so."""
        with self._front.coming.hold() as hold:
            under_way = self._begun("", "none", hold, context)
            try:
                under_way.caller = self._admit("", context)
                raise NoSuchCallError(f"no such call: expected one of {PACKAGE}.{SERVICE}")
            except SplitPlaceError as error:
                _note_refusal(under_way, error)
                await self._refuse(context, error)
            finally:
                self._front.note_end(under_way, "GRPC")

    async def _stream(self, call: GrpcCall, _: object, context: Context) -> None:
        """Many requests, answered as they are done; each is admitted and noted by itself."""
        with ExitStack() as place:
            with self._front.coming.hold() as hold:
                opened = self._begun(call.path, call.path, hold, context)
                try:
                    opened.caller = self._admit(call.path, context)
                    place.enter_context(self._reader.stream(opened.caller.name))
                except SplitPlaceError as error:
                    _note_refusal(opened, error)
                    self._front.note_end(opened, "GRPC")
                    await self._refuse(context, error)
            try:
                async for response in as_they_end(self._begin_all(call, context, opened.caller)):
                    await context.write(response.SerializeToString())
            except (asyncio.CancelledError, GeneratorExit, grpc.aio.AbortError):
                raise
            except SplitPlaceError as error:
                await self._refuse(context, error)
            except Exception:
                log.exception("%s", call.path)
                await self._refuse(context, SplitPlaceError("the front door failed: its log has why"))

    async def _begin_all(
        self, call: GrpcCall, context: Context, caller: Caller
    ) -> AsyncIterator[asyncio.Task[Message]]:
        under_way = set[asyncio.Task[Message]]()
        while (data := await self._reader.next(context, lambda: bool(under_way))) is not None:
            task = asyncio.create_task(self._answer_in_stream(call, data, context, caller))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            yield task

    async def _answer_in_stream(self, call: GrpcCall, data: bytes, context: Context, caller: Caller) -> Message:
        with self._front.coming.hold() as hold:
            under_way = self._begun(call.path, call.path, hold, context)
            under_way.caller, asked = caller, call.request()
            try:
                asked = _parsed(call, under_way, data)
                del data
                under_way.caller = self._admit(call.path, context)
                return await self._calls.one_of_a_stream(asked, under_way)
            except (UnknownCallerError, NoMessageError) as error:
                _note_refusal(under_way, error)
                raise  # and so ends the stream: its token was revoked, or nothing that it says can be understood
            except SplitPlaceError as error:  # it asks too often, or there is no room
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

    def _begun(self, path: str, route: str, hold: Hold, context: Context) -> CallUnderWay:
        visited = Visited(client_of(context.peer()), "GRPC", path, route)
        return CallUnderWay(received_s=self._front.clock(), visited=visited, hold=hold, left_s=context.time_remaining())

    def _admit(self, path: str, context: Context) -> Caller:
        headers = {name: value for name, value in context.invocation_metadata() or () if isinstance(value, str)}
        return self._guard.admit(headers, path)

    async def _refuse(self, context: Context, error: SplitPlaceError) -> NoReturn:
        if (after_s := await self._front.retry_after_s(error)) is not None:
            context.set_trailing_metadata((("retry-after", str(after_s)),))
        try:
            await context.abort(grpc.StatusCode[error.grpc_status], one_line(str(error)))
        except grpc.aio.InternalError as ended:  # the call is over: nobody is there to be told
            raise asyncio.CancelledError from ended
        raise AssertionError  # `abort` raises


def options_of(limits: Limits, message_bytes: int) -> tuple[tuple[str, int], ...]:
    """The bounds that gRPC itself keeps, by its own names for them."""
    return (
        ("grpc.so_reuseport", 0),  # a port that somebody has is refused
        ("grpc.max_receive_message_length", message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", limits.head_bytes),
        ("grpc.absolute_max_metadata_size", limits.head_bytes),
        ("grpc.max_allowed_incoming_connections", limits.connections),
        ("grpc.max_concurrent_streams", limits.requests),
        ("grpc.max_connection_idle_ms", _ms(limits.idle_s)),
        ("grpc.server_handshake_timeout_ms", _ms(limits.head_s)),
        # A client that vanished without a word: it is asked whether it is there, and given up.
        ("grpc.keepalive_time_ms", _ms(limits.idle_s)),
        ("grpc.keepalive_timeout_ms", _ms(limits.still_s)),
        ("grpc.http2.bdp_probe", 0),  # it would have calls hold megabytes before they are read
    )


def _ms(seconds: float) -> int:
    return max(round(1000 * seconds), 1)


def client_of(peer: str) -> str:
    """Who calls, as the access log has it over HTTP: the address alone; grpc says ipv4:ADDRESS:PORT."""
    kind, _, address = unquote(peer).partition(":")
    return address.rpartition(":")[0].strip("[]") if kind in ("ipv4", "ipv6") else peer


def _as_bytes(behaviour: Callable[..., Awaitable[None]]) -> Any:
    return grpc.stream_stream_rpc_method_handler(behaviour)


def _parsed(call: GrpcCall, under_way: CallUnderWay, data: bytes) -> Message:
    under_way.visited.bytes_in = len(data)
    under_way.hold.add(len(data))
    try:
        if call.request is not wire.REQUEST:
            return call.request.FromString(data)
        asked, under_way.raw = wire.infer_request(data)
        return asked
    except DecodeError as error:
        raise NoMessageError("a message that is none of the protocol's") from error


def _note_refusal(under_way: CallUnderWay, error: SplitPlaceError) -> None:
    under_way.visited.status, under_way.visited.error = error.http_status, one_line(str(error))
