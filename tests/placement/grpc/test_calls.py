"""Triton's gRPC client: everything that the protocol offers, answered as it says; streams, cancelling, refusals."""

import asyncio
import threading
import time
from queue import Queue

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.http as http_triton
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

from splitplace.placement.grpc.calls import AT_ONCE, as_they_end
from splitplace.placement.http.tokens import add_token, revoke_token

PATIENCE_S = 240.0


def test_health_and_metadata(client):
    """Live, ready, the server, the model, its configuration: by name and by version."""
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("pixels") and client.is_model_ready("pixels", "1")
    assert client.get_server_metadata().name == "splitplace"
    told = client.get_model_metadata("pixels")
    assert told.inputs[0].datatype == "UINT8" and list(told.inputs[0].shape) == [-1, 1, 2, 2]
    assert list(told.outputs[0].shape) == [-1, 4] and list(told.versions) == ["1"]
    config = client.get_model_config("pixels").config
    assert config.max_batch_size > 1 and config.backend == "splitplace" and list(config.output[0].dims) == [4]
    assert config.input[0].data_type == 2 and config.version_policy.latest.num_versions == 1


@pytest.mark.parametrize("coding", [None, "gzip", "deflate"])
def test_infer(client, broker, images, tensor, coding):
    """The broker gets the images, the client the logits, exactly; and what is said of how it came about."""
    x = images(300)
    result = client.infer("pixels", [tensor(x)], request_id="mine", compression_algorithm=coding)
    np.testing.assert_array_equal(broker.images[0], x)
    np.testing.assert_array_equal(result.as_numpy("logits"), x.reshape(300, 4).astype(np.float32))
    told = result.get_response()
    assert told.id == "mine" and told.model_version == "1"
    assert told.parameters["split"].string_param == "pixels.m.full"
    assert told.parameters["p_source"].string_param == "prior" and told.parameters["response_s"].double_param > 0


def test_tensors_as_contents(door, images):
    """Without raw bytes, as grpcurl and hand-made clients send them."""
    x = images(2)
    asked = service_pb2.ModelInferRequest(model_name="pixels")
    asked.inputs.add(name="image", datatype="UINT8", shape=x.shape).contents.uint_contents.extend(x.ravel().tolist())
    with grpc.insecure_channel(door.address) as channel:
        call = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            service_pb2.ModelInferRequest.SerializeToString,
            service_pb2.ModelInferResponse.FromString,
        )
        answer = call(asked)
    assert np.frombuffer(answer.raw_output_contents[0], "<f4").tolist() == x.ravel().tolist()


def test_classification(client, tensor):
    """The highest, as value, index and name."""
    x = np.array([[[[3, 1], [200, 7]]]], np.uint8)
    asked = triton.InferRequestedOutput("logits", class_count=2)
    found = client.infer("pixels", [tensor(x)], outputs=[asked]).as_numpy("logits")
    assert [value.decode() for value in found[0]] == ["200.000000:2:c", "7.000000:3:d"]


def test_true_classes_and_parameters(client, broker, images, tensor):
    """As over HTTP: `labels` is one more input, the deadline and the wishes are parameters."""
    labels = tensor(np.array([3], np.int64), "labels", "INT64")
    client.infer(
        "pixels",
        [tensor(images(1)), labels],
        parameters={"deadline_s": 7, "late": True, "degrade": True, "theirs": "x"},
    )
    assert broker.labels[0].tolist() == [3]
    assert broker.options[0]["late"] is True and broker.options[0]["degrade"] is True


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"model_name": "nobody"}, "NOT_FOUND", "unknown model 'nobody': expected one of pixels"),
        ({"model_version": "2"}, "NOT_FOUND", "no version '2': expected 1"),
        ({"name": "picture"}, "INVALID_ARGUMENT", "inputs picture, expected image"),
        ({"datatype": "FP32"}, "INVALID_ARGUMENT", r"FP32\[1, 1, 2, 2\], expected UINT8"),
        ({"shape": [1, 2, 2]}, "INVALID_ARGUMENT", r"UINT8\[1, 2, 2\], expected UINT8\[batch, 1, 2, 2\]"),
        ({"shape": [2**40, 1, 2, 2]}, "INVALID_ARGUMENT", "4 bytes, expected"),
        ({"shape": [2**40, 2**40]}, "INVALID_ARGUMENT", r"expected UINT8\[batch"),
        ({"shape": [-1, 1, 2, 2]}, "INVALID_ARGUMENT", "shape"),
        ({"raw": [b"abcd", b"abcd"]}, "INVALID_ARGUMENT", "2 raw_input_contents, expected one for each of the 1"),
        ({"raw": []}, "INVALID_ARGUMENT", "0 elements, expected 4"),
        ({"contents": True}, "INVALID_ARGUMENT", "contents beside raw_input_contents"),
        ({"outputs": 9}, "INVALID_ARGUMENT", "9 outputs, expected at most 8"),
        ({"inputs": 64}, "INVALID_ARGUMENT", "65 inputs, expected at most 64"),
        ({"text": 2**23}, "OUT_OF_RANGE", "bytes beside raw_input_contents, expected at most"),
        ({"parameter": "deadline_s"}, "INVALID_ARGUMENT", "has no value"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_status(door, broker, change, status, said):
    """The tensor, what was got, what is expected; and nothing reaches the fleet."""
    asked = service_pb2.ModelInferRequest(
        model_name=change.get("model_name", "pixels"),
        model_version=change.get("model_version", ""),
        raw_input_contents=change.get("raw", [b"abcd"]),
    )
    stated = {"name": "image", "datatype": "UINT8", "shape": [1, 1, 2, 2]}
    given = asked.inputs.add(**stated | {name: change[name] for name in stated if name in change})
    if "contents" in change:
        given.contents.uint_contents.extend([1, 2, 3, 4])
    for _ in range(change.get("outputs", 0)):
        asked.outputs.add(name="logits")
    for _ in range(change.get("inputs", 0)):
        asked.inputs.add()
    asked.parameters["text"].string_param = "x" * change.get("text", 1)
    if "parameter" in change:
        asked.parameters[change["parameter"]].SetInParent()
    with grpc.insecure_channel(door.address) as channel, pytest.raises(grpc.RpcError, match=said) as raised:
        channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            service_pb2.ModelInferRequest.SerializeToString,
            service_pb2.ModelInferResponse.FromString,
        )(asked)
    assert raised.value.code().name == status and not broker.images


def test_bytes_that_are_no_message(door):
    """Refused by its status, and the next one is answered."""
    with grpc.insecure_channel(door.address) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError):
            call(b"\xff" * 50)
        live = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
        assert service_pb2.ServerLiveResponse.FromString(live(b"")).live


def test_a_message_beyond_the_bounds(front, broker, connect, tensor, images):
    """Also one that is small until it is decompressed."""
    broker.at_once = True
    client = connect(front(body_bytes=10_000))
    client.infer("pixels", [tensor(images(2000))])
    for coding in (None, "gzip"):
        with pytest.raises(InferenceServerException, match=r"(?i)larger than max"):
            client.infer("pixels", [tensor(np.zeros((25_000, 1, 2, 2), np.uint8))], compression_algorithm=coding)
    assert client.is_server_live()


def test_a_stream_is_answered_as_its_requests_end(front, broker, connect, tensor, images):
    """Each with its id, the quick before the slow; one that is wrong is told so, and the stream goes on."""
    client, told = connect(front()), Queue()
    client.start_stream(lambda result, error: told.put((result, error)))
    for taken, request_id in enumerate(("slow", "quick"), 1):
        client.async_stream_infer("pixels", [tensor(images(1))], request_id=request_id)
        assert broker.until(lambda taken=taken: len(broker.tasks) == taken)
    client.async_stream_infer("nobody", [tensor(images(1))], request_id="wrong")
    _, error = told.get(timeout=PATIENCE_S)
    assert "unknown model 'nobody'" in str(error)
    for task, request_id in ((1, "quick"), (0, "slow")):
        broker.finish(task)
        result, error = told.get(timeout=PATIENCE_S)
        assert error is None and result.get_response().id == request_id
    client.stop_stream()


def test_a_stream_with_bytes_that_are_no_message_ends(door):
    """With a status, and not never."""
    with grpc.insecure_channel(door.address) as channel:
        call = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
        with pytest.raises(grpc.RpcError):
            list(call(iter([b"\xff" * 50]), timeout=PATIENCE_S))


def test_a_client_that_does_not_read_is_not_read_from():
    """No more requests of its stream are taken on than answers of it may wait; each that is read makes room for one."""
    begun = []

    async def coming():
        for number in range(1000):
            begun.append(number)
            yield asyncio.create_task(asyncio.sleep(0, number))

    async def read_some():
        answers = as_they_end(coming())
        seen = []
        for _ in range(3):
            found = [await anext(answers) for _ in range(10)]
            for _ in range(200):  # of the loop's turns: whoever wants to go on could
                await asyncio.sleep(0)
            seen.append(len(begun))
            assert len(set(found)) == 10
        await answers.aclose()
        return seen

    assert asyncio.run(read_some()) == [AT_ONCE + 9, AT_ONCE + 19, AT_ONCE + 29]


def test_a_stream_whose_reading_fails_ends():
    """What was answered is told, and then why there is no more."""

    async def coming():
        yield asyncio.create_task(asyncio.sleep(0, "first"))
        await asyncio.sleep(0.01)
        raise ValueError("no message")

    async def read():
        return [answer async for answer in as_they_end(coming())]

    with pytest.raises(ValueError, match="no message"):
        asyncio.run(asyncio.wait_for(read(), PATIENCE_S))


def test_a_client_that_leaves_while_its_task_is_handed_over_takes_it_back(front, broker, connect, tensor, images):
    """The fleet takes it when nobody waits any more."""
    broker.may_submit.clear()
    told = threading.Event()
    call = connect(front()).async_infer("pixels", [tensor(images(1))], lambda result, error: told.set())
    assert broker.until(lambda: broker.waiting == 1)
    call.cancel()
    assert told.wait(PATIENCE_S)
    broker.may_submit.set()
    assert broker.until(lambda: broker.cancelled == [0])


def test_an_id_that_was_refused_may_say_something_else(front, broker, connect, tensor, images):
    """No task came of it."""
    client, broker.draining, broker.at_once = connect(front()), True, True
    with pytest.raises(InferenceServerException, match="draining"):
        client.infer("pixels", [tensor(images(1))], request_id="z")
    broker.draining = False
    assert client.infer("pixels", [tensor(images(2))], request_id="z").as_numpy("logits").shape == (2, 4)


def asked_in_vain(client, broker, *asked, **options):
    """Asks until the fleet has got a task of it and the client has given it up by its own deadline."""
    before, timeout_s = len(broker.tasks), 0.5
    while len(broker.tasks) == before:  # on a slow machine the time may be over before it is there
        with pytest.raises(InferenceServerException, match="Deadline"):
            client.infer(*asked, **options, client_timeout=timeout_s)
        timeout_s *= 2


def test_a_cancelled_request_takes_its_task_back(front, broker, connect, tensor, images):
    """By the client's word, by its own deadline, and by its leaving in the middle of a stream."""
    client, told = connect(front()), threading.Event()
    call = client.async_infer("pixels", [tensor(images(1))], lambda result, error: told.set())
    assert broker.until(lambda: len(broker.tasks) == 1)
    call.cancel()
    assert told.wait(PATIENCE_S)
    assert broker.until(lambda: broker.cancelled == [0])
    asked_in_vain(client, broker, "pixels", [tensor(images(1))])
    assert broker.until(lambda: sorted(broker.cancelled) == list(broker.tasks))
    taken = len(broker.tasks)
    client.start_stream(lambda result, error: None)
    client.async_stream_infer("pixels", [tensor(images(1))])
    assert broker.until(lambda: len(broker.tasks) > taken)
    client.stop_stream(cancel_requests=True)
    assert broker.until(lambda: sorted(broker.cancelled) == list(broker.tasks))


def test_a_request_with_an_id_is_one_task(front, broker, connect, tensor, images):
    """Asked again it is the same, also when its client left; another body under the id is refused."""
    client = connect(front())
    asked_in_vain(client, broker, "pixels", [tensor(images(1))], request_id="once")
    broker.finish(0)
    again = client.infer("pixels", [tensor(images(1))], request_id="once")
    assert again.as_numpy("logits").shape == (1, 4) and len(broker.tasks) == 1 and not broker.cancelled
    with pytest.raises(InferenceServerException, match="stands for another request already") as raised:
        client.infer("pixels", [tensor(images(2))], request_id="once")
    assert raised.value.status() == "StatusCode.ALREADY_EXISTS"


def test_an_id_is_free_when_its_result_is_forgotten(client, broker, tensor, images):
    """Another body may have it then, and the same one runs anew."""
    first, second = [tensor(images(1))], [tensor(images(2))]
    for asked, task in ((first, 0), (second, 1), (second, 2)):
        told = client.infer("pixels", asked, request_id="once").get_response()
        assert told.parameters["task"].string_param == str(task)
        broker.forget(task)


def test_an_id_whose_client_left_early_is_free_when_its_result_is_forgotten(front, broker, connect, tensor, images):
    """Before the fleet had taken its task: the task goes on, and the front door hears its number all the same."""
    door, told = front(), threading.Event()
    client, broker.at_once = connect(door), True
    broker.may_submit.clear()
    call = client.async_infer("pixels", [tensor(images(1))], lambda result, error: told.set(), request_id="once")
    assert broker.until(lambda: broker.waiting == 1)
    call.cancel()
    assert told.wait(PATIENCE_S)
    with pytest.raises(InferenceServerException, match="stands for another"):
        client.infer("pixels", [tensor(images(2))], request_id="once")
    broker.may_submit.set()
    while any(known.coming for known in door.service.desk.ids._known.values()):
        time.sleep(0.01)
    assert client.infer("pixels", [tensor(images(1))], request_id="once").as_numpy("logits").shape == (1, 4)
    assert list(broker.tasks) == [0] and not broker.cancelled
    broker.forget(0)
    assert client.infer("pixels", [tensor(images(2))], request_id="once").as_numpy("logits").shape == (2, 4)


def test_tokens(front, broker, connect, tensor, images, tmp_path):
    """Health is anybody's; all else takes a token, until it is revoked; its rate is one with HTTP's."""
    broker.at_once, tokens = True, tmp_path / "tokens.json"
    headers = {"authorization": f"Bearer {add_token(tokens, 'ann', 0.01)}"}
    client = connect(front(tokens))
    assert client.is_server_live() and client.is_server_ready()
    with pytest.raises(InferenceServerException, match="no token") as raised:
        client.get_server_metadata()
    assert raised.value.status() == "StatusCode.UNAUTHENTICATED"
    assert client.infer("pixels", [tensor(images(1))], headers=headers).as_numpy("logits").shape == (1, 4)
    with pytest.raises(InferenceServerException, match=r"more than 0\.01 requests a second"):
        client.get_server_metadata(headers=headers)
    revoke_token(tokens, "ann")
    with pytest.raises(InferenceServerException, match="not known, or was revoked"):
        client.infer("pixels", [tensor(images(1))], headers=headers)


def test_repository_and_statistics_are_those_of_http(client, door, tensor, images):
    """What is unloaded by one is by both; each counts the other's requests."""
    client.infer("pixels", [tensor(images(2))])
    (told,) = client.get_inference_statistics("pixels").model_stats
    assert (told.inference_count, told.execution_count) == (2, 1)
    with http_triton.InferenceServerClient(door.url.partition("://")[2]) as over_http:
        assert over_http.get_inference_statistics("pixels")["model_stats"][0]["inference_count"] == 2
    client.unload_model("pixels")
    assert client.get_model_repository_index().models[0].state == "UNAVAILABLE" and not client.is_model_ready("pixels")
    with pytest.raises(InferenceServerException, match="unloaded") as raised:
        client.infer("pixels", [tensor(images(1))])
    assert raised.value.status() == "StatusCode.UNAVAILABLE"
    client.load_model("pixels")
    assert client.infer("pixels", [tensor(images(1))]).as_numpy("logits").shape == (1, 4)
    with pytest.raises(InferenceServerException, match="a model is loaded as the catalog has it"):
        client.load_model("pixels", config="{}")


def test_settings_and_shared_memory_are_refused_in_a_line(client):
    """What is said is for people, and no failure of the server."""
    for call in (
        client.get_trace_settings, client.get_log_settings, client.get_system_shared_memory_status,
        lambda: client.register_system_shared_memory("r", "/r", 8),
        lambda: client.register_cuda_shared_memory("r", b"eHg=", 0, 8),
    ):  # fmt: skip
        with pytest.raises(InferenceServerException, match="offered") as raised:
            call()
        assert raised.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_a_fleet_that_takes_no_tasks(client, door, broker):
    """Ready is its word; what is refused says when to come again."""
    broker.draining = True
    assert client.is_server_live() and not client.is_server_ready() and not client.is_model_ready("pixels")
    asked = service_pb2.ModelInferRequest(model_name="pixels", raw_input_contents=[b"abcd"])
    asked.inputs.add(name="image", datatype="UINT8", shape=[1, 1, 2, 2])
    with grpc.insecure_channel(door.address) as channel, pytest.raises(grpc.RpcError, match="draining") as raised:
        channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(asked.SerializeToString())
    assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
    assert ("retry-after", "1") in [tuple(pair) for pair in raised.value.trailing_metadata()]


def test_a_port_that_somebody_has_is_refused(front, broker):
    """By its name, and nothing stays open."""
    from splitplace.errors import UsageError
    from splitplace.placement.grpc.server import GrpcServer
    from splitplace.placement.http.app import FrontApp
    from splitplace.placement.http.guard import Guard
    from splitplace.placement.http.server import HttpServer

    taken = front()
    port = int(taken.address.rpartition(":")[2])
    beside = GrpcServer(taken.service, Guard(None), "127.0.0.1", port)
    with pytest.raises(UsageError, match=f"--grpc-port {port}"):
        HttpServer(FrontApp(taken.service), "127.0.0.1", 0, None, beside).__enter__()
