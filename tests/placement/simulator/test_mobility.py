"""Vehicles and their radio: SUMO's trace, and what a trace does to a transfer."""

import numpy as np
import pytest

from splitplace.placement.simulator.mobility import load_mobility
from splitplace.placement.simulator.roads import radio, write_trace
from splitplace.placement.simulator.traces import write_parquet

pytestmark = pytest.mark.base


def test_radio_by_shannon_and_log_distance():
    """SNR 40 dB at 10 m, exponent 3: 10 dB at 100 m, log2(11) / log2(10001) of the rate, the inverse of it in rtt."""
    rate, rtt_s = radio(np.array([1.0, 10.0, 100.0]))
    share = np.log2(11) / np.log2(10001)
    assert rate == pytest.approx(np.array([1, 1, share]) * 10e6)
    assert rtt_s == pytest.approx(np.array([1, 1, 1 / share]) * 0.002)


@pytest.mark.sim
def test_a_transfer_follows_its_link(world, by_hand, tmp_path):
    """1500 bytes to a vehicle: 100 bytes/s for 10 s, then 50: 20 s; and half the rtt of the moment, 0.2 s."""
    path = tmp_path / "mobility.parquet"
    columns = {"time_s": [0, 10, 20], "device": ["v"] * 3, "rtt_s": [0.0, 0.0, 0.4], "bytes_per_s": [100.0, 50.0, 1.0]}
    write_parquet(path, columns, "by hand")
    demand = world.constants({"core_s": (1e-9,), "input_bytes_per_sample": 1}, micro_batch=1500)
    run = by_hand([(0, "a", 1500, 99)], world.fleet(world.device()), demand, "layer+random", mobility=str(path))
    assert run.tasks["response_s"].tolist() == pytest.approx([20.0 + 0.2 + 0.2])  # result: half an rtt


@pytest.mark.sim
def test_the_shipped_trace():
    """Ten vehicles, ten minutes, and links that do change."""
    trace = load_mobility("city-10")
    assert trace.rtt_s_TK.shape == (600, 10)
    assert (trace.bytes_per_s_TK.std(axis=0) > 1e5).all()


@pytest.mark.slow
def test_sumo_gives_the_same_trace_for_the_same_seed(tmp_path, monkeypatch):
    """Three vehicles for half a minute, twice the same and once another; nothing but the files asked for is left."""
    monkeypatch.chdir(tmp_path)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert write_trace(tmp_path / f"{name}.parquet", 3, 30, seed) == 90
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "b.parquet", "c.parquet"]
    a, b, c = (load_mobility(str(tmp_path / f"{name}.parquet")) for name in "abc")
    np.testing.assert_array_equal(a.bytes_per_s_TK, b.bytes_per_s_TK)
    assert (a.bytes_per_s_TK != c.bytes_per_s_TK).any()
