"""Fragments feed fragments: orders, walks and longest paths through such a graph, whatever its nodes are called."""

from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import reduce
from graphlib import TopologicalSorter
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Node = TypeVar("Node", bound=Hashable)
Seconds = TypeVar("Seconds", float, npt.NDArray[np.float64])


def topological(parents: Mapping[Node, Iterable[Node]]) -> tuple[Node, ...]:
    """Every node behind all of its parents; where the graph leaves a choice, in the order of the mapping.

    Raises:
        graphlib.CycleError: There is no such order.
    """
    sorter = TopologicalSorter(parents)
    sorter.prepare()
    rank = {node: i for i, node in enumerate(parents)}
    order: list[Node] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=rank.__getitem__)
        order += ready
        sorter.done(*ready)
    return tuple(order)


def path_ends(
    order: Iterable[Node],
    starts: Callable[[Node, Mapping[Node, Seconds]], Iterable[Seconds]],
    takes: Callable[[Node], Seconds],
) -> dict[Node, Seconds]:
    """When each node ends that starts once the last of what it waits for is there: the longest path to it.

    Args:
        order: Nodes, parents first.
        starts: What a node waits for, at least one: when each is there, given when the nodes before it end.
        takes: How long a node takes.
    """
    ends: dict[Node, Seconds] = {}
    for node in order:
        ends[node] = reduce(np.maximum, starts(node, ends)) + takes(node)
    return ends
