"""Layer-wise splits: a pure function of an ONNX model, so that it takes any model, ours or not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx

from splitplace.catalog.oci import MAX_MODEL_BYTES
from splitplace.errors import InfeasibleError, IntegrityError, UsageError
from splitplace.inference.executor import Array
from splitplace.inference.trial import run_apart
from splitplace.records.split import INPUT, Edge, Merge, Split
from splitplace.splitting.artifact import SplitArtifact
from splitplace.splitting.layerwise import bounds, costs, extract, fusion, graph, normal_form, planner, recompose
from splitplace.splitting.layerwise.detached import Model, message
from splitplace.splitting.layerwise.fusion import Blocks
from splitplace.splitting.layerwise.hosts import Host
from splitplace.splitting.layerwise.lattice import Lattice, Work, lattice
from splitplace.splitting.layerwise.training_mode import in_training

MAX_CLASSES = 2**16
"""Three times what the largest label sets have; wider answers are maps, whose columns no record should list."""

MAX_DOWN_SETS = 2000
"""Planning compares every pair of places, so this bounds it at seconds; beyond it, one order of the blocks is taken."""


@dataclass(frozen=True, eq=False)
class Proposal:
    """Where to cut a network and for which hosts, with what shows how good that is."""

    network: Blocks
    places: Lattice
    plan: planner.Plan
    objective: planner.Objective
    lower_bound_s: float
    all_hosts: bool = True
    """Whether the plan is the best over all ways to use the hosts; else over some orders of the most useful ones."""

    @property
    def value_s(self) -> float:
        """What was minimised: the latency, else the bottleneck."""
        return self.plan.latency_s if self.objective == "latency" else self.plan.bottleneck_s

    @property
    def gap(self) -> float:
        """By how much the plan could at most be beaten, as a share of the lower bound."""
        return self.value_s / self.lower_bound_s - 1 if self.lower_bound_s else 0.0

    @property
    def exact(self) -> bool:
        """Whether no plan is better."""
        return self.places.complete and self.all_hosts

    @property
    def search(self) -> str:
        """Among which cuts the plan is the best."""
        hosts = "" if self.all_hosts else ", in some orders of the most useful devices (too many unlike ones for all)"
        if self.places.complete:
            return f"all {self.places.size} down-sets of the graph{hosts}"
        return f"the {self.places.size} prefixes of one topological order (over {MAX_DOWN_SETS} down-sets){hosts}"


def split(
    whole: bytes,
    fragments: int = 3,
    *,
    application: str = "custom",
    model_name: str = "model",
    inputs: Mapping[str, Array] | None = None,
    micro_batch: int = 8,
    slack: float = planner.SLACK,
    output: str | None = None,
) -> SplitArtifact:
    """Cut a model into at most `fragments` pieces of nearly equal cost, and prove that they are the model.

    Args:
        whole: An ONNX model, self-contained.
        fragments: Upper limit.
        application: Data set and task, for the catalog reference.
        model_name: The model's name, for the catalog reference.
        inputs: Real inputs by name, at least 32 rows each, for the recomposition check; seeded noise if none.
        micro_batch: The batch size that costs are for.
        slack: As `propose` takes it.
        output: The output to answer, of a model that has several; the first by default.

    Returns:
        The path f0 -> f1 -> ..., strategy `layer`; the variant is the number of fragments.

    Raises:
        SplitPlaceError: A model that cannot be cut, or a split that does not equal the whole.
    """
    network = analyse(whole, output=output)
    fragments = min(fragments, len(network.members))
    hosts = [Host(f"d{i}") for i in range(fragments)]
    proposal = propose(
        network, costs.work(network, costs.analytic(network, micro_batch), micro_batch), hosts, fragments, slack=slack
    )
    artifact = cut(network, proposal.places, proposal.plan.places, application, model_name)
    verify(artifact, whole, inputs, output)
    return artifact


def propose(
    network: Blocks,
    work: Work,
    hosts: Sequence[Host],
    fragments: int,
    objective: planner.Objective = "bottleneck",
    exactly: bool = False,
    slack: float = planner.SLACK,
) -> Proposal:
    """The best plan for a network, its lower bound and its gap; arguments as `planner.plan`'s.

    Raises:
        UsageError: More fragments than blocks, or than devices where exactly so many are asked for.
        InfeasibleError: No plan meets the memory limits; says the smallest limit that would work.
    """
    if fragments > work.n:
        raise UsageError(
            f"{fragments} fragments: the network has {work.n} blocks that a cut can tell apart; ask for fewer"
        )
    if exactly and fragments > len(hosts):
        raise UsageError(f"exactly {fragments} fragments need as many devices, got {len(hosts)}")
    places = lattice(work, MAX_DOWN_SETS)
    too_large = work.weight_bytes.sum() > MAX_MODEL_BYTES
    if too_large:  # each fragment is one ONNX file, whatever memory its device has
        hosts = [replace(host, memory_bytes=min(host.memory_bytes, MAX_MODEL_BYTES)) for host in hosts]
    try:
        plan = planner.plan(places, hosts, fragments, objective, exactly, slack)
    except InfeasibleError as error:
        if not too_large:
            raise
        raise InfeasibleError(f"{error} (and every fragment is one ONNX file, of at most {MAX_MODEL_BYTES})") from error
    limit = len(plan.hosts) if objective == "fewest" else fragments
    bound_s = bounds.lower_bound(work, hosts, limit, objective, exactly)
    return Proposal(network, places, plan, objective, bound_s, planner.countable(places, hosts, fragments))


def analyse(whole: Model, source: str = "model", output: str | None = None) -> Blocks:
    """A model as the DAG of blocks that cuts may part; of a model of several outputs, what leads to one of them.

    Raises:
        SplitPlaceError: Not a model that can be cut.
    """
    network = graph.build(normal_form.normalise(whole, source, output), source)
    return fusion.blocks(network, *fusion.ask(network))


def count_classes(network: Blocks) -> int:
    """How many classes a model scores; 0 where its answer is anything else than scores (batch, classes).

    One score is the answer itself, a number or how likely something is: the most probable of one class says nothing.
    """
    spec = network.graph.values[network.graph.output].spec
    # Only scores of the form (batch, classes) can be merged or counted right; any other answer is passed on as it is.
    scores = spec is not None and len(spec.shape) == 2 and spec.dtype.startswith("float")
    n_classes = spec.shape[1] if spec is not None and scores else 0
    assert isinstance(n_classes, int)
    return n_classes if 1 < n_classes <= MAX_CLASSES else 0


def cut(network: Blocks, places: Lattice, chosen: Sequence[int], application: str, model_name: str) -> SplitArtifact:
    """Write the fragments between these places of the lattice."""
    held = [np.flatnonzero(places.inside_Nn[place]).tolist() for place in chosen]
    n_classes = count_classes(network)
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


def try_apart(network: Blocks, artifact: SplitArtifact) -> None:
    """Run the fragments of a float16 model once, each in a process of its own: onnxruntime ends that of some.

    Raises:
        IntegrityError: A fragment does, or does not run.
    """
    if any(value.spec is not None and value.spec.dtype == "float16" for value in network.graph.values.values()):
        split = artifact.split
        row = recompose.noise(split.inputs, 1)
        try:
            split.walk(row, lambda name, feed: run_apart(split.by_name[name], artifact.models[name], feed))
        except IntegrityError as error:
            raise IntegrityError(
                f"{error}: ask for another number of fragments, or cut the model in float32 and export the split by "
                "--precision float16"
            ) from error


def verify(
    artifact: SplitArtifact,
    whole: Model,
    inputs: Mapping[str, Array] | None,
    output: str | None = None,
    seed: int = 0,
) -> recompose.Recomposition:
    """Hold the split against the whole model, on real inputs if there are any, else on noise by this seed.

    Raises:
        IntegrityError: It is not the whole model.
    """
    source = "seeded noise" if inputs is None else "images"
    if inputs is None:
        inputs = recompose.noise(artifact.split.inputs, max(recompose.BATCHES), seed)
    try:
        return recompose.check(artifact, whole, inputs, source, output=output)
    except IntegrityError as error:
        why = in_training(whole)
        if why is None and isinstance(error, recompose.OtherAnswerError):
            why = _of_fixed_batch(whole)
        if why is None:
            raise
        raise IntegrityError(f"{error}: {why}") from error


def _of_fixed_batch(whole: Model) -> str | None:
    """What to do with a model that states one batch size and answers otherwise at others."""
    given = onnx.ModelProto.FromString(message(whole)).graph
    weights = {weight.name for weight in given.initializer}
    leading = [value.type.tensor_type.shape.dim[:1] for value in given.input if value.name not in weights]
    fixed = next((dim.dim_value for dims in leading for dim in dims if dim.dim_value > 0), None)
    return (
        fixed
        and f"its batch is fixed at {fixed} and its graph depends on it: export it with a symbolic batch dimension"
    )
