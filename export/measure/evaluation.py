"""Measures a split's accuracy on held-out images through onnxruntime, whole and with branches missing."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from math import comb

import numpy as np
import numpy.typing as npt

from splitplace.errors import ContractError
from splitplace.inference.executor import Array, Executor, merge
from splitplace.inference.inputs import named_inputs
from splitplace.progress import Progress, silent
from splitplace.records.by_class import by_class
from splitplace.records.evaluation import Evaluation, MissingFragments
from splitplace.records.split import Split, as_seen

Ints = npt.NDArray[np.int64]
MAX_MISSING = 64
"""All sets of up to six leaves; an evaluation travels in a demand, which is small."""
_MOST_DIGITS = 18
"""A number of more is a name, which 64 bits do not hold."""


def evaluate(
    split: Split,
    load: Callable[[str], bytes],
    images: Array | Mapping[str, Array],
    labels: Ints,
    *,
    dataset: str,
    sha256: str,
    seed: int,
    source: str,
    micro_batch: int = 256,
    threads: int = 1,
    progress: Progress = silent,
) -> tuple[Evaluation, Ints]:
    """Accuracy of a split, and its answer for every image.

    A missing fragment leaves the other branches' logits as they are and takes away those of the sinks below it, for
    which the split's spare stands in if it has one (`splitplace.inference.executor.merge`): so one pass over the images
    answers every such question.

    Args:
        split: The graph.
        load: Gives a fragment's ONNX file by name, verified.
        images: The split's input, (n, ...), dtype as its contract says; by name where it takes several.
        labels: The right classes, (n,).
        dataset: The application's name.
        sha256: Of the images and labels, in hexadecimal.
        seed: Of the split into train and test.
        source: Where the images came from.
        micro_batch: Images at once.
        threads: onnxruntime threads.
        progress: Told how far it is.

    Returns:
        The evaluation (with `top1_missing` for every set of leaves that leaves one or more; of many leaves, the
        smaller sets, `MAX_MISSING` rows at most; and class by class), and predictions (n,).

    Raises:
        SplitPlaceError: No images, labels of another number or outside the classes, images of another form, or answers
            that are NaN.
    """
    inputs = named_inputs(split.inputs, images, split.reference)
    n = len(next(iter(inputs.values())))
    if n == 0 or n != len(labels):
        raise ContractError(f"evaluating {split.reference}: got {n} images and {len(labels)} labels")
    if not split.n_classes:
        raise ContractError(f"evaluating {split.reference}: it answers no scores of classes, so nothing is right")
    if labels.min() < 0 or labels.max() >= split.n_classes:
        way = "" if split.class_names else " (of a split with --class-names, classes are matched by name instead)"
        raise ContractError(
            f"evaluating {split.reference}: labels {labels.min()}..{labels.max()}, expected 0..{split.n_classes - 1}"
            f"{way}"
        )
    labels = labels.astype(np.int64, copy=False)
    outputs = Executor(split, load, threads).outputs(
        inputs, micro_batch, lambda rows: progress(f"evaluate {split.reference}", rows / n)
    )
    logits = merge(split, outputs)
    if none := int(np.isnan(logits).any(axis=1).sum()):
        raise ContractError(
            f"evaluating {split.reference}: its answers to {none} of {n} images are NaN, which is the answer of no "
            "class: are the images numbers, and in range of what the split computes in?"
        )
    predictions = logits.argmax(axis=1)
    missing = []
    for sinks in _absent(split.branches):
        there = merge(split, {sink: logits for sink, logits in outputs.items() if sink not in sinks})
        missing.append(MissingFragments(missing=sinks, top1=float(np.mean(there.argmax(axis=1) == labels))))
    classified = by_class(predictions, labels, split.n_classes)
    evaluation = Evaluation(
        accuracy_by_class=classified.accuracy_by_class,
        confusion=classified.confusion,
        dataset=dataset,
        sha256=sha256,
        n=len(labels),
        top1=float(np.mean(predictions == labels)),
        top1_missing=tuple(missing),
        seed=seed,
        source=source,
    )
    return evaluation, predictions


def _absent(sinks: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Every k of G sinks, k = 1..G-1, as far as whole k fit."""
    room = MAX_MISSING
    for k in range(1, len(sinks)):
        room -= comb(len(sinks), k)
        if room < 0:
            return
        yield from combinations(sinks, k)


def as_numbered(labels: Ints, names: Sequence[str], wanted: Sequence[str]) -> Ints:
    """Labels as a split numbers its classes.

    Args:
        labels: The right classes, (n,).
        names: What each number is called where the labels are from.
        wanted: What the split calls each of its own; empty where it came without names, and numbers are all there is:
            those that the classes are called by, if they are, as classes that nobody named are.

    Raises:
        ContractError: A label of a class that the split does not have, or has twice.
    """
    if tuple(names) == tuple(wanted):
        return labels
    if not wanted:
        called = [int(name) for name in names if name.isdecimal() and len(name) <= _MOST_DIGITS]
        if len(set(called)) < len(names) or called == list(range(len(names))):
            return labels
        return np.array(called, np.int64)[labels]
    numbers = {as_seen(name): c for c, name in enumerate(wanted)}
    names = [as_seen(name) for name in names]
    strange = [name for c, name in enumerate(names) if name not in numbers and (labels == c).any()]
    if strange:
        raise ContractError(f"images of the class {strange[0]!r}, which the split does not have: {', '.join(wanted)}")
    counts = Counter(map(as_seen, wanted))
    if twice := [name for c, name in enumerate(names) if counts[name] > 1 and (labels == c).any()]:
        raise ContractError(
            f"images of the class {twice[0]!r}, and the split calls {counts[twice[0]]} of its classes so: split the "
            "model with --class-names that tell them apart, and call the images' classes likewise"
        )
    return np.array([numbers.get(name, -1) for name in names], np.int64)[labels]


def data_sha256(images: Array | Mapping[str, Array], labels: Ints) -> str:
    """Of images and labels with their dtypes and shapes, in hexadecimal: two evaluations with one hash saw the same."""
    labels = labels.astype("<i8", copy=False)
    several = [("", images)] if isinstance(images, np.ndarray) else sorted(images.items())
    heads = [f"{name} {values.dtype}{list(values.shape)}".strip() for name, values in several]
    hashed = hashlib.sha256(f"{' '.join(heads)} int64{list(labels.shape)}\n".encode())
    for _, values in several:
        hashed.update(np.ascontiguousarray(values).data)
    hashed.update(np.ascontiguousarray(labels).data)
    return hashed.hexdigest()
