"""Writes splits and their measurements into a catalog: atomic, deterministic, safe for two writers at once.

Order of a write: every blob under a temporary name, flushed, renamed to its digest; then `index.json` the same way.
What index.json leads to is therefore always whole, and a writer killed anywhere leaves the old list or the new one,
at worst with blobs that nothing leads to (`gc` removes them); one that is refused takes its own away. Writers take
turns by a lock on the file `.lock`, which the kernel releases when a process dies.
"""

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from splitplace.catalog import oci
from splitplace.catalog.oci import Descriptor, Index, SplitAnnotation
from splitplace.catalog.onnxfile import check_model
from splitplace.catalog.reader import Catalog
from splitplace.errors import ContractError, IntegrityError, SplitPlaceError, UsageError
from splitplace.files import SCRATCH, check_folder, replace_file
from splitplace.records.base import Record
from splitplace.records.evaluation import Evaluation
from splitplace.records.fragment import Fragment
from splitplace.records.profile import Profile
from splitplace.records.split import Split
from splitplace.splitting.artifact import SplitArtifact


class CatalogWriter(Catalog):
    """A catalog that can be written to; created if the folder is absent or empty.

    Raises:
        UsageError: The folder holds something else.
        SplitPlaceError: It cannot be created (no permission, disk full).
    """

    def __init__(self, path: Path):
        path = Path(path)
        if not (path / "oci-layout").exists():
            _create(path)
        super().__init__(path)
        self._added: list[Path] = []

    def write(self, artifact: SplitArtifact) -> str:
        """Store a split under its reference, in place of whatever was there.

        Returns:
            The digest of the split's image index: the same artifact always gives the same one.

        Raises:
            IntegrityError: A model leans on files or operators outside itself.
            SplitPlaceError: The disk is full or not writable; the catalog is as it was.
        """
        split = artifact.split
        for fragment in split.fragments:
            check_model(artifact.models[fragment.name], f"{split.reference}/{fragment.name}")
        with self._writing():
            manifests = [
                self._put_fragment(split, fragment, artifact.models[fragment.name]) for fragment in split.fragments
            ]
            graph = SplitAnnotation.of(split)
            entry = self._put_json(
                oci.INDEX_TYPE,
                {
                    "schemaVersion": 2,
                    "mediaType": oci.INDEX_TYPE,
                    "manifests": manifests,
                    "annotations": {oci.TITLE: split.reference, oci.SPLIT: _canonical(graph.model_dump(mode="json"))},
                },
            )
            entry["annotations"] = {oci.REF_NAME: split.reference}
            self._replace_entry(lambda other: other.annotations.get(oci.REF_NAME) == split.reference, entry)
        return str(entry["digest"])

    def attach(self, reference: str, record: Profile | Evaluation) -> None:
        """Store a measurement beside a split, as a referrer whose `subject` it is; no digest of the split changes.

        A profile belongs to the fragment it names, an evaluation to the split. It takes the place of an earlier one of
        the same fragment on the same kind of device (or of the same split on the same data).

        Raises:
            UsageError: No such split.
            SplitPlaceError: The profile is of another model than the catalog's; or the disk is full or not writable.
        """
        with self._writing():
            subject = self._subject(reference, record)
            artifact_type = oci.PROFILE_TYPE if isinstance(record, Profile) else oci.EVALUATION_TYPE
            entry = self._put_json(
                oci.MANIFEST_TYPE,
                {
                    "schemaVersion": 2,
                    "mediaType": oci.MANIFEST_TYPE,
                    "artifactType": artifact_type,
                    "config": self._put(oci.EMPTY_TYPE, b"{}"),
                    "layers": [self._put(artifact_type, _canonical(record.model_dump(mode="json")).encode())],
                    "subject": {"mediaType": subject.mediaType, "digest": subject.digest, "size": subject.size},
                },
            )
            entry["artifactType"] = artifact_type
            self._replace_entry(lambda other: self._same_measurement(other, subject, record), entry)

    def check_writable(self) -> None:
        """Refuse at once what `attach` would refuse after an hour of measuring.

        Raises:
            SplitPlaceError: The disk is full or not writable.
        """
        with self._writing(), tempfile.NamedTemporaryFile(prefix=SCRATCH, dir=self.path) as file:
            file.write(b"x")
            file.flush()

    def gc(self) -> tuple[int, int]:
        """Remove records whose subject is gone or that are damaged, then blobs and temporary files nothing leads to.

        Returns:
            How many files were removed, and their bytes.

        Raises:
            IntegrityError: A split's document is damaged, so that nobody can tell what it needs; nothing is removed.
        """
        with self._writing():
            index = self._layout_index()
            splits = [entry for entry in index.manifests if entry.mediaType == oci.INDEX_TYPE]
            needed = {digest for entry in splits for digest in self.reachable(entry)}
            records = [
                entry
                for entry in index.manifests
                if entry.mediaType == oci.MANIFEST_TYPE and self._alive(entry, needed)
            ]
            kept = [entry for entry in index.manifests if entry in splits or entry in records]
            if len(kept) < len(index.manifests):
                self._write_index(self._entries(kept))
            needed |= {digest for entry in records for digest in self.reachable(entry)}
            useless = [self.blobs.path(digest) for digest in self.blobs.digests() if digest not in needed]
            useless += list(self.path.glob(SCRATCH + "*"))
            size_bytes = sum(path.lstat().st_size for path in useless)
            for path in useless:
                path.unlink()
        return len(useless), size_bytes

    def _alive(self, entry: Descriptor, needed: set[str]) -> bool:
        """Whether a record can be read and its subject is still there."""
        try:
            return self._record(entry)[0] in needed
        except IntegrityError:
            return False  # what was measured can be measured again; a record nobody can read is in everybody's way

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One writer at a time; whatever the system refuses becomes one clear line, and what failed leaves no blob."""
        try:
            with (self.path / ".lock").open("ab") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                before, self._added = self._list_bytes(), []
                try:
                    yield
                except BaseException:
                    if self._list_bytes() == before:  # else they may be those of a list that is there already
                        for path in self._added:
                            path.unlink(missing_ok=True)
                    raise
        except OSError as error:
            raise SplitPlaceError(
                f"cannot write to the catalog {self.path}: {error.strerror}; it is as it was before"
            ) from error

    def _list_bytes(self) -> bytes:
        return (self.path / "index.json").read_bytes()

    def _put(self, media_type: str, data: bytes) -> dict[str, Any]:
        """Store a blob, once, and describe it."""
        digest = oci.digest(data)
        path = self.blobs.path(digest)
        if not path.is_file() or path.is_symlink() or path.stat().st_size != len(data) or path.read_bytes() != data:
            if not os.path.lexists(path):
                self._added.append(path)
            replace_file(path, data, self.path)
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def _put_json(self, media_type: str, document: Mapping[str, Any]) -> dict[str, Any]:
        return self._put(media_type, _canonical(document).encode())

    def _put_fragment(self, split: Split, fragment: Fragment, model: bytes) -> dict[str, Any]:
        contract = _canonical(fragment.model_dump(mode="json")).encode()
        layers = [
            self._put(oci.WEIGHT_TYPE, model) | {"annotations": _file(oci.MODEL_FILE)},
            self._put(oci.CONTRACT_TYPE, contract) | {"annotations": _file(oci.CONTRACT_FILE)},
        ]
        config = {
            "descriptor": {"family": split.model, "name": f"{split.reference}.{fragment.name}"},
            "config": {"architecture": "cnn", "format": "onnx", "paramSize": _param_size(fragment.params)},
            "modelfs": {"type": "layers", "diffIds": [layer["digest"] for layer in layers]},
        }
        entry = self._put_json(
            oci.MANIFEST_TYPE,
            {
                "schemaVersion": 2,
                "mediaType": oci.MANIFEST_TYPE,
                "artifactType": oci.MODEL_ARTIFACT_TYPE,
                "config": self._put_json(oci.MODEL_CONFIG_TYPE, config),
                "layers": layers,
            },
        )
        return entry | {"annotations": {oci.TITLE: fragment.name}}

    def _subject(self, reference: str, record: Profile | Evaluation) -> Descriptor:
        if isinstance(record, Evaluation):
            return self.split_descriptor(reference)
        for item in self.fragments(reference):
            if (item.fragment.name, item.fragment.digest) == (record.fragment, record.digest):
                return item.descriptor
        raise ContractError(f"{reference} holds no fragment {record.fragment} with the model {record.digest}")

    def _same_measurement(self, entry: Descriptor, subject: Descriptor, record: Record) -> bool:
        if entry.mediaType != oci.MANIFEST_TYPE:
            return False
        other_subject, other, _ = self._record(entry)
        if other_subject != subject.digest or type(other) is not type(record):
            return False
        if isinstance(record, Profile) and isinstance(other, Profile):
            return other.device == record.device
        assert isinstance(record, Evaluation) and isinstance(other, Evaluation)
        return (other.dataset, other.sha256) == (record.dataset, record.sha256)

    def _replace_entry(self, is_old: Any, entry: Mapping[str, Any]) -> None:
        kept = [other for other in self._layout_index().manifests if not is_old(other)]
        self._write_index([*self._entries(kept), dict(entry)])

    def _entries(self, kept: list[Descriptor]) -> list[dict[str, Any]]:
        """The entries of index.json as they stand, foreign fields included, of those that are kept."""
        wanted = [(entry.digest, entry.annotations) for entry in kept]
        raw = json.loads(self._list_bytes())["manifests"]
        return [entry for entry in raw if (entry["digest"], entry.get("annotations", {})) in wanted]

    def _write_index(self, entries: list[dict[str, Any]]) -> None:
        document = {"schemaVersion": 2, "mediaType": oci.INDEX_TYPE, "manifests": entries}
        data = _canonical(document).encode()
        # A list we could not read again must not replace one we can.
        if len(data) > oci.MAX_JSON_BYTES:
            raise SplitPlaceError(f"{self.path}: {len(entries)} entries are too many for one catalog: start another")
        Index.parse(data, "the new index.json")
        replace_file(self.path / "index.json", data, self.path)


def check_catalog(path: Path) -> None:
    """Refuse, before any work, a place where no catalog is or can be made.

    Raises:
        UsageError: The folder holds something else, or nothing can be written there.
    """
    check_folder(path, "--catalog")
    if (path / "oci-layout").exists():
        Catalog(path)
    elif path.is_dir():
        _check_empty(path)


def _check_empty(path: Path) -> None:
    foreign = [entry.name for entry in path.iterdir() if not entry.name.startswith((SCRATCH, ".lock"))]
    if set(foreign) - {"blobs", "index.json", "oci-layout"}:  # another writer may be at it this very moment
        raise UsageError(f"{path} is no catalog and not empty: give a new folder, or one that `export` made")


def _create(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
        _check_empty(path)
        with (path / ".lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if (path / "oci-layout").exists():
                return  # another writer was faster
            (path / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
            empty = {"schemaVersion": 2, "mediaType": oci.INDEX_TYPE, "manifests": []}
            if not (path / "index.json").exists():  # a list that is there is whole, and may lead to something
                replace_file(path / "index.json", _canonical(empty), path)
            # Last, because its presence says that the rest is there.
            replace_file(path / "oci-layout", '{"imageLayoutVersion":"1.0.0"}', path)
    except OSError as error:
        raise SplitPlaceError(f"cannot create the catalog {path}: {error.strerror}") from error


def _canonical(document: Mapping[str, Any]) -> str:
    """JSON with one form only, so that one content has one digest."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _file(name: str) -> dict[str, str]:
    return {oci.FILEPATH: name, oci.TITLE: name}


def _param_size(params: int) -> str:
    """The spec's `<count><scale-prefix>`: at most one digit after the point, thousands at least."""
    for scale, prefix in ((10**9, "B"), (10**6, "M")):
        if params >= scale:
            return f"{params / scale:.1f}{prefix}"
    return f"{params / 1000:.1f}K"
