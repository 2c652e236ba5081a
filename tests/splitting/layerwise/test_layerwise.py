from collections.abc import Callable

import numpy as np
import pytest

from splitplace.errors import IntegrityError
from splitplace.inference.executor import Executor, open_session
from splitplace.splitting.artifact import SplitArtifact, digest
from splitplace.splitting.layerwise import cutting, recompose

Builder = Callable[..., bytes]


def images(n: int) -> dict[str, np.ndarray]:
    """Random raw images."""
    return {"image": np.random.default_rng(1).integers(0, 256, (n, 3, 16, 16)).astype(np.uint8)}


def test_the_split_is_a_verified_path(residual_cnn: Builder) -> None:
    """Three fragments f0 -> f1 -> f2 that answer what the whole model answers."""
    whole = residual_cnn()
    artifact = cutting.split(whole, 3, application="mnist", model_name="toy")
    split = artifact.split
    assert split.reference == "mnist.toy.layer-3"
    assert [split.parents(name) for name in ("f0", "f1", "f2")] == [(), ("f0",), ("f1",)]
    assert split.sinks == ("f2",)
    assert split.merge.class_order == tuple(range(10))
    expected = open_session(whole).run(None, images(5))[0]
    got = Executor(split, artifact.models.__getitem__).run(images(5))
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_same_input_same_fragments(residual_cnn: Builder) -> None:
    """Splitting twice gives the same bytes."""
    first, second = (cutting.split(residual_cnn(), 3).models for _ in range(2))
    assert first == second


def test_more_fragments_than_cuts_give_fewer(residual_cnn: Builder) -> None:
    """The number of fragments is an upper limit."""
    assert 1 <= len(cutting.split(residual_cnn(depth=1), 30).split.fragments) <= 30


def test_a_split_with_other_weights_is_refused(residual_cnn: Builder) -> None:
    """A recomposition that answers something else does not pass."""
    artifact = cutting.split(residual_cnn(depth=2), 2)
    with pytest.raises(IntegrityError, match="refused"):
        recompose.check(artifact, residual_cnn(depth=3), images(32))


def test_an_error_within_the_tolerance_passes(residual_cnn: Builder) -> None:
    """The tolerance is a share of the output's range: just under it passes, just over it does not."""
    whole = residual_cnn(depth=2)
    artifact = cutting.split(whole, 2)
    session = open_session(whole)

    def off_by(share: float) -> recompose.Whole:
        def run(inputs):  # type: ignore[no-untyped-def]  # test double
            answer = session.run(None, dict(inputs))[0]
            answer[0, int(answer[0].argmin())] += share * np.ptp(answer)
            return answer

        return run

    recompose.check(artifact, off_by(0.8e-4), images(32))
    with pytest.raises(IntegrityError, match="1e-04"):
        recompose.check(artifact, off_by(1.5e-4), images(32))


def test_recomposition_runs_at_batch_1_and_32(residual_cnn: Builder) -> None:
    """Both batch sizes are run, and the report says so."""
    whole = residual_cnn(depth=2)
    seen: list[int] = []
    session = open_session(whole)

    def counting(inputs):  # type: ignore[no-untyped-def]  # test double
        seen.append(len(inputs["image"]))
        return session.run(None, dict(inputs))[0]

    report = recompose.check(cutting.split(whole, 2), counting, images(40))
    assert {1, 32} <= set(seen)
    assert report.batches == (1, 32) and report.max_error <= recompose.TOLERANCE


def test_artifact_holds_the_bytes_of_its_digests(residual_cnn: Builder) -> None:
    """Every fragment's digest is that of its file, and any other file is refused."""
    artifact = cutting.split(residual_cnn(), 2)
    for fragment in artifact.split.fragments:
        assert fragment.digest == digest(artifact.models[fragment.name])
    with pytest.raises(IntegrityError):
        SplitArtifact(artifact.split, dict.fromkeys(artifact.models, b"x"))
