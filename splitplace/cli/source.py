"""What `splitplace split` cuts: a RUN folder, an .onnx file or a timm name, brought to ONNX bytes."""

import re
from dataclasses import dataclass
from pathlib import Path

from splitplace.cli.output import err
from splitplace.errors import SplitPlaceError, UsageError
from splitplace.inference.executor import Array


@dataclass(frozen=True)
class Source:
    """A whole model, what to call it, and real images of its task if there are any."""

    onnx: bytes
    application: str
    model: str
    weights: str
    images: Array | None = None


def open_source(text: str, random_weights: bool, size: int | None, seed: int) -> Source:
    """Open the SOURCE argument, whichever of the three it is.

    Raises:
        UsageError: It is none of them.
        SplitPlaceError: It cannot be read, or its weights cannot be reached.
    """
    path = Path(text)
    if path.is_dir():
        return _run(path)
    if path.is_file() or path.suffix == ".onnx":
        from splitplace.splitting.layerwise.model import read

        # A name that is safe in catalog references, whatever the file is called.
        name = re.sub(r"[^A-Za-z0-9_-]+", "-", path.stem).strip("-") or "model"
        return Source(read(path), "custom", name, str(path.absolute()))
    try:
        from splitplace.export.convert.from_timm import from_timm
    except ImportError as error:
        raise UsageError(
            f"no file or folder {text}; a timm name needs `pip install splitplace[train,export]` ({error})"
        ) from error
    with err.status(f"exporting {text}"):
        found = from_timm(text, size, random_weights, seed)
    return Source(found.onnx, "custom", re.sub(r"[^A-Za-z0-9_-]+", "-", text), found.weights)


def _run(path: Path) -> Source:
    from splitplace.export.convert.onnx_export import to_onnx
    from splitplace.training.data.applications import fetch
    from splitplace.training.run import Run

    with err.status(f"exporting {path}"):
        artifact = to_onnx(Run.open(path).load())
    split = artifact.split
    if len(split.fragments) > 1:
        raise UsageError(
            f"{path} holds the {split.strategy} split {split.reference}: only a whole model can be cut by layer"
        )
    images = None
    try:
        images = fetch(split.application).x_test_NCHW[:64]
    except SplitPlaceError as error:
        err.print(f"no real images to check with, seeded noise instead: {error}", soft_wrap=True)
    return Source(
        artifact.models[split.fragments[0].name], split.application, split.model, str(path.absolute()), images
    )
