"""`bench ray --overhead`: the same tasks by three fleets, in turns; and what may be said of how long they took."""

import pytest

from splitplace import provenance
from splitplace.benchmarks import ray_overhead as bench
from splitplace.benchmarks.paired import Ratio


def found(ray, same):
    """Results of one case, of (median, low, high) ratios."""
    ray, same = (Ratio(median=m, low=low, high=high, pairs=30) for m, low, high in (ray, same))
    case = bench.OverheadCase(images=256, tasks=8, local_s=0.1, ray=ray, joined=same, ray_itself=same, same=same)
    return bench.RayOverheadResults(nodes=3, load=1.0, load_after=1.0, cases=(case,), provenance=provenance.collect(1))


@pytest.mark.parametrize(
    ("ray", "same", "word"),
    [
        ((1.04, 1.03, 1.05), (1.0, 0.99, 1.01), "holds"),
        ((1.04, 1.02, 1.06), (1.0, 0.99, 1.01), "cannot be told, the interval holds the bound"),
        ((1.09, 1.06, 1.12), (1.0, 0.99, 1.01), "does not hold"),
        ((1.09, 1.06, 1.12), (1.0, 0.95, 1.06), "not known, A/A 1.000 [0.950, 1.060]: repeat on a quiet machine"),
    ],
)
def test_a_bound_holds_if_the_whole_interval_is_under_it(ray, same, word):
    """Nothing is said where local devices differ from themselves by as much."""
    results = found(ray, same)
    told = bench.section(results.model_dump_json().encode(), None)
    assert told.verdict == {"8 tasks of 256 images at once: at most 5% longer than on local devices": word}
    assert told.seeds == [1] and told.tables[0][0]["local ms"] == "100.0"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_all_fleets_answer_the_same_tasks(tmp_path, monkeypatch):
    """On a head and a node; every case has its ratio, and local one to itself. Nothing is left behind."""
    monkeypatch.setattr(bench, "CASES", ((1, 1, 2), (64, 2, 1)))
    results = bench.run(tmp_path / "r.json", tmp_path / "work", 1, 2, 1, lambda line: None)
    assert [(case.images, case.tasks) for case in results.cases] == [(1, 1), (64, 2)]
    assert [(case.ray.pairs, case.joined.pairs, case.same.pairs) for case in results.cases] == [(4, 4, 4), (2, 2, 2)]
    assert all(case.local_s > 0 for case in results.cases)
    assert bench.RayOverheadResults.parse((tmp_path / "r.json").read_bytes(), "") == results
