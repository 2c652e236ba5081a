"""Bases made by hand, a catalog, and images built of it: by this process, and by another in another mood."""

import gzip
import hashlib
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from splitplace.api.build_images import BuiltImages, build_images
from splitplace.export.catalog_writer import CatalogWriter
from splitplace.export.oci_image.base import architecture
from splitplace.export.oci_image.machine_python import python_name
from splitplace.splitting.artifact import SplitArtifact
from tests.placement.fleet.conftest import SplitFiles, tree

REFERENCE = "toy.tiny.semantic-2x2"
GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
PYTHON = {f"usr/local/bin/{python_name()}": b"", "usr/lib/libstdc++.so.6": b""}
OTHER_MOOD = """
import os, sys
os.umask(0o077)
from splitplace import build_images
print(*(image.digest for image in build_images(sys.argv[1], sys.argv[2]).images))
"""


@pytest.fixture(scope="session")
def graph() -> SplitFiles:
    """A 2,2 tree with a shared trunk."""
    return tree()


@pytest.fixture(scope="session")
def catalog(graph: SplitFiles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It alone."""
    path = tmp_path_factory.mktemp("images") / "catalog"
    CatalogWriter(path).write(SplitArtifact(graph.split, graph.models))
    return path


@pytest.fixture(scope="session")
def built(catalog: Path) -> BuiltImages:
    """Its images, on this machine's own Python."""
    return build_images(f"{catalog}:{REFERENCE}", catalog.parent / "images")


@pytest.fixture(scope="session")
def built_again(catalog: Path) -> list[str]:
    """Their digests, by another process, with other hashes, another umask, elsewhere."""
    command = [sys.executable, "-P", "-c", OTHER_MOOD, f"{catalog}:{REFERENCE}", str(catalog.parent / "again")]
    env = {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "PATH": "/usr/bin:/bin", "LANG": "C"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return done.stdout.split()


def digest_of(data: bytes) -> str:
    """Of a blob."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


class HandMadeLayout:
    """An image layout written without any code of ours."""

    def __init__(self, path: Path):
        self.path = path
        (path / "blobs/sha256").mkdir(parents=True)
        (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        self.entries: list[dict[str, Any]] = []

    def put(self, media_type: str, data: bytes) -> dict[str, Any]:
        """A blob."""
        digest = digest_of(data)
        (self.path / "blobs/sha256" / digest.partition(":")[2]).write_bytes(data)
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def put_json(self, media_type: str, document: object) -> dict[str, Any]:
        """A document."""
        return self.put(media_type, json.dumps(document).encode())

    def image(self, *layers: dict[str, bytes], **config: Any) -> dict[str, Any]:
        """An image of layers, each with files by path; its manifest's descriptor."""
        tars = [packed(files) for files in layers]
        document = {
            "architecture": architecture(),
            "os": "linux",
            "config": {"Env": ["PATH=/usr/local/bin:/usr/bin"], "Cmd": ["python3"]},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(tar) for tar in tars]},
            "history": [{"created_by": "hand"}],
        } | config
        return self.put_json(
            "application/vnd.oci.image.manifest.v1+json",
            {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": self.put_json("application/vnd.oci.image.config.v1+json", document),
                "layers": [self.put(GZIP, gzip.compress(tar)) for tar in tars],
            },
        )

    def name(self, tag: str, entry: dict[str, Any]) -> None:
        """List it."""
        self.entries.append(entry | {"annotations": {"org.opencontainers.image.ref.name": tag}})
        index = {"schemaVersion": 2, "manifests": self.entries}
        (self.path / "index.json").write_text(json.dumps(index))


def repacked(layout: HandMadeLayout, tar: bytes, media_type: str = GZIP, data: bytes | None = None) -> dict[str, Any]:
    """An image of one layer: this tar, which is stored as `data` if that is given."""
    entry = layout.image({}, rootfs={"type": "layers", "diff_ids": [digest_of(tar)]})
    manifest = json.loads((layout.path / "blobs/sha256" / entry["digest"].partition(":")[2]).read_bytes())
    layers = [layout.put(media_type, gzip.compress(tar) if data is None else data)]
    return layout.put_json(entry["mediaType"], manifest | {"layers": layers})


def packed(files: dict[str, bytes]) -> bytes:
    """A tar."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return target.getvalue()


@pytest.fixture
def layout(tmp_path: Path) -> Callable[[], HandMadeLayout]:
    """Makes an empty one."""
    return lambda: HandMadeLayout(tmp_path / "base")
