"""Writes images into an OCI image layout: what they begin with, what they run, and last the fragments."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from splitplace.catalog import oci
from splitplace.catalog.layout_writer import LayoutWriter
from splitplace.catalog.oci import Descriptor
from splitplace.errors import SplitPlaceError, UsageError
from splitplace.export.oci_image.base import Base, architecture, environment
from splitplace.export.oci_image.contents import ImageContents
from splitplace.export.oci_image.layer import GZIP_TYPE, Files, PackedLayer, write_layer
from splitplace.export.oci_image.machine_python import PREFIX, USER, python_name
from splitplace.export.oci_image.packages import DEVICE, FOLDER, STANDALONE
from splitplace.files import SCRATCH, replace_file

PORT = 8000


@dataclass(frozen=True)
class ImageLayer:
    """One layer of an image.

    Args:
        what: It holds, in a few words.
        digest: Of its bytes.
        size_bytes: As it is stored and sent.
        is_model: Whether it lies at /models.
    """

    what: str
    digest: str
    size_bytes: int
    is_model: bool = False


@dataclass(frozen=True)
class BuiltImage:
    """An image in a layout.

    Args:
        tag: By which the layout names it.
        digest: Of its manifest: the same input always gives the same one.
        layers: From the base's up.
    """

    tag: str
    digest: str
    layers: tuple[ImageLayer, ...]

    @property
    def size_bytes(self) -> int:
        """Of all layers."""
        return sum(layer.size_bytes for layer in self.layers)


class ImageWriter(LayoutWriter):
    """An image layout that images are written to; created if the folder is absent or empty.

    Raises:
        UsageError: The folder holds something else, or splits.
        SplitPlaceError: It cannot be created (no permission, disk full).
    """

    def __init__(self, path: Path):
        super().__init__(path)
        if self.references():
            raise UsageError(f"--out {path} is a catalog of splits: give a folder of its own to images")

    def pack(self, files: Files, created_by: str) -> PackedLayer:
        """Store a layer, once."""
        try:
            with tempfile.TemporaryFile(prefix=SCRATCH, dir=self.path) as file:
                layer = write_layer(files, cast(BinaryIO, file), created_by)
                descriptor = Descriptor(mediaType=GZIP_TYPE, digest=layer.digest, size=layer.size)
                if not self.blobs.holds(descriptor):
                    file.seek(0)
                    replace_file(self.blobs.path(layer.digest), lambda target: _copy(file, target), self.path)
        except OSError as error:
            raise SplitPlaceError(f"cannot write the layer {created_by!r}: {error.strerror or error}") from error
        return layer

    def adopt_blob(self, descriptor: Descriptor, path: Path) -> None:
        """Store a blob that lies elsewhere and was held against its digest."""
        if not self.blobs.holds(descriptor):
            try:
                with path.open("rb") as file:
                    replace_file(self.blobs.path(descriptor.digest), lambda target: _copy(file, target), self.path)
            except OSError as error:
                raise SplitPlaceError(f"cannot write to {self.path}: {error.strerror}") from error

    def write_image(self, tag: str, config: Mapping[str, Any], layers: Sequence[Descriptor | PackedLayer]) -> str:
        """Store an image's documents and name it, in place of what had the name.

        Returns:
            The digest of its manifest.
        """
        entries = [
            {"mediaType": layer.mediaType, "digest": layer.digest, "size": layer.size}
            if isinstance(layer, Descriptor)
            else {"mediaType": GZIP_TYPE, "digest": layer.digest, "size": layer.size}
            for layer in layers
        ]
        with self._writing():
            manifest = {
                "schemaVersion": 2,
                "mediaType": oci.MANIFEST_TYPE,
                "config": self._put_json(oci.IMAGE_CONFIG_TYPE, config),
                "layers": entries,
            }
            entry = self._put_json(oci.MANIFEST_TYPE, manifest)
            entry["annotations"] = {oci.REF_NAME: tag}
            self._replace_entry(lambda other: other.annotations.get(oci.REF_NAME) == tag, entry)
        return str(entry["digest"])


def _copy(source: Any, target: BinaryIO) -> None:
    while piece := source.read(2**20):
        target.write(piece)


class ImageBuilder:
    """Builds images that differ in their last layers alone; all below is packed once.

    Args:
        writer: Where they are written to.
        contents: What is below.
        told: Told what is being done.
    """

    def __init__(self, writer: ImageWriter, contents: ImageContents, told: Callable[[str], None]):
        self._writer = writer
        told("compiling")
        contents = contents.compiled()
        below = contents.below
        self._below: list[Descriptor | PackedLayer] = []
        self._config: dict[str, Any] = {}
        self._diff_ids: list[str] = []
        self._history: list[dict[str, Any]] = []
        if not isinstance(below, Base):
            told("packing this machine's Python")
            self.python = f"/{PREFIX}/bin/{python_name()}"
            self._config = {"Env": [f"PATH=/{PREFIX}/bin", f"LD_LIBRARY_PATH=/{PREFIX}/lib"]}
            self._add(writer.pack(below, f"{python_name()} of the machine"))
        else:
            self.python = below.python
            self._config = dict(below.config.config)
            self._diff_ids += below.config.rootfs.diff_ids
            self._history += below.config.history or [{"created_by": "base"} for _ in below.layers]
            self._below += below.layers
        told("packing the packages")
        self._add(writer.pack(contents.packages, "packages of a device"))
        self._add(writer.pack(contents.program, "splitplace, as a device runs it"))

    def _add(self, layer: PackedLayer) -> None:
        self._below.append(layer)
        self._diff_ids.append(layer.diff_id)
        self._history.append({"created_by": layer.created_by})

    def pack(self, what: str, files: Files) -> PackedLayer:
        """A layer of models, for one image or several."""
        return self._writer.pack(files, what)

    def standalone(self, tag: str, title: str, models: Sequence[PackedLayer]) -> BuiltImage:
        """An image that serves what lies at /models.

        Args:
            tag: In the layout.
            title: What it is.
            models: Its last layers.
        """
        command = [self.python, "-P", "-m", STANDALONE]
        health = [*command, "--health"]
        config = {
            "Entrypoint": command,
            "ExposedPorts": {f"{PORT}/tcp": {}},
            "Healthcheck": {"Test": ["CMD", *health], "Interval": 30 * 10**9, "Timeout": 10 * 10**9, "Retries": 3},
        }
        return self._write(tag, title, config, models)

    def device(self, tag: str, title: str) -> BuiltImage:
        """An image that is a device of a fleet: it is told on standard input which, and reads a catalog beside it."""
        return self._write(tag, title, {"Entrypoint": [self.python, "-P", "-m", DEVICE]}, [])

    def _write(self, tag: str, title: str, own: Mapping[str, Any], layers: Sequence[PackedLayer]) -> BuiltImage:
        env = environment(self._config) | {
            "PYTHONPATH": f"/{FOLDER}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
            "ORT_DISABLE_TELEMETRY": "1",
            "HOME": "/",
        }
        kept = {name: value for name, value in self._config.items() if name not in ("Cmd", "Entrypoint", "Volumes")}
        labels = dict(self._config.get("Labels") or {}) | {"org.opencontainers.image.title": title}
        document = {
            "architecture": architecture(),
            "os": "linux",
            "config": kept
            | {
                "User": f"{USER}:{USER}",
                "Env": [f"{name}={value}" for name, value in env.items()],
                "WorkingDir": "/",
                "StopSignal": "SIGTERM",
                "Labels": labels,
            }
            | dict(own),
            "rootfs": {"type": "layers", "diff_ids": [*self._diff_ids, *(layer.diff_id for layer in layers)]},
            "history": [*self._history, *({"created_by": layer.created_by} for layer in layers)],
        }
        stack = [*self._below, *layers]
        digest = self._writer.write_image(tag, document, stack)
        told = tuple(
            ImageLayer(
                layer.created_by if isinstance(layer, PackedLayer) else "base",
                layer.digest,
                layer.size,
                layer in layers,
            )
            for layer in stack
        )
        return BuiltImage(tag, digest, told)
