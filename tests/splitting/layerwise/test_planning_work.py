"""How much work planning is on a network of a thousand blocks."""

from collections.abc import Callable

import pytest

from splitplace.benchmarks.deep_network import OBJECTIVES, deep, planned, unlike_hosts
from splitplace.splitting.layerwise.planner import Objective


@pytest.mark.slow
@pytest.mark.parametrize("limited", [False, True])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_thousand_blocks_for_eight_devices_take_under_a_million_calls(
    objective: Objective, limited: bool, calls: Callable[[Callable[[], object]], int]
) -> None:
    """Down-sets, memory, plan and bound, all devices different, with a memory limit that forces six of them.

    Calls of functions, over arrays of at most MAX_DOWN_SETS rows: 80,000 to 530,000, which were .3 to 2 s of CPU on the
    machine they were counted on (`bench timings` has the seconds).
    """
    work = deep()
    assert work.n == 1000
    hosts = unlike_hosts(work, limited)
    assert calls(lambda: planned(work, hosts, objective)) < 1e6
