"""The ONNX checker, but for operators that onnxruntime has beside the standard's.

Its optimiser writes LayerNormalization into models of opsets before 17, and SimplifiedLayerNormalization, as operators
of the default domain; and it runs what the standard has deprecated since. Whether it knows an operator shows where it
opens the model.
"""

import onnx
from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema

from splitplace.splitting.layerwise.external import all_nodes

OF_RUNTIME = "splitplace.onnxruntime"
"""The domain under which the checker is shown operators that it has to take on trust."""


def check_form(model: onnx.ModelProto, full: bool = False) -> None:
    """Hold a model against the ONNX checker, except for what is onnxruntime's.

    Args:
        model: Self-contained; not changed.
        full: With inference of types and shapes.

    Raises:
        onnx.checker.ValidationError: The checker refuses it.
        onnx.shape_inference.InferenceError: Types or shapes do not fit, if looked at.
    """
    try:
        onnx.checker.check_model(model, full_check=full)
    except onnx.checker.ValidationError:
        version = next((entry.version for entry in model.opset_import if not entry.domain), 0)
        shown = onnx.ModelProto()
        shown.CopyFrom(model)
        others = [node for node in all_nodes(shown) if not node.domain and _is_of_runtime(node.op_type, version)]
        if not others:
            raise
        for node in others:
            node.domain = OF_RUNTIME
        for imports in (shown.opset_import, *(function.opset_import for function in shown.functions)):
            imports.add(domain=OF_RUNTIME, version=1)
        onnx.checker.check_model(shown, full_check=full)


def _is_of_runtime(op_type: str, version: int) -> bool:
    """Whether the standard has no such operator in this opset, or has one no more, and onnxruntime does."""
    try:
        standard = not onnx.defs.get_schema(op_type, version, "").deprecated
    except onnx.defs.SchemaError:
        standard = False
    return not standard and any(known.name == op_type and not known.domain for known in get_all_operator_schema())
