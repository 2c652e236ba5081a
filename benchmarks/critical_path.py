"""Times the critical path of a tree, the trunk and then its slowest branch, against the whole network: no training."""

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from splitplace import provenance
from splitplace.benchmarks.paired import Ratio, paired_ratios
from splitplace.benchmarks.results_file import Measured
from splitplace.export.convert.onnx_export import to_onnx
from splitplace.inference.executor import Array, open_session
from splitplace.records.base import Positive, PositiveCount
from splitplace.records.fragment import TensorSpec
from splitplace.records.split import Merge
from splitplace.seeds import generator
from splitplace.splitting.layerwise import cutting
from splitplace.splitting.modules import ModuleFragment, ModuleSplit
from splitplace.splitting.semantic.branches import Batch, assemble, grow_fragments
from splitplace.splitting.semantic.critical_path import choose_cuts, share_of_whole
from splitplace.splitting.semantic.tree import consecutive_tree
from splitplace.training.families.build import build
from splitplace.training.preset import load_preset

BRANCHES = 4
OVERLAP = 0.25
"""Share of the other branches' channels, in the splits with overlap whose parameters are counted."""
BATCH = 64
LAYERS = 4


class PathCell(Measured):
    """One family's critical path. Ratios are over the whole's seconds, one thread."""

    model: str
    cuts: tuple[str, ...]
    batch: PositiveCount
    whole_s: Positive
    path: Ratio
    layer: Ratio
    """The chain of as many layer-wise fragments, for the picture: what it takes without a network between them."""
    same: Ratio
    analytic: Positive
    """What `--cuts auto` takes the path's ratio to be."""
    params: Positive
    """Of all fragments, over the whole's."""
    params_overlap: Positive


def path(model: str, budget: float, pairs: int) -> PathCell:
    """Trunk + slowest branch of a family against the whole, weights random, 28 px, ten classes.

    Args:
        model: The family.
        budget: For the choice of the cut, as `--cuts auto` takes it.
        pairs: Interleaved pairs.
    """
    settings = load_preset("quick").settle(model, "fashionmnist")
    torch.manual_seed(0)
    network = build(model, 10, (1, 28, 28), ((0.3,), (0.3,)), settings.strides).eval()
    images = generator(0, "semantic", model).integers(0, 256, (BATCH, 1, 28, 28), dtype=np.uint8)
    cuts = choose_cuts(network, torch.from_numpy(images[:2]), (BRANCHES,), budget)
    tree = consecutive_tree(10, (BRANCHES,))
    batches = [Batch(torch.from_numpy(images[:10]), torch.arange(10))]
    spec = TensorSpec(name="image", dtype="uint8", shape=("batch", 1, 28, 28))
    fragments = grow_fragments(network, cuts, tree, batches, spec.name)
    wider = grow_fragments(network, cuts, tree, batches, spec.name, overlap=OVERLAP)
    alone = ModuleFragment("full", network, (spec.name,), "logits", tuple(range(10)))
    whole = ModuleSplit("random", model, "full", "", spec, (alone,), Merge(kind="identity", class_order=alone.classes))
    split, (whole_onnx,) = to_onnx(assemble("random", model, "4", spec, fragments)), to_onnx(whole).models.values()
    chain = cutting.split(whole_onnx, LAYERS, micro_batch=BATCH, slack=0.0)
    inputs = {spec.name: images}
    trunk = split.models[fragments[0].name]
    branches = [_timed([trunk, split.models[leaf.name]], inputs) for leaf in fragments[1:]]
    slowest = max(branches, key=lambda branch: min(branch() for _ in range(3)))
    layers = _timed([chain.models[fragment.name] for fragment in chain.split.fragments], inputs)
    whole_s, ratios = paired_ratios(_timed([whole_onnx], inputs), {"path": slowest, "layer": layers}, pairs)
    count = _params((alone,))
    return PathCell(
        model=model,
        cuts=cuts,
        batch=BATCH,
        whole_s=whole_s,
        path=ratios["path"],
        layer=ratios["layer"],
        same=ratios["A/A"],
        analytic=share_of_whole(fragments, network, torch.from_numpy(images[:2])),
        params=_params(fragments) / count,
        params_overlap=_params(wider) / count,
        commit=provenance.commit(),
    )


def _params(fragments: Sequence[ModuleFragment]) -> int:
    return sum(parameter.numel() for fragment in fragments for parameter in fragment.module.parameters())


def _timed(models: Sequence[bytes], inputs: Mapping[str, Array]) -> Callable[[], float]:
    """Runs these models one after another, each fed by what was made before, and answers the seconds."""
    sessions = [open_session(model) for model in models]
    names = [([i.name for i in s.get_inputs()], [o.name for o in s.get_outputs()]) for s in sessions]

    def run_once() -> float:
        values = dict(inputs)
        start = time.perf_counter()
        for session, (takes, gives) in zip(sessions, names, strict=True):
            values |= zip(gives, session.run(gives, {name: values[name] for name in takes}), strict=True)
        return time.perf_counter() - start

    return run_once
