"""What a model for inference need not compute: constants folded, operators that do nothing dropped, BatchNorm merged.

The passes and rules are onnx-ir's and onnxscript's, in the order of onnxscript's `optimize_ir`. Here every rule looks
at nodes of its own operator only: tried on every node, as there, they take most of the time of a model of thousands.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common as passes
from onnxscript import optimizer, rewriter
from onnxscript.rewriter.pattern import Constant
from onnxscript.rewriter.rules import common as rules

from splitplace.splitting.layerwise.names import Names
from splitplace.splitting.layerwise.weights import fold_weights

# They warn of every operator that is not folded, and of weights that are answers: no faults of the model's.
for library in ("onnxscript", "onnx_ir"):
    logging.getLogger(library).setLevel(logging.ERROR)

ROUNDS = 2
_KEPT = "KeptIdentity"
"""What nodes are called that the elimination of Identity nodes must not see."""
MANY_SLICES = 200
"""The rule that joins slices looks at pairs of them."""


def _without_effect(op_type: str, number: int) -> rewriter.RewriteRule:
    """The rule that drops an operator whose second input is this very number.

    The library's own take numbers that are close to it: an epsilon of 1e-8 and less, that keeps a division from one by
    zero, would be nothing.
    """
    exactly = Constant(number, rel_tol=0, abs_tol=0)
    return rewriter.RewriteRule(lambda op, x: getattr(op, op_type)(x, exactly), lambda op, x: op.Identity(x))


RULES: dict[str, tuple[rewriter.RewriteRule, ...]] = {
    "Mul": tuple(_without_effect("Mul", 1).commute()),
    "Add": tuple(_without_effect("Add", 0).commute()),
    "Sub": (_without_effect("Sub", 0),),
    "Div": (_without_effect("Div", 1),),
    "Dropout": (rules.dropout_zero_rule, rules.dropout_inference_rule),
    "Reshape": (
        rules.two_reshapes_matmul_reshape_rule,
        rules.one_reshape_matmul_reshape_rule,
        rules.materialize_reshape_shape_rule,
        rules.reshape_reshape_rule,
        rules.squeeze_reshape_1d_rule,
    ),
    "Cast": (
        rules.cast_constant_of_shape_rule,
        rules.cast_constant_of_shape_without_value_rule,
        rules.cast_cast_rule,
        rules.no_op_cast_rule,
    ),
    "Slice": (rules.collapse_slice_rule, rules.collapse_slice2_rule, rules.slice_split_rule),
    # Those that join Clip, Min and Max are left out: they answer otherwise where limits do not meet, and call the
    # limits of two pairs on one tensor alike.
    "Relu": (rules.successive_relu_rule,),
    "Expand": (rules.no_op_expand_rule,),
    "Flatten": (rules.flatten_to_reshape_rule,),
    "Transpose": (rules.no_op_transpose_rule, rules.transpose_transpose_rule),
    "Unsqueeze": (rules.unsqueeze_unsqueeze_rule,),
    "ScatterND": (rules.no_op_dynamic_scatter_nd_rule, rules.no_op_static_scatter_nd_rule),
    "Conv": (
        rules.normalize_pad_format_conv_rule,
        rules.fuse_pad_into_conv_rule,
        rules.remove_optional_bias_from_conv_rule,
    ),
    "ConvInteger": (rules.normalize_pad_format_conv_integer_rule, rules.fuse_pad_into_conv_integer_rule),
    "ConvTranspose": (rules.remove_optional_bias_from_conv_transpose_rule,),
    "QLinearConv": (rules.remove_optional_bias_from_qlinear_conv_rule,),
    "Gemm": (rules.remove_optional_bias_from_gemm_rule,),
    "BatchNormalization": (
        rules.fuse_batchnorm_into_conv_rule,
        rules.fuse_batchnorm_into_conv_transpose_rule,
        rules.fuse_batchnorm_into_gemm_rule,
    ),
}
"""By the operator that a pattern ends with."""

SINCE: dict[rewriter.RewriteRule, int] = {
    rules.slice_split_rule: 18,
    rules.materialize_reshape_shape_rule: 14,
    **dict.fromkeys((*RULES["ConvInteger"], rules.fuse_pad_into_conv_rule, *RULES["Gemm"]), 11),
    **dict.fromkeys(RULES["BatchNormalization"], 9),
}
"""The opset from which on a rule's operators have the form it reads and writes: Split's `num_outputs`, Reshape's
`allowzero`, pads as inputs, a Gemm without C, a BatchNormalization by channel."""


def _is_affine(node: ir.Node) -> bool:
    """Whether a BatchNormalization does the same to every batch, in numbers of one type with what it follows."""
    inbound = node.inputs[0].producer() if node.inputs[0] is not None else None
    read = [*node.inputs[1:], inbound.inputs[1] if inbound is not None and len(inbound.inputs) > 1 else None]
    kinds = {value.const_value.dtype for value in read if value is not None and value.const_value is not None}
    return node.attributes.get_int("training_mode", 0) != 1 and len(kinds) == 1


def _is_representable(node: ir.Node) -> bool:
    """Whether a Cast takes the number that a ConstantOfShape repeats for what it is: the rule raises on others."""
    maker = node.inputs[0].producer() if node.inputs[0] is not None else None
    if maker is None or maker.op_type != "ConstantOfShape" or "value" not in maker.attributes:
        return True
    number, kind = maker.attributes["value"].as_tensor().numpy().item(), ir.DataType(node.attributes["to"].as_int())
    if not kind.is_integer():
        return True
    limits = np.iinfo(kind.numpy())
    return bool(np.isfinite(number) and limits.min <= number <= limits.max)


APPLIES: dict[str, Callable[[ir.Node], bool]] = {"BatchNormalization": _is_affine, "Cast": _is_representable}
"""By operator, which nodes its rules are right for: what the rules themselves do not ask."""


class _OfOperator:
    """A rule that is tried on the nodes of one operator alone."""

    def __init__(self, op_type: str, rule: rewriter.RewriteRule):
        self.op_type, self.rule = op_type, rule

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rule, name)

    def try_rewrite(self, model: ir.Model, graph: Any, node: ir.Node, **options: Any) -> Any:
        """As the rule's, where it applies; the weights that it makes take no name of others."""
        applies = APPLIES.get(self.op_type)
        if node.op_type != self.op_type or (applies is not None and not applies(node)):
            return None
        found = self.rule.try_rewrite(model, graph, node, **options)
        if found is None:
            return None
        for weight in found.new_initializers:
            name = weight.name or ""
            former = graph.initializers.get(name)
            if former is not None and any(use.node not in found.match.nodes for use in former.uses()):
                weight.name = Names(graph).free(name)
        return found


def simplify(model: ir.Model) -> None:
    """Bring a model without functions to fewer operators that answer the same; changed in place."""
    for node in model.graph.all_nodes():
        while node.inputs and node.inputs[-1] is None:  # as not given, which is how the rules know it
            node.resize_inputs(len(node.inputs) - 1)
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    passes.RemoveInitializersFromInputsPass()(model)
    for _ in range(ROUNDS):
        folded = optimizer.fold_constants_ir(model, onnx_shape_inference=False).modified
        if not any([folded, *_run(model, *_rewriting(model), *_unused())]):
            break
    _run(
        model,
        passes.RemoveUnusedNodesPass(),
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.LiftSubgraphInitializersToMainGraphPass(),
        passes.DeduplicateInitializersPass(),
        passes.CommonSubexpressionEliminationPass(),
        passes.OutputFixPass(),
        passes.NameFixPass(),
        # The rules fold what onnxruntime would fold across a later cut; only for inference, so BatchNorm is affine.
        *_rewriting(model, ["BatchNormalization"]),
        *_unused(),
    )
    _eliminate_identities(model)
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    fold_weights(model)
    _run(
        model,
        passes.RemoveUnusedNodesPass(),
        passes.TopologicalSortPass(),
        passes.OutputFixPass(),  # the body of a loop may give a value twice: by name it has to be two
        passes.NameFixPass(),
        passes.ClearMetadataAndDocStringPass(),
    )


def _eliminate_identities(model: ir.Model) -> None:
    """Drop nodes that hand on what they read, but for those by which a subgraph hands on a value from around it.

    Without them it would have an output that it does not make, or two subgraphs one between them.
    """
    makers = [(graph, value.producer()) for graph in model.graph.subgraphs() for value in graph.outputs]
    kept = [
        node for graph, node in makers if node is not None and node.op_type == "Identity" and _reads_around(node, graph)
    ]
    for node in kept:
        node.op_type = _KEPT
    passes.IdentityEliminationPass()(model)
    for node in kept:
        node.op_type = "Identity"


def _reads_around(node: ir.Node, graph: ir.Graph) -> bool:
    """Whether a node of a subgraph reads a value that is made around it."""
    maker = node.inputs[0].producer() if node.inputs[0] is not None else None
    return node.graph is graph and maker is not None and maker.graph is not graph


def _run(model: ir.Model, *steps: ir.passes.PassBase) -> list[bool]:
    """Whether each of these passes changed the model."""
    return [step(model).modified for step in steps]


def _unused() -> list[ir.passes.PassBase]:
    return [
        passes.RemoveUnusedNodesPass(),
        passes.RemoveUnusedFunctionsPass(),  # type: ignore[no-untyped-call]  # its constructor is not annotated
        passes.RemoveUnusedOpsetsPass(),
    ]


def _rewriting(model: ir.Model, operators: Sequence[str] | None = None) -> list[ir.passes.PassBase]:
    """What applies the rules of these operators, of all by default; nothing where the opset has none."""
    slices = sum(node.op_type == "Slice" for node in model.graph)
    opset = model.graph.opset_imports.get("", 0)
    chosen = [
        _OfOperator(op_type, rule)
        for op_type in operators or RULES
        for rule in RULES[op_type]
        if opset >= SINCE.get(rule, 0) and (rule is not rules.slice_split_rule or slices <= MANY_SLICES)
    ]
    # It asks no more of a rule than ours give.
    return [rewriter.RewritePass(chosen)] if chosen else []  # type: ignore[arg-type]
