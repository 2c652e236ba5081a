"""gRPC from other machines: TLS, tokens, the access log; and every bound that a caller cannot be trusted to keep."""

import asyncio
import json
import queue
import socket
import time
from contextlib import ExitStack, suppress

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

import splitplace as sp
from splitplace.placement.grpc.reading import MessageReader
from splitplace.placement.grpc.server import client_of
from splitplace.placement.http.limits import Limits
from splitplace.placement.http.tokens import add_token, revoke_token

PATIENCE_S = 240.0
EVERYWHERE = "0.0.0.0"  # noqa: S104 - what is tested is that this is guarded
SERVICE = "/inference.GRPCInferenceService/"


@pytest.fixture
def tokens(tmp_path):
    """Where tokens are kept."""
    return tmp_path / "tokens.json"


def bearer(token):
    """As clients state it."""
    return {"authorization": f"Bearer {token}"}


@pytest.fixture
def asked():
    """A request of one image of `pixels`."""
    made = service_pb2.ModelInferRequest(model_name="pixels", raw_input_contents=[b"abcd"])
    made.inputs.add(name="image", datatype="UINT8", shape=[1, 1, 2, 2])
    return made


@pytest.fixture
def silent():
    """Calls that say nothing until they are told: each is a call, and what it is to say."""
    opened = []

    def call(door, name="ModelInfer", **metadata):
        said, channel = queue.Queue(), grpc.insecure_channel(door.address)
        stream = channel.stream_stream(
            SERVICE + name,
            lambda message: message.SerializeToString(),
            service_pb2.ModelStreamInferResponse.FromString if "Stream" in name else None,
        )
        made = stream(iter(said.get, None), timeout=PATIENCE_S, metadata=tuple(metadata.items()))
        opened.append((made, said, channel))
        return made, said

    yield call
    for made, said, channel in opened:
        said.put(None)
        made.cancel()
        channel.close()


def refused(call):
    """Status and words of a call that is refused."""
    with pytest.raises(grpc.RpcError) as raised:
        list(call)
    return raised.value.code().name, raised.value.details()


# TLS and tokens.


def test_infer_and_streams_over_tls_with_a_token(front, connect, certificate, tokens, broker, images, tensor):
    """On every address, by Triton's client, which trusts the certificate: a token as metadata, the same logits."""
    headers, broker.at_once, x = bearer(add_token(tokens, "ann")), True, images(3)
    door = front(tokens, certificate, EVERYWHERE)
    client, told = connect(door, ssl=True, root_certificates=str(certificate.chain)), queue.Queue()
    expected = x.reshape(3, 4).astype(np.float32)
    assert client.is_server_ready() and client.get_model_metadata("pixels", headers=headers).name == "pixels"
    np.testing.assert_array_equal(client.infer("pixels", [tensor(x)], headers=headers).as_numpy("logits"), expected)
    client.start_stream(lambda result, error: told.put(error or result), headers=headers)
    client.async_stream_infer("pixels", [tensor(x)])
    np.testing.assert_array_equal(told.get(timeout=PATIENCE_S).as_numpy("logits"), expected)


def test_who_has_no_token_or_one_that_was_revoked(front, connect, certificate, tokens, broker, images, tensor):
    """UNAUTHENTICATED, over TLS as without, and nothing reaches the fleet; health is anybody's."""
    headers, broker.at_once = bearer(add_token(tokens, "ann")), True
    client = connect(front(tokens, certificate, EVERYWHERE), ssl=True, root_certificates=str(certificate.chain))
    assert client.is_server_live()
    client.infer("pixels", [tensor(images(1))], headers=headers)
    revoke_token(tokens, "ann")
    for stated in (None, bearer("sp_nobody"), headers):
        with pytest.raises(InferenceServerException) as raised:
            client.infer("pixels", [tensor(images(1))], headers=stated)
        assert raised.value.status() == "StatusCode.UNAUTHENTICATED"
    assert len(broker.tasks) == 1


def test_who_speaks_in_the_clear_or_does_not_trust_the_certificate(front, connect, certificate, tokens, broker):
    """Neither comes through; the next one does."""
    add_token(tokens, "ann")
    door = front(tokens, certificate, EVERYWHERE)
    for options in ({}, {"ssl": True}):
        with pytest.raises(InferenceServerException) as raised:
            connect(door, **options).is_server_live(client_timeout=PATIENCE_S)
        assert raised.value.status() == "StatusCode.UNAVAILABLE"
    assert connect(door, ssl=True, root_certificates=str(certificate.chain)).is_server_live()


def test_beyond_this_machine_it_takes_tokens_and_a_certificate(certificate, tokens):
    """As over HTTP; with both it comes as far as to the fleet, which is not there."""
    add_token(tokens, "ann")
    pair = {"tls_cert": certificate.chain, "tls_key": certificate.key}
    for options in ({}, {"tokens": tokens}, pair):
        with pytest.raises(sp.UsageError, match="takes --tokens, --tls-cert and --tls-key"):
            sp.FrontDoor("nowhere", host=EVERYWHERE, grpc_port=0, **options)
    with pytest.raises(sp.NotReadyError, match="no fleet runs"):
        sp.FrontDoor("nowhere", host=EVERYWHERE, grpc_port=0, tokens=tokens, **pair)


def test_a_task_is_its_tokens_own(front, connect, tokens, broker, images, tensor):
    """An id is each token's own: of two that say other things under it each gets its own answer."""
    broker.at_once = True
    client = connect(front(tokens))
    for name, count in (("ann", 1), ("bob", 2)):
        headers = bearer(add_token(tokens, name))
        told = client.infer("pixels", [tensor(images(count))], request_id="a", headers=headers)
        assert told.as_numpy("logits").shape == (count, 4)
    assert len(broker.tasks) == 2


def test_the_access_log_is_https_own(front, connect, tokens, broker, images, tensor, caplog):
    """A line a call, streams' requests among them: who, from where, which call, how it ended; no secret, no tensor."""
    token, broker.at_once, told = add_token(tokens, "ann"), True, queue.Queue()
    client = connect(front(tokens))
    caplog.set_level("INFO", logger="splitplace.access")
    x = np.full((1, 1, 2, 2), 213, np.uint8)
    client.infer("pixels", [tensor(x)], headers=bearer(token))
    client.start_stream(lambda result, error: told.put(error or result), headers=bearer(token))
    client.async_stream_infer("pixels", [tensor(x)])
    told.get(timeout=PATIENCE_S)
    with pytest.raises(InferenceServerException):
        client.get_server_metadata()
    client.is_server_live()  # what is noted of a call is noted before the next one's answer
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == "splitplace.access"][:3]
    assert [(line["status"], line.get("token"), line["client"], line["method"]) for line in lines] == [
        (200, "ann", "127.0.0.1", "GRPC"), (200, "ann", "127.0.0.1", "GRPC"), (401, None, "127.0.0.1", "GRPC"),
    ]  # fmt: skip
    assert [line["route"] for line in lines] == [
        SERVICE + name for name in ("ModelInfer", "ModelStreamInfer", "ServerMetadata")
    ]
    assert lines[0]["task"] == 0 and lines[0]["bytes_in"] > 4 and lines[0]["bytes_out"] > 16
    assert token not in json.dumps(lines) and "213" not in json.dumps([line | {"seconds": 0} for line in lines])


@pytest.mark.parametrize(
    ("peer", "client"),
    [("ipv4:127.0.0.1:4711", "127.0.0.1"), ("ipv6:%5B::1%5D:4711", "::1"), ("ipv6:[fe80::1]:1", "fe80::1"),
     ("unix:/x", "unix:/x"), ("", "")],
)  # fmt: skip
def test_who_calls_is_an_address(peer, client):
    """As grpc says it, and as HTTP's lines have it."""
    assert client_of(peer) == client


# What is not read, and for how long nobody is waited for.


@pytest.mark.parametrize("name", ["ModelInfer", "ModelStreamInfer", "NoSuchCall"])
def test_no_message_is_read_of_who_has_no_token(front, tokens, silent, broker, name):
    """The refusal comes before he has said anything: his token stands before it."""
    add_token(tokens, "ann")
    door = front(tokens)
    assert refused(silent(door, name)[0])[0] == "UNAUTHENTICATED"
    assert refused(silent(door, name, authorization="Bearer sp_nobody")[0])[0] == "UNAUTHENTICATED"


def test_silent_calls_of_anyone_take_no_place(front, connect, tokens, silent, broker, images, tensor):
    """More of them than messages may be read at once: each is answered unheard, and a token's call beside them."""
    headers, broker.at_once = bearer(add_token(tokens, "ann")), True
    door = front(tokens, coming_bytes=2**21, message_bytes=2**20)
    calls = [silent(door, name)[0] for name in ("ServerLive", "ServerReady") * 4]
    told = connect(door).infer("pixels", [tensor(images(1))], headers=headers, client_timeout=PATIENCE_S)
    assert told.as_numpy("logits").shape == (1, 4)
    assert all(service_pb2.ServerLiveResponse.FromString(next(call)).live for call in calls)


def test_a_call_that_there_is_not(front, connect, tokens, silent, caplog):
    """UNIMPLEMENTED, as programs expect that try; it is noted."""
    headers, door = bearer(add_token(tokens, "ann")), front(tokens)
    caplog.set_level("INFO", logger="splitplace.access")
    status, said = refused(silent(door, "NoSuchCall", **headers)[0])
    assert status == "UNIMPLEMENTED" and "expected one of inference.GRPCInferenceService" in said
    connect(door).is_server_live()  # what is noted of a call is noted before the next one's answer
    line = next(json.loads(record.getMessage()) for record in caplog.records if record.name == "splitplace.access")
    assert (line["route"], line["status"], line["token"]) == ("none", 404, "ann")


def test_a_message_that_does_not_come(front, silent, broker):
    """The call is ended after so long; nobody is asked."""
    status, said = refused(silent(front(body_s=0.2))[0])
    assert status == "DEADLINE_EXCEEDED" and "send it faster" in said and not broker.tasks


def test_a_call_without_a_message(front, silent):
    """It has said its last, and not its first."""
    call, said = silent(front())
    said.put(None)
    status, why = refused(call)
    assert status == "INVALID_ARGUMENT" and "no message" in why


def test_as_many_messages_are_read_as_there_is_room_for(front, silent, asked, broker):
    """With two that say nothing yet a third waits its turn, and is refused; when one has left, it is answered."""
    broker.at_once = True
    door = front(coming_bytes=2**21, message_bytes=2**20, still_s=0.3)
    here = [silent(door)[0] for _ in range(2)]
    while not door.server._reader._room.locked():  # until both are being read
        time.sleep(0.01)
    third, said = silent(door)
    said.put(asked)
    status, why = refused(third)
    assert status == "RESOURCE_EXHAUSTED" and "as there is room for" in why and not broker.tasks
    here[0].cancel()
    while True:  # its end may not have been heard of
        again, said = silent(door)
        said.put(asked)
        try:
            assert service_pb2.ModelInferResponse.FromString(next(again)).model_name == "pixels"
            break
        except grpc.RpcError as error:
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_message_beyond_its_own_bound(front, broker, connect, images, tensor):
    """Smaller than a body over HTTP may be: what all that are read at once may come to is bounded by it."""
    broker.at_once = True
    client = connect(front(message_bytes=10_000))
    client.infer("pixels", [tensor(images(2000))])
    with pytest.raises(InferenceServerException, match=r"(?i)larger than max"):
        client.infer("pixels", [tensor(images(3000))])


def test_what_came_in_is_given_back(front, connect, broker, images, tensor):
    """With each answer, refusal and stream."""
    broker.at_once, told = True, queue.Queue()
    door = front()
    client = connect(door)
    client.infer("pixels", [tensor(images(9))])
    with pytest.raises(InferenceServerException):
        client.infer("nobody", [tensor(images(9))])
    client.start_stream(lambda result, error: told.put(error or result))
    client.async_stream_infer("pixels", [tensor(images(9))])
    told.get(timeout=PATIENCE_S)
    client.is_server_live()
    assert door.service.coming._held == 0


# Streams.


def test_so_many_streams_may_be_open(front, silent, tokens, asked, broker):
    """Of all and of one token; who leaves makes room."""
    broker.at_once = True
    ann, bob = (bearer(add_token(tokens, name)) for name in ("ann", "bob"))
    door = front(tokens, streams=3, streams_of_one=2)

    def stream(headers):
        call, said = silent(door, "ModelStreamInfer", **headers)
        said.put(asked)
        return call

    of_ann = [stream(ann) for _ in range(2)]
    assert all(next(call).infer_response.model_name == "pixels" for call in of_ann)
    status, said = refused(stream(ann))
    assert status == "RESOURCE_EXHAUSTED" and "2 streams of the token ann" in said
    assert next(stream(bob)).infer_response.model_name == "pixels"
    status, said = refused(stream(bob))
    assert status == "RESOURCE_EXHAUSTED" and "3 streams are open already" in said
    of_ann[0].cancel()
    while True:
        try:
            assert next(stream(bob)).infer_response.model_name == "pixels"
            break
        except grpc.RpcError as error:  # its end has not been heard of
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_stream_that_asks_for_nothing_is_ended(front, silent):
    """After so long."""
    status, said = refused(silent(front(stream_s=0.2), "ModelStreamInfer")[0])
    assert status == "DEADLINE_EXCEEDED" and "open another" in said


def test_a_stream_of_which_an_answer_is_waited_for_may_be_silent():
    """However often it is looked; when it speaks, it is heard."""

    async def silent_for(looks):
        spoken = asyncio.Event()

        class Stream:
            async def read(self):
                await spoken.wait()
                return b"at last"

        def is_busy():
            nonlocal looks
            looks -= 1
            if not looks:
                spoken.set()
            return True

        return await MessageReader(Limits(stream_s=0.01)).next(Stream(), is_busy), looks

    assert asyncio.run(asyncio.wait_for(silent_for(5), PATIENCE_S)) == (b"at last", 0)


def test_a_stream_ends_with_its_token(front, silent, tokens, asked, broker):
    """Who is revoked in the middle is told so with his next request, and hears nothing more."""
    broker.at_once, headers = True, bearer(add_token(tokens, "ann"))
    call, said = silent(front(tokens), "ModelStreamInfer", **headers)
    said.put(asked)
    assert next(call).infer_response.model_name == "pixels"
    revoke_token(tokens, "ann")
    said.put(asked)
    assert refused(call)[0] == "UNAUTHENTICATED" and len(broker.tasks) == 1


def test_a_rate_is_told_within_a_stream(front, silent, tokens, asked, broker):
    """By the request's id; the stream goes on."""
    broker.at_once, headers = True, bearer(add_token(tokens, "ann", 0.01))
    call, said = silent(front(tokens), "ModelStreamInfer", **headers)  # which is all that it may for now
    for asked.id in ("first", "second"):
        said.put(asked)
        told = next(call)
        assert "more than 0.01 requests a second" in told.error_message and told.infer_response.id == asked.id
    assert not broker.tasks


# Bytes from no client at all.

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind, flags, stream, payload):
    """Of HTTP/2 (RFC 9113, 4.1)."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def header(name, value):
    """A literal of HPACK, which nobody is to remember (RFC 7541, 6.2.2)."""
    return b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value


def frames(guest):
    """Kind, stream and payload of each frame that comes."""
    stream = guest.makefile("rb")
    while head := stream.read(9):
        yield head[3], int.from_bytes(head[5:], "big"), stream.read(int.from_bytes(head[:3], "big"))


def test_before_it_is_read_a_call_may_say_no_more_than_64_kib(door):
    """By what the server states for each (SETTINGS_INITIAL_WINDOW_SIZE, RFC 9113, 6.5.2), whatever else it states."""
    host, _, port = door.address.rpartition(":")
    with socket.create_connection((host, int(port)), PATIENCE_S) as guest:
        guest.sendall(PREFACE + frame(4, 0, 0, b""))
        _, _, said = next(one for one in frames(guest) if one[0] == 4)
    stated = {int.from_bytes(said[at : at + 2], "big"): int.from_bytes(said[at + 2 : at + 6], "big")
              for at in range(0, len(said), 6)}  # fmt: skip
    assert stated.get(4, 2**16 - 1) <= 2**16


def test_more_connections_than_may_be(front):
    """One more is ended at once; those that are here are told of."""
    door = front(connections=2)
    host, _, port = door.address.rpartition(":")
    with ExitStack() as open_:
        here = [open_.enter_context(socket.create_connection((host, int(port)), PATIENCE_S)) for _ in range(2)]
        for guest in here:
            guest.sendall(PREFACE + frame(4, 0, 0, b""))
            assert next(frames(guest))[0] == 4
        more = open_.enter_context(socket.create_connection((host, int(port)), PATIENCE_S))
        with suppress(ConnectionResetError):
            assert more.recv(1) == b""


@pytest.mark.parametrize("path", [b"/\xff\xfe/\xc3", b"", b"x", b"/" * 100, b"/inference.GRPCInferenceService/\xff"])
def test_a_path_that_is_no_text_ends_nothing(door, path, broker):
    """What comes in beside it, and the next client, is answered."""
    fields = {b":method": b"POST", b":scheme": b"http", b":path": path, b":authority": b"localhost"}
    fields |= {b"te": b"trailers", b"content-type": b"application/grpc"}
    block = b"".join(header(name, value) for name, value in fields.items())
    host, _, port = door.address.rpartition(":")
    with socket.create_connection((host, int(port)), PATIENCE_S) as guest:
        guest.sendall(PREFACE + frame(4, 0, 0, b"") + frame(1, 4, 1, block) + frame(0, 1, 1, bytes(5)))
        next((one for one in frames(guest) if one[0] == 7 or one[1] == 1), None)  # of the call, or the connection's end
    with triton.InferenceServerClient(door.address) as client:
        assert client.is_server_live(client_timeout=PATIENCE_S)
