"""A run that begins as a fleet that has served for a while."""

import numpy as np
import pytest

from splitplace.placement.registry import parse_policy
from splitplace.placement.simulator.memory import Memory
from splitplace.placement.simulator.run import simulate
from splitplace.placement.simulator.scenario import Workload

pytestmark = pytest.mark.base


def responses(world, tmp_path, loaded, memory_bytes=10**12):
    """Of one task on one device, whose weights take 5 s to come from its disk."""
    path = tmp_path / "trace.csv"
    path.write_text("arrival_s,application,n,deadline_s\n1,a,1000,50\n")
    device = world.device(disk_bytes_per_s=2.0, memory_bytes=memory_bytes)
    demand = world.constants({"core_s": (1.0,), "strategy": "full", "weight_bytes": 10}, memory_bytes=6)
    scenario = world.scenario(workload=Workload(trace=str(path)), weights="warm")
    run = simulate(scenario, world.fleet(device), demand, parse_policy("full+least-loaded"), 1, loaded=loaded)
    return run.tasks["response_s"].tolist()


def test_nothing_is_loaded_that_is_loaded_already(world, tmp_path):
    """A second of work; with 5 s before it where the fleet is fresh."""
    assert responses(world, tmp_path, loaded=False) == pytest.approx([6.0])
    assert responses(world, tmp_path, loaded=True) == pytest.approx([1.0])


def test_small_devices_begin_with_different_fragments_and_no_memory_is_overrun():
    """Room for one of three: together they hold all."""
    room_D, need_FD = np.full(3, 10.0), np.full((3, 3), 6.0)
    memory = Memory(room_D, need_FD, "warm", None)
    memory.fill()
    assert memory.used == [6.0] * 3
    assert (memory.resident_FD == np.eye(3, dtype=bool)).all()
    assert (memory.idle_FD == memory.resident_FD).all()
