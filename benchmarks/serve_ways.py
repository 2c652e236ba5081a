"""One image at a time, and its answer: by a session of this process, over HTTP, over gRPC, and to Ray Serve."""

import http.client
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil

from splitplace.benchmarks import serve_models
from splitplace.benchmarks.serve_models import Image
from splitplace.children import child_env, python_code
from splitplace.errors import NotReadyError
from splitplace.inference.executor import FragmentSession
from splitplace.placement.grpc.protocol import message

Ask = Callable[[Image], "np.typing.NDArray[np.float32]"]

PATIENCE_S = 120.0
MOST_BYTES = 2**28
RAY = Path(__file__).with_name("serve_ray.py")


@dataclass(frozen=True)
class FrontDoorProcess:
    """`splitplace serve`, where it answers."""

    port: int
    grpc: str
    """HOST:PORT."""
    pid: int


def path(size: str) -> str:
    """Where a front door is asked for the model of a size."""
    return f"/v2/models/{serve_models.application(size)}/infer"


RAW = {"inference-header-content-length": "0"}
"""The body is the one input's bytes, and all else is as it is by default."""


@contextmanager
def direct(size: str) -> Iterator[Ask]:
    """A session of this process, of one thread as a device's."""
    artifact = serve_models.build(size)
    session = FragmentSession(artifact.split.by_name["full"], artifact.models["full"])

    def ask(x: Image) -> Any:
        return session.run({"image": x})["logits"]

    yield ask


@contextmanager
def over_http(port: int, where: str, headers: Mapping[str, str]) -> Iterator[Ask]:
    """Raw bytes both ways, over one connection that is kept."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)

    def ask(x: Image) -> Any:
        stated = {"content-length": str(x.nbytes), **headers}
        connection.request("POST", where, iter([x.data.cast("B")]), stated)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise NotReadyError(f"{where} answered {answer.status}: {body[:200]!r}")
        head = int(answer.headers.get("inference-header-content-length", 0))
        return np.frombuffer(body, np.float32, offset=head).reshape(len(x), -1)

    try:
        yield ask
    finally:
        connection.close()


@contextmanager
def over_grpc(address: str, size: str) -> Iterator[Ask]:
    """Raw contents both ways, over one channel; what a client does to make and to read messages is counted."""
    channel = grpc.insecure_channel(
        address, [("grpc.max_send_message_length", MOST_BYTES), ("grpc.max_receive_message_length", MOST_BYTES)]
    )
    request, response = message("ModelInferRequest"), message("ModelInferResponse")
    call = channel.unary_unary(
        "/inference.GRPCInferenceService/ModelInfer",
        request_serializer=request.SerializeToString,
        response_deserializer=response.FromString,
    )

    def ask(x: Image) -> Any:
        stated = {"name": "image", "datatype": "UINT8", "shape": list(x.shape)}
        asked = request(model_name=serve_models.application(size), inputs=[stated], raw_input_contents=[x.tobytes()])
        answer = call(asked, timeout=PATIENCE_S)
        return np.frombuffer(answer.raw_output_contents[0], np.float32).reshape(len(x), -1)

    try:
        yield ask
    finally:
        channel.close()


@contextmanager
def front_door(folder: Path, *options: str) -> Iterator[FrontDoorProcess]:
    """`splitplace serve` in a process of its own, with these options besides."""
    command = python_code(
        "from splitplace.cli import main; main()", "serve", "catalog", "--devices", "fleet.toml", "--policy",
        "full+least-loaded", "--data", "data", "--port", "0", "--grpc-port", "0", "--json", *options,
    )  # fmt: skip
    with (folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=child_env(OMP_NUM_THREADS="1"), stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if line == "}\n":
                break
        else:
            raise NotReadyError(f"the front door ended with {process.wait()}: see {folder / 'serve.log'}")
        told = json.loads(said)
        yield FrontDoorProcess(int(told["url"].rpartition(":")[2]), told["grpc"], process.pid)
    finally:
        process.terminate()
        process.communicate()


@contextmanager
def ray_serve(python: Path, folder: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Ray Serve with the same models, by an interpreter that has it; its port, and its versions.

    Raises:
        NotReadyError: It did not come up; its log says why.
    """
    models = {}
    for size in serve_models.SHAPES:
        file = folder / f"{serve_models.application(size)}.onnx"
        file.write_bytes(serve_models.build(size).models["full"])
        models[serve_models.application(size)] = (str(file.absolute()), serve_models.SHAPES[size])
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    log = folder / "ray.log"
    with log.open("wb") as err:
        process = subprocess.Popen(
            [str(python), "-P", str(RAY), json.dumps(models), str(port)],
            env=child_env(OMP_NUM_THREADS="1", RAY_USAGE_STATS_ENABLED="0"),
            cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=err, text=True,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):
                yield port, json.loads(line)
                break
        else:
            raise NotReadyError(f"Ray Serve ended with {process.wait()}: see {log}")
    finally:
        _end(process)


def _end(process: "subprocess.Popen[str]") -> None:
    """Ask it to end by ending its input; then its processes, if it does not."""
    family = list[psutil.Process]()
    with suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
    assert process.stdin is not None and process.stdout is not None
    process.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        process.wait(PATIENCE_S)
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    process.kill()
    process.wait()
    process.stdout.close()


def interleaved(ways: Mapping[str, Ask], x: Image, rounds: int, warm: int) -> dict[str, list[float]]:
    """Seconds of each way in each round; odd rounds go in reverse order, and the first `warm` are not counted.

    Raises:
        NotReadyError: One answers otherwise than it should.
    """
    expected = serve_models.answer(x)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(warm + rounds):
        for name in list(ways)[:: 1 if turn % 2 == 0 else -1]:
            start_s = time.perf_counter()
            found = ways[name](x)
            took_s = time.perf_counter() - start_s
            if not np.array_equal(found, expected):
                raise NotReadyError(f"{name}: another answer than the model's")
            if turn >= warm:
                seconds[name].append(took_s)
    return seconds


def load() -> float:
    """The machine's load average of the last minute."""
    return os.getloadavg()[0]
