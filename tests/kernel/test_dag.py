from graphlib import CycleError
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitplace.records.dag import path_ends, topological

pytestmark = pytest.mark.base

SIZE = 6


@st.composite
def graphs(draw):
    """Parents of each of some nodes, whose names do not tell their order."""
    names = draw(st.permutations(range(SIZE)))
    edges = draw(st.sets(st.sampled_from([(a, b) for a in range(SIZE) for b in range(a + 1, SIZE)])))
    return {name: [names[a] for a, b in sorted(edges) if names[b] == name] for name in range(SIZE)}


@given(graphs())
def test_every_node_comes_behind_its_parents_and_else_as_early_as_it_stands(parents):
    """Against all orders: layer by layer, each in the order of the mapping."""

    def depth(node):
        return max((depth(parent) + 1 for parent in parents[node]), default=0)

    order = topological(parents)
    assert order in permutations(range(SIZE))
    assert all(order.index(parent) < order.index(node) for node in parents for parent in parents[node])
    assert order == tuple(sorted(parents, key=lambda node: (depth(node), node)))


def test_a_circle_has_no_order():
    """Neither has a node that waits for itself."""
    for parents in ({"a": ["b"], "b": ["a"]}, {"a": ["a"]}):
        with pytest.raises(CycleError):
            topological(parents)


@given(graphs(), st.lists(st.integers(0, 9), min_size=SIZE, max_size=SIZE))
def test_a_node_ends_when_the_longest_of_all_paths_to_it_does(parents, takes):
    """Against every path there is; for numbers and for arrays."""

    def paths_s(node):
        return [takes[node] + before for parent in parents[node] for before in paths_s(parent)] or [takes[node]]

    def starts(node, ends):
        return [np.zeros(2), *(ends[parent] for parent in parents[node])]

    ends = path_ends(topological(parents), starts, lambda node: np.array([takes[node], 2.0 * takes[node]]))
    assert {node: max(paths_s(node)) for node in parents} == {node: value[0] for node, value in ends.items()}
    assert all(value[1] == 2 * value[0] for value in ends.values())
