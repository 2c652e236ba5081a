"""What an image begins with: somebody's image, out of a layout or a registry, for this machine's kind of processor.

It is looked into, for the packages that go on top are this machine's: the same Python, the same C library.
"""

import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from pydantic import Field

from splitplace.catalog import oci
from splitplace.catalog.blobs import read_file
from splitplace.catalog.oci import Descriptor, Document
from splitplace.errors import ContractError, IntegrityError
from splitplace.export.oci_image.layer import GZIP_TYPE, TAR_TYPE
from splitplace.export.oci_image.layer_tree import LayerTree
from splitplace.export.oci_image.machine_python import python_name

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
"""The image specification's names, which are Go's; of others they are the system's own."""


class Platform(Document):
    """For which machines an image is."""

    architecture: str = ""
    os: str = ""


class PlatformDescriptor(Descriptor):
    """An entry of an index that has images for several platforms."""

    platform: Platform = Platform()


class PlatformIndex(Document):
    """An index of images."""

    schemaVersion: int
    manifests: tuple[PlatformDescriptor, ...] = Field(max_length=1000)


class RootFilesystem(Document):
    """The tars that an image is made of."""

    diff_ids: tuple[str, ...]


class ImageConfig(Platform):
    """An image's configuration, as far as another is built on it."""

    config: dict[str, Any] = Field(default_factory=dict)
    rootfs: RootFilesystem
    history: tuple[dict[str, Any], ...] = ()


class BlobSource(Protocol):
    """Where the parts of a base come from."""

    def manifest(self, descriptor: Descriptor | None) -> bytes:
        """The manifest or index of a descriptor; of the base's own name if none is given."""
        ...

    def bring(self, descriptor: Descriptor) -> Path:
        """A blob, verified, as a file."""
        ...


@dataclass(frozen=True)
class Base:
    """An image to build on.

    Args:
        name: As it was asked for.
        config: Its configuration.
        layers: Its own, whose bytes `source` has brought.
        python: Path of the interpreter in it.
    """

    name: str
    config: ImageConfig
    layers: tuple[Descriptor, ...]
    python: str


def architecture() -> str:
    """This machine's, as images call it."""
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)


def open_base(name: str, source: BlobSource) -> Base:
    """Bring an image, and look whether packages of this machine run on it.

    Raises:
        ContractError: It is for another kind of processor, has another Python or none, or another C library.
        IntegrityError: It is no image, or its parts are not what their digests say.
    """
    descriptor, data = None, source.manifest(None)
    if b'"manifests"' in data:
        descriptor = _for_this_machine(name, PlatformIndex.parse(data, name))
        data = source.manifest(descriptor)
    manifest = oci.Manifest.parse(data, f"{name}: not an image that can be built on")
    if manifest.config.mediaType != oci.IMAGE_CONFIG_TYPE:
        raise IntegrityError(
            f"{name}: an artifact with a config {manifest.config.mediaType}, expected an image, {oci.IMAGE_CONFIG_TYPE}"
        )
    text = read_file(source.bring(manifest.config), oci.MAX_JSON_BYTES, name)
    config = ImageConfig.parse(text, name)
    if (config.os, config.architecture) != ("linux", architecture()):
        raise ContractError(
            f"{name} is for {config.os}/{config.architecture}, expected linux/{architecture()}, as this machine's "
            "packages are: give a base for that"
        )
    if len(config.rootfs.diff_ids) != len(manifest.layers):
        raise IntegrityError(f"{name}: {len(manifest.layers)} layers, {len(config.rootfs.diff_ids)} in its config")
    tree = LayerTree()
    for layer, diff_id in zip(manifest.layers, config.rootfs.diff_ids, strict=True):
        if layer.mediaType not in (TAR_TYPE, GZIP_TYPE):
            raise ContractError(
                f"{name}: a layer {layer.mediaType}, expected {TAR_TYPE}, plain or gzip: copy it by skopeo"
            )
        said = f"{name}: layer {layer.digest}"
        if (found := tree.apply(source.bring(layer), layer.mediaType, said)) != diff_id:
            raise IntegrityError(f"{said}: its tar is {found}, expected {diff_id}, as its config says")
    return Base(name, config, manifest.layers, _python(name, config, tree.paths))


def _for_this_machine(name: str, index: PlatformIndex) -> Descriptor:
    for entry in index.manifests:
        if (entry.platform.os, entry.platform.architecture) == ("linux", architecture()):
            return entry
    stated = {f"{entry.platform.os}/{entry.platform.architecture}" for entry in index.manifests}
    found = sorted(stated - {"/"})
    raise ContractError(
        f"{name} has images for {', '.join(found) or 'no stated platform'}, expected linux/{architecture()}"
    )


def environment(config: Mapping[str, Any]) -> dict[str, str]:
    """Of an image's configuration, by name."""
    return dict(str(entry).partition("=")[::2] for entry in config.get("Env") or ())


def _python(name: str, config: ImageConfig, paths: set[str]) -> str:
    folders = environment(config.config).get("PATH", _PATH).split(":")
    wanted = python_name()
    for folder in folders:
        if f"{folder}/{wanted}" in paths:
            if any(PurePosixPath(path).name.startswith("ld-musl-") for path in paths):
                raise ContractError(
                    f"{name} is made of musl, expected glibc, for which onnxruntime is: take a -slim base"
                )
            if not any(PurePosixPath(path).name.startswith("libstdc++.so.6") for path in paths):
                raise ContractError(f"{name} has no libstdc++.so.6, which onnxruntime loads: take a base with it")
            return f"{folder}/{wanted}"
    others = sorted(path for path in _pythons(folders, paths))
    raise ContractError(
        f"{name} has {', '.join(others) or 'no Python'} in its PATH, expected {wanted}, as this machine's packages are "
        "for that: give a base with it"
    )


def _pythons(folders: list[str], paths: set[str]) -> Iterator[str]:
    for path in paths:
        place = PurePosixPath(path)
        if str(place.parent) in folders and place.name.removeprefix("python").replace(".", "").isdecimal():
            yield path
