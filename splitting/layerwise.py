"""Layer-wise splits: a pure function of an ONNX model, so that it takes any model, ours or not."""

from collections.abc import Mapping, Sequence

import numpy as np

from splitplace.executor import Array
from splitplace.records.split import INPUT, Edge, Merge, Split
from splitplace.splitting import costs, extract, fusion, graph, model, planner, recompose
from splitplace.splitting.artifact import SplitArtifact
from splitplace.splitting.fusion import Blocks
from splitplace.splitting.lattice import Lattice, lattice

MAX_DOWN_SETS = 2000
"""Planning compares every pair of places, so this bounds it at seconds; beyond it, one order of the blocks is taken."""


def split(
    whole: bytes,
    fragments: int = 3,
    *,
    application: str = "custom",
    model_name: str = "model",
    inputs: Mapping[str, Array] | None = None,
    micro_batch: int = 8,
) -> SplitArtifact:
    """Cut a model into at most `fragments` pieces of nearly equal cost, and prove that they are the model.

    Args:
        whole: An ONNX model of one output, self-contained.
        fragments: Upper limit.
        application: Data set and task, for the catalog reference.
        model_name: The model's name, for the catalog reference.
        inputs: Real inputs by name, at least 32 rows each, for the recomposition check; seeded noise if none.
        micro_batch: The batch size that costs are for.

    Returns:
        The path f0 -> f1 -> ..., strategy `layer`; the variant is the number of fragments.

    Raises:
        SplitPlaceError: A model that cannot be cut, or a split that does not equal the whole.
    """
    network = analyse(whole)
    cost_s = costs.analytic(network, micro_batch)
    places = lattice(costs.work(network, cost_s, micro_batch), MAX_DOWN_SETS)
    chosen = planner.plan(places, [planner.Host(f"d{i}") for i in range(fragments)], fragments, "bottleneck")
    artifact = cut(network, places, chosen.places, application, model_name)
    verify(artifact, whole, inputs)
    return artifact


def analyse(whole: bytes, source: str = "model") -> Blocks:
    """A model as the DAG of blocks that cuts may part.

    Raises:
        SplitPlaceError: Not a model that can be cut.
    """
    network = graph.build(model.normalise(whole, source), source)
    return fusion.blocks(network, fusion.ask(network))


def cut(network: Blocks, places: Lattice, chosen: Sequence[int], application: str, model_name: str) -> SplitArtifact:
    """Write the fragments between these places of the lattice."""
    held = [np.flatnonzero(places.inside_Nn[place]).tolist() for place in chosen]
    spec = network.graph.values[network.graph.output].spec
    # Only scores of the form (batch, classes) can be merged or counted right; any other answer is passed on as it is.
    scores = spec is not None and len(spec.shape) == 2 and spec.dtype.startswith("float")
    n_classes = spec.shape[1] if spec is not None and scores else 0
    assert isinstance(n_classes, int)
    pieces = []
    for i in range(len(chosen) - 1):
        last = i == len(chosen) - 2
        classes = tuple(range(n_classes)) if last else ()
        pieces.append(extract.piece(network, held[i], held[i + 1], f"f{i}", classes))
    names = [INPUT, *(piece.fragment.name for piece in pieces)]
    edges = tuple(
        Edge(src=names[i], dst=piece.fragment.name, tensor=spec.name, bytes_per_sample=spec.bytes_per_sample)
        for i, piece in enumerate(pieces)
        for spec in piece.fragment.inputs
    )
    return SplitArtifact(
        Split(
            application=application,
            model=model_name,
            strategy="layer",
            variant=str(len(pieces)),
            fragments=tuple(piece.fragment for piece in pieces),
            edges=edges,
            merge=Merge(kind="identity", class_order=tuple(range(n_classes))),
        ),
        {piece.fragment.name: piece.model for piece in pieces},
    )


def verify(artifact: SplitArtifact, whole: bytes, inputs: Mapping[str, Array] | None) -> recompose.Recomposition:
    """Hold the split against the whole model, on real inputs if there are any.

    Raises:
        IntegrityError: It is not the whole model.
    """
    if inputs is not None:
        return recompose.check(artifact, whole, inputs)
    drawn = recompose.noise(artifact.split.inputs, max(recompose.BATCHES))
    return recompose.check(artifact, whole, drawn, "seeded noise")
