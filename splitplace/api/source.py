"""What `split` cuts: a RUN, a whole model of a catalog, an .onnx file, ONNX bytes or a timm name, as ONNX bytes."""

import logging
import re
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from splitplace.api.checked import is_made_by
from splitplace.catalog.location import open_split, parse_location
from splitplace.errors import ContractError, NotFoundError, SplitPlaceError, UsageError
from splitplace.extras import needs
from splitplace.inference.executor import Array
from splitplace.progress import Progress
from splitplace.records.preprocessing import Preprocessing
from splitplace.records.split import Split

if TYPE_CHECKING:
    from splitplace.splitting.layerwise.detached import Model
    from splitplace.training.run import Run

_log = logging.getLogger(__name__)

MAX_NAME = 64
"""Letters of a model's name that are kept."""

IMAGES = 64
"""Held-out images of a run's application that a split of it is checked with."""
_OWN_CLASS = re.compile(r"[\w.]+:[A-Za-z_]\w*")
"""As `package.module:Class`."""


@dataclass(frozen=True)
class Source:
    """A whole model, what to call it, and real images of its task if there are any, or why a run's are not there."""

    onnx: "Model"
    application: str
    model: str
    weights: str
    images: Array | None = None
    no_images: str = ""
    class_names: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None


def open_source(
    source: "str | Path | bytes | Run", random_weights: bool, size: int | None, seed: int, progress: Progress
) -> Source:
    """Open the source of a split, whichever it is.

    Raises:
        MissingExtraError: A timm name or a RUN, and the extras `train` and `export` are not both installed.
        UsageError: It is none of them.
        SplitPlaceError: It cannot be read, or its weights cannot be reached.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        from splitplace.splitting.layerwise.model import given

        _refuse_unused("the model", random_weights, size)
        return Source(given(bytes(source)), "custom", "model", "as given")
    if not isinstance(source, str | Path):
        if not is_made_by(source, "splitplace.training.run", "Run"):
            raise UsageError(_no_source(source))
        _refuse_unused(source.path, random_weights, size)
        return _run(source, progress)
    path = Path(source)
    folder, _ = parse_location(str(source))
    if (folder / "oci-layout").is_file():
        _refuse_unused(source, random_weights, size)
        catalog, reference = open_split(str(source))
        split = catalog.split(reference)
        return _whole(split, lambda name: catalog.load(split, name), f"{folder.absolute()}:{reference}")
    if path.is_dir():
        _refuse_unused(path, random_weights, size)
        needs("cutting a RUN", "train", "export")
        from splitplace.training.run import Run

        return _run(Run.open(path), progress)
    if path.is_file() or path.suffix == ".onnx":
        from splitplace.splitting.layerwise.model import read

        # A name that is safe in catalog references, whatever the file is called.
        _refuse_unused(path, random_weights, size)
        return Source(read(path), "custom", _name(path.stem) or "model", str(path.absolute()))
    if _OWN_CLASS.fullmatch(str(source)):
        raise UsageError(
            f"{source}: a network of your own is cut by the RUN folder that `splitplace train APP --model {source}` "
            "leaves, or as an .onnx file"
        )
    needs(f"{source} is no file or folder here; a timm name", "train", "export")
    from splitplace.export.convert.from_timm import from_timm
    from splitplace.splitting.networks import plain_name

    progress(f"exporting {source}", 0.0)
    found = from_timm(str(source), size, random_weights, seed)
    if random_weights:
        _log.warning("%s: weights are %s; costs and cuts are real, answers are not", source, found.weights)
    name = _name(plain_name(str(source)))
    return Source(
        found.onnx,
        "custom",
        name,
        found.weights,
        class_names=found.class_names,
        preprocessing=found.preprocessing,
    )


def _no_source(given: object) -> str:
    """What is said of something else than a source."""
    message = " (of a ModelProto its SerializeToString())" if hasattr(given, "SerializeToString") else ""
    return (
        f"source of {type(given).__name__}: expected a run or its folder, CATALOG:REF of a whole model, an .onnx file "
        f"or its bytes{message}, or a timm name"
    )


def read_names(source: str | Path | Sequence[str]) -> tuple[str, ...]:
    """What classes are called: as given, or from a text file of one a line.

    Raises:
        NotFoundError: No such file.
        ContractError: Not text.
        UsageError: Names without the order of the logits.
    """
    if isinstance(source, Set | Mapping):
        kind = type(source).__name__
        raise UsageError(f"class names in a {kind}, whose order says nothing: expected a list in the order of logits")
    if not isinstance(source, str | Path):
        return tuple(source)
    try:
        lines = Path(source).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ContractError(f"{source}: not text: expected one class a line, UTF-8") from error
    except OSError as error:
        raise NotFoundError(f"{source}: {error.strerror}: expected a text file of one class a line") from error
    return tuple(line.strip() for line in lines if line.strip())


def _refuse_unused(source: str | Path, random_weights: bool, size: int | None) -> None:
    """All but a timm name has weights and an image size of its own."""
    given = [option for option, used in (("--random-weights", random_weights), ("--size", size is not None)) if used]
    if given:
        raise UsageError(f"{' and '.join(given)}: for a timm name only, {source} has its own")


def _name(text: str) -> str:
    """One that every record takes: safe in references, not too long, beginning with a letter or number."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-_")[:MAX_NAME].strip("-_")


def _run(run: "Run", progress: Progress) -> Source:
    from splitplace.export.convert.onnx_export import to_onnx
    from splitplace.training.data.applications import APPLICATIONS, fetch

    progress(f"exporting {run.path}", 0.0)
    artifact = to_onnx(run.load())
    source = _whole(artifact.split, artifact.models.__getitem__, str(run.path))
    try:
        if source.application not in APPLICATIONS:
            raise NotFoundError(
                f"{source.application} is of your own images, and a RUN keeps none: give some as --images, as --path "
                "had them in training"
            )
        return replace(source, images=fetch(source.application).x_test_NCHW[:IMAGES])
    except SplitPlaceError as error:
        return replace(source, no_images=str(error))


def _whole(split: Split, load: Callable[[str], bytes], where: str) -> Source:
    if len(split.fragments) > 1:
        raise UsageError(
            f"{where} holds the {split.strategy} split {split.reference}: only a whole model can be cut by layer"
        )
    model = load(split.fragments[0].name)
    names, reading = split.class_names, split.preprocessing
    return Source(model, split.application, _model(split), where, class_names=names, preprocessing=reading)


def _model(split: Split) -> str:
    """What a whole model is called in the references of its layer splits: another name for each that answers unlike.

    Of plain `full`, and of `layer-1`, which is the same network, MODEL; else MODEL-compressed-50, MODEL-int8.
    """
    kind = split.reference.removeprefix(f"{split.application}.{split.model}.")
    plain = "layer-1" if split.strategy == "layer" else "full"
    told = kind.removeprefix(plain).strip("-")
    return f"{split.model[: MAX_NAME - len(told) - 1].rstrip('-_')}-{told}" if told else split.model
