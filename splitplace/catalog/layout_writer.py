"""Writes an OCI image layout: atomic, deterministic, safe for two writers at once.

Order of a write: every blob under a temporary name, flushed, renamed to its digest; then `index.json` the same way.
What index.json leads to is therefore always whole, and a writer killed anywhere leaves the old list or the new one,
at worst with blobs that nothing leads to (`gc` removes them); one that is refused takes its own away. Writers take
turns by a lock on the file `.lock`, which the kernel releases when a process dies. Who brings blobs from elsewhere,
for minutes maybe, holds a shared lock on the folder of blobs meanwhile (`filling`): only `gc` waits for that.
"""

import fcntl
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from splitplace.catalog import oci
from splitplace.catalog.oci import Descriptor, Index
from splitplace.catalog.reader import Catalog
from splitplace.errors import IntegrityError, SplitPlaceError, UsageError
from splitplace.files import SCRATCH, check_folder, replace_file
from splitplace.records.base import Record
from splitplace.records.evaluation import Evaluation
from splitplace.records.profile import Profile


class LayoutWriter(Catalog):
    """An image layout that can be written to; created if the folder is absent or empty.

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

    def adopt(self, index: bytes, manifests: Sequence[bytes], records: Sequence[bytes]) -> str:
        """List a split that comes from elsewhere, when all blobs that its manifests lead to are here.

        What is measured here already stays, unless what comes was measured later.

        Args:
            index: The split's.
            manifests: Of its fragments.
            records: Manifests of what was measured of it.

        Returns:
            The split's reference.

        Raises:
            IntegrityError: They are no split, or not what was measured of it; the catalog is as it was.
        """
        with self._writing():
            entry = self._put(oci.INDEX_TYPE, index)
            known = {str(entry["digest"]), *(self._put(oci.MANIFEST_TYPE, data)["digest"] for data in manifests)}
            descriptor = Descriptor.model_validate(entry)
            reference = self._index(descriptor).annotations.get(oci.TITLE, "")
            self._split(descriptor, reference)
            entry["annotations"] = {oci.REF_NAME: reference}
            kept = [
                other for other in self._layout_index().manifests if other.annotations.get(oci.REF_NAME) != reference
            ]
            came: list[tuple[dict[str, Any], str, Record]] = []
            for data in records:
                new = self._put(oci.MANIFEST_TYPE, data)
                subject, record, new["artifactType"] = self._record(Descriptor.model_validate(new))
                if subject not in known:
                    raise IntegrityError(
                        f"blob {new['digest']}: measured of {subject}, which {reference} does not hold"
                    )
                came.append((new, subject, record))
            came.sort(key=lambda item: (self._order(Descriptor.model_validate(item[0]), item[2]), item[0]["digest"]))
            added: list[tuple[dict[str, Any], str, Record]] = []
            for new, subject, record in came:
                old = [other for other in kept if self._same_measurement(other, subject, record)]
                order = self._order(Descriptor.model_validate(new), record)
                if all(self._order(other, self._record(other)[1]) < order for other in old):
                    kept = [other for other in kept if other not in old]
                    added = [item for item in added if not _is_same(item[1:], (subject, record))]
                    added.append((new, subject, record))
            self._write_index([*self._entries(kept), entry, *(new for new, _, _ in added)])
        return reference

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

        What others have listed here (an image, a signature) stays, with all blobs that it mentions.

        Returns:
            How many files were removed, and their bytes.

        Raises:
            IntegrityError: A split's document is damaged, so that nobody can tell what it needs; nothing is removed.
        """
        with _locked(self.blobs.folder, fcntl.LOCK_EX), self._writing():
            index = self._layout_index()
            splits = [entry for entry in index.manifests if entry.mediaType == oci.INDEX_TYPE]
            needed = {digest for entry in splits for digest in self.reachable(entry)}
            kept = [entry for entry in index.manifests if entry in splits or self._alive(entry, needed)]
            if len(kept) < len(index.manifests):
                self._write_index(self._entries(kept))
            needed |= {digest for entry in kept for digest in self.blobs.mentioned(entry.digest)}
            useless = [self.blobs.path(digest) for digest in self.blobs.digests() if digest not in needed]
            useless += list(self.path.glob(SCRATCH + "*"))
            size_bytes = sum(path.lstat().st_size for path in useless)
            for path in useless:
                path.unlink()
        return len(useless), size_bytes

    def _alive(self, entry: Descriptor, needed: set[str]) -> bool:
        """Whether it is a record that can be read, of a subject that is still there; or none of ours."""
        try:
            ours = self._is_measurement(entry)
            return not ours or self._record(entry)[0] in needed
        except IntegrityError:
            return False  # what was measured can be measured again; a record nobody can read is in everybody's way

    @contextmanager
    def filling(self) -> Iterator[None]:
        """While blobs come in that nothing leads to yet, `gc` leaves them alone."""
        with _locked(self.blobs.folder, fcntl.LOCK_SH):
            yield

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
        return self._put(media_type, canonical(document).encode())

    def _same_measurement(self, entry: Descriptor, subject: str, record: Record) -> bool:
        return self._is_measurement(entry) and _is_same(self._record(entry)[:2], (subject, record))

    def _order(self, entry: Descriptor, record: Record) -> tuple[str, int]:
        """Which of two of the same measurement is the later: by the time of a profile, an evaluation's revision."""
        if isinstance(record, Profile):
            return record.provenance.created, 0
        return "", self._manifest(entry).revision

    def _replace_entry(self, is_old: Callable[[Descriptor], bool], entry: Mapping[str, Any]) -> None:
        kept = [other for other in self._layout_index().manifests if not is_old(other)]
        self._write_index([*self._entries(kept), dict(entry)])

    def _entries(self, kept: list[Descriptor]) -> list[dict[str, Any]]:
        """The entries of index.json as they stand, foreign fields included, of those that are kept."""
        wanted = [(entry.digest, entry.annotations) for entry in kept]
        raw = json.loads(self._list_bytes())["manifests"]
        return [entry for entry in raw if (entry["digest"], entry.get("annotations", {})) in wanted]

    def _write_index(self, entries: list[dict[str, Any]]) -> None:
        document = {"schemaVersion": 2, "mediaType": oci.INDEX_TYPE, "manifests": entries}
        data = canonical(document).encode()
        # A list we could not read again must not replace one we can.
        if len(data) > oci.MAX_JSON_BYTES:
            raise SplitPlaceError(f"{self.path}: {len(entries)} entries are too many for one catalog: start another")
        Index.parse(data, "the new index.json")
        replace_file(self.path / "index.json", data, self.path)


def check_catalog(path: Path, option: str = "--catalog") -> None:
    """Refuse, before any work, a place where no layout is or can be made.

    Args:
        path: Of the layout.
        option: Who asks for it.

    Raises:
        UsageError: The folder holds something else, or nothing can be written there.
    """
    check_folder(path, option)
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
                replace_file(path / "index.json", canonical(empty), path)
            # Last, because its presence says that the rest is there.
            replace_file(path / "oci-layout", '{"imageLayoutVersion":"1.0.0"}', path)
    except OSError as error:
        raise SplitPlaceError(f"cannot create the catalog {path}: {error.strerror}") from error


def _is_same(one: tuple[str, Record], other: tuple[str, Record]) -> bool:
    """Whether one measurement takes the other's place: of the same subject, on the same device or data."""
    (subject, record), (other_subject, other_record) = one, other
    if subject != other_subject or type(record) is not type(other_record):
        return False
    if isinstance(record, Profile) and isinstance(other_record, Profile):
        return record.device == other_record.device
    assert isinstance(record, Evaluation) and isinstance(other_record, Evaluation)
    return (record.dataset, record.sha256) == (other_record.dataset, other_record.sha256)


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    """A folder's own lock, which the kernel releases when a process dies."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, how)
        yield
    finally:
        os.close(handle)


def canonical(document: Mapping[str, Any]) -> str:
    """JSON with one form only, so that one content has one digest."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
