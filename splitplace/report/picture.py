"""What pictures have in common: what a file of one may be called, asked before the work that it shows."""

from pathlib import Path

from splitplace.errors import UsageError
from splitplace.extras import needs
from splitplace.files import check_file
from splitplace.records.by_class import MAX_CONFUSED

FORMATS = (".png", ".svg", ".pdf")


def check_picture(path: Path, extra: str = "export", formats: tuple[str, ...] = FORMATS) -> None:
    """Refuse, before any work, a picture that could not be drawn.

    Args:
        path: The file.
        extra: Of those that bring matplotlib, the one that the work needs anyway.
        formats: Endings that it may have.

    Raises:
        UsageError: Another ending, or a place where no file can be written.
        MissingExtraError: matplotlib is not installed.
    """
    if path.suffix.lower() not in formats:
        which = f"one of {', '.join(formats)}" if len(formats) > 1 else formats[0]
        raise UsageError(f"--plot {path}: expected a name that ends in {which}")
    needs("--plot", extra, packages=("matplotlib",))
    check_file(path, "--plot")


def check_confused(classes: int, of: str) -> None:
    """Refuse a picture of what classes were taken for, where no record keeps that.

    Args:
        classes: How many there are.
        of: What has them.

    Raises:
        UsageError: There are too many.
    """
    if classes > MAX_CONFUSED:
        raise UsageError(f"--plot draws at most {MAX_CONFUSED} classes, {of} has {classes}: leave it out")
