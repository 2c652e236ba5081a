"""Makes Reshape targets literal, so that no shape arithmetic crosses a cut."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx

Shape = tuple[int, tuple[int, ...]]


def materialise_reshapes(model: onnx.ModelProto, shapes: Sequence[Mapping[str, Shape]]) -> None:
    """Replace each computed Reshape target by a literal one, where only one dimension of the result varies.

    Args:
        model: Changed in place. Shape arithmetic that nothing reads any more stays for the caller to drop.
        shapes: Element type and sizes of every value, at each of two batch sizes.
    """
    literal = {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "Reshape" or node.input[1] in literal:
            continue
        first, second = (known.get(node.output[0]) for known in shapes)
        if first is None or second is None or len(first[1]) != len(second[1]) or 0 in first[1]:
            continue
        varying = [i for i, (a, b) in enumerate(zip(first[1], second[1], strict=True)) if a != b]
        if len(varying) != 1:
            continue
        target = np.array([-1 if i in varying else size for i, size in enumerate(first[1])], np.int64)
        name = f"{node.name}_target"
        model.graph.initializer.append(onnx.numpy_helper.from_array(target, name))
        node.input[1] = name
