"""A fleet on a Ray cluster of real processes: a node, a device, the broker and the head die, and no task is lost."""

from collections import Counter

import pytest

from splitplace.benchmarks import ray_faults, ray_faults_run
from splitplace.benchmarks.ray_links import node_network

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def can_be_cut():
    """Whether this user may have network namespaces here."""
    with node_network(("one", "two")) as network:
        return network is not None


def test_one_fault_of_each_kind_on_a_head_and_three_nodes(tmp_path):
    """All is as before after each; every acknowledged task ends once and right, by the offline checker."""
    said = []
    found = ray_faults.run(tmp_path / "ray.json", tmp_path / "work", nodes=3, rounds=1, seed=2, say=said.append)
    kinds = set(ray_faults_run.KINDS) - (set() if can_be_cut() else set(ray_faults_run.NETWORKED))
    assert Counter(found.faults) == Counter(dict.fromkeys(kinds, 1))
    assert (found.lost, found.twice, found.wrong, found.hung) == (0, 0, 0, 0)
    assert set(ray_faults.verdict(found).values()) == {True}
    assert found.answered > 0 and found.compared >= found.answered
    assert found.device_empty_bytes is not None and 0 < found.device_empty_bytes < found.device_bytes
    assert set(found.ended_s) == kinds & {"node_cut_off"}
    assert set(found.back_s) == kinds and set(found.noticed_s) == kinds - {"broker_killed"}
    assert ray_faults.RayFaultsResults.parse((tmp_path / "ray.json").read_bytes(), "") == found
