"""What each block costs: seconds by the roofline or by onnxruntime's own profile, bytes by shape."""

import numpy as np

from splitplace.splitting.layerwise.fusion import Blocks
from splitplace.splitting.layerwise.lattice import Floats, Flow, Work

REFERENCE_FLOPS_PER_S = 160e9
"""What analytic costs take a core of speed 1.0 to compute: the middle of what convolutions reach there (onnxruntime
1.32, Zen 5, one thread, batch 8). Measured costs need no such figure."""

REFERENCE_BYTES_PER_S = 20e9
"""What analytic costs take it to read or write outside its caches."""


def analytic(blocks: Blocks, micro_batch: int) -> Floats:
    """Seconds of each block on a core of speed 1.0: the time to compute or to move its bytes, whichever is longer."""
    graph, costs = blocks.graph, []
    for members in blocks.members:
        nodes = [graph.nodes[i] for i in members]
        made = {name for node in nodes for name in node.outputs}
        read = {name for node in nodes for name in node.inputs} - made
        kept = {name for name in made if _leaves(blocks, name, members)}
        moved = sum(graph.values[name].size_bytes(micro_batch) for name in read | kept)
        moved += graph.weight_bytes(frozenset(name for node in nodes for name in node.weights))
        flops = sum(node.flops_per_sample for node in nodes) * micro_batch
        costs.append(max(flops / REFERENCE_FLOPS_PER_S, moved / REFERENCE_BYTES_PER_S))
    return np.array(costs)


def _leaves(blocks: Blocks, name: str, members: tuple[int, ...]) -> bool:
    graph = blocks.graph
    return name == graph.output or any(reader not in members for reader in graph.consumers[name])


def work(blocks: Blocks, cost_s: Floats, micro_batch: int, copy_s_per_byte: float = 2 / REFERENCE_BYTES_PER_S) -> Work:
    """The network as planning sees it.

    Args:
        blocks: The network.
        cost_s: Seconds of each block for one micro-batch on a core of speed 1.0.
        micro_batch: Samples at once.
        copy_s_per_byte: Cost of a boundary on each of its sides: the tensor is written once more and read once more
            (onnxruntime reorders blocked layouts there).
    """
    graph = blocks.graph
    n = len(blocks.members)
    weights = [frozenset(name for i in members for name in graph.nodes[i].weights) for members in blocks.members]
    flows = tuple(
        Flow(tensor.producer, tensor.consumers, graph.values[tensor.name].size_bytes(micro_batch))
        for tensor in blocks.tensors
    )
    assert all(consumer <= n for flow in flows for consumer in flow.consumers)
    return Work(
        parents=blocks.parents,
        cost_s=np.asarray(cost_s, np.float64),
        weight_bytes=np.array([graph.weight_bytes(names) for names in weights], np.float64),
        inner_bytes=np.array([_inner_bytes(blocks, block, micro_batch) for block in range(n)], np.float64),
        flows=flows,
        copy_s_per_byte=copy_s_per_byte,
    )


def _inner_bytes(blocks: Blocks, block: int, micro_batch: int) -> int:
    """Peak of what lives only inside a block; nothing for a fusion, whose inner values are never written out."""
    graph, members = blocks.graph, blocks.members[block]
    inner = {
        name: (i, max(graph.consumers[name], default=i))
        for i in members
        for name in graph.nodes[i].outputs
        if not _leaves(blocks, name, members) and name not in blocks.fused
    }
    live = [sum(graph.values[v].size_bytes(micro_batch) for v, (a, b) in inner.items() if a <= i <= b) for i in members]
    return max(live)
