"""Operators that were exported as they are while a network is trained: no split of theirs can equal the whole."""

import onnx

from splitplace.splitting.layerwise.detached import Model, message
from splitplace.splitting.layerwise.external import all_nodes

BATCH_NORM_SAYS_SO = 14
"""The opset from which on BatchNormalization has an attribute for it; before, it trains if it has several outputs."""


def in_training(model: Model) -> str | None:
    """Which operators of a model take the statistics of their batch, or draw at random, because it was exported so."""
    proto = onnx.ModelProto.FromString(message(model))
    opset = next((entry.version for entry in proto.opset_import if not entry.domain), 0)
    truths = {tensor.name for tensor in proto.graph.initializer if _is_true(tensor)}
    for node in all_nodes(proto):
        if node.op_type == "Constant":
            truths.update(node.output[0] for a in node.attribute if a.name == "value" and _is_true(a.t))
    found = [node for node in all_nodes(proto) if _trains(node, opset, truths)]
    if not found:
        return None
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return (
        f"its {found[0].op_type} {(found[0].name or found[0].output[0])!r}{more} was exported in training mode: export "
        "the model for inference, as PyTorch does after model.eval()"
    )


def _trains(node: onnx.NodeProto, opset: int, truths: set[str]) -> bool:
    if node.op_type == "Dropout":
        return len(node.input) > 2 and node.input[2] in truths
    if node.op_type != "BatchNormalization":
        return False
    if opset < BATCH_NORM_SAYS_SO:
        return any(node.output[1:])
    return any(attribute.name == "training_mode" and attribute.i == 1 for attribute in node.attribute)


def _is_true(tensor: onnx.TensorProto) -> bool:
    """Whether it is the one truth value."""
    if tensor.data_type != onnx.TensorProto.BOOL or len(tensor.dims) > 1:
        return False
    return bool(onnx.numpy_helper.to_array(tensor).all())
