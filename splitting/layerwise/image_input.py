"""A model of normalised images made one of image bytes: what a training does before the network becomes part of it."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from splitplace.errors import ContractError
from splitplace.records.preprocessing import ImageRule, Normalisation, Preprocessing
from splitplace.splitting.layerwise.detached import Detached, Model, message
from splitplace.splitting.layerwise.model import parse


def of_bytes(model: Model, mean_C: Sequence[float], std_C: Sequence[float], source: str) -> tuple[Model, Preprocessing]:
    """The model with (x / 255 - mean) / std before it, by channel; its input keeps its name.

    Args:
        model: Takes one input, float32 (n, 1 or 3 channels, height, width), of known size.
        mean_C: A number a channel, of values from 0 to 1.
        std_C: The same, above 0.
        source: What to call the model.

    Returns:
        A model that takes uint8 of the same shape, and how an image file becomes that.

    Raises:
        ContractError: Another input, or other than one number a channel.
    """
    whole = ir.from_proto(parse(message(model), source))
    graph = whole.graph
    given = [value for value in graph.inputs if value.name not in graph.initializers]
    sizes = [dim for value in given for dim in tuple(value.shape or ())[1:] if isinstance(dim, int) and dim > 0]
    if [(value.dtype, len(value.shape or ())) for value in given] != [(ir.DataType.FLOAT, 4)] or len(sizes) != 3:
        takes = ", ".join(f"{value.dtype}{value.shape or '[]'}" for value in given) or "no input"
        raise ContractError(
            f"{source}: takes {takes}, expected one FLOAT[n, channels, height, width] for --mean and --std"
        )
    (images,), (channels, height, width) = given, sizes
    if channels not in (1, 3) or not len(mean_C) == len(std_C) == channels:
        raise ContractError(
            f"{source}: takes images of {channels} channels, got {len(mean_C)} means and {len(std_C)} deviations; "
            "expected one of each for each of 1 or 3 channels"
        )
    rule = Preprocessing(
        before=ImageRule(channels=3 if channels == 3 else 1, height=height, width=width),
        inside=Normalisation(mean_C=tuple(mean_C), std_C=tuple(std_C)),
    )
    users = tuple(images.uses())  # and where the model answers its input, too, that stays
    images.dtype = ir.DataType.UINT8
    nodes = [ir.node("Cast", [images], {"to": ir.DataType.FLOAT})]
    for operator, numbers in (("Mul", [rule.inside.scale] * channels), ("Sub", mean_C), ("Div", std_C)):
        # A constant, no initializer: those of IR version 3 would be inputs.
        value = ir.tensor(np.array(numbers, np.float32).reshape(1, channels, 1, 1))
        constant = ir.node("Constant", [], {"value": value})
        nodes += [constant, ir.node(operator, [nodes[-1].outputs[0], constant.outputs[0]])]
    for user, place in users:
        user.replace_input_with(place, nodes[-1].outputs[0])
    taken = {value.name for node in ir.traversal.RecursiveGraphIterator(graph) for value in node.outputs}
    for node in nodes:
        node.outputs[0].name = _free(f"{images.name}/{node.op_type}", taken)
    graph.insert_before(graph[0], nodes)
    written = ir.to_proto(whole).SerializeToString()
    return Detached(written, model.beside) if isinstance(model, Detached) else written, rule


def _free(name: str, taken: set[str | None]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name
