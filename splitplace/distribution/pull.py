"""A split out of a registry into a catalog: index, manifests, what was measured, blobs, and only then its name.

Everything is held against its digest, and against the form that a catalog has, before a name leads to it. What came in
before a pull broke off stays where no reader looks, and is gone on with by the next one.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import ValidationError

from splitplace.catalog import oci
from splitplace.catalog.layout_writer import LayoutWriter
from splitplace.catalog.oci import Descriptor, Index, Manifest, SplitAnnotation
from splitplace.catalog.onnxfile import check_model
from splitplace.catalog.reader import fragment_files
from splitplace.distribution.downloads import download
from splitplace.distribution.mirrors import Places
from splitplace.distribution.reference import RemoteReference
from splitplace.distribution.referrers import Referrers, is_bookkeeping
from splitplace.distribution.repository import RemoteManifest, Repository, Sent
from splitplace.errors import ContractError, IntegrityError, NotFoundError, UsageError, first_problem
from splitplace.progress import Progress, silent
from splitplace.records.evaluation import Evaluation
from splitplace.records.fragment import Fragment
from splitplace.records.profile import Profile
from splitplace.records.split import Split

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PulledSplit:
    """What came of pulling one split.

    Args:
        reference: In the catalog.
        remote: Where it came from, with its digest.
        records: Profiles and evaluations that came with it.
        came_bytes: Of blobs, over the network.
    """

    reference: str
    remote: RemoteReference
    records: int
    came_bytes: int


@dataclass(frozen=True)
class RemoteSplit:
    """A split as a registry tells of it: every document read and checked, no model yet."""

    remote: RemoteReference
    reference: str
    index: RemoteManifest
    manifests: tuple[RemoteManifest, ...]
    models: tuple[Descriptor, ...]
    parts: tuple[Descriptor, ...]
    """All that is not a model: contracts, configs, records."""
    records: tuple[RemoteManifest, ...]

    @property
    def size_bytes(self) -> int:
        """Of the blobs."""
        return sum(part.size for part in {part.digest: part for part in (*self.models, *self.parts)}.values())


class NoSplitError(IntegrityError):
    """Something else that lies in a registry: an image, somebody's artifact."""


def look_up_all(places: Places, asked: RemoteReference) -> tuple[RemoteSplit, ...]:
    """The split of a tag or digest; where neither is stated, every split of the repository, whatever else is there.

    Raises:
        NotFoundError: The repository has none.
        UsageError: Two of its tags stand for different digests of one reference.
        SplitPlaceError: As `look_up`.
    """
    if asked.tag or asked.digest:
        return (look_up(places, asked),)
    found: dict[str, RemoteSplit] = {}
    for tag in sorted(places.named(lambda place: place.tags())):
        if not is_bookkeeping(tag):
            try:
                split = look_up(places, asked.at(tag=tag))
            except NoSplitError as error:
                _log.warning("left out: %s", error)
                continue
            except NotFoundError as error:
                if places.named(lambda place, tag=tag: place.digest_of(tag)):  # type: ignore[misc]  # as below
                    raise
                _log.warning("left out: gone since the tags were listed: %s", error)
                continue
            other = found.setdefault(split.reference, split)
            if other.index.digest != split.index.digest:
                raise UsageError(
                    f"{asked}: the tags {other.remote.tag} and {tag} are two different splits {split.reference}: "
                    "say which one by :TAG"
                )
    if not found:
        raise NotFoundError(f"{asked}: the repository holds no split: push one first")
    return tuple(found.values())


def look_up(places: Places, asked: RemoteReference) -> RemoteSplit:
    """Read what a tag or digest stands for, and what was measured of it.

    Raises:
        IntegrityError: It is not what its digest says, or no split.
        ContractError: The tag stands for another digest than the one that is asked for.
        SplitPlaceError: The registry refuses it or cannot be reached.
    """
    digest = asked.digest or places.named(lambda place: place.manifest(asked.tag)).digest
    if asked.tag and asked.digest:
        now = places.named(lambda place: place.digest_of(asked.tag))
        if now != asked.digest:
            raise ContractError(
                f"{asked.at(tag=asked.tag)} has moved: it is {now or 'gone'} now, expected {asked.digest}: leave out "
                "the tag to have the pinned split, or the digest to have the new one"
            )
    index = places.fixed(lambda place: place.manifest(digest))
    source = str(asked.at(digest=digest))
    if index.media_type != oci.INDEX_TYPE:
        raise NoSplitError(f"{source}: a manifest {index.media_type:.100}: expected the image index of a split")
    try:
        document = Index.parse(index.data, source)
    except IntegrityError as error:
        raise NoSplitError(str(error)) from error
    if oci.SPLIT not in document.annotations or oci.TITLE not in document.annotations:
        raise NoSplitError(f"{source}: an image index without the annotation {oci.SPLIT}: no split")
    manifests, models, parts = [], [], []
    for child in document.manifests:
        found = _document(places, child, f"{source}: fragment {child.digest}")
        manifest = Manifest.parse(found.data, f"{source}: {child.digest}")
        model, contract = fragment_files(manifest, f"{source}: {child.digest}")
        manifests.append(found)
        models.append(model)
        parts += [contract, manifest.config]
    records = []
    for subject in (digest, *(child.digest for child in document.manifests)):
        for record in places.named(lambda place, subject=subject: Referrers(place).find(subject)):  # type: ignore[misc]  # mypy takes the default for a second argument
            found_record = _record(places, record, f"{source}: referrer {record.digest}")
            if found_record is not None:
                found, manifest = found_record
                records.append(found)
                parts += [manifest.config, *manifest.layers]
    large = [part for part in parts if part.size > oci.MAX_JSON_BYTES]
    if large:
        raise IntegrityError(
            f"{source}: {large[0].digest} has {large[0].size} bytes, expected at most {oci.MAX_JSON_BYTES}"
        )
    remote = asked.at(tag=asked.tag, digest=digest)
    reference = document.annotations[oci.TITLE]
    return RemoteSplit(remote, reference, index, tuple(manifests), tuple(models), tuple(parts), tuple(records))


def _record(places: Places, descriptor: Descriptor, source: str) -> tuple[RemoteManifest, Manifest] | None:
    """A measurement that we read; signatures, indexes and the like are others' affair."""
    if descriptor.mediaType != oci.MANIFEST_TYPE:
        _log.warning("left out: %s: %.100s", source, descriptor.mediaType)
        return None
    try:
        found = _document(places, descriptor, source)
    except NotFoundError as error:
        _log.warning("left out: %s: listed, but not there: %s", source, error)
        return None
    try:
        manifest = Manifest.parse(found.data, source)
    except IntegrityError as error:
        _log.warning("left out: %s", error)
        return None
    return (found, manifest) if _is_ours(manifest, source) else None


def _document(places: Places, descriptor: Descriptor, source: str) -> RemoteManifest:
    if descriptor.size > oci.MAX_JSON_BYTES or descriptor.mediaType != oci.MANIFEST_TYPE:
        raise IntegrityError(
            f"{source}: {descriptor.size} bytes of {descriptor.mediaType}, expected at most {oci.MAX_JSON_BYTES} of "
            f"{oci.MANIFEST_TYPE}"
        )
    found = places.fixed(lambda place: place.manifest(descriptor.digest))
    if len(found.data) != descriptor.size:
        raise IntegrityError(f"{source}: got {len(found.data)} bytes, {descriptor.size} were stated")
    return found


def read_split(places: Places, split: RemoteSplit) -> tuple[Split, tuple[Profile, ...], Evaluation | None]:
    """The graph, profiles and evaluation of a split that was looked up, without its models.

    Raises:
        IntegrityError: They are not what they should be.
    """

    def read(part: Descriptor) -> bytes:
        return places.fixed(lambda place: place.read_blob(part))

    source = str(split.remote)
    index = Index.parse(split.index.data, source)
    contracts = [fragment_files(Manifest.parse(found.data, source), source)[1] for found in split.manifests]
    fragments = tuple(Fragment.parse(read(part), f"{source}: {part.digest}") for part in contracts)
    try:
        graph = SplitAnnotation.parse(index.annotations[oci.SPLIT], source).split(fragments)
    except ValidationError as error:
        raise IntegrityError(f"{source}: not a split: {first_problem(error)}") from error
    profiles, evaluations = [], []
    for found in split.records:
        manifest = Manifest.parse(found.data, source)
        data, name = read(manifest.layers[0]), f"{source}: {manifest.layers[0].digest}"
        if manifest.artifactType == oci.PROFILE_TYPE:
            profiles.append(Profile.parse(data, name))
        else:
            evaluations.append((manifest.revision, found.digest, Evaluation.parse(data, name)))
    profiles.sort(key=lambda profile: profile.provenance.created, reverse=True)
    latest = max(evaluations, key=lambda found: found[:2], default=None)  # as `adopt` takes them
    return graph, tuple(profiles), latest and latest[2]


def _is_ours(manifest: Manifest, source: str) -> bool:
    """Whether it is of a type and version that we read."""
    try:
        oci.check_record_type(manifest.artifactType, source)
    except ContractError as error:
        _log.warning("left out: %s", error)
        return False
    return manifest.artifactType in (oci.PROFILE_TYPE, oci.EVALUATION_TYPE) and len(manifest.layers) == 1


def pull_split(places: Places, split: RemoteSplit, layout: LayoutWriter, progress: Progress = silent) -> PulledSplit:
    """Bring a split that was looked up into a catalog, in place of an earlier one of the same reference.

    Raises:
        IntegrityError: Bytes that are not what they should be; the catalog holds what it held.
        SplitPlaceError: The registry refuses it or cannot be reached; the same pull goes on where this one stood.
    """
    came = 0

    def told(size: int) -> None:
        nonlocal came
        came += size
        progress(f"pulling {split.reference}", min(came / max(split.size_bytes, 1), 1.0))

    with layout.filling():
        for part in (*split.parts, *split.models):
            places.fixed(_downloading(layout, part, told))
        for model in split.models:
            check_model(layout.blobs.read_digest(model.digest, oci.MAX_MODEL_BYTES), f"{split.remote}: {model.digest}")
        documents = [found.data for found in split.manifests]
        reference = layout.adopt(split.index.data, documents, [found.data for found in split.records])
    return PulledSplit(reference, split.remote, len(split.records), came)


def _downloading(layout: LayoutWriter, part: Descriptor, told: Sent) -> Callable[[Repository], None]:
    return lambda place: download(place, layout.blobs, part, told)
