"""`evaluate`: the accuracy of a split on held-out images, through onnxruntime, kept in the catalog."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from splitplace.api.checked import checked, is_made_by
from splitplace.catalog.location import open_split
from splitplace.errors import UsageError, explained, some
from splitplace.extras import needs
from splitplace.inference.executor import Array, check_counts
from splitplace.inference.inputs import (
    as_paths,
    image_rule,
    named_inputs,
    read_array,
    read_arrays,
    warn_of_guess,
)
from splitplace.progress import Progress, silent
from splitplace.records.evaluation import Evaluation
from splitplace.records.split import Split
from splitplace.report.picture import check_confused, check_picture

if TYPE_CHECKING:
    from splitplace.training.data.dataset import Dataset

_log = logging.getLogger(__name__)


@explained()
@checked("micro_batch", "threads")
def evaluate(
    location: str | Path,
    *,
    images: str | Path | Array | Mapping[str, Array] | None = None,
    labels: str | Path | Array | Sequence[int] | None = None,
    data: "Dataset | None" = None,
    path: str | Path | None = None,
    unseen: bool = False,
    skip_corrupt: bool = False,
    micro_batch: int = 256,
    threads: int = 1,
    plot: str | Path | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Measure a split's accuracy, whole and with each branch missing, and keep it in the catalog.

    Args:
        location: CATALOG:REF; REF may be left out where the catalog holds one split.
        images: Held-out inputs of the dtype that the split takes (.npy of (n, ...), .npz or NAME=FILE of several
            inputs); by default the application's real ones, which needs the extra train. From Python, also an array, or
            several by name.
        labels: Their classes (.npy of whole numbers (n,)), with `images`. From Python, also the numbers.
        data: A data set whose held-out part to take, in place of the two.
        path: Your own images, as `train` took them and read as it read them: what it held out is measured on.
        unseen: Measure on all images of `path`, of which none was trained on: those that you took since.
        skip_corrupt: Leave out your own images that cannot be read, as in training.
        micro_batch: Images at once.
        threads: onnxruntime threads.
        plot: Draw which classes the images were taken for (.png, .svg or .pdf).
        progress: Told how far it is.

    Returns:
        Top-1 accuracy, 0 to 1, of the whole, of every set of leaves that may be missing, and of each class; and how
        many images of each class were taken for which.

    Raises:
        MissingExtraError: Neither images nor data, and the extra `train` is not installed; or `plot` without
            matplotlib.
        UsageError: No such catalog or split, images without labels, images given twice, or a picture of too many
            classes.
        ContractError: Images of a class that the split does not have.
        SplitPlaceError: No images, labels outside the classes, or a catalog that cannot be written to.
    """
    from splitplace.export.catalog_writer import CatalogWriter
    from splitplace.export.measure.evaluation import as_numbered, data_sha256
    from splitplace.export.measure.evaluation import evaluate as measure

    check_counts(micro_batch, threads)
    if plot is not None:
        check_picture(Path(plot))
    source, reference = open_split(location)
    catalog = CatalogWriter(source.path)
    split = catalog.split(reference)
    if plot is not None:
        check_confused(split.n_classes, reference)
    if data is not None and not is_made_by(data, "splitplace.training.data.dataset", "Dataset"):
        raise UsageError(f"data of {type(data).__name__}: expected what `fetch` gives")
    if (images is None) != (labels is None):
        raise UsageError("--images and --labels belong together: give both, or none for the application's own")
    if sum(given is not None for given in (images, data, path)) > 1:
        raise UsageError("--images and --path (or data) each say what to measure on: give one of them")
    if skip_corrupt and path is None:
        raise UsageError("--skip-corrupt is for your own images that are still to be read (--path)")
    if unseen and path is None:
        raise UsageError("--unseen is for your own images (--path), of which training has seen none")
    if images is None and data is None:
        needs("the application's own images (or give --images)", "train")
    catalog.check_writable()
    if isinstance(images, str | Path) and Path(images).is_dir():
        raise UsageError(
            f"--images {images} is a folder: of class folders or Parquet give it as --path, without labels"
        )
    if images is not None and labels is not None:
        given = images if isinstance(images, np.ndarray | Mapping) else read_arrays(_file("images", images))
        y = read_array(Path(labels)) if isinstance(labels, str | Path) else _numbers(labels)
        x = named_inputs(split.inputs, given, reference)
        if y.ndim != 1 or y.dtype.kind not in "iu":
            where = labels if isinstance(labels, str | Path) else "labels"
            raise UsageError(f"{where}: got {y.dtype}{list(y.shape)}, expected whole numbers of shape (n,)")
        origin = str(Path(images).absolute()) if isinstance(images, str | Path) else "arrays"
        sha256 = data_sha256(given, y)
    else:
        from splitplace.training.data.applications import APPLICATIONS, fetch
        from splitplace.training.data.own import load_own

        if data is None:
            rule = None if split.preprocessing is None else split.preprocessing.before
            own = None if path is None else Path(path)
            if own is not None and not _takes_pixels(split):
                image_rule(split)  # before all of them are read
            elif own is not None and rule is None and split.inputs[0].shape[1] in (1, 3):
                rule = image_rule(split)
                warn_of_guess(split, rule)
            if own is not None and unseen:
                data = load_own(own, split.application, rule=rule, skip_corrupt=skip_corrupt, unseen=True)
            else:
                data = fetch(split.application, path=own, rule=rule, skip_corrupt=skip_corrupt)
            if own is not None and not unseen and split.application not in APPLICATIONS:
                n = len(data.y_test_N)
                _log.warning(
                    "measured on %d of %d images, those held out: if none was trained on, --unseen takes all",
                    *(n, n + len(data.y_train_N)),
                )
        if not split.class_names and not all(name.isdecimal() for name in data.class_names):
            shown = some([f"{c} is {name!r}" for c, name in enumerate(data.class_names)])
            _log.warning(
                "%s does not say what its classes are called, and they are taken in the order of names (%s): if the "
                "model has another, split it with --class-names",
                *(reference, shown),
            )
        y = as_numbered(data.y_test_N, data.class_names, split.class_names)
        origin, sha256 = data.source, data.sha256 if y is data.y_test_N else data_sha256(data.x_test_NCHW, y)
        x = named_inputs(split.inputs, data.x_test_NCHW, reference)
    evaluation, _ = measure(
        split,
        lambda name: catalog.load(split, name),
        x,
        y,
        dataset=split.application,
        sha256=sha256,
        seed=0,
        source=origin,
        micro_batch=micro_batch,
        threads=threads,
        progress=progress,
    )
    catalog.attach(reference, evaluation)
    if plot is not None:
        from splitplace.report.confusion import draw_confusion

        draw_confusion(Path(plot), reference, evaluation, split.class_names)
    return evaluation


def _file(option: str, given: object) -> str:
    """The one file that arrays are in, or `NAME=FILE` of several."""
    (path, *more) = as_paths(option, given)
    if more:
        raise UsageError(f"{option}: got {1 + len(more)} files, expected one .npy or .npz file, or arrays")
    return str(path)


def _numbers(labels: Array | Sequence[int]) -> Array:
    try:
        return np.asarray(labels)
    except (ValueError, TypeError, RuntimeError) as error:  # rows of unlike length, or a tensor on a GPU
        raise UsageError(f"labels: expected whole numbers of shape (n,): {' '.join(str(error).split())}") from error


def _takes_pixels(split: Split) -> bool:
    """Whether what a data set holds once it is decoded may go in as it is: of any number of channels, as in an .npz."""
    (spec, *more) = split.inputs
    return not more and spec.dtype == "uint8" and len(spec.shape) == 4
