"""The contract every split keeps: put together again, it answers what the whole model answers, or it is refused."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort

from splitplace.errors import ContractError, IntegrityError
from splitplace.inference.executor import RUNTIME_ERRORS, Array, Executor, check_tensor, one_line, open_session
from splitplace.inference.memory import session_options
from splitplace.inference.noise import draw
from splitplace.records.fragment import ITEM_BYTES, TensorSpec
from splitplace.seeds import generator
from splitplace.splitting.artifact import SplitArtifact
from splitplace.splitting.layerwise.detached import Detached, Model, leading_to, open_whole

_log = logging.getLogger(__name__)

TOLERANCE = 1e-4
"""Largest absolute error, as a share of the output's range (largest less smallest answer of the whole)."""

FLOAT16_TOLERANCE = 2.0**-7
"""The same where float16 passes between fragments: sixteen units in its last place, for onnxruntime computes the whole
in float32 and rounds to float16 only at its ends, a split at every cut."""

EIGHT_BIT_TOLERANCE = 2.0**-5
"""The same where 8-bit numbers pass between fragments: a number halfway between two steps of a scale is rounded to one
by an integer kernel and to the other by a float one, and which runs depends on what is around it."""

NARROW_TOLERANCES = {"float16": FLOAT16_TOLERANCE, "int8": EIGHT_BIT_TOLERANCE, "uint8": EIGHT_BIT_TOLERANCE}

BATCH_SCALES_TOLERANCE = 0.1
"""How far a row may answer from what it answers in a batch where 8-bit scales are taken from the batch as it comes."""

BATCH_SIZE_TOLERANCE = 0.1
"""The same where only how many rows there are tells, not what is in them: onnxruntime picks its kernels, and so how it
rounds, by that, and a norm over numbers that are nearly alike makes much of a rounding."""

ROUNDING_SHARE = 0.01
"""The range counts as this share of the largest answer at least: answers that lie close together are no more exact
than their own last place."""

BATCHES = (1, 32)


class OtherAnswerError(IntegrityError):
    """A split that does not answer what the whole answers."""


Whole = Callable[[Mapping[str, Array]], Array]
"""The answer of the unsplit model to inputs by name: what the recomposition is held against."""


@dataclass(frozen=True)
class Recomposition:
    """How close a split came to the whole: the largest error over all batches, as a share of the output's range."""

    max_error: float
    batches: tuple[int, ...]
    source: str
    """What it was shown: `images`, or `seeded noise`."""


def check(
    artifact: SplitArtifact,
    whole: Model | Whole,
    inputs: Mapping[str, Array],
    source: str = "images",
    batches: Sequence[int] = BATCHES,
    tolerance: float = TOLERANCE,
    output: str | None = None,
) -> Recomposition:
    """Hold a split, chain or tree, against the model it was cut from, and a batch of it against its rows.

    Args:
        artifact: The split and its ONNX files.
        whole: The unsplit model, as ONNX bytes or as a function of the inputs.
        inputs: By name, each (n, ...); the first rows are used, so n must reach the largest batch.
        source: What the inputs are, for the report.
        batches: Batch sizes to run at.
        tolerance: As `TOLERANCE`; more where narrow numbers pass between fragments.
        output: The output of the whole that the split answers; its first one by default.

    Raises:
        SplitPlaceError: Too few inputs, or of another dtype or shape than the split takes.
        IntegrityError: Another answer: an error over the tolerance, another argmax, or another shape or type; or a
            first axis that is no batch: its rows answer otherwise alone.
    """
    split = artifact.split
    for spec in split.inputs:
        if spec.name not in inputs or len(inputs[spec.name]) < max(batches):
            rows = len(inputs[spec.name]) if spec.name in inputs else 0
            raise ContractError(f"{split.reference}: {rows} rows of {spec.name!r}, expected {max(batches)} or more")
        check_tensor(spec, inputs[spec.name], split.reference)
    made = {spec.name: spec.dtype for fragment in split.fragments for spec in fragment.outputs}
    passed = {dtype for name, dtype in made.items() if name not in {spec.name for spec in split.inputs}}
    tolerance = max([tolerance, *(NARROW_TOLERANCES[dtype] for dtype in passed if dtype in NARROW_TOLERANCES)])
    answer = _session(whole, output, inputs) if isinstance(whole, bytes | Detached) else whole
    executor = Executor(split, artifact.models.__getitem__)
    expected = {batch: answer({name: value[:batch] for name, value in inputs.items()}) for batch in batches}
    for batch, answered in expected.items():
        if answered.shape[:1] != (batch,):
            raise IntegrityError(
                f"{split.reference} is refused: the whole model answers {answered.dtype}{list(answered.shape)} to a "
                f"batch of {batch}, expected {batch} rows: its graph drops the batch (as a Squeeze without axes does)"
            )
    if np.isnan(expected[max(batches)]).all():
        nothing = f"to {source} the whole model answers nothing but NaN, which says nothing of a split"
        if source == "images":
            raise IntegrityError(f"{split.reference} is refused: {nothing}: give --images that it answers")
        _log.warning("%s: %s: give --images that it answers", split.reference, nothing)
    compare = _Comparison(split.reference, expected[max(batches)], tolerance)
    worst = 0.0
    for batch in batches:
        fed = {name: value[:batch] for name, value in inputs.items()}
        got = executor.run(fed, micro_batch=batch)
        try:
            worst = max(worst, compare.error(expected[batch], got, f"at batch {batch}"))
        except IntegrityError:
            _check_certain(answer(fed), expected[batch], compare)
            raise
    _check_rows(answer, inputs, expected[max(batches)], compare, _scales_by_batch(artifact))
    return Recomposition(worst, tuple(batches), source)


def _check_certain(again: Array, before: Array, compare: "_Comparison") -> None:
    """Refuse a model that itself answers otherwise on the same inputs: no split of it can be held to anything."""
    if compare.share(before, again) > compare.tolerance:
        raise IntegrityError(
            f"{compare.reference} is refused: the whole model answers otherwise each time (an operator that draws at "
            "random), so nothing can be held against it; export the model for inference"
        )


def _check_rows(
    answer: Whole, inputs: Mapping[str, Array], together: Array, compare: "_Comparison", by_batch: bool
) -> None:
    """Refuse a first axis that is no batch (tokens, time, points): nothing may be cut along it.

    The first row, the second, the middle one and the last: what depends on a neighbour, on what came before or on all
    shows in one of them.
    """
    n = len(together)
    for row in sorted({0, min(1, n - 1), n // 2, n - 1}):
        alone = answer({name: value[row : row + 1] for name, value in inputs.items()})
        tolerance = max(compare.tolerance, BATCH_SCALES_TOLERANCE if by_batch else 0.0)
        share = compare.share(together[row : row + 1], alone)
        if share > tolerance and not (
            share <= BATCH_SIZE_TOLERANCE and _is_by_itself(answer, inputs, together, row, compare)
        ):
            _check_certain(answer({name: value[:n] for name, value in inputs.items()}), together, compare)
            raise IntegrityError(
                f"{compare.reference} is refused: row {row} of a batch of {n} answers otherwise than alone, by "
                f"{share:.1e} of the output range: the first axis of its inputs is no batch of independent samples; "
                "export the model with a batch of its own in front"
            )


def _is_by_itself(
    answer: Whole, inputs: Mapping[str, Array], together: Array, row: int, compare: "_Comparison"
) -> bool:
    """Whether a row answers the same in as large a batch of nothing but itself."""
    n = len(together)
    copies = answer({name: np.repeat(value[row : row + 1], n, axis=0) for name, value in inputs.items()})
    return compare.share(together[row : row + 1], copies[row : row + 1]) <= compare.tolerance


def _scales_by_batch(artifact: SplitArtifact) -> bool:
    """Whether a fragment takes its 8-bit scales from the batch as it comes, by the name of the operator in its file."""
    return any(b"DynamicQuantizeLinear" in model for model in artifact.models.values())


def noise(specs: Sequence[TensorSpec], n: int, seed: int = 0) -> dict[str, Array]:
    """Seeded inputs where there are no real ones, as `splitplace.inference.noise` draws them."""
    return {spec.name: draw(spec, n, generator(seed, "recompose", spec.name)) for spec in specs}


def _session(model: Model, output: str | None, given: Collection[str]) -> Whole:
    session = _open(model)
    name = output or session.get_outputs()[0].name
    if any(node.name not in given for node in session.get_inputs()):
        # What nobody reads, or only another output needs, may be of any type and size: nothing made up would do.
        session = _open(leading_to(model, name))
    taken = sorted(session.get_inputs(), key=lambda node: node.name not in given)
    fixed = next((sizes[0] for sizes in (node.shape for node in taken) if sizes and _is_size(sizes[0])), None)

    def run(inputs: Mapping[str, Array]) -> Array:
        n = len(next(iter(inputs.values())))
        # A model that takes one batch size only: piece by piece, the last one filled up with its last row.
        size = fixed or n
        parts = []
        for start in range(0, n, size):
            rows = np.minimum(np.arange(start, start + size), n - 1)
            feed = {
                node.name: inputs[node.name][rows] if node.name in inputs else _of_any_numbers(node, size)
                for node in taken
            }
            try:
                parts.append(np.asarray(session.run([name], feed)[0]))
            except RUNTIME_ERRORS as error:
                raise IntegrityError(f"the whole model does not run at batch {size}: {one_line(error)}") from error
        return parts[0] if size == n else np.concatenate(parts)[:n]

    return run


def _is_size(dimension: int | str | None) -> bool:
    """Whether it is stated: neither a name nor the -1 of some exporters."""
    return isinstance(dimension, int) and dimension > 0


def _of_any_numbers(node: ort.NodeArg, batch: int) -> Array:
    """Zeros for an input that no fragment takes: of it the shape alone is read, or what no sample ever comes to.

    Raises:
        ContractError: An input of which onnxruntime takes no numpy array.
    """
    known = [size if _is_size(size) else batch if not i else 1 for i, size in enumerate(node.shape)]
    name = node.type.removeprefix("tensor(").removesuffix(")")
    dtype = {"float": "float32", "double": "float64", "string": "str"}.get(name, name)
    if dtype not in (*ITEM_BYTES, "uint16", "uint32", "uint64", "str"):
        raise ContractError(
            f"the whole model asks for {node.name!r} of {node.type}, though no number in it matters: expected numbers "
            "that numpy has; export the model without this input"
        )
    return np.zeros(known, dtype)


def _open(model: Model) -> ort.InferenceSession:
    if isinstance(model, bytes):
        return open_session(model, source="the whole model")
    try:
        return open_whole(model, session_options(threads=1))
    except Exception as error:
        # onnxruntime raises a dozen unrelated classes of its own here; each means that the model does not load.
        raise IntegrityError(f"the whole model: onnxruntime cannot load it: {one_line(error)}") from error


class _Comparison:
    """Answers against each other, as shares of one range: that of all that the whole answered."""

    def __init__(self, reference: str, answers: Array, tolerance: float):
        self.reference, self.tolerance = reference, tolerance
        finite = answers[np.isfinite(answers)].astype(np.float64)
        largest = float(np.abs(finite).max(initial=0.0))
        self.span = max(float(np.ptp(finite)) if finite.size else 0.0, ROUNDING_SHARE * largest) or 1.0

    def share(self, expected: Array, got: Array) -> float:
        """Largest absolute error as a share of the range; infinite where other values are not finite."""
        wide, ours = expected.astype(np.float64), got.astype(np.float64)
        if wide.shape != ours.shape:
            return float("inf")
        finite = np.isfinite(wide)
        if not np.array_equal(wide[~finite], ours[~finite], equal_nan=True) or not np.isfinite(ours[finite]).all():
            return float("inf")
        return float(np.abs(wide[finite] - ours[finite]).max(initial=0.0)) / self.span

    def error(self, expected: Array, got: Array, where: str) -> float:
        """The share; refuses what breaks the contract."""
        if expected.shape != got.shape or expected.dtype != got.dtype:
            raise OtherAnswerError(
                f"{self.reference} is refused: it answers {got.dtype}{list(got.shape)}, "
                f"the whole model {expected.dtype}{list(expected.shape)}"
            )
        error = self.share(expected, got)
        if error > self.tolerance:
            raise OtherAnswerError(
                f"{self.reference} is refused {where}: error {error:.2e} of the output range, "
                f"at most {self.tolerance:.0e}"
            )
        if expected.ndim >= 2 and expected.shape[-1]:
            # Two answers closer than the tolerance are a tie that either may win.
            wide = np.nan_to_num(expected.astype(np.float64), nan=-np.inf, posinf=np.inf, neginf=-np.inf)
            ours = np.nan_to_num(got.astype(np.float64), nan=-np.inf, posinf=np.inf, neginf=-np.inf)
            chosen = np.take_along_axis(wide, ours.argmax(-1)[..., None], -1)[..., 0]
            best = wide.max(-1)
            with np.errstate(invalid="ignore"):  # two infinities have no difference, and are equal
                another = (best != chosen) & ~(best - chosen <= self.tolerance * self.span)
            if another.any():
                raise OtherAnswerError(f"{self.reference} is refused {where}: another argmax than the whole model")
        return error
