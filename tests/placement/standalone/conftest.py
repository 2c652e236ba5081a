"""What an image has at /models, as a folder, and who serves it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton

from splitplace.export.oci_image.models import FOLDER, fragment_files, graph_files
from splitplace.placement.http.server import HttpServer
from splitplace.placement.standalone.app import StandaloneApp
from splitplace.placement.standalone.models_folder import LoadedModel
from tests.placement.fleet.conftest import SplitFiles, tree

Served = Callable[..., triton.InferenceServerClient]


def write_models(graph: SplitFiles, root: Path, *fragments: str) -> Path:
    """The models of a split, or of these fragments alone, as layers put them there."""
    files = {} if fragments else dict(graph_files(graph.split))
    for name in fragments or graph.models:
        files |= fragment_files(graph.split, name, graph.models[name])
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        assert isinstance(content, bytes)
        (root / path).write_bytes(content)
    return root / FOLDER


@pytest.fixture(scope="session")
def graph() -> SplitFiles:
    """A 2,2 tree with a shared trunk."""
    return tree()


@pytest.fixture
def models(graph: SplitFiles, tmp_path: Path) -> Path:
    """All of it."""
    return write_models(graph, tmp_path)


@pytest.fixture
def serve() -> Iterator[Served]:
    """Serves a model on a loopback port, and answers Triton's own client of it."""
    with ExitStack() as closing:

        def start(loaded: LoadedModel, **options: object) -> triton.InferenceServerClient:
            app = StandaloneApp(loaded, "1", **options)  # type: ignore[arg-type]
            server = closing.enter_context(HttpServer(app, "127.0.0.1", 0))
            client = triton.InferenceServerClient(server.url.removeprefix("http://"))
            closing.callback(client.close)
            return client

        yield start


def given(**arrays: np.ndarray) -> list[triton.InferInput]:
    """Inputs as Triton's client sends them."""
    found = []
    for name, array in arrays.items():
        item = triton.InferInput(name, list(array.shape), triton.np_to_triton_dtype(array.dtype))
        item.set_data_from_numpy(array)
        found.append(item)
    return found


@pytest.fixture
def x() -> np.ndarray:
    """Five inputs of the tree."""
    return np.random.default_rng(0).standard_normal((5, 16)).astype(np.float32)
