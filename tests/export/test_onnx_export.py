"""Torch fragments to ONNX files."""

import copy
import dataclasses

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from splitplace.errors import ContractError, SplitPlaceError
from splitplace.export.convert.onnx_export import OPSET, relative_difference, to_onnx


def test_the_same_weights_give_the_same_bytes(full, full_artifact):
    """Exported twice, every digest is the same, and no trace of the maker is left."""
    first = full_artifact
    assert first.split == to_onnx(full).split
    model = onnx.load_from_string(first.models["full"])
    assert (model.producer_name, model.producer_version, len(model.metadata_props)) == ("splitplace", "", 0)
    assert b"site-packages" not in first.models["full"] and b"/tests/" not in first.models["full"]


def test_the_layout_of_training_leaves_no_trace(full, full_artifact):
    """Networks are trained in channels_last; traced like that, reshapes became gathers that held for one batch size."""
    last = copy.deepcopy(full.fragments[0].module).to(memory_format=torch.channels_last)
    trained = dataclasses.replace(full, fragments=(dataclasses.replace(full.fragments[0], module=last),))
    assert to_onnx(trained).split == full_artifact.split


def test_a_file_is_folded_and_takes_any_batch(full_artifact):
    """BatchNorm is gone into Conv, the opset is pinned, the batch is symbolic."""
    model = onnx.load_from_string(full_artifact.models["full"])
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    assert [(imported.domain, imported.version) for imported in model.opset_import] == [("", OPSET)]
    assert [value.type.tensor_type.shape.dim[0].dim_param for value in model.graph.input] == ["batch"]
    assert [value.type.tensor_type.shape.dim[0].dim_param for value in model.graph.output] == ["batch"]


def test_contracts_come_from_the_tensors_that_pass(tree_artifact):
    """Names, dtypes, shapes, classes and edge bytes are those of the torch tensors."""
    split = tree_artifact.split
    trunk = split.by_name["trunk"]
    assert [(spec.name, spec.dtype, spec.shape) for spec in trunk.inputs] == [("image", "uint8", ("batch", 1, 12, 12))]
    assert [(spec.name, spec.dtype, spec.shape) for spec in trunk.outputs] == [
        ("trunk_out", "float32", ("batch", 6, 12, 12))
    ]
    assert split.by_name["leaf2"].classes == (7, 2)
    assert {(edge.src, edge.dst): edge.bytes_per_sample for edge in split.edges}["trunk", "inner1"] == 6 * 144 * 4


def test_costs_equal_the_arithmetic_by_hand(full_artifact):
    """Two FLOPs a multiply-accumulate of products; parameters are those left after folding (a bias a convolution)."""
    fragment = full_artifact.split.by_name["full"]
    assert fragment.flops_per_sample == 2 * (144 * 6 * 9 + 144 * 6 * 6 * 9 + 6 * 4)
    by_hand = (6 * 9 + 6) + (6 * 6 * 9 + 6) + (6 * 4 + 4)
    assert by_hand <= fragment.params <= by_hand + 4  # and the scalars of the normalisation
    assert fragment.weight_bytes >= 4 * by_hand


def test_an_export_that_is_not_its_source_is_refused(full):
    """A module that answers otherwise when traced than when run is caught by the comparison."""

    class Liar(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = full.fragments[0].module

        def forward(self, x):
            out = self.inner(x)
            return out if torch.compiler.is_exporting() else out + 1

    lying = dataclasses.replace(full.fragments[0], module=Liar().eval())
    with pytest.raises(SplitPlaceError, match="differs from torch"):
        to_onnx(dataclasses.replace(full, fragments=(lying,)))


def test_a_tensor_nobody_gives_is_refused(full):
    """Names the fragment and the tensor."""
    lost = dataclasses.replace(full.fragments[0], inputs=("nowhere",))
    with pytest.raises(SplitPlaceError, match=r"full reads \['nowhere'\]"):
        to_onnx(dataclasses.replace(full, fragments=(lost,)))


def test_relative_difference_is_infinite_for_nan_and_other_shapes():
    """A comparison that cannot be made never passes."""
    one = np.ones(3, np.float32)
    assert relative_difference(one, one) == 0
    assert relative_difference(one * 1.1, one) == pytest.approx(0.1, rel=1e-5)
    assert relative_difference(one * np.float32("nan"), one) == float("inf")
    assert relative_difference(np.ones(4, np.float32), one) == float("inf")


def test_a_forward_that_no_trace_can_follow_is_refused_in_a_line(full):
    """What depends on a tensor's numbers, or is compiled already, was a traceback of the exporter's."""

    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = full.fragments[0].module

        def forward(self, x):
            return self.inner(x) if x.float().mean() >= 0 else -self.inner(x)

    branching = dataclasses.replace(full.fragments[0], module=Branches().eval())
    with pytest.raises(ContractError, match=r"full: torch cannot export it to ONNX: .*torch\.where in place of if"):
        to_onnx(dataclasses.replace(full, fragments=(branching,)))
