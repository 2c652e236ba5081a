"""Torch fragments to ONNX: exported, folded for inference, stripped of what is not the model, checked, compared.

The same weights give the same bytes: no path, time, stack trace or tool version stays in a file.
"""

import copy
import logging
import warnings
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from graphlib import CycleError, TopologicalSorter

import numpy as np
import onnx
import torch
from torch import nn

from splitplace.errors import ContractError, IntegrityError
from splitplace.inference.executor import Array, FragmentSession
from splitplace.records.fragment import BATCH, DType, Fragment, TensorSpec
from splitplace.records.split import INPUT, Edge, Split
from splitplace.splitting.artifact import SplitArtifact, digest
from splitplace.splitting.layerwise import recompose
from splitplace.splitting.layerwise.extract import Piece, assemble
from splitplace.splitting.layerwise.graph import build
from splitplace.splitting.layerwise.normal_form import normalise, to_proto
from splitplace.splitting.modules import ModuleFragment, ModuleSplit

OPSET = 18
"""What every onnxruntime since 1.14 runs; the exporter's native opset, so no version conversion takes part."""
CHECK_BATCHES = (1, 7)
TOLERANCE = 1e-4
"""Largest difference from torch allowed, relative to the largest value of the output: float32 sums in another order."""


def to_onnx(split: ModuleSplit, images: Array | None = None, tolerance: float = TOLERANCE) -> SplitArtifact:
    """Export every fragment of a torch split.

    Each file has a symbolic batch, passes the ONNX checker, and is compared with its torch source on random inputs at
    the batch sizes `CHECK_BATCHES`, fragment by fragment, each fed by torch's own outputs. With real images the whole
    split is held against the torch modules once more.

    Args:
        split: The modules, in eval mode.
        images: Real inputs, (n, ...) with n >= 32, if there are any.
        tolerance: Largest absolute difference from torch, relative to the output's largest value.

    Raises:
        SplitPlaceError: A tensor that no fragment gives, a cycle, a module that cannot be exported, or an export that
            does not equal its source.
    """
    modules = {fragment.name: _in_plain_layout(fragment) for fragment in split.fragments}
    values = {batch: {split.input_spec.name: _sample(split.input_spec, batch)} for batch in CHECK_BATCHES}
    specs = {split.input_spec.name: split.input_spec}
    pieces: dict[str, Piece] = {}
    for name in _order(split):
        module = modules[name].module
        with torch.inference_mode():
            for known in values.values():
                known[modules[name].output] = module(*(known[tensor] for tensor in modules[name].inputs))
        specs[modules[name].output] = _spec(modules[name].output, values[CHECK_BATCHES[-1]][modules[name].output])
        sample = {tensor: values[CHECK_BATCHES[-1]][tensor] for tensor in modules[name].inputs}
        pieces[name] = _export(modules[name], sample, specs)
        for known in values.values():
            _compare(pieces[name], known, tolerance)
    artifact = SplitArtifact(
        Split(
            application=split.application,
            model=split.model,
            strategy=split.strategy,
            variant=split.variant,
            fragments=tuple(pieces[fragment.name].fragment for fragment in split.fragments),
            edges=_edges(split, specs),
            merge=split.merge,
            class_names=split.class_names,
            preprocessing=split.preprocessing,
        ),
        {name: piece.model for name, piece in pieces.items()},
    )
    if images is not None:
        recompose.check(artifact, partial(answer, split), {split.input_spec.name: images}, tolerance=tolerance)
    return artifact


def answer(split: ModuleSplit, inputs: Mapping[str, Array]) -> Array:
    """What the torch split answers: logits (n, classes), column c for class c."""
    known = {name: torch.from_numpy(value) for name, value in inputs.items()}
    modules = {fragment.name: fragment for fragment in split.fragments}
    with torch.inference_mode():
        for name in _order(split):
            fragment = modules[name]
            known[fragment.output] = fragment.module(*(known[tensor] for tensor in fragment.inputs))
    sinks = [fragment for fragment in split.fragments if fragment.classes and fragment.name != split.merge.spare]
    merged = torch.cat([known[fragment.output] for fragment in sinks], dim=1)
    columns = [c for fragment in sinks for c in fragment.classes]
    result: Array = merged[:, np.argsort(columns)].numpy()
    return result


def _in_plain_layout(fragment: ModuleFragment) -> ModuleFragment:
    """A copy whose weights lie channel by channel.

    Traced in channels_last, as networks are trained, the exporter writes some reshapes as gathers by memory address,
    which hold for the traced batch alone.
    """
    plain = copy.deepcopy(fragment.module).eval().to(memory_format=torch.contiguous_format)
    return replace(fragment, module=plain)


def _order(split: ModuleSplit) -> tuple[str, ...]:
    maker = {fragment.output: fragment.name for fragment in split.fragments}
    needs: dict[str, set[str]] = {}
    for fragment in split.fragments:
        unknown = [tensor for tensor in fragment.inputs if tensor not in maker and tensor != split.input_spec.name]
        if unknown:
            raise ContractError(f"fragment {fragment.name} reads {unknown}, which no fragment gives: {sorted(maker)}")
        needs[fragment.name] = {maker[tensor] for tensor in fragment.inputs if tensor in maker}
    try:
        return tuple(TopologicalSorter(needs).static_order())
    except CycleError as error:
        raise ContractError(f"the fragments form a cycle: {error.args[1]}") from error


def _sample(spec: TensorSpec, batch: int) -> torch.Tensor:
    """Random values of a contract, the same on every call: any byte for integers, normal for floats."""
    shape = [batch if size == BATCH else int(size) for size in spec.shape]
    rng = np.random.default_rng(batch)
    if np.issubdtype(np.dtype(spec.dtype), np.integer):
        return torch.from_numpy(rng.integers(0, 127 if spec.dtype == "int8" else 256, shape).astype(spec.dtype))
    return torch.from_numpy(rng.standard_normal(shape).astype(spec.dtype))


def _spec(name: str, value: torch.Tensor) -> TensorSpec:
    dtype: DType = str(value.dtype).removeprefix("torch.")  # type: ignore[assignment]  # pydantic checks the name
    return TensorSpec(name=name, dtype=dtype, shape=("batch", *value.shape[1:]))


def _edges(split: ModuleSplit, specs: Mapping[str, TensorSpec]) -> tuple[Edge, ...]:
    maker = {split.input_spec.name: INPUT} | {fragment.output: fragment.name for fragment in split.fragments}
    return tuple(
        Edge(src=maker[tensor], dst=fragment.name, tensor=tensor, bytes_per_sample=specs[tensor].bytes_per_sample)
        for fragment in split.fragments
        for tensor in fragment.inputs
    )


class _Positional(nn.Module):
    """Gives a module with any signature one that takes its tensors by position, as `dynamic_shapes` needs."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        """As the module's."""
        result: torch.Tensor = self.module(*tensors)
        return result


def _export(fragment: ModuleFragment, sample: Mapping[str, torch.Tensor], specs: Mapping[str, TensorSpec]) -> Piece:
    """Torch's exporter, then the splitter's normal form: BatchNorm folded, constants folded, no trace of the maker."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        program = _program(fragment, sample)
    except Exception as error:
        # torch's exporter raises what its parts and the module raise; each means that it cannot follow the module.
        first = error
        while first.__cause__ is not None:
            first = first.__cause__  # type: ignore[assignment]  # an Exception as far as the exporter goes
        why = (str(first).strip().splitlines() or [type(first).__name__])[0][:300].rstrip(".")
        raise ContractError(
            f"{fragment.name}: torch cannot export it to ONNX: {why}: its forward may do nothing that depends on "
            "the numbers of a tensor, or on how many images there are (torch.where in place of if)"
        ) from error
    assert program is not None
    raw: bytes = program.model_proto.SerializeToString(deterministic=True)
    graph = build(normalise(raw, fragment.name), fragment.name)
    inputs, output = [specs[tensor] for tensor in fragment.inputs], specs[fragment.output]
    model = to_proto(assemble(graph, range(len(graph.nodes)), inputs, [output], fragment.name))
    onnx.checker.check_model(model, full_check=True)
    data = model.SerializeToString(deterministic=True)
    weights = frozenset(name for node in graph.nodes for name in node.weights)
    return Piece(
        Fragment(
            name=fragment.name,
            inputs=tuple(inputs),
            outputs=(output,),
            classes=fragment.classes,
            params=graph.params(weights),
            flops_per_sample=sum(node.flops_per_sample for node in graph.nodes),
            weight_bytes=graph.weight_bytes(weights),
            digest=digest(data),
        ),
        data,
    )


def _program(fragment: ModuleFragment, sample: Mapping[str, torch.Tensor]) -> torch.onnx.ONNXProgram | None:
    """What torch's exporter makes of a module, of any batch size."""
    batch = torch.export.Dim(BATCH)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # the exporter warns of its own deprecations
        return torch.onnx.export(
            _Positional(fragment.module).eval(),
            tuple(sample.values()),
            dynamo=True,
            optimize=True,
            opset_version=OPSET,
            input_names=list(sample),
            output_names=[fragment.output],
            dynamic_shapes=(tuple({0: batch} for _ in sample),),
            verbose=False,
        )


def _compare(piece: Piece, known: Mapping[str, torch.Tensor], tolerance: float) -> None:
    fragment = piece.fragment
    got = FragmentSession(fragment, piece.model).run({spec.name: known[spec.name].numpy() for spec in fragment.inputs})
    for spec in fragment.outputs:
        difference = relative_difference(got[spec.name], known[spec.name].numpy())
        if not difference <= tolerance:
            raise IntegrityError(
                f"{fragment.name}: its ONNX file differs from torch by {difference:.1e} of the largest value of "
                f"{spec.name}, expected at most {tolerance:.0e}: a layer exports wrongly, or answers by chance"
            )


def relative_difference(got: Array, expected: Array) -> float:
    """Largest absolute difference over the largest absolute expected value; infinite where shapes or NaNs differ."""
    if got.shape != expected.shape or got.dtype != expected.dtype:
        return float("inf")
    scale = max(float(np.abs(expected).max(initial=0)), 1e-12)
    difference = float(np.abs(got.astype(np.float64) - expected.astype(np.float64)).max(initial=0)) / scale
    return difference if np.isfinite(difference) else float("inf")
