from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitplace.errors import UsageError
from splitplace.splitting.semantic.tree import (
    balanced_clusters,
    check_tree,
    consecutive_tree,
    divide_channels,
    given_tree,
    parse_tree,
    tree_from_features,
)


@pytest.mark.parametrize(("text", "shape"), [("2", (2,)), ("4", (4,)), ("2,2", (2, 2)), ("3, 2", (3, 2))])
def test_trees_are_written_as_children_by_level(text, shape):
    """Numbers between commas."""
    assert parse_tree(text) == shape


@pytest.mark.parametrize("text", ["", "1", "2,", "2x2", "-2", "2,1", "2.5"])
def test_other_trees_are_refused(text):
    """A usage error that shows the form."""
    with pytest.raises(UsageError, match="as 2 or 4 or 2,2"):
        parse_tree(text)


def test_a_tree_with_more_groups_than_classes_is_refused():
    """Four leaves for three classes."""
    with pytest.raises(UsageError, match="has 4 groups, expected at most 3"):
        check_tree((2, 2), 3, depth=2)


def test_a_tree_deeper_than_its_cuts_is_refused():
    """Every level needs a place to branch."""
    with pytest.raises(UsageError, match="3 levels needs 3 cuts, got 2"):
        check_tree((2, 2, 2), 10, depth=2)


@given(st.integers(2, 3), st.integers(4, 12), st.integers(0, 2**32 - 1))
def test_clusters_divide_the_rows_evenly(k, n, seed):
    """Every row in exactly one cluster; sizes differ by at most one."""
    rng = np.random.default_rng(seed)
    clusters = balanced_clusters(rng.normal(size=(n, 3)), k, rng)
    assert sorted(row for cluster in clusters for row in cluster) == list(range(n))
    sizes = [len(cluster) for cluster in clusters]
    assert max(sizes) - min(sizes) <= 1


def test_clusters_of_well_separated_points_are_found():
    """Two far apart clouds, interleaved."""
    rng = np.random.default_rng(0)
    x_ND = rng.normal(size=(8, 2)) + 100 * (np.arange(8) % 2)[:, None]
    assert balanced_clusters(x_ND, 2, rng) == [[0, 2, 4, 6], [1, 3, 5, 7]]


def test_a_tree_nests_its_groups():
    """Four clouds in two pairs: level 1 finds the pairs, level 2 the clouds."""
    centers = np.array([[0, 0], [0, 10], [100, 0], [100, 10]], float)
    rng = np.random.default_rng(0)
    features_KD = np.repeat(centers, 2, axis=0) + rng.normal(size=(8, 2)) * 0.1
    tree = tree_from_features(features_KD, (2, 2), rng)
    assert [child.classes for child in tree.children] == [(0, 1, 2, 3), (4, 5, 6, 7)]
    assert [leaf.classes for leaf in tree.leaves] == [(0, 1), (2, 3), (4, 5), (6, 7)]


@pytest.mark.parametrize("shape", [(2,), (4,), (2, 2)])
def test_consecutive_groups_hold_every_class_once(shape):
    """The control: classes in the order of their numbers."""
    tree = consecutive_tree(10, shape)
    assert [c for leaf in tree.leaves for c in leaf.classes] == list(range(10))


@pytest.mark.parametrize("groups", [[[0, 1], [1, 2]], [[0], [2]], [[0, 1, 2]], [[0, 1, 2], []], [[0, 1], [2, 3]]])
def test_given_groups_must_divide_the_classes(groups):
    """Overlapping, incomplete, single, empty and unknown are refused."""
    with pytest.raises(UsageError, match=r"every class 0\.\.2 exactly once"):
        given_tree(groups, 3)


def test_channels_are_divided_as_well_as_brute_force_can():
    """The importance kept equals the best over all even divisions of six channels among two groups."""
    importance_GC = np.random.default_rng(3).random((2, 6))
    share = importance_GC / importance_GC.sum(1, keepdims=True)
    parts = divide_channels(importance_GC)
    kept = sum(share[g, part].sum() for g, part in enumerate(parts))
    best = max(share[0, list(p[:3])].sum() + share[1, list(p[3:])].sum() for p in permutations(range(6)))
    assert kept == pytest.approx(best)


@given(st.integers(2, 4), st.integers(4, 20), st.integers(0, 2**32 - 1))
def test_every_channel_goes_to_exactly_one_group(groups, channels, seed):
    """Disjoint, complete, even."""
    parts = divide_channels(np.random.default_rng(seed).random((groups, channels)))
    assert sorted(c for part in parts for c in part) == list(range(channels))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_fewer_channels_than_groups_are_refused():
    """No branch can be empty."""
    with pytest.raises(UsageError, match="2 channels cannot be divided among 3"):
        divide_channels(np.ones((3, 2)))
