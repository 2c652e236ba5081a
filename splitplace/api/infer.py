"""`infer`: run a split on this device, no cluster, neither torch nor onnx."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from splitplace.api.checked import checked
from splitplace.catalog.location import open_split
from splitplace.errors import explained, unknown
from splitplace.inference.executor import Array, Executor, check_counts
from splitplace.inference.inputs import as_paths, named_inputs, read_inputs
from splitplace.records.split import Split

_log = logging.getLogger(__name__)

NO_CLASS = -1
"""The label of an input whose logits are NaN: the largest of what cannot be compared would be an answer nobody gave."""


@dataclass(frozen=True, eq=False)
class Inference:
    """What a split answered.

    Args:
        split: That answered.
        logits: (n, classes), float32, column c for class c; -inf for the classes of what was missing. Of a split
            without classes, what it answers, (n, ...).
        run_s: Seconds it took, loading not counted.
    """

    split: Split
    logits: Array
    run_s: float

    @property
    def labels(self) -> npt.NDArray[np.int64] | None:
        """The most probable class of each input, (n,), -1 where logits are NaN; None of a split without classes."""
        if not self.split.n_classes:
            return None
        return np.where(np.isnan(self.logits).any(axis=1), NO_CLASS, self.logits.argmax(axis=1))

    @property
    def names(self) -> tuple[str, ...] | None:
        """What the most probable class of each input is called, "" for none; None if the split came without names."""
        labels = self.labels
        if labels is None or not self.split.class_names:
            return None
        return tuple("" if label == NO_CLASS else self.split.class_names[label] for label in labels)


@explained()
@checked("micro_batch", "threads")
def infer(
    location: str | Path,
    inputs: str | Path | Sequence[str | Path] | Array | Mapping[str, Array],
    *,
    micro_batch: int = 64,
    threads: int = 1,
    missing: Sequence[str] = (),
) -> Inference:
    """Classify inputs with a split from a catalog, every fragment on this device.

    Args:
        location: CATALOG:REF; REF may be left out where the catalog holds one split.
        inputs: An .npy file (n, ...) of the dtype that the split takes, an .npz file or NAME=FILE of several inputs; or
            image files, or folders of them in the order of their names, read as those that the split was trained on.
            From Python, also an array, or several by name.
        micro_batch: Samples at once.
        threads: onnxruntime threads.
        missing: Fragments to leave out, as if their devices were dead.

    Returns:
        Logits, labels and names.

    Raises:
        UsageError: No such catalog, split, fragment or file, numbers below 1, or one input of several.
        SplitPlaceError: Inputs of another dtype or shape than the split takes, or a file that cannot be read.
        IntegrityError: A fragment that is not what its digest says.
    """
    check_counts(micro_batch, threads)
    source, reference = open_split(location)
    split = source.split(reference)
    missing = [missing] if isinstance(missing, str) else missing
    for name in missing:
        if name not in split.by_name:
            raise unknown(f"fragment of {reference}", name, split.by_name)
    if isinstance(inputs, np.ndarray | Mapping):
        given = named_inputs(split.inputs, inputs, reference)
    else:
        given = read_inputs(as_paths("inputs", inputs), split)
    executor = Executor(split, lambda name: source.load(split, name), threads, frozenset(missing))
    start = time.perf_counter()
    logits = executor.run(given, micro_batch)
    done = Inference(split, logits, time.perf_counter() - start)
    if split.n_classes and (none := int(np.isnan(logits).any(axis=1).sum())):
        told = "%s: its answers to %d of %d inputs are NaN, which is the answer of no class: their label is %d"
        _log.warning(told, reference, none, len(logits), NO_CLASS)
    return done
