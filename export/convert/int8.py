"""int8 by static quantisation: onnxruntime's QDQ quantiser, given models in the forms that it takes right."""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from onnx_ir.passes.common import TopologicalSortPass
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from splitplace.errors import ContractError
from splitplace.export.convert.odd_numbers import ORT_FATAL, Feed, is_mask, is_nan, touching
from splitplace.inference.executor import Array, batches
from splitplace.splitting.layerwise.external import all_nodes
from splitplace.splitting.layerwise.graph import reads

CALIBRATION_BATCH = 32
QUANTISED_SINCE = 10
"""The opset from which on the quantiser takes a model as it is; others it has raised to the next."""
RAISED_TO = 11
OF_UPSAMPLE = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
"""By which an Upsample takes its pixels, in the words of a Resize."""
FLOAT16_SCALES_SINCE = 19
"""The opset from which on a scale may be in float16."""
PER_CHANNEL_SINCE = 13
"""The opset from which on a weight may have a scale for each channel."""
ORT_WARNING = 2
"""The severity that onnxruntime logs from by default."""
QUANTISED = ("QuantizeLinear", "DynamicQuantizeLinear", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QGemm")
"""Operators that quantise activations or compute with such; float16 leaves them as they are."""


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime publishes no types
    """Feeds real boundary values to the quantiser."""

    def __init__(self, feed: Feed):
        self._batches = batches(feed, CALIBRATION_BATCH)

    def get_next(self) -> dict[str, Array] | None:
        """The next batch, None at the end."""
        return next(self._batches, None)


def int8(model: onnx.ModelProto, feed: Feed) -> onnx.ModelProto:
    """Weights and activations in int8 between quantised tensors, calibrated on these inputs."""
    opset = opset_of(model)
    if done := sorted(quantised(model)):
        raise ContractError(f"its operator {done[0]!r} makes 8-bit numbers already: export it as it is")
    halves = [tensor.name for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT16]
    if halves and opset < FLOAT16_SCALES_SINCE:
        raise ContractError(
            f"its weight {halves[0]!r} is of float16, and scales are of float32 alone before opset "
            f"{FLOAT16_SCALES_SINCE}, got {opset}: convert the model in float32"
        )
    model = _raised(model) if opset < QUANTISED_SINCE else model
    _state_biases_by_channel(model)
    kept = {node.name for node in model.graph.node if _is_quantised_wrongly(node, model)}
    changed = onnx.ModelProto()
    changed.CopyFrom(model)  # what the quantiser leaves is no model
    with _quiet(), tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "int8.onnx"
        try:
            quantize_static(
                changed,
                out,
                _Reader(feed),
                quant_format=QuantFormat.QDQ,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                per_channel=opset >= PER_CHANNEL_SINCE,
                nodes_to_exclude=sorted(kept | touching(model, feed, is_mask)),
            )
        except AssertionError as error:  # a scale of values that are no numbers, of which it says no more
            lost = touching(model, feed, is_nan)
            if first := next((node for node in model.graph.node if node.name in lost), None):
                raise ContractError(
                    f"its {first.op_type} {first.name!r} meets values that are not a number (NaN) on some rows of "
                    "--calibration: leave those inputs out"
                ) from error
            raise
        return _in_order(onnx.load(out))


def _in_order(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same nodes, each after what it reads: the quantiser does not see what a Loop's body reads from around it."""
    whole = ir.from_proto(model)
    made: set[ir.Value] = set()
    for node in whole.graph:
        if any(value.producer() is not None and value not in made for value in reads(node)):
            break
        made.update(node.outputs)
    else:
        return model
    TopologicalSortPass()(whole)
    ordered: onnx.ModelProto = ir.to_proto(whole)
    return ordered


def _raised(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model in the opset that the quantiser would raise it to, and every node with a name.

    onnx's converter makes an Upsample a Resize and does not say by which rule it takes its pixels: by default another.
    """
    raised = onnx.version_converter.convert_version(model, RAISED_TO)
    taken = {node.name for node in raised.graph.node}
    for i, node in enumerate(raised.graph.node):
        if node.op_type == "Resize":
            stated = {attribute.name for attribute in node.attribute}
            rules = {name: value for name, value in OF_UPSAMPLE.items() if name not in stated}
            node.attribute.extend(onnx.helper.make_attribute(name, value) for name, value in rules.items())
        if not node.name:
            node.name = f"{node.op_type}_{i}"
            while node.name in taken:
                node.name += "_"
            taken.add(node.name)
    return raised


def _is_quantised_wrongly(node: onnx.NodeProto, model: onnx.ModelProto) -> bool:
    """Whether the quantiser makes something else of a node.

    A Clip is left out, as the range of 8 bits clips by itself: it does not where 0, which they always hold, is outside
    of the limits. In a ConvTranspose of groups, scales are by the channels of one group, and its bias by all.
    """
    if node.op_type == "ConvTranspose":
        return len(node.input) > 2 and any(a.name == "group" and a.i > 1 for a in node.attribute)
    if node.op_type != "Clip":
        return False
    limits = {attribute.name: attribute.f for attribute in node.attribute}
    stated = {tensor.name: tensor for tensor in model.graph.initializer}
    for name, limit in zip(node.input[1:], ("min", "max"), strict=False):
        if name:
            limits[limit] = float(onnx.numpy_helper.to_array(stated[name])) if name in stated else float("nan")
    return not limits.get("min", 0.0) <= 0 <= limits.get("max", 0.0)


def _state_biases_by_channel(model: onnx.ModelProto) -> None:
    """State every Gemm's bias as the quantiser takes it: a number a channel, with its factor beta in it.

    It fails on a row of them or one for all, and answers wrongly where there is a factor: it quantises without.
    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    replaced: list[onnx.TensorProto] = []
    for node in model.graph.node:
        if node.op_type != "Gemm" or len(node.input) < 3 or not {*node.input[1:]} <= weights.keys():
            continue
        attributes = {attribute.name: attribute for attribute in node.attribute}
        by_rows = "transB" in attributes and attributes["transB"].i
        bias, channels = weights[node.input[2]], weights[node.input[1]].dims[0 if by_rows else 1]
        factor = attributes["beta"].f if "beta" in attributes else 1.0
        if (list(bias.dims) == [channels] and factor == 1) or prod(bias.dims) not in (1, channels):
            continue
        numbers = onnx.numpy_helper.to_array(bias)
        stated = np.broadcast_to((numbers * factor).astype(numbers.dtype).reshape(-1), channels)
        if "beta" in attributes:
            node.attribute.remove(attributes["beta"])
        name = f"{bias.name}_of_{node.name}"
        while name in weights:
            name += "_"
        weights[name] = onnx.numpy_helper.from_array(np.ascontiguousarray(stated), name)
        model.graph.initializer.append(weights[name])
        node.input[2] = name
        replaced.append(bias)
    read = {name for node in all_nodes(model) for name in node.input}
    for bias in replaced:
        if bias.name not in read and bias in model.graph.initializer:
            model.graph.initializer.remove(bias)


def opset_of(model: onnx.ModelProto) -> int:
    """The version of the default domain that a model calls."""
    version: int = next(entry.version for entry in model.opset_import if not entry.domain)
    return version


def quantised(model: onnx.ModelProto) -> set[str]:
    """The nodes that make or take 8-bit numbers of activations."""
    return {node.name for node in model.graph.node if node.op_type in QUANTISED or node.op_type.startswith("QLinear")}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the quantiser from recommending, on the root logger, a pre-processing that export has done.

    And onnxruntime from warning, on the terminal, of what is left over in models that the quantiser makes for itself.
    """
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    ort.set_default_logger_severity(ORT_FATAL)
    try:
        yield
    finally:
        ort.set_default_logger_severity(ORT_WARNING)
        root.setLevel(level)
