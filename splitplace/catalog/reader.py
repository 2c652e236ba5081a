"""Reads splits, models, profiles and evaluations from a catalog; everything by digest, verified before use."""

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from pydantic import ValidationError

from splitplace.catalog import oci
from splitplace.catalog.blobs import BlobStore, read_file
from splitplace.catalog.oci import Descriptor, ImageLayout, Index, Manifest, SplitAnnotation, TypedManifest
from splitplace.catalog.onnxfile import check_model
from splitplace.errors import ContractError, IntegrityError, NotFoundError, SplitPlaceError, first_problem, unknown
from splitplace.records.base import Record
from splitplace.records.evaluation import Evaluation
from splitplace.records.fragment import Fragment
from splitplace.records.profile import Profile
from splitplace.records.split import Split

R = TypeVar("R", bound=Record)


class StoredFragment(NamedTuple):
    """A fragment as it lies in the catalog."""

    fragment: Fragment
    descriptor: Descriptor
    """Of its manifest: what a profile's `subject` names."""
    manifest: Manifest


@dataclass(frozen=True)
class Verification:
    """What `Catalog.verify` found; blobs and bytes are those of splits and records without a problem."""

    splits: int
    records: int
    blobs: int
    size_bytes: int
    problems: tuple[str, ...]


class Catalog:
    """An OCI image layout that holds splits.

    Args:
        path: The folder with `oci-layout`, `index.json` and `blobs`.

    Raises:
        UsageError: No such folder, or no OCI image layout.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        try:
            layout = read_file(self.path / "oci-layout", oci.MAX_JSON_BYTES, str(self.path / "oci-layout"))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFoundError(f"{self.path} is no catalog: expected a folder with the file oci-layout") from error
        except OSError as error:
            raise NotFoundError(f"{self.path} cannot be read: {error.strerror}") from error
        ImageLayout.parse(layout, str(self.path / "oci-layout"))
        self.blobs = BlobStore(self.path)

    def references(self) -> tuple[str, ...]:
        """Every split in the catalog, sorted."""
        return tuple(sorted(self._tags()))

    def split_descriptor(self, reference: str) -> Descriptor:
        """The descriptor of a split's image index: what a deployment pins and an evaluation's `subject` names.

        Raises:
            UsageError: No such split; lists what is there.
        """
        tags = self._tags()
        if reference not in tags:
            if not tags:
                raise NotFoundError(f"unknown split {reference!r}: the catalog {self.path} is empty")
            raise unknown(f"split in {self.path}", reference, tags)
        return tags[reference]

    def split(self, reference: str) -> Split:
        """The graph of a split with the contracts of its fragments.

        Raises:
            UsageError: No such split.
            IntegrityError: A document of it is missing, damaged or not of the catalog's form.
        """
        return self._split(self.split_descriptor(reference), reference)

    def fragments(self, reference: str) -> tuple[StoredFragment, ...]:
        """The fragments of a split as they are stored, in split order."""
        index = self._index(self.split_descriptor(reference))
        return tuple(self._fragment(descriptor) for descriptor in index.manifests)

    def load(self, split: Split, fragment: str) -> bytes:
        """The ONNX file of a fragment, equal to the digest the split pins, and free of outside references.

        Raises:
            IntegrityError: Missing, damaged, or with external data or custom operators.
        """
        wanted = split.by_name[fragment].digest
        model = self.blobs.read_digest(wanted, oci.MAX_MODEL_BYTES)
        check_model(model, f"{split.reference}/{fragment} ({wanted})")
        return model

    def profiles(self, reference: str) -> tuple[Profile, ...]:
        """The profiles of a split's fragments: fragment by fragment in split order, the last attached first."""
        stored = {item.descriptor.digest: item.fragment.digest for item in self.fragments(reference)}
        by_fragment: dict[str, list[Profile]] = {subject: [] for subject in stored}
        for subject, record in self._records(oci.PROFILE_TYPE, Profile):
            if stored.get(subject) == record.digest:
                by_fragment[subject].insert(0, record)
        return tuple(record for records in by_fragment.values() for record in records)

    def evaluations(self, reference: str) -> tuple[Evaluation, ...]:
        """Every evaluation of a split, the one attached last first."""
        wanted = self.split_descriptor(reference).digest
        found = [record for subject, record in self._records(oci.EVALUATION_TYPE, Evaluation) if subject == wanted]
        return tuple(reversed(found))

    def evaluation(self, reference: str) -> Evaluation | None:
        """The evaluation attached last, if there is one."""
        return next(iter(self.evaluations(reference)), None)

    def measurements(self, reference: str) -> tuple[Descriptor, ...]:
        """The manifests of all that was measured of a split and its fragments, in the order it was attached."""
        split = self.split_descriptor(reference)
        subjects = {split.digest, *(item.descriptor.digest for item in self.fragments(reference))}
        entries = (entry for entry in self._layout_index().manifests if self._is_measurement(entry))
        return tuple(entry for entry in entries if self._record(entry)[0] in subjects)

    def verify(self) -> Verification:
        """Read everything the catalog leads to; collects what is wrong instead of stopping at the first."""
        problems: list[str] = []
        sizes: dict[str, int] = {}
        counts = {oci.INDEX_TYPE: 0, oci.MANIFEST_TYPE: 0}
        for entry in self._layout_index().manifests:
            try:
                if entry.mediaType not in counts:
                    raise IntegrityError(f"blob {entry.digest}: an entry of media type {entry.mediaType}")
                if entry.mediaType == oci.MANIFEST_TYPE and not self._is_measurement(entry):
                    continue  # somebody else's, who knows what of it has to be here
                counts[entry.mediaType] += 1
                sizes |= self._verify_split(entry) if entry.mediaType == oci.INDEX_TYPE else self._verify_record(entry)
            except SplitPlaceError as error:
                problems.append(str(error))
        return Verification(
            splits=counts[oci.INDEX_TYPE],
            records=counts[oci.MANIFEST_TYPE],
            blobs=len(sizes),
            size_bytes=sum(sizes.values()),
            problems=tuple(dict.fromkeys(problems)),
        )

    def _verify_split(self, entry: Descriptor) -> dict[str, int]:
        """Read all of a split; its blobs' bytes by digest."""
        split = self._split(entry, entry.annotations.get(oci.REF_NAME, ""))
        models = {fragment.digest: len(self.load(split, fragment.name)) for fragment in split.fragments}
        return models | self._sizes(self.reachable(entry) - set(models))

    def _verify_record(self, entry: Descriptor) -> dict[str, int]:
        self._record(entry)
        return self._sizes(self.reachable(entry))

    def _sizes(self, digests: set[str]) -> dict[str, int]:
        return {digest: len(self.blobs.read_digest(digest, oci.MAX_JSON_BYTES)) for digest in digests}

    def reachable(self, descriptor: Descriptor) -> set[str]:
        """The digests of a manifest or index and of all it leads to.

        Raises:
            IntegrityError: One of the documents on the way is missing or damaged: what lies below it cannot be known.
        """
        found = {descriptor.digest}
        if descriptor.mediaType == oci.INDEX_TYPE:
            for child in self._index(descriptor).manifests:
                found |= self.reachable(child) if child.mediaType == oci.MANIFEST_TYPE else {child.digest}
        elif descriptor.mediaType == oci.MANIFEST_TYPE:
            manifest = self._manifest(descriptor)
            found |= {part.digest for part in (manifest.config, *manifest.layers)}
        return found

    def _layout_index(self) -> Index:
        path = self.path / "index.json"
        try:
            return Index.parse(read_file(path, oci.MAX_JSON_BYTES, str(path)), str(path))
        except FileNotFoundError as error:
            raise IntegrityError(f"{path} is missing: the folder is no whole catalog") from error

    def _tags(self) -> dict[str, Descriptor]:
        entries = self._layout_index().manifests
        return {
            entry.annotations[oci.REF_NAME]: entry
            for entry in entries
            if entry.mediaType == oci.INDEX_TYPE and oci.REF_NAME in entry.annotations
        }

    def _index(self, descriptor: Descriptor) -> Index:
        return Index.parse(self.blobs.read(descriptor, oci.INDEX_TYPE), f"blob {descriptor.digest}")

    def _split(self, descriptor: Descriptor, reference: str) -> Split:
        source = f"blob {descriptor.digest}"
        index = self._index(descriptor)
        if oci.SPLIT not in index.annotations:
            raise IntegrityError(f"{source}: an image index without the annotation {oci.SPLIT}: no split")
        graph = SplitAnnotation.parse(index.annotations[oci.SPLIT], source)
        fragments = tuple(self._fragment(child).fragment for child in index.manifests)
        try:
            split = graph.split(fragments)
        except ValidationError as error:
            raise IntegrityError(f"{source}: not a split: {first_problem(error)}") from error
        if split.reference != reference:
            raise IntegrityError(f"{source}: tagged {reference!r}, but it is {split.reference!r}")
        return split

    def _fragment(self, descriptor: Descriptor) -> StoredFragment:
        source = f"blob {descriptor.digest}"
        manifest = Manifest.parse(self.blobs.read(descriptor, oci.MANIFEST_TYPE), source)
        model, stated = fragment_files(manifest, source)
        contract = self.blobs.read(stated, oci.CONTRACT_TYPE)
        fragment = _parse(Fragment, contract, f"blob {stated.digest}")
        if model.digest != fragment.digest:
            raise IntegrityError(f"{source}: holds the model {model.digest}, its contract is for {fragment.digest}")
        self._check_size(model)
        return StoredFragment(fragment, descriptor, manifest)

    def _check_size(self, descriptor: Descriptor) -> None:
        """Notice a missing or truncated model without reading it."""
        try:
            status = self.blobs.path(descriptor.digest).lstat()
        except FileNotFoundError as error:
            raise IntegrityError(f"blob {descriptor.digest} is missing") from error
        if stat.S_ISLNK(status.st_mode):
            raise IntegrityError(f"blob {descriptor.digest} is a link: expected a file inside the catalog")
        if status.st_size != descriptor.size:
            raise IntegrityError(f"blob {descriptor.digest}: got {status.st_size} bytes, {descriptor.size} were stated")

    def _records(self, artifact_type: str, kind: type[R]) -> Iterator[tuple[str, R]]:
        """The digest of the subject and the record, for every attached record of one kind, in index order."""
        for entry in self._layout_index().manifests:
            if self._is_measurement(entry):
                subject, record, found_type = self._record(entry)
                if found_type == artifact_type and isinstance(record, kind):
                    yield subject, record

    def _manifest(self, entry: Descriptor) -> Manifest:
        return Manifest.parse(self.blobs.read(entry, oci.MANIFEST_TYPE), f"blob {entry.digest}")

    def _is_measurement(self, entry: Descriptor) -> bool:
        """Whether it is one of ours, of any version: others may have attached what is theirs, a signature, say.

        Raises:
            IntegrityError: A manifest that is missing or damaged, so that nobody can tell.
        """
        if entry.mediaType != oci.MANIFEST_TYPE:
            return False
        data = self.blobs.read(entry, oci.MANIFEST_TYPE)
        return TypedManifest.parse(data, f"blob {entry.digest}").artifactType.startswith(oci.OWN)

    def _record(self, descriptor: Descriptor) -> tuple[str, Record, str]:
        source = f"blob {descriptor.digest}"
        manifest = self._manifest(descriptor)
        try:
            oci.check_record_type(manifest.artifactType, source)
        except ContractError as error:
            raise IntegrityError(str(error)) from error  # to `gc`, a record that nobody can read
        kinds: dict[str, type[Record]] = {oci.PROFILE_TYPE: Profile, oci.EVALUATION_TYPE: Evaluation}
        if manifest.artifactType not in kinds or manifest.subject is None or len(manifest.layers) != 1:
            raise IntegrityError(f"{source}: got an artifact {manifest.artifactType!r}, expected an attached record")
        layer = manifest.layers[0]
        record = _parse(kinds[manifest.artifactType], self.blobs.read(layer, manifest.artifactType), layer.digest)
        return manifest.subject.digest, record, manifest.artifactType


def fragment_files(manifest: Manifest, source: str) -> tuple[Descriptor, Descriptor]:
    """What a fragment's manifest leads to: its model, and its contract.

    Raises:
        IntegrityError: It is no fragment's manifest, or has layers besides, or by other names.
    """
    if manifest.artifactType != oci.MODEL_ARTIFACT_TYPE or manifest.config.mediaType != oci.MODEL_CONFIG_TYPE:
        raise IntegrityError(f"{source}: got an artifact {manifest.artifactType!r}, expected a fragment's manifest")
    files = {}
    for layer in manifest.layers:
        names = {layer.annotations.get(key) for key in (oci.FILEPATH, oci.TITLE)}
        expected = {oci.WEIGHT_TYPE: oci.MODEL_FILE, oci.CONTRACT_TYPE: oci.CONTRACT_FILE}.get(layer.mediaType)
        if names != {expected}:
            raise IntegrityError(f"{source}: a layer {layer.mediaType} named {names}, expected {expected}")
        files[expected] = layer
    if len(manifest.layers) != 2 or len(files) != 2:
        raise IntegrityError(f"{source}: expected exactly the layers {oci.MODEL_FILE} and {oci.CONTRACT_FILE}")
    return files[oci.MODEL_FILE], files[oci.CONTRACT_FILE]


def _parse(kind: type[R], data: bytes, source: str) -> R:
    try:
        return kind.parse(data, source)
    except IntegrityError:
        raise
    except SplitPlaceError as error:
        raise IntegrityError(str(error)) from error
