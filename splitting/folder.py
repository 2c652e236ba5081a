"""Writes a SPLIT folder: split.json and one ONNX file a fragment, all there or nothing."""

import shutil
import tempfile
from pathlib import Path

from splitplace.errors import UsageError
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
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        fresh, former = Path(scratch) / "new", Path(scratch) / "old"
        fresh.mkdir()
        for name, model in artifact.models.items():
            (fresh / f"{name}.onnx").write_bytes(model)
        (fresh / SPLIT_FILE).write_text(artifact.split.model_dump_json(indent=2) + "\n", encoding="utf-8")
        if folder.exists():
            folder.rename(former)
        try:
            fresh.rename(folder)
        except OSError:
            if former.exists():
                shutil.move(former, folder)
            raise
