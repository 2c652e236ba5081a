"""One model by itself over loopback, asked by Triton's own client."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from splitplace.errors import IntegrityError, NotFoundError, UsageError
from splitplace.inference.executor import Executor, FragmentSession
from splitplace.placement.http.limits import Limits
from splitplace.placement.http.models import ServedModel
from splitplace.placement.http.server import HttpServer
from splitplace.placement.standalone.app import StandaloneApp
from splitplace.placement.standalone.models_folder import LoadedModel, load_models
from splitplace.records.fragment import TensorSpec
from tests.placement.standalone.conftest import given, write_models

PATIENCE_S = 240.0


def spec(name: str, width: int) -> TensorSpec:
    """So many floats."""
    return TensorSpec(name=name, dtype="float32", shape=("batch", width))


def test_a_split_answers_as_it_does_without_a_server(graph, models, serve, x):
    """The merged logits, bit by bit, of more inputs than one micro-batch has."""
    client = serve(load_models(models, micro_batch=2))
    assert client.is_server_ready() and client.is_model_ready("toy")
    expected = Executor(graph.split, graph.models.__getitem__).run({"x": x}, 2)
    np.testing.assert_array_equal(client.infer("toy", given(x=x)).as_numpy("logits"), expected)


@pytest.mark.parametrize("name", ["trunk", "leaf2"])
def test_a_fragment_answers_as_its_session_does(graph, tmp_path, serve, name):
    """By the names of its contract, and by its folder's."""
    client = serve(load_models(write_models(graph, tmp_path, name)))
    fragment = graph.split.by_name[name]
    (taken,), (made,) = fragment.inputs, fragment.outputs
    value = np.random.default_rng(1).standard_normal((3, taken.shape[1])).astype(np.float32)
    model = f"toy.tiny.semantic-2x2.{name}"
    told = client.get_model_metadata(model)
    assert [told["inputs"][0]["name"], told["outputs"][0]["name"]] == [taken.name, made.name]
    found = client.infer(model, given(**{taken.name: value})).as_numpy(made.name)
    expected = FragmentSession(fragment, graph.models[name]).run({taken.name: value})[made.name]
    np.testing.assert_array_equal(found, expected)


def test_a_model_of_several_inputs_and_outputs(serve):
    """Each by its name; of the outputs those that are asked for, each in the form that it is asked for."""
    model = ServedModel("m", (spec("a", 2), spec("b", 3)), (spec("sums", 1), spec("both", 5)))

    def run(inputs):
        both = np.concatenate([inputs["a"], inputs["b"]], axis=1)
        return {"sums": both.sum(axis=1, keepdims=True), "both": both}

    client = serve(LoadedModel(model, run))
    a, b = np.ones((2, 2), np.float32), np.full((2, 3), 2, np.float32)
    all_of_it = client.infer("m", given(a=a, b=b))
    np.testing.assert_array_equal(all_of_it.as_numpy("sums"), [[8], [8]])
    outputs = [triton.InferRequestedOutput("both", binary_data=False)]
    one = client.infer("m", given(a=a, b=b), outputs=outputs)
    np.testing.assert_array_equal(one.as_numpy("both"), np.concatenate([a, b], axis=1))
    assert one.as_numpy("sums") is None
    for wrong, said in (
        ({"a": a}, "inputs a, expected a, b"),
        ({"a": a, "b": b[:1]}, "inputs of 2 of a, 1 of b, expected as many of each"),
        ({"a": a, "b": b, "c": b}, "inputs a, b, c, expected a, b"),
    ):
        with pytest.raises(InferenceServerException, match=said):
            client.infer("m", given(**wrong))


def test_classification_names_the_columns(models, serve, x):
    """Triton's extension: of a split's logits the highest, each with its class."""
    client = serve(load_models(models))
    outputs = [triton.InferRequestedOutput("logits", class_count=1)]
    logits = client.infer("toy", given(x=x)).as_numpy("logits")
    told = client.infer("toy", given(x=x), outputs=outputs).as_numpy("logits")
    assert [int(entry.split(b":")[1]) for (entry,) in told] == logits.argmax(axis=1).tolist()


def test_what_it_refuses(models, serve, x):
    """A model that it has not, labels, a task to be kept, a path of the front door's."""
    client = serve(load_models(models))
    labels = np.zeros(len(x), np.int64)
    for call, said in (
        (lambda: client.infer("other", given(x=x)), "unknown model 'other': expected one of toy"),
        (lambda: client.infer("toy", given(x=x), model_version="2"), "has no version '2'"),
        (lambda: client.infer("toy", given(x=x, labels=labels)), "inputs x, labels, expected x"),
        (lambda: client.infer("toy", given(x=x), parameters={"detach": True}), "no tasks are kept here"),
        (lambda: client.infer("toy", given(x=x[:, :3])), r"FP32\[5, 3\], expected FP32\[batch, 16\]"),
        (lambda: client.get_model_repository_index(), "no path '/v2/repository/index'"),
    ):
        with pytest.raises(InferenceServerException, match=said):
            call()
    assert client.is_server_live()


def test_compressed_both_ways(models, serve, x):
    """As Triton's client compresses a request."""
    client = serve(load_models(models))
    plain = client.infer("toy", given(x=x)).as_numpy("logits")
    packed = client.infer("toy", given(x=x), request_compression_algorithm="gzip").as_numpy("logits")
    np.testing.assert_array_equal(plain, packed)


def test_a_deadline_that_passed_while_it_waited(models, serve, x):
    """Is not run for, unless a late answer is wanted."""
    ticks = iter(range(0, 1000, 10))
    client = serve(load_models(models), clock=lambda: float(next(ticks)))
    with pytest.raises(InferenceServerException, match="its 5 s had passed when its turn came"):
        client.infer("toy", given(x=x), parameters={"deadline_s": 5.0})
    assert client.infer("toy", given(x=x), parameters={"deadline_s": 5.0, "late": True}).as_numpy("logits") is not None


def test_no_more_is_taken_in_than_there_is_room_for(models, serve, x):
    """Of requests, and of their bytes: refused with when to come again."""
    client = serve(load_models(models), limits=Limits(coming_bytes=100))
    with pytest.raises(InferenceServerException, match="hold 0 of 100 bytes"):
        client.infer("toy", given(x=x))


def test_a_busy_server_says_that_it_is_well(x):
    """While every request that is taken on is under way, one more is refused; its health and metadata are told."""
    began, go_on = threading.Event(), threading.Event()

    def run(inputs):
        began.set()
        go_on.wait(PATIENCE_S)
        return {"y": np.zeros((len(inputs["x"]), 1), np.float32)}

    loaded = LoadedModel(ServedModel("m", (spec("x", 16),), (spec("y", 1),)), run)
    with (
        HttpServer(StandaloneApp(loaded, "1", Limits(requests=1)), "127.0.0.1", 0) as server,
        ThreadPoolExecutor(1) as other,
    ):
        place = server.url.removeprefix("http://")
        client = triton.InferenceServerClient(place)
        first = other.submit(lambda: triton.InferenceServerClient(place).infer("m", given(x=x)))
        try:
            assert began.wait(PATIENCE_S)
            with pytest.raises(InferenceServerException, match="1 requests are under way"):
                client.infer("m", given(x=x))
            assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("m")
        finally:
            go_on.set()
        assert first.result().as_numpy("y").shape == (5, 1)
        assert client.infer("m", given(x=x)).as_numpy("y").shape == (5, 1)


def test_a_model_that_fails_is_told_in_one_line(serve, x, caplog):
    """And serves on."""

    def broken(inputs):
        raise RuntimeError("a bug")

    client = serve(LoadedModel(ServedModel("m", (spec("x", 16),), (spec("y", 1),)), broken))
    with pytest.raises(InferenceServerException, match="the model failed: its log has why"):
        client.infer("m", given(x=x))
    assert client.is_server_live()
    assert "a bug" in caplog.text


def test_a_folder_without_models(graph, models, tmp_path):
    """Nothing there, several fragments without a graph, a fragment that is gone, another's bytes: each said."""
    with pytest.raises(NotFoundError, match="no folder"):
        load_models(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFoundError, match=r"holds no split\.json, and of fragments none"):
        load_models(tmp_path / "empty")
    two = write_models(graph, tmp_path / "two", "trunk", "leaf0")
    with pytest.raises(UsageError, match="expected one fragment"):
        load_models(two)
    model = models / "toy.tiny.semantic-2x2.leaf1/1/model.onnx"
    model.write_bytes(graph.models["leaf0"])
    with pytest.raises(IntegrityError, match="as its contract says"):
        load_models(models)
    model.unlink()
    with pytest.raises(NotFoundError, match="no file"):
        load_models(models)
