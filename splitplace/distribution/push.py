"""A split from a catalog into a registry, with what was measured of it: blobs, manifests, index, referrers, tag.

In this order, so that what is there under a name is always whole; and each only if it is not there yet, so that a push
that was cut off goes on where it stood.
"""

from dataclasses import dataclass

from splitplace.catalog import Catalog, oci
from splitplace.catalog.oci import Descriptor, Manifest
from splitplace.distribution.reference import RemoteReference
from splitplace.distribution.referrers import Referrers
from splitplace.distribution.repository import Repository
from splitplace.distribution.uploads import upload
from splitplace.errors import IntegrityError
from splitplace.progress import Progress, silent


@dataclass(frozen=True)
class PushedSplit:
    """What came of pushing one split.

    Args:
        reference: In the catalog.
        remote: Its place in the registry, with its digest.
        records: Profiles and evaluations that are there with it.
        sent_bytes: Of blobs, over the network.
        kept_bytes: Of blobs that were there already.
    """

    reference: str
    remote: RemoteReference
    records: int
    sent_bytes: int
    kept_bytes: int


def push_split(
    catalog: Catalog,
    reference: str,
    repository: Repository,
    tag: str,
    *,
    mount_from: str = "",
    progress: Progress = silent,
) -> PushedSplit:
    """Push one split.

    Args:
        catalog: Where it lies.
        reference: Which.
        repository: Where to.
        tag: What it is called there.
        mount_from: A repository of the same registry whose blobs are taken over where it has them.
        progress: Told what is being done.

    Raises:
        IntegrityError: What lies in the catalog is not what its digests say; nothing of that is sent.
        SplitPlaceError: The registry refuses it or cannot be reached; the same push goes on where this one stood.
    """
    catalog.split(reference)  # whole, and of our form
    entry, fragments = catalog.split_descriptor(reference), catalog.fragments(reference)
    records: dict[str, list[bytes]] = {}
    manifests = [item.manifest for item in fragments]
    for descriptor in catalog.measurements(reference):
        data = catalog.blobs.read(descriptor, oci.MANIFEST_TYPE)
        manifest = Manifest.parse(data, f"blob {descriptor.digest}")
        assert manifest.subject is not None  # the catalog has looked
        records.setdefault(manifest.subject.digest, []).append(data)
        manifests.append(manifest)
    parts = {part.digest: part for manifest in manifests for part in (manifest.config, *manifest.layers)}
    damaged = [part.digest for part in parts.values() if not catalog.blobs.holds(part)]
    if damaged:
        raise IntegrityError(f"blob {damaged[0]} of {reference} is missing or damaged: export the split again")

    whole, sent, kept = max(sum(part.size for part in parts.values()), 1), 0, 0

    def told(size: int) -> None:
        nonlocal sent
        sent += size
        progress(f"pushing {reference}", min((sent + kept) / whole, 1.0))

    for part in parts.values():
        if not upload(repository, catalog.blobs.path(part.digest), part.digest, told, mount_from):
            kept += part.size
    for item in fragments:
        _put(repository, item.descriptor.digest, catalog, item.descriptor)
    _put(repository, entry.digest, catalog, entry)
    for subject, attached in records.items():
        Referrers(repository).push(subject, attached)
    _put(repository, tag, catalog, entry)
    remote = repository.reference.at(tag=tag, digest=entry.digest)
    return PushedSplit(reference, remote, sum(map(len, records.values())), sent, kept)


def _put(repository: Repository, name: str, catalog: Catalog, descriptor: Descriptor) -> None:
    if repository.digest_of(name) != descriptor.digest:
        repository.put_manifest(name, descriptor.mediaType, catalog.blobs.read(descriptor, descriptor.mediaType))
