"""The process of an image: how it starts, how it is asked for its health, and how it ends, whatever it is at."""

import http.client
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PATIENCE_S = 240.0
MODULE = [sys.executable, "-P", "-m", "splitplace.placement.standalone"]
STUCK = """
import sys, threading
from splitplace.placement.http.models import ServedModel
from splitplace.placement.standalone import __main__, models_folder
from splitplace.records.fragment import TensorSpec

def run(inputs):
    print("running", flush=True)
    threading.Event().wait()

spec = TensorSpec(name="x", dtype="float32", shape=("batch", 1))
loaded = models_folder.LoadedModel(ServedModel("m", (spec,), (spec,)), run)
models_folder.load_models = lambda *arguments: loaded
sys.argv = ["x", "--host", "127.0.0.1", "--port", "0"]
__main__.main()
"""


def started(command: list[str], **options: object) -> tuple["subprocess.Popen[str]", int]:
    """A process that serves, and its port."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload]
    line = process.stdout.readline()
    assert " at http://" in line, process.communicate()
    return process, int(line.rpartition(":")[2])


def health(port: int) -> "subprocess.CompletedProcess[str]":
    """What `--health` says."""
    command = [*MODULE, "--health", "--port", str(port)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_it_serves_is_healthy_and_ends_by_sigterm(models: Path):
    """Exit 0, and nobody is at the port any more."""
    process, port = started([*MODULE, "--host", "127.0.0.1", "--port", "0", "--models", str(models)])
    assert health(port).returncode == 0
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 0
    gone = health(port)
    assert (gone.returncode, gone.stderr.count("\n")) == (1, 1)
    assert gone.stderr.startswith(f"splitplace: no answer at port {port}")


def test_a_run_that_never_ends_does_not_keep_it():
    """SIGTERM while a model runs: the process is gone, its client hears that nobody answers."""
    process, port = started([sys.executable, "-P", "-c", STUCK])
    connection = http.client.HTTPConnection("127.0.0.1", port)
    body = b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1.0]}]}'
    connection.request("POST", "/v2/models/m/infer", body)
    assert process.stdout.readline() == "running\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 0
    with pytest.raises((http.client.HTTPException, ConnectionError, AssertionError)):
        assert connection.getresponse().status == 200


def test_sigterm_counts_from_its_first_line_on():
    """Before anything heavy is loaded: as a container's first process it would else be deaf until it serves."""
    code = (
        "import os, sys; import splitplace.placement.standalone.__main__; "
        "print('onnxruntime' in sys.modules, flush=True); os.kill(os.getpid(), 15); print('lives')"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "False\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_are_taken_before_anything_else_is_imported(number):
    """Also what it imports itself: whoever stops a container may do so at any moment of its start."""
    code = (
        "import os, sys; import splitplace.placement.standalone\n"
        "class Looked:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name in ('argparse', 'http', 'http.client'):\n"
        f"            print(name, flush=True); os.kill(os.getpid(), {int(number)}); print('lives')\n"
        "for name in ('argparse', 'http', 'http.client'): sys.modules.pop(name, None)\n"
        "sys.meta_path.insert(0, Looked())\n"
        "import splitplace.placement.standalone.__main__\n"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "argparse\n"), done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["python3", "-P", "-m", "splitplace.placement.standalone", "--threads", "2", "--port", "{port}"],
        ["init", "--", "python3", "-P", "-m", "splitplace.placement.standalone", "--port={port}"],
    ],
)
def test_health_is_asked_of_the_port_that_the_container_serves_at(models: Path, tmp_path: Path, words: list[str]):
    """An image's check is written before anybody says `--port`: by the first process, with or without an init."""
    process, port = started([*MODULE, "--host", "127.0.0.1", "--port", "0", "--models", str(models)])
    (tmp_path / "cmdline").write_text("".join(word.format(port=port) + "\0" for word in words))
    code = (
        "import sys; from pathlib import Path; from splitplace.placement.standalone import __main__ as module; "
        "module.FIRST_PROCESS = Path(sys.argv.pop()); module.main()"
    )
    asked = [sys.executable, "-P", "-c", code, "--health", str(tmp_path / "cmdline")]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_what_is_wrong_is_one_line(models: Path):
    """A port in use, no models, no thread: exit as the command line's, no traceback."""
    process, port = started([*MODULE, "--host", "127.0.0.1", "--port", "0", "--models", str(models)])
    try:
        for arguments, code, said in (
            (["--host", "127.0.0.1", "--port", str(port), "--models", str(models)], 2, "Address already in use"),
            (["--models", str(models / "nowhere")], 2, "no folder"),
            (["--models", str(models), "--threads", "0"], 2, "expected at least 1 of each"),
        ):
            done = subprocess.run([*MODULE, *arguments], capture_output=True, text=True, check=False)
            assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
            assert done.stderr.startswith("splitplace: ") and said in done.stderr
    finally:
        process.kill()
        process.communicate()


def test_it_writes_nothing(models: Path, tmp_path: Path):
    """Neither where it runs nor at home, nor beside the models: a read-only root will do."""
    place = tmp_path / "place"
    place.mkdir()
    before = set(tmp_path.rglob("*"))
    env = os.environ | {"HOME": str(place), "TMPDIR": str(place), "PYTHONDONTWRITEBYTECODE": "1"}
    process, port = started(
        [*MODULE, "--host", "127.0.0.1", "--port", "0", "--models", str(models)], cwd=place, env=env
    )
    assert health(port).returncode == 0
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert set(tmp_path.rglob("*")) == before
