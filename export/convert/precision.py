"""Smaller numbers on request: float16 weights and arithmetic, or int8 by static quantisation calibrated on real inputs.

Both keep every boundary tensor as it is, so that the graph, the contracts between fragments and the merge stay those of
the float32 split. The library's own tools do the work (onnxruntime's float16 converter and QDQ quantiser); a split in
another precision is a split of its own, with the precision in its variant and an evaluation of its own beside it.
"""

import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import TopologicalSortPass
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.transformers.float16 import convert_float_to_float16

from splitplace.errors import SplitPlaceError
from splitplace.inference.executor import Array, FragmentSession
from splitplace.records.fragment import Fragment
from splitplace.records.split import Split
from splitplace.splitting.artifact import SplitArtifact, digest

Precision = Literal["float32", "float16", "int8"]
MIN_CALIBRATION = 32
"""Fewer samples do not show the range of an activation."""
CALIBRATION_BATCH = 32


def with_precision(artifact: SplitArtifact, precision: Precision, calibration: Array | None = None) -> SplitArtifact:
    """The same split with every fragment in another precision.

    Args:
        artifact: In float32.
        precision: `float32` gives the artifact back.
        calibration: For int8: real inputs of the split, (n, ...), none of them held out for evaluation.

    Returns:
        The split `REF-float16` or `REF-int8`: same graph and contracts, params and FLOPs as counted in float32,
        weight bytes and digests of its own.

    Raises:
        SplitPlaceError: int8 without enough calibration inputs; a fragment that does not convert.
    """
    if precision == "float32":
        return artifact
    if precision == "float16":
        converted = {name: _checked(name, model, _float16) for name, model in artifact.models.items()}
    else:
        if calibration is None or len(calibration) < MIN_CALIBRATION:
            got = 0 if calibration is None else len(calibration)
            raise SplitPlaceError(
                f"int8 needs calibration on real inputs: got {got}, expected {MIN_CALIBRATION} or more"
            )
        feeds = boundary_values(artifact, calibration)
        converted = {
            name: _checked(name, model, partial(_int8, feed=feeds[name])) for name, model in artifact.models.items()
        }
    split = artifact.split
    fragments = tuple(_fragment(fragment, converted[fragment.name]) for fragment in split.fragments)
    variant = "-".join(part for part in (split.variant, precision) if part)
    changed = Split(
        **{name: getattr(split, name) for name in Split.model_fields} | {"variant": variant, "fragments": fragments}
    )
    return SplitArtifact(changed, converted)


def boundary_values(artifact: SplitArtifact, inputs: Array) -> dict[str, dict[str, Array]]:
    """What each fragment is fed, by fragment and tensor, when the split runs on these inputs."""
    split = artifact.split
    (spec,) = split.inputs
    fed: dict[str, dict[str, Array]] = {}

    def run(name: str, feed: dict[str, Array]) -> dict[str, Array]:
        fed[name] = feed
        session = FragmentSession(split.by_name[name], artifact.models[name])
        parts = [session.run(batch) for batch in _batches(feed)]
        return {tensor: np.concatenate([part[tensor] for part in parts]) for tensor in parts[0]}

    split.walk({spec.name: inputs}, run)
    return fed


def _batches(feed: dict[str, Array]) -> Iterator[dict[str, Array]]:
    n = len(next(iter(feed.values())))
    for start in range(0, n, CALIBRATION_BATCH):
        yield {name: value[start : start + CALIBRATION_BATCH] for name, value in feed.items()}


def _checked(name: str, model: bytes, convert: Callable[[onnx.ModelProto], onnx.ModelProto]) -> bytes:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the converters warn of each tiny weight that becomes zero
            converted = convert(onnx.load_from_string(model))
        converted.producer_name, converted.producer_version = "splitplace", ""
        del converted.metadata_props[:]
        del converted.graph.value_info[:]
        onnx.checker.check_model(converted, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError, RuntimeError) as error:
        raise SplitPlaceError(f"{name}: cannot be converted: {' '.join(str(error).split())[:300]}") from error
    data: bytes = converted.SerializeToString(deterministic=True)
    return data


def _float16(model: onnx.ModelProto) -> onnx.ModelProto:
    graph = ir.from_proto(convert_float_to_float16(model, keep_io_types=True))
    TopologicalSortPass()(graph)  # the converter appends the casts of inputs at the end
    converted: onnx.ModelProto = ir.to_proto(graph)
    return converted


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime publishes no types
    """Feeds real boundary values to the quantiser."""

    def __init__(self, feed: dict[str, Array]):
        self._batches = _batches(feed)

    def get_next(self) -> dict[str, Array] | None:
        """The next batch, None at the end."""
        return next(self._batches, None)


def _int8(model: onnx.ModelProto, feed: dict[str, Array]) -> onnx.ModelProto:
    with _quiet(), tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "int8.onnx"
        quantize_static(
            model,
            out,
            _Reader(feed),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
        )
        return onnx.load(out)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the quantiser from recommending, on the root logger, a pre-processing that export has done."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)


def _fragment(fragment: Fragment, model: bytes) -> Fragment:
    weight_bytes = sum(
        onnx.numpy_helper.to_array(tensor).nbytes for tensor in onnx.load_from_string(model).graph.initializer
    )
    changes = {"weight_bytes": weight_bytes, "digest": digest(model)}
    return Fragment(**{name: getattr(fragment, name) for name in Fragment.model_fields} | changes)
