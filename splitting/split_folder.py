"""A SPLIT folder: split.json and one ONNX file a fragment; written whole or not at all, read against its digests."""

from pathlib import Path

from splitplace.catalog.blobs import read_file
from splitplace.catalog.oci import MAX_MODEL_BYTES
from splitplace.errors import SplitPlaceError, UsageError
from splitplace.files import replace_folder
from splitplace.records.base import MAX_DOCUMENT_BYTES
from splitplace.records.split import Split
from splitplace.splitting.artifact import SplitArtifact

SPLIT_FILE = "split.json"


def check_writable(folder: Path) -> None:
    """Refuse, before any work, a place where the result could not go.

    Raises:
        UsageError: Something is there that is no SPLIT folder.
    """
    if folder.exists() and not (folder / SPLIT_FILE).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there and is no SPLIT folder: give another --out, or remove it")


def write(artifact: SplitArtifact, folder: Path) -> None:
    """Write a split where nothing, an empty folder or an earlier split is.

    Raises:
        UsageError: Something else is there.
    """
    check_writable(folder)
    with replace_folder(folder) as fresh:
        for name, model in artifact.models.items():
            (fresh / f"{name}.onnx").write_bytes(model)
        (fresh / SPLIT_FILE).write_text(artifact.split.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_split(folder: Path) -> SplitArtifact:
    """The split of a folder; `SplitArtifact` holds every file against its digest.

    Raises:
        UsageError: No SPLIT folder.
        SplitPlaceError: split.json is no split, a file is missing, or cannot be read.
        IntegrityError: A file is a link, or not the one that split.json names.
    """
    try:
        text = read_file(folder / SPLIT_FILE, MAX_DOCUMENT_BYTES, str(folder / SPLIT_FILE))
        split = Split.parse(text, str(folder / SPLIT_FILE))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(f"{folder} holds no {SPLIT_FILE}: expected what `splitplace split --out` writes") from error
    models = {}
    for fragment in split.fragments:
        file = folder / f"{fragment.name}.onnx"
        try:
            models[fragment.name] = read_file(file, MAX_MODEL_BYTES, str(file))
        except OSError as error:
            raise SplitPlaceError(f"{file}: {error.strerror}; split.json names the fragment {fragment.name}") from error
    return SplitArtifact(split, models)
