"""Smaller numbers on request: float16 weights and arithmetic, or int8 by static quantisation calibrated on real inputs.

Both keep every boundary tensor as it is, so that the graph, the contracts between fragments and the merge stay those of
the float32 split. The library's own tools do the work (onnxruntime's float16 converter and QDQ quantiser); a split in
another precision is a split of its own, with the precision in its variant and an evaluation of its own beside it.
"""

import warnings
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass, TopologicalSortPass
from onnxruntime.transformers.float16 import convert_float_to_float16

from splitplace.errors import ContractError, SplitPlaceError
from splitplace.export.convert.int8 import CALIBRATION_BATCH, FLOAT16_SCALES_SINCE, int8, opset_of, quantised
from splitplace.export.convert.odd_numbers import TRIAL_ROWS, Feed, is_large, touching
from splitplace.inference.executor import Array, FragmentSession, boundary_values, open_session
from splitplace.inference.inputs import named_inputs
from splitplace.inference.noise import draw
from splitplace.inference.trial import run_apart
from splitplace.records.fragment import Fragment
from splitplace.records.split import Split
from splitplace.seeds import generator
from splitplace.splitting.artifact import SplitArtifact, digest
from splitplace.splitting.layerwise.checker import check_form

Precision = Literal["float32", "float16", "int8"]
MIN_CALIBRATION = 32
"""Fewer samples do not show the range of an activation."""
FLOAT32_ALONE = ("Celu", "IsInf")
"""Operators that, in some opset or all, take no float16, and that the converter does not know as such."""
FUSED_BATCH_RANK = 3
"""From this many axes on, a transposition that moves the batch may be fused with the product that reads it."""
OF_TREES = "ai.onnx.ml"
"""The domain of scalers, encoders and trees, which make float32 whatever they read."""
FLOAT16_BOUND = 0.05
"""Largest difference from float32, as a share of a tensor's largest value; sound conversions stay below a percent."""
INT8_BOUND = 0.3
"""Likewise of int8: root mean square difference over the spread of float32's values; of twelve networks of seven kinds
it was at most .08. What accuracy is lost is for an evaluation to say: this finds what was broken, not quantised."""


def with_precision(
    artifact: SplitArtifact, precision: Precision, calibration: Array | Mapping[str, Array] | None = None
) -> SplitArtifact:
    """The same split with every fragment in another precision, each run once in a process of its own.

    Args:
        artifact: In float32.
        precision: `float32` gives the artifact back.
        calibration: Real inputs of the split, (n, ...), by name where it takes several, none of them held out for
            evaluation: int8 needs them; float16 is held against float32 on them, else on seeded noise.

    Returns:
        The split `REF-float16` or `REF-int8`: same graph and contracts, params and FLOPs as counted in float32,
        weight bytes and digests of its own.

    Raises:
        SplitPlaceError: int8 without enough calibration inputs, or inputs of another form than the split's; a fragment
            that does not convert, or answers something else in float16.
        IntegrityError: A converted fragment that does not run.
    """
    if precision == "float32":
        return artifact
    split = artifact.split
    inputs = None if calibration is None else named_inputs(split.inputs, calibration, split.reference)
    if precision == "int8" and (inputs is None or _rows(inputs) < MIN_CALIBRATION):
        got = 0 if inputs is None else _rows(inputs)
        raise ContractError(
            f"int8 needs calibration on real inputs: got {got}, expected {MIN_CALIBRATION} or more: "
            "give --calibration an .npy file, or your own images as --path had them in training"
        )
    if inputs is None:
        inputs = {spec.name: draw(spec, TRIAL_ROWS, generator(0, "float16", spec.name)) for spec in split.inputs}
    feeds = boundary_values(split, artifact.models.__getitem__, inputs, CALIBRATION_BATCH)
    convert = float16 if precision == "float16" else int8
    converted = {name: _checked(name, model, convert, feeds[name]) for name, model in artifact.models.items()}
    fragments = tuple(_fragment(fragment, converted[fragment.name]) for fragment in split.fragments)
    for fragment in fragments:
        sample = {name: value[:MIN_CALIBRATION] for name, value in feeds[fragment.name].items()}
        got_by_name = run_apart(fragment, converted[fragment.name], sample)
        former = split.by_name[fragment.name]
        compare = _compare if precision == "float16" else _compare_int8
        compare(FragmentSession(former, artifact.models[former.name]).run(sample), got_by_name, fragment.name)
    if all(_content(converted[name]) == _content(model) for name, model in artifact.models.items()):
        dtypes = sorted({spec.dtype for fragment in split.fragments for spec in fragment.inputs})
        raise ContractError(
            f"{split.reference}: {precision} changes nothing: its fragments hold no weights or arithmetic in float32 "
            f"that would become smaller (its tensors are {', '.join(dtypes)}); export it as it is"
        )
    variant = "-".join(part for part in (split.variant, precision) if part)
    changed = Split(
        **{name: getattr(split, name) for name in Split.model_fields} | {"variant": variant, "fragments": fragments}
    )
    return SplitArtifact(changed, converted)


def _batch_turned(model: onnx.ModelProto) -> set[str]:
    """Transpositions of the batch that a product reads: onnxruntime fuses them and, in float16, ends the process."""
    made = {output: node for node in model.graph.node for output in node.output}
    read = {name for node in model.graph.node if node.op_type == "MatMul" for name in node.input}
    moves = {
        node.name: list(axes.ints)
        for name, node in made.items()
        if name in read and node.op_type == "Transpose"
        for axes in node.attribute
    }
    return {name for name, axes in moves.items() if len(axes) >= FUSED_BATCH_RANK and axes[0]}


def _rows(inputs: Mapping[str, Array]) -> int:
    return min(len(value) for value in inputs.values())


def _compare(expected: Mapping[str, Array], got: Mapping[str, Array], name: str) -> None:
    """Refuse float16 answers that are not float32's: the converter clamps what is too large without a word.

    Of truths and whole numbers, which a rounding turns over or leaves as they are, the share of others counts.
    """
    for tensor, wide in expected.items():
        if wide.dtype.kind != "f":
            others = float(np.mean(wide != got[tensor])) if wide.size else 0.0
            if others > FLOAT16_BOUND:
                raise SplitPlaceError(
                    f"{name}: in float16 {others:.1%} of {tensor!r} are others, expected at most {FLOAT16_BOUND:.0%}: "
                    "keep float32, or use int8"
                )
            continue
        finite = np.isfinite(wide)
        largest = float(np.abs(wide[finite]).max(initial=0.0)) or 1.0
        same = np.array_equal(finite, np.isfinite(got[tensor]))
        error = float(np.abs(wide[finite] - got[tensor][finite]).max(initial=0.0)) / largest if same else float("inf")
        if error > FLOAT16_BOUND:
            raise SplitPlaceError(
                f"{name}: in float16 {tensor!r} is off by {error:.1%} of its largest value, expected at most "
                f"{FLOAT16_BOUND:.0%}: keep float32, or use int8"
            )


def _compare_int8(expected: Mapping[str, Array], got: Mapping[str, Array], name: str) -> None:
    """Refuse int8 answers that have next to nothing to do with float32's, on inputs that it was calibrated on."""
    for tensor, wide in expected.items():
        narrow = got[tensor]
        if wide.dtype.kind != "f":
            off = float(np.mean(wide != narrow)) if wide.size else 0.0
        else:
            finite = np.isfinite(wide)
            exact, differs = wide[finite].astype(np.float64), narrow[finite].astype(np.float64)
            scale = float(exact.std()) if exact.size and np.ptp(exact) > 0 else float(np.abs(exact).max(initial=0.0))
            error = float(np.sqrt(np.mean((differs - exact) ** 2))) if exact.size else 0.0
            off = error / (scale or 1.0) if np.array_equal(finite, np.isfinite(narrow)) else float("inf")
        if not off <= INT8_BOUND:
            raise SplitPlaceError(
                f"{name}: in int8 {tensor!r} is off by {off:.0%} of what its values differ by, expected at most "
                f"{INT8_BOUND:.0%}: give more of --calibration, keep float32, or use float16"
            )


def _content(model: bytes) -> tuple[list[str], list[int]]:
    """What a file is made of: its operators, and the element types of its weights."""
    graph = onnx.load_from_string(model).graph
    return [node.op_type for node in graph.node], sorted(tensor.data_type for tensor in graph.initializer)


def _checked(name: str, model: bytes, convert: Callable[[onnx.ModelProto, Feed], onnx.ModelProto], feed: Feed) -> bytes:
    """The converted file. What a fragment carries through is no business of a converter's: it is put back after."""
    proto = onnx.load_from_string(model)
    given = {value.name for value in proto.graph.input}
    outputs = [output.name for output in proto.graph.output]
    own = [output for output in proto.graph.output if output.name not in given]
    del proto.graph.output[:]
    proto.graph.output.extend(own)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the converters warn of each tiny weight that becomes zero
            converted = convert(proto, feed)
        made = {value.name: value for value in [*converted.graph.output, *converted.graph.input]}
        ordered = [made[name] for name in outputs]
        del converted.graph.output[:]
        converted.graph.output.extend(ordered)
        converted.producer_name, converted.producer_version = "splitplace", ""
        del converted.metadata_props[:]
        del converted.graph.value_info[:]
        check_form(converted, full=True)
    except Exception as error:
        # The converters raise what they please; each means that they cannot convert this fragment.
        why = " ".join(str(error).split())[:300].rstrip(".")
        raise SplitPlaceError(f"{name}: cannot be converted: {why}; export it in float32") from error
    data: bytes = converted.SerializeToString(deterministic=True)
    return data


def float16(model: onnx.ModelProto, feed: Feed) -> onnx.ModelProto:
    """Weights and arithmetic in float16, but for operators that touch numbers beyond its range or take float32."""
    scaled = {node.name for node in model.graph.node if node.op_type == "DequantizeLinear"}
    narrow_scales = opset_of(model) >= FLOAT16_SCALES_SINCE
    wide = {node.name for node in model.graph.node if node.op_type in FLOAT32_ALONE or node.domain == OF_TREES}
    _state_types(model)
    kept = sorted(
        touching(model, feed, is_large)
        | quantised(model)
        | wide
        | _batch_turned(model)
        | (set() if narrow_scales else scaled)
    )
    own = {node.name for node in model.graph.node}
    narrow = ir.from_proto(convert_float_to_float16(model, keep_io_types=True, node_block_list=kept))
    for node in narrow.graph:
        former = node.inputs[0].producer() if node.op_type == "Cast" and node.inputs[0] is not None else None
        if former is not None and former.op_type == "Cast" and not own.intersection([node.name, former.name]):
            node.replace_input_with(0, former.inputs[0])  # it casts what it kept to float16 and back at once
    RemoveUnusedNodesPass()(narrow)
    TopologicalSortPass()(narrow)  # the converter appends the casts of inputs at the end
    converted: onnx.ModelProto = ir.to_proto(narrow)
    return converted


def _state_types(model: onnx.ModelProto) -> None:
    """State which values of scalers, encoders and trees are float32: onnx infers none, and the converter casts none."""
    known = {value.name for value in (*model.graph.value_info, *model.graph.output)}
    of_trees = [node for node in model.graph.node if node.domain == OF_TREES]
    made = [name for node in of_trees for name in node.output if name and name not in known]
    if made:
        shown = onnx.ModelProto()
        shown.CopyFrom(model)
        shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in made)
        for value in open_session(shown.SerializeToString()).get_outputs():
            if value.name in made and value.type == "tensor(float)":
                stated = onnx.helper.make_tensor_value_info(value.name, onnx.TensorProto.FLOAT, None)
                model.graph.value_info.append(stated)


def _fragment(fragment: Fragment, model: bytes) -> Fragment:
    weight_bytes = sum(ir.from_proto(tensor).nbytes for tensor in onnx.load_from_string(model).graph.initializer)
    changes = {"weight_bytes": weight_bytes, "digest": digest(model)}
    return Fragment(**{name: getattr(fragment, name) for name in Fragment.model_fields} | changes)
