"""The contract every split keeps: put together again, it answers what the whole model answers, or it is refused."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from splitplace.errors import IntegrityError
from splitplace.inference.executor import Array, Executor, open_session
from splitplace.records.fragment import TensorSpec
from splitplace.seeds import generator
from splitplace.splitting.artifact import SplitArtifact

TOLERANCE = 1e-4
"""Largest absolute error, as a share of the output's range (largest less smallest answer of the whole)."""

BATCHES = (1, 32)

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
    whole: bytes | Whole,
    inputs: Mapping[str, Array],
    source: str = "images",
    batches: Sequence[int] = BATCHES,
    tolerance: float = TOLERANCE,
) -> Recomposition:
    """Hold a split, chain or tree, against the model it was cut from.

    Args:
        artifact: The split and its ONNX files.
        whole: The unsplit model, as ONNX bytes or as a function of the inputs.
        inputs: By name, each (n, ...); the first rows are used, so n must reach the largest batch.
        source: What the inputs are, for the report.
        batches: Batch sizes to run at.
        tolerance: As `TOLERANCE`.

    Raises:
        IntegrityError: Another answer: an error over the tolerance, another argmax, or another shape or type.
    """
    split = artifact.split
    answer = _session(whole) if isinstance(whole, bytes) else whole
    executor = Executor(split, artifact.models.__getitem__)
    worst = 0.0
    for batch in batches:
        rows = {name: value[:batch] for name, value in inputs.items()}
        assert all(len(value) == batch for value in rows.values()), f"inputs hold fewer than {batch} rows"
        expected, got = answer(rows), executor.run(rows, micro_batch=batch)
        worst = max(worst, _error(expected, got, split.reference, batch, tolerance))
    return Recomposition(worst, tuple(batches), source)


def noise(specs: Sequence[TensorSpec], n: int, seed: int = 0) -> dict[str, Array]:
    """Seeded inputs where there are no real ones: bytes over their whole range, floats from a standard normal."""
    made: dict[str, Array] = {}
    for spec in specs:
        rng = generator(seed, "recompose", spec.name)
        size = (n, *(d for d in spec.shape[1:] if isinstance(d, int)))
        if spec.dtype.startswith("float"):
            made[spec.name] = rng.standard_normal(size).astype(spec.dtype)
        else:
            # Small integers may be indices into a table whose size nobody states: zero and one are always there.
            made[spec.name] = rng.integers(0, 256 if spec.dtype == "uint8" else 2, size).astype(spec.dtype)
    return made


def _session(model: bytes) -> Whole:
    session = open_session(model, source="the whole model")
    name = session.get_outputs()[0].name

    fixed = session.get_inputs()[0].shape[0]

    def run(inputs: Mapping[str, Array]) -> Array:
        feed = {node.name: inputs[node.name] for node in session.get_inputs()}
        if not isinstance(fixed, int):
            return np.asarray(session.run([name], feed)[0])
        # A model that takes one batch size only: piece by piece, the last one filled up with its last row.
        n = len(next(iter(feed.values())))
        rows = [np.minimum(np.arange(start, start + fixed), n - 1) for start in range(0, n, fixed)]
        parts = [session.run([name], {key: value[row] for key, value in feed.items()})[0] for row in rows]
        return np.concatenate(parts)[:n]

    return run


def _error(expected: Array, got: Array, reference: str, batch: int, tolerance: float) -> float:
    """Largest absolute error over the range of the expected answers; refuses what breaks the contract."""
    if expected.shape != got.shape or expected.dtype != got.dtype:
        raise IntegrityError(
            f"{reference} is refused: it answers {got.dtype}{list(got.shape)}, "
            f"the whole model {expected.dtype}{list(expected.shape)}"
        )
    if not (np.isfinite(expected).all() and np.isfinite(got).all()):
        raise IntegrityError(f"{reference} is refused: answers that are not finite cannot be compared")
    wide, ours = expected.astype(np.float64), got.astype(np.float64)
    span = float(np.ptp(wide)) or 1.0
    error = float(np.abs(wide - ours).max()) / span
    if error > tolerance:
        raise IntegrityError(
            f"{reference} is refused at batch {batch}: error {error:.2e} of the output range, at most {tolerance:.0e}"
        )
    if wide.ndim >= 2:
        # Two answers closer than the tolerance are a tie that either may win.
        chosen = np.take_along_axis(wide, ours.argmax(-1)[..., None], -1)[..., 0]
        if np.any(wide.max(-1) - chosen > tolerance * span):
            raise IntegrityError(f"{reference} is refused at batch {batch}: another argmax than the whole model")
    return error
