"""Torch fragments to ONNX: exported, folded for inference, stripped of what is not the model, checked, compared.

The same weights give the same bytes: no path, time, stack trace or tool version stays in a file.
"""

import logging
import warnings
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter

import numpy as np
import onnx
import torch
from torch import nn

from splitplace.errors import SplitPlaceError
from splitplace.executor import Array, FragmentSession
from splitplace.export.costs import Costs, costs
from splitplace.records.fragment import BATCH, DType, Fragment, TensorSpec
from splitplace.records.split import INPUT, Edge, Split
from splitplace.splitting.artifact import SplitArtifact, digest
from splitplace.splitting.modules import ModuleFragment, ModuleSplit

OPSET = 18
"""What every onnxruntime since 1.14 runs; the exporter's native opset, so no version conversion takes part."""
CHECK_BATCHES = (1, 7)
TOLERANCE = 1e-4
"""Largest difference from torch allowed, relative to the largest value of the output: float32 sums in another order."""


def to_onnx(split: ModuleSplit, tolerance: float = TOLERANCE) -> SplitArtifact:
    """Export every fragment of a torch split.

    Each file has a symbolic batch, passes the ONNX checker, and is compared with its torch source on random inputs at
    the batch sizes `CHECK_BATCHES`, fragment by fragment, each fed by torch's own outputs.

    Args:
        split: The modules, in eval mode.
        tolerance: Largest absolute difference from torch, relative to the output's largest value.

    Raises:
        SplitPlaceError: A tensor that no fragment gives, a cycle, or an export that does not equal its source.
    """
    modules = {fragment.name: fragment for fragment in split.fragments}
    values = {batch: {split.input_spec.name: _sample(split.input_spec, batch)} for batch in CHECK_BATCHES}
    specs = {split.input_spec.name: split.input_spec}
    models: dict[str, bytes] = {}
    fragments: dict[str, Fragment] = {}
    for name in _order(split):
        module = modules[name].module.eval()
        with torch.inference_mode():
            for known in values.values():
                known[modules[name].output] = module(*(known[tensor] for tensor in modules[name].inputs))
        specs[modules[name].output] = _spec(modules[name].output, values[CHECK_BATCHES[-1]][modules[name].output])
        model = _export(modules[name], {tensor: values[CHECK_BATCHES[-1]][tensor] for tensor in modules[name].inputs})
        models[name] = model.SerializeToString(deterministic=True)
        fragments[name] = _fragment(modules[name], specs, models[name], costs(model))
        for known in values.values():
            _compare(fragments[name], models[name], known, tolerance)
    ordered = tuple(fragments[fragment.name] for fragment in split.fragments)
    return SplitArtifact(
        Split(
            application=split.application,
            model=split.model,
            strategy=split.strategy,
            variant=split.variant,
            fragments=ordered,
            edges=_edges(split, specs),
            merge=split.merge,
        ),
        models,
    )


def _order(split: ModuleSplit) -> tuple[str, ...]:
    maker = {fragment.output: fragment.name for fragment in split.fragments}
    needs: dict[str, set[str]] = {}
    for fragment in split.fragments:
        unknown = [tensor for tensor in fragment.inputs if tensor not in maker and tensor != split.input_spec.name]
        if unknown:
            raise SplitPlaceError(f"fragment {fragment.name} reads {unknown}, which no fragment gives: {sorted(maker)}")
        needs[fragment.name] = {maker[tensor] for tensor in fragment.inputs if tensor in maker}
    try:
        return tuple(TopologicalSorter(needs).static_order())
    except CycleError as error:
        raise SplitPlaceError(f"the fragments form a cycle: {error.args[1]}") from error


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


def _fragment(source: ModuleFragment, specs: Mapping[str, TensorSpec], model: bytes, cost: Costs) -> Fragment:
    return Fragment(
        name=source.name,
        inputs=tuple(specs[tensor] for tensor in source.inputs),
        outputs=(specs[source.output],),
        classes=source.classes,
        params=cost.params,
        flops_per_sample=cost.flops_per_sample,
        weight_bytes=cost.weight_bytes,
        digest=digest(model),
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


def _export(fragment: ModuleFragment, sample: Mapping[str, torch.Tensor]) -> onnx.ModelProto:
    batch = torch.export.Dim(BATCH)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # the exporter warns of its own deprecations
        program = torch.onnx.export(
            _Positional(fragment.module).eval(),
            tuple(sample.values()),
            dynamo=True,
            # Folds constants, and BatchNorm into Conv.
            optimize=True,
            opset_version=OPSET,
            input_names=list(sample),
            output_names=[fragment.output],
            dynamic_shapes=(tuple({0: batch} for _ in sample),),
            verbose=False,
        )
    assert program is not None
    model = normalise(program.model_proto, fragment.name)
    onnx.checker.check_model(model, full_check=True)
    left = [node.name for node in model.graph.node if node.op_type == "BatchNormalization"]
    if left and any(node.op_type == "Conv" and node.output[0] in _inputs(model, left) for node in model.graph.node):
        raise SplitPlaceError(f"{fragment.name}: BatchNorm after Conv was not folded: {left}")
    return model


def _inputs(model: onnx.ModelProto, names: list[str]) -> set[str]:
    return {node.input[0] for node in model.graph.node if node.name in names}


def normalise(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """The model without traces of where, when and by what it was made; its values keep their names."""
    clean = onnx.ModelProto()
    clean.CopyFrom(model)
    for field in ("producer_name", "producer_version", "domain", "model_version", "doc_string", "metadata_props"):
        clean.ClearField(field)
    clean.graph.name = name
    for field in ("doc_string", "metadata_props", "value_info", "quantization_annotation"):
        clean.graph.ClearField(field)
    for part in (*clean.graph.node, *clean.graph.initializer, *clean.graph.input, *clean.graph.output):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    return clean


def _compare(fragment: Fragment, model: bytes, known: Mapping[str, torch.Tensor], tolerance: float) -> None:
    session = FragmentSession(fragment, model)
    got = session.run({spec.name: known[spec.name].numpy() for spec in fragment.inputs})
    for spec in fragment.outputs:
        difference = relative_difference(got[spec.name], known[spec.name].numpy())
        if not difference <= tolerance:
            raise SplitPlaceError(
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
