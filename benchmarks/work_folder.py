"""Where a bench puts what it runs on: emptied of an earlier run's, and of nothing else."""

import shutil
from pathlib import Path

from splitplace.errors import UsageError


def fresh(work: Path, mark: str) -> Path:
    """A folder in the work folder, empty but for the file by which the next run knows it.

    Args:
        work: As it was asked for.
        mark: The file's name.

    Raises:
        UsageError: It holds something else.
    """
    folder = work / "run"
    if folder.exists() and not (folder / mark).is_file():
        raise UsageError(f"--work {work}: {folder} is no run of this bench: name another folder")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / mark).touch()
    return folder
