"""Scores that a model gives as a map of each sample: what converters of scikit-learn write unless told otherwise."""

import logging

import onnx

from splitplace.errors import some

_log = logging.getLogger(__name__)

OF_MAPS = "ai.onnx.ml"


def as_scores(model: onnx.ModelProto, source: str) -> bool:
    """Have outputs that are maps by a ZipMap be the scores that it reads, under the same names; changed in place.

    Args:
        model: As it was read.
        source: What to call it in messages.

    Returns:
        Whether there was one.
    """
    graph = model.graph
    answers = {value.name: value for value in graph.output}
    zipped = [
        node for node in graph.node if node.op_type == "ZipMap" and node.domain == OF_MAPS and node.output[0] in answers
    ]
    for node in zipped:
        classes = [
            label.decode(errors="replace") if isinstance(label, bytes) else str(label)
            for attribute in node.attribute
            for label in (*attribute.strings, *attribute.ints)
        ]
        _log.warning(
            "%s: its output %r is a map, and taken as the scores in it, in the order of %s",
            *(source, node.output[0], some(classes, 10)),
        )
        scores = onnx.helper.make_tensor_value_info(
            node.output[0], onnx.TensorProto.FLOAT, [None, len(classes) or None]
        )
        answers[node.output[0]].CopyFrom(scores)
        node.op_type, node.domain = "Identity", ""
        del node.attribute[:]
    return bool(zipped)
