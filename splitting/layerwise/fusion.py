"""Which nodes onnxruntime runs as one: it is asked, not guessed, so the answer follows its version and this machine.

A cut through a fusion costs run time: the activation that a convolution would have applied on its way out becomes a
pass over memory of its own. So the nodes of one fusion stay together, and so do nodes joined by a value that cannot
pass between fragments. The result is a DAG of blocks, the smallest pieces a cut can tell apart.
"""

import os
import tempfile
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import onnx
import onnxruntime as ort

from splitplace.errors import IntegrityError
from splitplace.inference.executor import one_line
from splitplace.splitting.layerwise.detached import Detached, Model, open_whole
from splitplace.splitting.layerwise.graph import Graph

LAYOUT_SUFFIXES = ("_nchwc", "_bn_nchwc")
"""onnxruntime names the blocked-layout form of the node that makes `v` so."""

CAST_PREFIX = "InsertedPrecisionFreeCast_"
"""So it names the float32 form of a float16 value, for which it has no kernel."""


@dataclass(frozen=True, eq=False)
class Blocks:
    """The DAG of blocks over a graph; every block is a convex set of nodes."""

    graph: Graph
    members: tuple[tuple[int, ...], ...]
    """Node indices of each block, in node order; blocks in topological order."""
    fused: frozenset[str] = frozenset()
    """Values that no operator writes out, because a fusion passes them on inside."""
    blocked: frozenset[str] = frozenset()
    """Values that onnxruntime keeps in its blocked layout when it runs the whole model."""

    @cached_property
    def of_node(self) -> tuple[int, ...]:
        """The block of each node."""
        owner = [0] * len(self.graph.nodes)
        for block, nodes in enumerate(self.members):
            for node in nodes:
                owner[node] = block
        return tuple(owner)

    @cached_property
    def parents(self) -> tuple[frozenset[int], ...]:
        """The blocks whose values each block reads."""
        found: list[set[int]] = [set() for _ in self.members]
        for producer, consumer in _edges(self.graph):
            a, b = self.of_node[producer], self.of_node[consumer]
            if a != b:
                found[b].add(a)
        return tuple(frozenset(parents) for parents in found)

    @cached_property
    def tensors(self) -> tuple["Tensor", ...]:
        """The values that pass between blocks (or come with the task), in order of the block that makes them."""
        found = []
        for name, readers in self.graph.consumers.items():
            made = self.graph.producer.get(name)
            source = -1 if made is None else self.of_node[made]
            readers_blocks = tuple(sorted({self.of_node[reader] for reader in readers} - {source}))
            if name == self.graph.output:
                readers_blocks += (len(self.members),)
            if readers_blocks:
                found.append(Tensor(name, source, readers_blocks))
        return tuple(sorted(found, key=lambda tensor: (tensor.producer, tensor.name)))


@dataclass(frozen=True)
class Tensor:
    """A value between blocks: made by `producer` (-1: the task brings it), read by `consumers`.

    The model's output is also read by a block one past the last: whoever asked.
    """

    name: str
    producer: int
    consumers: tuple[int, ...]


def _edges(graph: Graph) -> Iterable[tuple[int, int]]:
    for name, readers in graph.consumers.items():
        if name in graph.producer:
            for reader in readers:
                yield graph.producer[name], reader


def blocks(graph: Graph, fused: Collection[tuple[int, int]], blocked: frozenset[str] = frozenset()) -> Blocks:
    """The finest DAG of convex blocks that keeps each of these node pairs together.

    Args:
        graph: The network.
        fused: Pairs of nodes that must not be parted.
        blocked: Values in blocked layout, as `ask` answers them.
    """
    root = list(range(len(graph.nodes)))

    def find(node: int) -> int:
        while root[node] != node:
            root[node] = root[root[node]]
            node = root[node]
        return node

    for a, b in fused:
        root[find(a)] = find(b)
    for name, readers in graph.consumers.items():
        if graph.values[name].spec is None:
            group = [*readers, *([graph.producer[name]] if name in graph.producer else [])]
            for reader in group:
                root[find(reader)] = find(group[0])
    # Nodes that lie on a path between two members belong to the block as well, or it would not be convex: they show
    # as a cycle between blocks, which is merged until none is left.
    while cycle := _cycle(graph, [find(node) for node in range(len(root))]):
        for node in cycle:
            root[find(node)] = find(cycle[0])
    groups: dict[int, list[int]] = {}
    for node in range(len(root)):
        groups.setdefault(find(node), []).append(node)
    inside = frozenset(name for a, _ in fused for name in graph.nodes[a].outputs)
    return Blocks(graph, _ordered(graph, groups), inside, blocked)


def _cycle(graph: Graph, owner: list[int]) -> list[int]:
    """A cycle between groups of nodes, named by owner; empty if there is none."""
    before: dict[int, set[int]] = {key: set() for key in owner}
    for a, b in _edges(graph):
        if owner[a] != owner[b]:
            before[owner[b]].add(owner[a])
    try:
        TopologicalSorter(before).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def _ordered(graph: Graph, groups: dict[int, list[int]]) -> tuple[tuple[int, ...], ...]:
    """The groups in topological order; where that leaves a choice, by their last node, as the exporter had them."""
    owner = {node: key for key, nodes in groups.items() for node in nodes}
    before: dict[int, set[int]] = {key: set() for key in groups}
    for a, b in _edges(graph):
        if owner[a] != owner[b]:
            before[owner[b]].add(owner[a])
    sorter = TopologicalSorter(before)
    sorter.prepare()
    ready: list[int] = []
    order = []
    while sorter.is_active() or ready:
        ready = sorted([*ready, *sorter.get_ready()], key=lambda key: groups[key][-1])
        order.append(ready.pop(0))
        sorter.done(order[-1])
    return tuple(tuple(groups[key]) for key in order)


def ask(graph: Graph) -> tuple[set[tuple[int, int]], frozenset[str]]:
    """What onnxruntime makes of the model on this machine: the pairs of nodes it fuses, the values it keeps blocked.

    Two looks. At the level of operator fusions the names of values survive, so a value that is gone was inside a
    fusion, unless its maker and its reader are both still there: then it was only renamed. The blocked layout renames
    its values, but names its nodes after the value they make; there an Add or an activation that is gone went into the
    convolution before it.

    Raises:
        IntegrityError: onnxruntime cannot load the model.
    """
    model = graph.serialised()
    extended = _plainly_named(optimised(model, ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED, as_stated=True))
    pairs: set[tuple[int, int]] = set()
    made = {name for node in extended.graph.node for name in node.output}
    kept = {node.name for node in extended.graph.node}
    for name, producer in graph.producer.items():
        if name not in made:
            apart = graph.nodes[producer].name in kept
            readers = graph.consumers[name]
            pairs |= {(producer, reader) for reader in readers if not (apart and graph.nodes[reader].name in kept)}

    layout = _plainly_named(optimised(model, ort.GraphOptimizationLevel.ORT_ENABLE_ALL, as_stated=True))
    present = {name for node in layout.graph.node for name in node.output}
    nodes = {node.name: node for node in layout.graph.node}
    for name in sorted(made - present):
        if name not in graph.producer or any(name + suffix in nodes for suffix in LAYOUT_SUFFIXES):
            continue
        reader = graph.producer[name]
        if graph.nodes[reader].name in nodes:  # still there by itself, on blocked tensors (Concat)
            continue
        absorbing = [v for v in graph.nodes[reader].inputs if _absorbs(v, graph, nodes)]
        pairs |= {(graph.producer[v], reader) for v in absorbing}
    return pairs, frozenset(made - present) & frozenset(graph.producer)


def _plainly_named(model: onnx.ModelProto) -> onnx.ModelProto:
    """With the names that values and nodes had before casts were put in."""
    for node in model.graph.node:
        node.name = node.name.removeprefix(CAST_PREFIX)
        for names in (node.input, node.output):
            names[:] = [name.removeprefix(CAST_PREFIX) for name in names]
    return model


def _absorbs(value: str, graph: Graph, nodes: dict[str, onnx.NodeProto]) -> bool:
    """Whether the blocked-layout node that makes `value` took its only reader in."""
    if len(graph.consumers[value]) != 1 or value not in graph.producer:
        return False
    node = next((nodes[value + suffix] for suffix in LAYOUT_SUFFIXES if value + suffix in nodes), None)
    if node is None:
        return graph.nodes[graph.producer[value]].op_type in (
            "Add",
            "Sum",
        )  # itself absorbed, then its activation
    reader = graph.nodes[graph.consumers[value][0]].op_type
    adds = len(node.input) > 3 and bool(node.input[3])
    return adds if reader in ("Add", "Sum") else True


def optimised(model: Model, level: ort.GraphOptimizationLevel, as_stated: bool = False) -> onnx.ModelProto:
    """The graph that onnxruntime would run; `as_stated` with signed 8-bit values where it would put unsigned ones.

    Those have other names; which nodes are run as one is the same.
    """
    options = ort.SessionOptions()
    if as_stated:
        options.add_session_config_entry("session.qdqisint8allowed", "1")
    options.graph_optimization_level = level
    options.log_severity_level = 4  # it warns that the file is for this machine only; so is our question
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimised.onnx"
        options.optimized_model_filepath = str(path)
        if isinstance(model, Detached):  # no message holds it: weights are written apart, and to nowhere
            (Path(folder) / "weights").symlink_to(os.devnull)
            options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights")
        try:
            open_whole(model, options)
        except Exception as error:
            # onnxruntime raises a dozen unrelated classes of its own here; each means that the model does not load.
            raise IntegrityError(f"onnxruntime cannot load the model: {one_line(error)}") from error
        return onnx.load(path, load_external_data=False)
