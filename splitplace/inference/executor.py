"""Runs a split on this device with onnxruntime, chain or tree, from the graph alone: no torch, no onnx."""

import re
from collections.abc import Callable, Iterator, Mapping
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as _native

from splitplace.errors import ContractError, IntegrityError, NotReadyError, UsageError
from splitplace.inference.encoded_images import EncodedImages
from splitplace.inference.memory import session_options, trim
from splitplace.inference.unmasked import check_unmasked
from splitplace.records.fragment import Fragment, TensorSpec
from splitplace.records.split import Split

Array = npt.NDArray[Any]

MAX_THREADS = 1024
"""More than a device has cores; onnxruntime starts all of them at once."""

RUNTIME_ERRORS: tuple[type[Exception], ...] = (
    *(kind for kind in vars(_native).values() if isinstance(kind, type) and issubclass(kind, Exception)),
    *(RuntimeError, ValueError, TypeError),  # what its Python side raises for a feed that does not fit
)
"""What onnxruntime raises, a dozen unrelated classes: caught where it is called, nowhere else."""

_PLACE = re.compile(r"/\S+\.(?:h|cc):\d+ (?:.{,400}? was false\. ?|[\w:<>,&*~ ]{,200}\([^()]{,400}\)(?: const)? )")
"""A file of its code with a line, a function and perhaps what did not hold there; the reason follows."""


def open_session(model: bytes, threads: int = 1, source: str = "model") -> ort.InferenceSession:
    """An onnxruntime session on the CPU with a pinned number of threads.

    Raises:
        IntegrityError: onnxruntime cannot load the bytes (no ONNX, an unknown operator, ...).
    """
    try:
        session = ort.InferenceSession(model, session_options(threads), providers=["CPUExecutionProvider"])
    except RUNTIME_ERRORS as error:
        raise IntegrityError(f"{source}: onnxruntime cannot load it: {one_line(error)}") from error
    # It keeps the file for `set_providers`, which nobody calls: as much again as the weights.
    session._model_bytes = None
    trim()
    return session


def check_counts(micro_batch: int, threads: int) -> None:
    """Refuse numbers that nothing can be run with.

    Raises:
        UsageError: No whole numbers, below 1, or so many threads that they would take the machine down.
    """
    whole = isinstance(micro_batch, Integral) and isinstance(threads, Integral)
    if not whole or micro_batch < 1 or not 1 <= threads <= MAX_THREADS:
        raise UsageError(
            f"--micro-batch {micro_batch} --threads {threads}: expected at least 1 of each, and at most "
            f"{MAX_THREADS} threads"
        )


def one_line(error: Exception) -> str:
    """What onnxruntime says, on one line and without the places in its code."""
    words = " ".join(str(error).split())
    words = words.partition("Status Message: ")[2] or words
    return (_PLACE.sub("", words) or words)[:300]


def merge(split: Split, outputs: Mapping[str, Array]) -> Array:
    """The answer: the sinks' logits side by side, columns put in class order.

    Args:
        split: Whose merge to apply.
        outputs: Logits by sink, each (batch, classes of that sink). A sink may be absent: its classes get the logits
            of the split's spare, or -inf where it has none, or that is absent too.

    Returns:
        Logits (batch, n_classes), column c for class c; of a split without classes, what its one sink answers.
    """
    present = [np.asarray(outputs[sink]) for sink in split.sinks if sink in outputs]
    if not present:
        raise NotReadyError(f"{split.reference}: no sink answered, expected any of {', '.join(split.sinks)}")
    if not split.n_classes:  # no scores over classes (a map, a box): the one sink's answer as it is
        return present[0]
    merged = np.full((present[0].shape[0], split.n_classes), -np.inf, present[0].dtype)
    spare = split.merge.spare
    if spare is not None and spare in outputs:
        merged[:] = outputs[spare]
    for sink in split.branches:
        if sink in outputs:
            merged[:, list(split.by_name[sink].classes)] = outputs[sink]
    return merged


def check_tensor(spec: TensorSpec, value: Array | EncodedImages, where: str) -> None:
    """Hold an array against its contract, or images by the pixels that they are to be.

    Raises:
        SplitPlaceError: Another dtype or shape than the contract's, or some values are masked.
    """
    check_unmasked(f"{where}: tensor {spec.name!r}", value)
    sizes = tuple(dimension for dimension in spec.shape[1:])
    if value.dtype != np.dtype(spec.dtype) or value.ndim != len(spec.shape) or value.shape[1:] != sizes:
        raise ContractError(
            f"{where}: tensor {spec.name!r} got {value.dtype}{list(value.shape)}, "
            f"expected {spec.dtype}[{', '.join(map(str, spec.shape))}]"
        )


class FragmentSession:
    """One loaded fragment, checked against its contract when it is opened."""

    def __init__(self, fragment: Fragment, model: bytes, threads: int = 1):
        self.fragment = fragment
        self.session = open_session(model, threads, fragment.name)
        self._inputs = [spec.name for spec in fragment.inputs]
        self._outputs = [spec.name for spec in fragment.outputs]
        declared = sorted(self._inputs + self._outputs)
        actual = sorted(node.name for node in (*self.session.get_inputs(), *self.session.get_outputs()))
        if declared != actual:
            raise IntegrityError(f"{fragment.name}: its contract names the tensors {declared}, the model has {actual}")

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name for one micro-batch; inputs by name, each (batch, ...).

        Raises:
            IntegrityError: onnxruntime cannot run it on these inputs (an index outside of its table, a size).
        """
        feed = {name: inputs[name] for name in self._inputs}
        try:
            return dict(zip(self._outputs, self.session.run(self._outputs, feed), strict=True))
        except RUNTIME_ERRORS as error:
            raise IntegrityError(f"{self.fragment.name}: onnxruntime cannot run it: {one_line(error)}") from error


class Executor:
    """A whole split on one device.

    Args:
        split: The graph.
        load: Gives the ONNX bytes of a fragment by name, verified by whoever provides it.
        threads: onnxruntime threads of each session.
        missing: Fragments to leave out, with everything below them, as if their devices were dead.
    """

    def __init__(
        self, split: Split, load: Callable[[str], bytes], threads: int = 1, missing: frozenset[str] = frozenset()
    ):
        self.split = split
        dead = set(missing)
        for name in split.topological:
            if dead.intersection(split.parents(name)):
                dead.add(name)
        self.sessions = {
            name: FragmentSession(split.by_name[name], load(name), threads)
            for name in split.topological
            if name not in dead
        }
        self._sinks = {
            sink: (sink, split.by_name[sink].outputs[0].name) for sink in split.sinks if sink in self.sessions
        }

    def run(self, inputs: Mapping[str, Array], micro_batch: int = 64) -> Array:
        """Logits (n, n_classes) for inputs by tensor name, each (n, ...), in micro-batches; errors as `outputs`."""
        found = self.outputs(inputs, micro_batch)
        if not len(next(iter(inputs.values()))):
            return self._none()
        return merge(self.split, found)

    def _none(self) -> Array:
        """The answer to no inputs: of the shape and type that one to some has."""
        spec = self.split.by_name[self.split.sinks[0]].outputs[0]
        sizes = (self.split.n_classes,) if self.split.n_classes else spec.shape[1:]
        return np.zeros((0, *(int(size) for size in sizes)), spec.dtype)

    def outputs(
        self,
        inputs: Mapping[str, Array],
        micro_batch: int = 64,
        after: Callable[[int], None] = lambda rows: None,
    ) -> dict[str, Array]:
        """What each sink answers, before the merge: logits (n, classes of the sink); nothing of no inputs.

        Args:
            inputs: By tensor name, each (n, ...).
            micro_batch: Rows at once.
            after: Told how many rows are done after each.

        Raises:
            SplitPlaceError: An input is missing or has another dtype or shape than the split's contract.
        """
        for spec in self.split.inputs:
            if spec.name not in inputs:
                raise ContractError(f"{self.split.reference}: input {spec.name!r} missing, got {sorted(inputs)}")
            check_tensor(spec, inputs[spec.name], self.split.reference)
        n = len(next(iter(inputs.values())))
        parts: dict[str, list[Array]] = {sink: [] for sink in self._sinks}
        for start in range(0, n, micro_batch):
            batch = {name: value[start : start + micro_batch] for name, value in inputs.items()}
            made = self.split.walk(batch, lambda name, feed: self.sessions[name].run(feed), self.sessions)
            for sink, place in self._sinks.items():
                parts[sink].append(made[place])
            after(min(start + micro_batch, n))
        return {sink: np.concatenate(found) for sink, found in parts.items() if found}


def batches(inputs: Mapping[str, Array], size: int) -> Iterator[dict[str, Array]]:
    """Inputs by name, each (n, ...), so many rows at once."""
    for start in range(0, len(next(iter(inputs.values()))), size):
        yield {name: value[start : start + size] for name, value in inputs.items()}


def boundary_values(
    split: Split, load: Callable[[str], bytes], inputs: Mapping[str, Array], micro_batch: int
) -> dict[str, dict[str, Array]]:
    """What each fragment is fed, by fragment and tensor, when a split runs on these inputs; one is loaded at a time."""
    fed: dict[str, dict[str, Array]] = {}

    def run(name: str, feed: dict[str, Array]) -> dict[str, Array]:
        fed[name] = feed
        session = FragmentSession(split.by_name[name], load(name))
        parts = [session.run(batch) for batch in batches(feed, micro_batch)]
        return {tensor: np.concatenate([part[tensor] for part in parts]) for tensor in parts[0]}

    split.walk(dict(inputs), run)
    return fed
