"""The arithmetic of `bench artifacts`; its measurements need a quiet machine."""

from splitplace.benchmarks.artifacts import claims


def test_claims_count_cells_within_the_bounds_and_take_the_worst_chain():
    """Nine of ten latency cells hold, eight of ten memory cells do not; 11 % under is outside of 10 %."""
    cells = [{"latency_error": 0.09, "memory_error": -0.04}] * 8
    cells += [{"latency_error": -0.09, "memory_error": 0.06}, {"latency_error": 0.5, "memory_error": -0.06}]
    chains = [{"batch_size": b, "error": e} for b, e in ((16, -0.11), (64, 0.02), (1, -0.04))]
    found = claims(cells, chains)
    assert found["latency_cells_within_bound"] == {"share": 0.9, "expected": 0.9, "holds": True}
    assert found["memory_cells_within_bound"] == {"share": 0.8, "expected": 0.9, "holds": False}
    assert found["chain_sum_error"] == {"worst": 0.11, "expected": 0.1, "holds": False}
    assert found["chain_sum_error_of_one_image"] == {"worst": 0.04, "expected": 0.1, "holds": True}
    assert found["cells"] == 10
