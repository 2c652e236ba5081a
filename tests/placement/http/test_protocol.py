"""Triton's own client, and plain requests: everything that the protocol offers, answered as it says."""

import json

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from splitplace.records.split import Split


@pytest.fixture
def tensor():
    """Makes an input of `pixels`."""

    def make(x, binary=True):
        made = triton.InferInput("image", x.shape, "UINT8")
        made.set_data_from_numpy(x, binary_data=binary)
        return made

    return make


def test_health_and_metadata(client):
    """Live, ready, the server, the model, its configuration: by name and by version."""
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("pixels") and client.is_model_ready("pixels", "1")
    server = client.get_server_metadata()
    assert server["name"] == "splitplace" and {"binary_tensor_data", "classification"} <= set(server["extensions"])
    model = client.get_model_metadata("pixels", "1")
    assert model["versions"] == ["1"]
    assert model["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, 1, 2, 2]}]
    assert model["outputs"] == [{"name": "logits", "datatype": "FP32", "shape": [-1, 4]}]
    config = client.get_model_config("pixels")
    assert config["max_batch_size"] > 0 and config["input"][0]["dims"] == [1, 2, 2]
    assert config["output"][0]["data_type"] == "TYPE_FP32"


def test_what_is_not_there(client, door):
    """A model, a version, a path, a method: 404 and 405, each with what is there."""
    assert not client.is_model_ready("nobody") and not client.is_model_ready("pixels", "2")
    with pytest.raises(InferenceServerException, match="unknown model 'nobody': expected one of pixels") as raised:
        client.get_model_metadata("nobody")
    assert raised.value.status() == "404"
    assert "no version '2': expected 1" in door.ask("GET", "/v2/models/pixels/versions/2").error
    assert door.ask("GET", "/v3").status == 404 and "no path '/v3'" in door.ask("GET", "/v3").error
    refused = door.ask("DELETE", "/v2")
    assert refused.status == 405 and "GET" in refused.headers["allow"] and refused.error


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False, None])
@pytest.mark.parametrize("coding", [None, "gzip", "deflate"])
def test_infer_both_ways(client, broker, images, tensor, binary_in, binary_out, coding):
    """Binary and JSON, in and out, plain and compressed: the broker gets the images, the client the logits, exactly."""
    x = images(300)
    outputs = None if binary_out is None else [triton.InferRequestedOutput("logits", binary_data=binary_out)]
    result = client.infer(
        "pixels", [tensor(x, binary_in)], outputs=outputs, request_id="",
        request_compression_algorithm=coding, response_compression_algorithm=coding,
    )  # fmt: skip
    np.testing.assert_array_equal(broker.images[0], x)
    logits = result.as_numpy("logits")
    np.testing.assert_array_equal(logits, x.reshape(300, 4).astype(np.float32))
    assert logits.dtype == np.float32
    told = result.get_response()["outputs"][0]
    assert ("data" in told) == (binary_out is False)  # no outputs named: all binary


def test_the_answer_says_how_it_came_about(client, images, tensor):
    """The split, the times, where p is from; and the id that the request had."""
    answer = client.infer("pixels", [tensor(images(2))], model_version="1", request_id="mine").get_response()
    assert answer["id"] == "mine" and answer["model_version"] == "1"
    told = answer["parameters"]
    assert told["split"] == "pixels.m.full" and told["strategy"] == "full" and told["p_source"] == "prior"
    assert told["response_s"] == pytest.approx(told["wait_s"] + told["execute_s"] + told["transfer_s"])


def test_async_infer(client, images, tensor):
    """Several at once, by the client's own pool; each gets its own."""
    asked = [client.async_infer("pixels", [tensor(images(n))]) for n in (1, 2, 3)]
    assert [len(each.get_result().as_numpy("logits")) for each in asked] == [1, 2, 3]


@pytest.mark.parametrize("binary", [True, False])
def test_classification(client, tensor, binary):
    """The highest, as value, index and name, at most as many as there are classes."""
    x = np.array([[[[3, 1], [200, 7]]]], np.uint8)
    for count, expected in ((2, ["200.000000:2:c", "7.000000:3:d"]), (9, None)):
        asked = triton.InferRequestedOutput("logits", binary_data=binary, class_count=count)
        found = client.infer("pixels", [tensor(x)], outputs=[asked]).as_numpy("logits")
        assert found.shape == (1, min(count, 4))
        told = [value.decode() if isinstance(value, bytes) else value for value in found[0]]
        assert told[:2] == ["200.000000:2:c", "7.000000:3:d"] and (expected is None or told == expected)


def test_raw_binary_requests(door, images, broker):
    """Triton's shortest form: no JSON at all, the header's length 0, the body is the one input."""
    x = images(3)
    answer = door.ask("POST", "/v2/models/pixels/infer", x.tobytes(), Inference_Header_Content_Length="0")
    head = json.loads(answer.body[: int(answer.headers["inference-header-content-length"])])
    assert answer.headers["content-type"] == "application/octet-stream"
    assert head["outputs"][0]["shape"] == [3, 4]
    np.testing.assert_array_equal(broker.images[0], x)


def test_true_classes_come_as_one_more_input(door, image, broker):
    """`labels`, whatever the model's own inputs are."""
    labels = {"name": "labels", "datatype": "INT64", "shape": [1], "data": [3]}
    assert door.infer({"inputs": [image, labels]}).status == 200
    assert broker.labels[0].tolist() == [3] and broker.labels[0].dtype == np.int64


def test_no_outputs_named_is_json_unless_asked(door, image):
    """As Triton has it: `binary_data_output` is the client's wish, JSON what curl gets."""
    assert door.infer({"inputs": [image]}).json["outputs"][0]["data"] == [0.0, 1.0, 2.0, 200.0]
    answer = door.infer({"inputs": [image], "parameters": {"binary_data_output": True}})
    start = int(answer.headers["inference-header-content-length"])
    assert np.frombuffer(answer.body[start:], "<f4").tolist() == [0.0, 1.0, 2.0, 200.0]


def test_nested_data(door, image):
    """Triton takes tensors as nested lists, too."""
    assert door.infer({"inputs": [image | {"data": [[[[0, 1], [2, 200]]]]}]}).status == 200


def test_applications_as_the_fleet_has_them(door, pixels):
    """Splits by their records: what a client needs to read images and to name classes."""
    (told,) = door.ask("GET", "/v2/splitplace/apps").json["apps"]
    assert Split.model_validate_json(json.dumps(told)) == pixels


def test_repository(client, door, image):
    """What is unloaded takes no requests until it is loaded again; the index says so."""
    ready = {"name": "pixels", "version": "1", "state": "READY", "reason": ""}
    assert client.get_model_repository_index() == [ready]
    client.unload_model("pixels")
    assert client.get_model_repository_index()[0]["state"] == "UNAVAILABLE" and not client.is_model_ready("pixels")
    assert door.ask("POST", "/v2/repository/index", {"ready": True}).json == []
    refused = door.infer({"inputs": [image]})
    assert refused.status == 503 and "unloaded" in refused.error and refused.headers["retry-after"]
    client.load_model("pixels")
    assert client.is_model_ready("pixels") and door.infer({"inputs": [image]}).status == 200
    with pytest.raises(InferenceServerException, match="a model is loaded as the catalog has it"):
        client.load_model("pixels", config="{}")


def test_statistics(client, images, tensor):
    """Requests, images, and where the time went: as the tasks' outcomes say."""
    for n in (1, 2):
        client.infer("pixels", [tensor(images(n))])
    with pytest.raises(InferenceServerException):
        client.infer("pixels", [tensor(images(1))], outputs=[triton.InferRequestedOutput("nothing")])
    (told,) = client.get_inference_statistics()["model_stats"]
    assert told == client.get_inference_statistics("pixels")["model_stats"][0]
    assert (told["inference_count"], told["execution_count"]) == (3, 2)
    stats = told["inference_stats"]
    assert stats["success"]["count"] == 2 and stats["fail"]["count"] == 1
    assert stats["compute_infer"] == {"count": 2, "ns": 10**9} and stats["queue"]["ns"] == 0


def test_settings_are_refused_in_a_line(client):
    """Tracing, logging and shared memory: what is said is for people, and no failure of the server."""
    for call in (
        client.get_trace_settings, client.get_log_settings,
        lambda: client.update_trace_settings(settings={"trace_level": ["OFF"]}),
        lambda: client.update_log_settings({"log_info": True}),
        lambda: client.register_system_shared_memory("r", "/r", 8),
        lambda: client.register_cuda_shared_memory("r", b"x", 0, 8),
    ):  # fmt: skip
        with pytest.raises(InferenceServerException, match="offered") as raised:
            call()
        assert raised.value.status() == "400"
    assert client.get_system_shared_memory_status() == [] == client.get_cuda_shared_memory_status()
    client.unregister_system_shared_memory()


def test_ready_is_the_fleets(client, broker):
    """It is not, while the fleet is draining; live it is."""
    broker.draining = True
    assert client.is_server_live() and not client.is_server_ready() and not client.is_model_ready("pixels")


def test_metrics_are_prometheus_own_format(door, image):
    """Requests by route, answers by split, the fleet's devices and tasks; parsed by prometheus-client."""
    from prometheus_client.parser import text_string_to_metric_families

    door.infer({"inputs": [image]})
    door.ask("GET", "/v2/models/nobody")
    text = door.ask("GET", "/metrics").body.decode()
    found = {sample.name: sample for family in text_string_to_metric_families(text) for sample in family.samples}
    counted = [
        sample.labels | {"value": sample.value}
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "splitplace_http_requests_total"
    ]
    infer = {"route": "/v2/models/{model}/infer", "method": "POST", "status": "200", "token": "", "value": 1.0}
    assert infer in counted and any(row["status"] == "404" for row in counted)
    assert found["splitplace_answers_total"].labels == {"model": "pixels", "split": "pixels.m.full"}
    assert found["splitplace_device_up"].value == 1.0


def test_what_perf_analyzer_asks_and_reads(door, images):
    """By the source of 2.60 (model_parser.cc, triton_client_backend.cc, http_client.cc), which is not installed here.

    It parses all of this, and ends where something is missing; a dimension of -1 other than the batch it would refuse.
    """
    assert {"statistics", "model_configuration"} <= set(door.ask("GET", "/v2").json["extensions"])
    told = door.ask("GET", "/v2/models/pixels").json
    config = door.ask("GET", "/v2/models/pixels/config").json
    assert config["max_batch_size"] > 0 and config["model_transaction_policy"] == {"decoupled": False}
    assert not {"sequence_batching", "dynamic_batching", "ensemble_scheduling", "response_cache"} & config.keys()
    for of_metadata, of_config in (("inputs", "input"), ("outputs", "output")):
        assert [one["name"] for one in told[of_metadata]] == [one["name"] for one in config[of_config]]
        assert all(one["shape"][0] == -1 and min(one["shape"][1:]) > 0 for one in told[of_metadata])
    x = images(3)
    stated = {"name": "image", "shape": [3, 1, 2, 2], "datatype": "UINT8", "parameters": {"binary_data_size": 12}}
    asked = {"id": "", "inputs": [stated], "outputs": [{"name": "logits", "parameters": {"binary_data": True}}]}
    answer = door.infer(asked, x.tobytes(), Content_Type="application/octet-stream", Accept="*/*")
    head = json.loads(answer.body[: int(answer.headers["inference-header-content-length"])])
    (output,) = head["outputs"]
    assert (head["model_name"], head["model_version"], output["datatype"], output["shape"]) == (
        "pixels",
        "1",
        "FP32",
        [3, 4],
    )
    assert output["parameters"]["binary_data_size"] == 48 and answer.status == 200
    (found,) = door.ask("GET", "/v2/models/pixels/stats").json["model_stats"]
    assert (found["inference_count"], found["execution_count"]) == (3, 1)
    for part in ("success", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss"):
        assert found["inference_stats"][part].keys() == {"count", "ns"}


def test_a_small_answer_is_not_held_back(door):
    """Small writes go out at once (TCP_NODELAY): asyncio sees only of a socket of stated protocol that it is TCP."""
    import socket

    assert door.server._socket.proto == socket.IPPROTO_TCP
