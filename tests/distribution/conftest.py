"""Debian's docker-registry on a port of its own, a split to push, and a way of being cut off."""

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from splitplace import provenance
from splitplace.catalog import Catalog
from splitplace.catalog.layout_writer import LayoutWriter
from splitplace.distribution.mirrors import Places
from splitplace.distribution.pull import PulledSplit, look_up, pull_split
from splitplace.distribution.push import PushedSplit, push_split
from splitplace.distribution.reference import parse_remote
from splitplace.distribution.repository import Repository
from splitplace.distribution.transport import Patience, Transport
from splitplace.export.catalog_writer import CatalogWriter
from splitplace.records.evaluation import Evaluation
from splitplace.records.profile import DeviceFingerprint, Latency, MemoryIncrement, Profile
from tests.distribution.small_registry import SmallRegistry
from tests.kernel.conftest import branches

REFERENCE = "toy.linear.semantic-2"


@pytest.fixture(scope="session")
def docker_registry() -> str:
    """The program; 2.8.2 is what Debian 12 has."""
    found = shutil.which("docker-registry")
    assert found, "docker-registry is not installed: `apt-get install docker-registry`, or run .ci/run"
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(program: str, folder: Path, extra: str = "") -> Iterator[str]:
    """HOST:PORT of a registry that keeps what it has in `folder`; ended afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    for _ in range(5):  # another process may take a port between its being found free and its use
        host = f"127.0.0.1:{_free_port()}"
        process = _started(program, folder, host, extra)
        try:
            if _is_up(process, host):
                yield host
                return
        finally:
            process.kill()
            process.wait()
        said = (folder / "log").read_text()
        assert "address already in use" in said, f"{program} does not come up: exit {process.returncode}: {said}"
    raise AssertionError(f"{program}: five ports were taken by others")


def _started(program: str, folder: Path, host: str, extra: str) -> subprocess.Popen[bytes]:
    config = folder / "config.yml"
    config.write_text(
        "version: 0.1\n"
        "log: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder / 'data'}}}}}\n"
        f"http:\n  addr: {host}\n  secret: test\n{extra}"
    )
    with (folder / "log").open("wb") as log:
        return subprocess.Popen([program, "serve", str(config)], stdout=log, stderr=log)


def _is_up(process: subprocess.Popen[bytes], host: str) -> bool:
    """Whether it listens, and not somebody else who was faster: then it ends."""
    address = ("127.0.0.1", int(host.rpartition(":")[2]))
    for _ in range(1200):
        if process.poll() is not None:
            return False
        with socket.socket() as probe:
            if probe.connect_ex(address) == 0 and _listens(process.pid, address[1]):
                return True
        time.sleep(0.05)
    return False


def _listens(pid: int, port: int) -> bool:
    try:
        return any(found.laddr.port == port for found in psutil.Process(pid).net_connections("tcp4"))
    except psutil.NoSuchProcess:  # it has ended this moment
        return False


@pytest.fixture
def registry(docker_registry: str, tmp_path: Path) -> Iterator[str]:
    """HOST:PORT of an empty registry."""
    with serving(docker_registry, tmp_path / "registry") as host:
        yield host


def profile(artifact: Any, fragment: str = "leaf0", kind: str = "board", median_s: float = 0.1) -> Profile:
    """A profile with given figures: storing does not measure."""
    return Profile(
        fragment=fragment,
        digest=artifact.split.by_name[fragment].digest,
        device=DeviceFingerprint(kind=kind, cpu="test", architecture="test", cores=1, onnxruntime="0", threads=1),
        core_speed=1.0,
        load_s=0.1,
        runtime_base_bytes=1,
        memory=(MemoryIncrement(micro_batch=1, fragment_bytes=1),),
        latency=(Latency(batch_size=1, median_s=median_s, p10_s=median_s, p90_s=median_s, runs=1),),
        input_bytes_per_sample=16,
        output_bytes_per_sample=8,
        provenance=provenance.collect(),
    )


def evaluation(top1: float) -> Evaluation:
    """An evaluation with given accuracy."""
    return Evaluation(dataset="toy", sha256="0" * 64, n=10, top1=top1, seed=0, source="test")


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> CatalogWriter:
    """One split with two profiles and an evaluation; nobody changes it."""
    artifact = branches(filling=25_000)
    made = CatalogWriter(tmp_path_factory.mktemp("written") / "catalog")
    made.write(artifact)
    for record in (profile(artifact), profile(artifact, "leaf1"), evaluation(0.5)):
        made.attach(REFERENCE, record)
    return made


@pytest.fixture
def catalog(written: CatalogWriter, tmp_path: Path) -> CatalogWriter:
    """A copy of it."""
    shutil.copytree(written.path, tmp_path / "catalog")
    return CatalogWriter(tmp_path / "catalog")


@pytest.fixture(scope="session")
def pushed(written: CatalogWriter) -> tuple[Any, Any]:
    """The blobs and manifests of a registry in memory that it was pushed to; nobody changes them."""
    registry = SmallRegistry()
    push_to(registry.host, written)
    registry.close()
    return registry.blobs, registry.manifests


def everything(path: Path) -> dict[str, bytes]:
    """Every file of a catalog with its bytes, but what is order only."""
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file() and file.name not in (".lock", "index.json")
    }


class Cut:
    """Between client and registry: passes bytes on, counts them, and cuts every connection after so many."""

    def __init__(self, host: str):
        self.target = ("127.0.0.1", int(host.rpartition(":")[2]))
        self.up = self.down = 0
        self.left_up: int | None = None
        self.left_down: int | None = None
        self._lock = threading.Lock()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._server.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """No more connections."""
        self._server.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            server = socket.create_connection(self.target)
            for source, target, way in ((client, server, "up"), (server, client, "down")):
                threading.Thread(target=self._pass, args=(source, target, way), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, way: str) -> None:
        try:
            while data := source.recv(65536):
                with self._lock:
                    left = getattr(self, f"left_{way}")
                    kept = data if left is None else data[:left]
                    setattr(self, way, getattr(self, way) + len(kept))
                    if left is not None:
                        setattr(self, f"left_{way}", left - len(kept))
                target.sendall(kept)
                if len(kept) < len(data):
                    break
        except OSError:
            pass  # the other way was cut
        finally:
            for end in (source, target):
                with suppress(OSError):  # closed already
                    end.shutdown(socket.SHUT_RDWR)
                end.close()


@pytest.fixture
def cut() -> Iterator[Callable[[str], Cut]]:
    """Makes one in front of a registry."""
    made: list[Cut] = []

    def make(host: str) -> Cut:
        made.append(Cut(host))
        return made[-1]

    yield make
    for proxy in made:
        proxy.close()


@pytest.fixture
def small_registry() -> Iterator[Callable[..., SmallRegistry]]:
    """Makes registries in memory."""
    made: list[SmallRegistry] = []

    def make(**told: bool) -> SmallRegistry:
        made.append(SmallRegistry(**told))
        return made[-1]

    yield make
    for registry in made:
        registry.close()


NO_WAIT = Patience(sleep=lambda seconds: None)
ONCE = Patience(attempts=1, sleep=lambda seconds: None)


def repository(host: str, name: str = "team/nets", patience: Patience = NO_WAIT) -> Repository:
    """One repository, asked without waiting."""
    return Repository(Transport(host, patience=patience), parse_remote(f"oci://{host}/{name}"))


def push_to(host: str, catalog: Catalog, name: str = "team/nets", patience: Patience = NO_WAIT) -> PushedSplit:
    """Push the one split of a catalog."""
    return push_split(catalog, REFERENCE, repository(host, name, patience), REFERENCE)


def pull_from(host: str, path: Path, name: str = "team/nets", patience: Patience = NO_WAIT) -> PulledSplit:
    """Pull it."""
    asked = parse_remote(f"oci://{host}/{name}:{REFERENCE}")
    places = Places(repository(host, name, patience))
    return pull_split(places, look_up(places, asked), LayoutWriter(path))
