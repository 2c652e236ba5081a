"""Which nodes of a model meet numbers that a smaller type cannot tell apart: seen by running it on real inputs."""

from collections.abc import Callable, Mapping

import numpy as np
import onnx
import onnxruntime as ort

from splitplace.inference.executor import Array, batches

Feed = Mapping[str, Array]
"""Inputs of a fragment by name, each (n, ...)."""

TRIAL_ROWS = 4
"""Samples that a fragment is run on at once to see its numbers: all that it computes is held meanwhile."""
LARGEST_FLOAT16 = 65504.0
MARGIN = 4.0
"""How much larger than on the inputs that were seen a number may become."""
FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16)
"""Element types of numbers that may be beyond float16's."""
ORT_FATAL = 4
"""The severity of onnxruntime's log that says nothing of a model that runs."""


def touching(model: onnx.ModelProto, feed: Feed, odd: Callable[[object], bool]) -> set[str]:
    """The nodes that read or make a tensor that is odd, among weights and on any of these inputs."""
    found = {tensor.name for tensor in model.graph.initializer if odd(onnx.numpy_helper.to_array(tensor))}
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    made = list(dict.fromkeys(name for node in model.graph.node for name in node.output if name))
    inferred = onnx.shape_inference.infer_shapes(model).graph
    others = {value.name for value in (*inferred.value_info, *inferred.output) if _is_no_float(value)}
    made = [name for name in made if name not in others]  # of some of which numpy has no type
    del shown.graph.output[:]
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in made)
    options = ort.SessionOptions()
    options.log_severity_level = ORT_FATAL
    session = ort.InferenceSession(shown.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for given in batches({node.name: feed[node.name] for node in session.get_inputs()}, TRIAL_ROWS):
        found |= {name for name, value in given.items() if odd(value)}
        ran = session.run(made, given) if made else []
        found |= {name for name, value in zip(made, ran, strict=True) if odd(value)}
    return {node.name for node in model.graph.node if found.intersection([*node.input, *node.output])}


def _is_no_float(value: onnx.ValueInfoProto) -> bool:
    return value.type.tensor_type.elem_type not in (onnx.TensorProto.UNDEFINED, *FLOATS)


def is_large(value: object) -> bool:
    """Whether it holds a number near float16's largest or beyond."""
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        return False
    finite = value[np.isfinite(value)]
    return bool(np.abs(finite).max(initial=0.0) > LARGEST_FLOAT16 / MARGIN)


def is_mask(value: object) -> bool:
    """Whether it holds infinities, or numbers as large as stand for them: beside such, 8 bits tell no others apart."""
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        return False
    return is_large(value) or not bool(np.isfinite(value).all())


def is_nan(value: object) -> bool:
    """Whether it holds what is not a number."""
    return isinstance(value, np.ndarray) and value.dtype.kind == "f" and bool(np.isnan(value).any())
