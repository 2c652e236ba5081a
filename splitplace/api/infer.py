"""`infer`: run a split on this device, no cluster, neither torch nor onnx."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from splitplace.catalog.location import open_split
from splitplace.errors import UsageError, unknown
from splitplace.inference.executor import Array, Executor
from splitplace.inference.inputs import read_inputs
from splitplace.records.split import Split


@dataclass(frozen=True, eq=False)
class Inference:
    """What a split answered.

    Args:
        split: That answered.
        logits: (n, classes), float32, column c for class c; -inf for the classes of what was missing.
        run_s: Seconds it took, loading not counted.
    """

    split: Split
    logits: Array
    run_s: float

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """The most probable class of each input, (n,)."""
        found: npt.NDArray[np.int64] = self.logits.argmax(axis=1)
        return found

    @property
    def names(self) -> tuple[str, ...] | None:
        """What the most probable class of each input is called; None if the split came without names."""
        return tuple(self.split.class_names[label] for label in self.labels) if self.split.class_names else None


def infer(
    location: str,
    inputs: str | Path | Sequence[str | Path] | Array,
    *,
    micro_batch: int = 64,
    threads: int = 1,
    missing: Sequence[str] = (),
) -> Inference:
    """Classify inputs with a split from a catalog, every fragment on this device.

    Args:
        location: CATALOG:REF; REF may be left out where the catalog holds one split.
        inputs: An array (n, ...) of the dtype that the split takes, an .npy file of one, or image files, read as those
            that the split was trained on.
        micro_batch: Samples at once.
        threads: onnxruntime threads.
        missing: Fragments to leave out, as if their devices were dead.

    Returns:
        Logits, labels and names.

    Raises:
        UsageError: No such catalog, split, fragment or file, numbers below 1, or a split of several inputs.
        SplitPlaceError: Inputs of another dtype or shape than the split takes, or a file that cannot be read.
        IntegrityError: A fragment that is not what its digest says.
    """
    if micro_batch < 1 or threads < 1:
        raise UsageError(f"--micro-batch {micro_batch} --threads {threads}: expected at least 1 of each")
    source, reference = open_split(location)
    split = source.split(reference)
    for name in missing:
        if name not in split.by_name:
            raise unknown(f"fragment of {reference}", name, split.by_name)
    if len(split.inputs) != 1:
        raise UsageError(f"{reference} takes {len(split.inputs)} inputs, expected one")
    (spec,) = split.inputs
    if not isinstance(inputs, np.ndarray):
        files = [inputs] if isinstance(inputs, str | Path) else inputs
        inputs = read_inputs([Path(file) for file in files], split)
    executor = Executor(split, lambda name: source.load(split, name), threads, frozenset(missing))
    start = time.perf_counter()
    logits = executor.run({spec.name: inputs}, micro_batch)
    return Inference(split, logits, time.perf_counter() - start)
