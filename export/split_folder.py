"""Reads a SPLIT folder, what `splitplace split --out` writes: split.json and one ONNX file a fragment."""

from pathlib import Path

from splitplace.catalog.blobs import read_file
from splitplace.catalog.oci import MAX_MODEL_BYTES
from splitplace.errors import SplitPlaceError, UsageError
from splitplace.records.base import MAX_DOCUMENT_BYTES
from splitplace.records.split import Split
from splitplace.splitting.artifact import SplitArtifact

SPLIT_FILE = "split.json"


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
