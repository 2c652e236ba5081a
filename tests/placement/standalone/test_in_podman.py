"""An image in a real container: what it answers, as whom it runs, and how it ends."""

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import numpy as np
import pytest
import tritonclient.http as triton

from splitplace import build_images, infer
from splitplace.export.catalog_writer import CatalogWriter
from splitplace.export.oci_image.machine_python import python_name
from splitplace.placement.engines.podman import podman
from splitplace.splitting.artifact import SplitArtifact
from tests.placement.standalone.conftest import given

pytestmark = pytest.mark.slow
REFERENCE = "toy.tiny.semantic-2x2"
ULIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
"""podman's own are more than this kind of machine allows."""


def asked(*arguments: str) -> str:
    """What podman answers."""
    assert shutil.which("podman"), "podman is not installed: `apt-get install podman runc iptables`, or run .ci/run"
    done = subprocess.run([*podman(), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def images(graph, tmp_path_factory) -> tuple[str, dict[str, str]]:
    """The split's catalog, and podman's numbers of its images by tag."""
    folder = tmp_path_factory.mktemp("podman")
    CatalogWriter(folder / "catalog").write(SplitArtifact(graph.split, graph.models))
    place = f"{folder / 'catalog'}:{REFERENCE}"
    build_images(place, folder / "images")
    tags = REFERENCE, f"{REFERENCE}.leaf2"
    numbers = {tag: asked("pull", "--quiet", f"oci:{folder / 'images'}:{tag}") for tag in tags}
    yield place, numbers
    for number in numbers.values():
        asked("rmi", "--force", number)


@pytest.fixture
def run() -> Iterator[Callable[..., tuple[str, int]]]:
    """Starts a container as a user would, with half a core and 512 MB; its number, and its port on this machine."""
    started = []

    def start(image: str, *options: str, command: tuple[str, ...] = ()) -> tuple[str, int]:
        number = asked(
            *("run", "--detach", "--read-only", "--cap-drop", "all", "--memory", "512m", "--cpus", "0.5", *ULIMITS),
            *("--publish", "127.0.0.1::8000", *options, image, *command),
        )
        started.append(number)
        return number, int(asked("port", number, "8000/tcp").rpartition(":")[2])

    yield start
    for number in started:
        asked("rm", "--force", "--time", "0", number)


def ready(port: int) -> triton.InferenceServerClient:
    """A client of what is started, when it answers."""
    client = triton.InferenceServerClient(f"127.0.0.1:{port}")
    end = time.monotonic() + 240
    while time.monotonic() < end:
        with suppress(OSError, ConnectionError):  # nobody listens yet
            if client.is_server_ready():
                return client
        time.sleep(0.05)
    raise AssertionError("the image does not answer")


def test_a_container_answers_as_infer_does(images, run, graph, x):
    """The split's logits, bit by bit, by Triton's client; it is healthy, nobody, and ends by SIGTERM with exit 0."""
    place, numbers = images
    python = [f"/usr/local/bin/{python_name()}", "-P"]
    health = [*python, "-m", "splitplace.placement.standalone", "--health"]
    number, port = run(numbers[REFERENCE], "--health-cmd", json.dumps(health), "--health-interval", "disable")
    client = ready(port)
    np.testing.assert_array_equal(client.infer("toy", given(x=x)).as_numpy("logits"), infer(place, x).logits)
    asked("healthcheck", "run", number)
    look = "import os; print(os.getuid(), os.getgid(), *sorted(os.listdir('/models')))"
    names = sorted(["split.json", *(f"{REFERENCE}.{fragment.name}" for fragment in graph.split.fragments)])
    assert asked("exec", number, *python, "-c", look).split() == ["65532", "65532", *names]
    asked("kill", "--signal", "TERM", number)
    assert asked("wait", number) == "0"


def test_it_is_healthy_at_another_port(images, run):
    """The image's own check, of which nobody said that the server is elsewhere."""
    number, _ = run(images[1][REFERENCE], command=("--port", "9000"))
    check = [f"/usr/local/bin/{python_name()}", "-P", "-m", "splitplace.placement.standalone", "--health"]
    end = time.monotonic() + 240
    while time.monotonic() < end:
        with suppress(AssertionError):  # nobody listens yet
            asked("exec", number, *check)
            return
        time.sleep(0.05)
    raise AssertionError(asked("exec", number, *check))


def test_the_models_of_an_image_are_read_by_another(images, run, x):
    """As an image volume, the way that Kubernetes mounts one beside a server: at /models lies all that is needed."""
    place, numbers = images
    volume = ("--mount", f"type=image,source={numbers[REFERENCE]},destination=/mnt/other")
    _, port = run(
        numbers[f"{REFERENCE}.leaf2"], *volume, command=("--models", "/mnt/other/models", "--name", "mounted")
    )
    np.testing.assert_array_equal(ready(port).infer("mounted", given(x=x)).as_numpy("logits"), infer(place, x).logits)


def test_a_fragments_container_answers_as_its_session_does(images, run, graph):
    """One fragment by its name, from the same layers."""
    from splitplace.inference.executor import FragmentSession

    _, numbers = images
    fragment = graph.split.by_name["leaf2"]
    (taken,), (made,) = fragment.inputs, fragment.outputs
    value = np.random.default_rng(1).standard_normal((3, taken.shape[1])).astype(np.float32)
    _, port = run(numbers[f"{REFERENCE}.leaf2"])
    found = ready(port).infer(f"{REFERENCE}.leaf2", given(**{taken.name: value})).as_numpy(made.name)
    expected = FragmentSession(fragment, graph.models["leaf2"]).run({taken.name: value})[made.name]
    np.testing.assert_array_equal(found, expected)
