"""How a picture becomes a file."""

from pathlib import Path

from matplotlib.figure import Figure

from splitplace.files import replace_file


def save_figure(figure: Figure, path: Path) -> None:
    """Write a picture in the format its name ends in; an SVG without a date, so that the same picture is the same file.

    Raises:
        OSError: It cannot be written.
    """
    kind = path.suffix[1:].lower() or "png"
    about = {"Date": None} if kind == "svg" else None
    replace_file(path, lambda file: figure.savefig(file, format=kind, metadata=about))
