"""A SPLIT folder: split.json and one ONNX file a fragment; nothing else in it is touched; read against its digests."""

import tempfile
from pathlib import Path

from splitplace.catalog.blobs import read_file
from splitplace.catalog.oci import MAX_MODEL_BYTES
from splitplace.errors import IntegrityError, NotFoundError, SplitPlaceError, UsageError
from splitplace.files import SCRATCH, check_folder, is_scratch, replace_file, replace_folder
from splitplace.records.base import MAX_DOCUMENT_BYTES
from splitplace.records.split_document import SPLIT_FILE, SplitDocument
from splitplace.splitting.artifact import SplitArtifact


def check_writable(folder: Path, source: Path | None = None) -> None:
    """Refuse, before any work, a place where the result could not go.

    Args:
        folder: The SPLIT folder.
        source: What is cut, if that is a file.

    Raises:
        UsageError: Something is there that is no SPLIT folder, or no folder can be made there; or the result would
            take the place of its source.
    """
    check_folder(folder, "--out")
    if folder.exists() and not (folder / SPLIT_FILE).is_file() and _holds_something(folder):
        raise UsageError(f"{folder} is there and is no SPLIT folder: give another --out, or remove it")
    if (
        source is not None
        and source.is_file()
        and source.resolve() in [folder.resolve() / name for name in _files(folder)]
    ):
        raise UsageError(f"--out {folder}: {source.name} in it is what is to be cut: give another --out")


def write(artifact: SplitArtifact, folder: Path) -> None:
    """Write a split where nothing, an empty folder, a link to one or an earlier split is.

    Of an earlier split, its own files are replaced or removed and all others are left alone. split.json goes first:
    a write that was cut short leaves digests that do not match, which a reader refuses and the next write puts right.

    Raises:
        UsageError: Something else is there, or a file of a fragment's name that is no earlier split's.
        SplitPlaceError: The disk is full or not writable.
    """
    check_writable(folder)
    try:
        former = _files(folder)
        models = {f"{name}.onnx": model for name, model in artifact.models.items()}
        foreign = sorted(name for name in models if (folder / name).exists() and name not in former)
        if foreign:
            raise UsageError(f"{folder} holds {', '.join(foreign)}, which is no earlier split's: give another --out")
        text = SplitDocument(split=artifact.split).model_dump_json(indent=2) + "\n"
        files: dict[str, bytes | str] = {SPLIT_FILE: text, **models}
        if not folder.exists():
            with replace_folder(folder) as fresh:
                for name, content in files.items():
                    replace_file(fresh / name, content)
            return
        with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=folder) as scratch:
            for name, content in files.items():
                replace_file(Path(scratch) / name, content)
            for name in former - set(models):
                (folder / name).unlink(missing_ok=True)
            for name in [SPLIT_FILE, *models]:
                (Path(scratch) / name).replace(folder / name)
    except OSError as error:
        raise SplitPlaceError(f"--out {folder}: cannot be written: {error.strerror}") from error


def _holds_something(folder: Path) -> bool:
    return any(not is_scratch(entry.name) for entry in folder.iterdir())


def _files(folder: Path) -> set[str]:
    """The files of the fragments of the split that is there, none if no split is or nobody can tell which they are."""
    try:
        text = read_file(folder / SPLIT_FILE, MAX_DOCUMENT_BYTES, str(folder / SPLIT_FILE))
        return {f"{fragment.name}.onnx" for fragment in SplitDocument.parse(text, str(folder)).split.fragments}
    except (OSError, SplitPlaceError):
        return set()


def read_split(folder: Path) -> SplitArtifact:
    """The split of a folder; `SplitArtifact` holds every file against its digest.

    Raises:
        UsageError: No SPLIT folder.
        SplitPlaceError: split.json is no split, a file is missing, or cannot be read.
        IntegrityError: A file is a link, or not the one that split.json names.
    """
    try:
        text = read_file(folder / SPLIT_FILE, MAX_DOCUMENT_BYTES, str(folder / SPLIT_FILE))
        split = SplitDocument.parse(text, str(folder / SPLIT_FILE)).split
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFoundError(f"{folder} holds no {SPLIT_FILE}: expected what `splitplace split --out` writes") from error
    models = {}
    for fragment in split.fragments:
        file = folder / f"{fragment.name}.onnx"
        try:
            models[fragment.name] = read_file(file, MAX_MODEL_BYTES, str(file))
        except OSError as error:
            raise IntegrityError(f"{file}: {error.strerror}; split.json names the fragment {fragment.name}") from error
    return SplitArtifact(split, models)
