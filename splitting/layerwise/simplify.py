"""What a model for inference need not compute: constants folded, operators that do nothing dropped, BatchNorm merged.

The passes and rules are onnx-ir's and onnxscript's, in the order of onnxscript's `optimize_ir`. Here every rule looks
at nodes of its own operator only: tried on every node, as there, they take most of the time of a model of thousands.
"""

import logging
from collections.abc import Sequence
from typing import Any

import onnx_ir as ir
from onnx_ir.passes import common as passes
from onnxscript import optimizer, rewriter
from onnxscript.rewriter.rules import common as rules

from splitplace.splitting.layerwise.weights import fold_weights

# They warn of every operator that is not folded, and of weights that are answers: no faults of the model's.
for library in ("onnxscript", "onnx_ir"):
    logging.getLogger(library).setLevel(logging.ERROR)

ROUNDS = 2
_KEPT = "KeptIdentity"
"""What nodes are called that the elimination of Identity nodes must not see."""
MANY_SLICES = 200
"""The rule that joins slices looks at pairs of them."""

RULES: dict[str, tuple[rewriter.RewriteRule, ...]] = {
    "Mul": tuple(rules.mul_by_1_rule.commute()),
    "Add": tuple(rules.add_0_rule.commute()),
    "Sub": (rules.sub_0_rule,),
    "Div": (rules.div_by_1_rule,),
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


class _OfOperator:
    """A rule that is tried on the nodes of one operator alone."""

    def __init__(self, op_type: str, rule: rewriter.RewriteRule):
        self.op_type, self.rule = op_type, rule

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rule, name)

    def try_rewrite(self, model: ir.Model, graph: Any, node: ir.Node, **options: Any) -> Any:
        """As the rule's; nothing where a node takes the statistics of its batch, of which the rules know nothing."""
        if node.op_type != self.op_type or node.attributes.get_int("training_mode", 0) == 1:
            return None
        return self.rule.try_rewrite(model, graph, node, **options)


def simplify(model: ir.Model) -> None:
    """Bring a model without functions to fewer operators that answer the same; changed in place."""
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
