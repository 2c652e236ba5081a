"""Where a base comes from: an image layout on this machine's disk, or a registry."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from splitplace.catalog import oci
from splitplace.catalog.blobs import BlobStore, read_file
from splitplace.catalog.layout_writer import LayoutWriter
from splitplace.catalog.oci import Descriptor
from splitplace.distribution.downloads import download
from splitplace.distribution.mirrors import Places
from splitplace.distribution.reference import RemoteReference
from splitplace.errors import IntegrityError, NotFoundError, UsageError

LAYOUT_SCHEME = "oci:"


class LayoutSource:
    """An image layout on this machine's disk, `oci:FOLDER[:TAG]`.

    Raises:
        NotFoundError: No such layout, or no such tag in it.
        UsageError: Several images, and none is named.
    """

    def __init__(self, text: str):
        rest = text.removeprefix(LAYOUT_SCHEME)
        folder, _, tag = (rest, "", "") if Path(rest).is_dir() else rest.rpartition(":")
        if not (Path(folder) / "oci-layout").is_file():
            raise NotFoundError(
                f"--base {text}: no OCI image layout {folder or rest}: expected {LAYOUT_SCHEME}FOLDER[:TAG]"
            )
        index = oci.Index.parse(
            read_file(Path(folder) / "index.json", oci.MAX_JSON_BYTES, f"{folder}/index.json"), f"{folder}/index.json"
        )
        named = {entry.annotations.get(oci.REF_NAME, ""): entry for entry in index.manifests}
        if (tag and tag not in named) or not named:
            names = ", ".join(sorted(filter(None, named))) or "none with a name"
            raise NotFoundError(f"--base {text}: no image {tag!r} in {folder}, which holds {names}")
        if not tag and len(index.manifests) > 1:
            raise UsageError(f"--base {text}: which image? expected :TAG with one of {', '.join(sorted(named))}")
        self._own = named[tag] if tag else index.manifests[0]
        self._blobs = BlobStore(Path(folder))

    def manifest(self, descriptor: Descriptor | None) -> bytes:
        """As `BlobSource`."""
        return self._blobs.read_digest((descriptor or self._own).digest, oci.MAX_JSON_BYTES)

    def bring(self, descriptor: Descriptor) -> Path:
        """As `BlobSource`."""
        if not self._blobs.holds(descriptor):
            raise IntegrityError(f"blob {descriptor.digest} is missing or damaged: copy the base anew")
        return self._blobs.path(descriptor.digest)


class RegistrySource:
    """A registry's image, whose blobs are brought into a layout; what broke off is gone on with by the next call.

    Args:
        places: Of its repository.
        reference: Which image.
        make: The layout where its blobs go; called when the first one comes.
    """

    def __init__(self, places: Places, reference: RemoteReference, make: Callable[[], LayoutWriter]):
        self._places, self._reference, self._make = places, reference, make

    @cached_property
    def _layout(self) -> LayoutWriter:
        return self._make()

    def manifest(self, descriptor: Descriptor | None) -> bytes:
        """As `BlobSource`."""
        digest = self._reference.digest if descriptor is None else descriptor.digest
        if digest:
            return self._places.fixed(lambda place: place.manifest(digest)).data
        return self._places.named(lambda place: place.manifest(self._reference.tag or "latest")).data

    def bring(self, descriptor: Descriptor) -> Path:
        """As `BlobSource`."""
        self._places.fixed(lambda place: download(place, self._layout.blobs, descriptor, lambda came: None))
        return self._layout.blobs.path(descriptor.digest)
