"""Who is in whose way under a relaxed placement, and how long tasks take by it."""

from dataclasses import replace

import numpy as np
import pytest

from splitplace.placement.policy import PlacementRequest
from splitplace.placement.surrogates import completion
from splitplace.placement.surrogates.contention import BYTES, COLUMNS, WORK, contention, side_by_side
from splitplace.placement.surrogates.problem import asked

pytestmark = pytest.mark.base

CHAIN, BRANCHES = PlacementRequest(0, 0, (0, 1)), PlacementRequest(1, 1, (2, 3))


def moment(view):
    """A running chain (on devices 0 and 1), and branches to be placed on three devices of 1, 2 and 4 cores."""
    now = view(memory_bytes=(200.0,) * 3, deadlines_s=(400.0, 900.0), split=(0, -1), containers=((0, 0, 0), (0, 1, 1)))
    devices = replace(now.devices, servers_D=np.array([1, 2, 4]))
    links = replace(now.links, up_bytes_per_s_D=np.array([100.0, 50.0, 80.0]))
    now = replace(now, interval_s=10.0, devices=devices, links=links)
    return now, asked(now, [BRANCHES])


def test_rows_by_hand(view):
    """Both branches on device 0, beside the chain's head: 200 bytes in, of 100 a second; units of 10 s."""
    now, problem = moment(view)
    p = np.eye(3)[[0, 1, 0, 0]]
    x = dict(zip(COLUMNS, contention(now, problem).x(p).T, strict=True))
    assert x["work"] == pytest.approx([1.0, 0.5, 0.2, 0.2])
    assert x["bytes in"] == pytest.approx([0.2, 0.2, 0.2, 0.2])
    assert x["bytes out"] == pytest.approx([0.1, 0.0, 0.0, 0.0])
    assert x["work of siblings"] == pytest.approx([0.0, 0.0, 0.2, 0.2])
    assert x["work of new"] == pytest.approx([0.4, 0.0, 0.0, 0.0])
    assert x["work under way"] == pytest.approx([0.0, 0.0, 0.2, 0.2])
    assert x["bytes of siblings"] == pytest.approx([0.0, 0.0, 0.2, 0.2])
    assert x["bytes under way"] == pytest.approx([0.0, 0.0, 0.2, 0.2])


def test_a_chain_on_one_device_moves_no_bytes(view):
    """Apart, the second link waits for 100 bytes; together, for none."""
    now = view(memory_bytes=(200.0, 200.0), deadlines_s=(50.0,))
    around = contention(now, asked(now, [CHAIN]))
    apart, together = around.x(np.eye(2)), around.x(np.eye(2)[[1, 1]])
    assert apart[1, 1] == pytest.approx(100 / 100 / 300)
    assert together[1, 1] == 0.0
    assert together[0, 2] == 0.0


def test_the_gradient_is_that_of_finite_differences(view):
    """Through objective, critical path, network and rows to P, for the containers that may be placed."""
    now, problem = moment(view)
    around, rng = contention(now, problem), np.random.default_rng(3)
    weights = completion.init(rng)
    p = rng.dirichlet(np.ones(3), size=4)
    terms = (np.zeros(2), np.array([40.0, 90.0]), 100.0, 0.5, 0.5)

    def value(at):
        return completion.objective(completion.times(weights, around.x(at), around.paths)[0], *terms).sum()

    x, shared = around.shared(p)
    left, timing = completion.times(weights, x, around.paths)
    slope = completion.objective_slope(left, *terms)
    free = np.array([2, 3])
    got = around.pull(shared, completion.input_gradient(weights, timing, around.paths, slope), free)
    step = 1e-6
    for i, row in enumerate(free):
        for device in range(3):
            up, down = p.copy(), p.copy()
            up[row, device] += step
            down[row, device] -= step
            assert got[i, device] == pytest.approx((value(up) - value(down)) / (2 * step), rel=1e-4, abs=1e-9)


def test_the_rows_gradient_is_that_of_finite_differences(view):
    """Of a random sum of all columns, so that none hides behind the network; the chain's rows as well."""
    now, problem = moment(view)
    around, rng = contention(now, problem), np.random.default_rng(5)
    p, dx = rng.dirichlet(np.ones(3), size=4), rng.normal(size=(4, len(COLUMNS)))
    assert WORK < BYTES < len(COLUMNS)
    got = around.pull(around.shared(p)[1], dx, np.arange(4))
    for row in range(4):
        for device in range(3):
            up, down = p.copy(), p.copy()
            up[row, device] += 1e-6
            down[row, device] -= 1e-6
            slope = np.vdot(dx, around.x(up) - around.x(down)) / 2e-6
            assert got[row, device] == pytest.approx(slope, rel=1e-5, abs=1e-8)


def test_a_task_takes_its_longest_path(view):
    """With one time for every container, a chain of two takes twice what branches take."""
    now, problem = moment(view)
    around = contention(now, problem)
    weights = tuple(np.zeros_like(w) for w in completion.init(np.random.default_rng(0)))
    left, _ = completion.times(weights, around.x(np.full((4, 3), 1 / 3)), around.paths)
    assert left == pytest.approx([2 * np.log(2), np.log(2)])


def test_moments_side_by_side_are_in_nobodys_way(view):
    """A chain, branches and a chain beside branches, as one: the same times as one after another."""
    now, problem = moment(view)
    around, rng = contention(now, problem), np.random.default_rng(1)
    alone = contention(replace(now, containers=replace(now.containers, device_C=np.array([-1, -1]))), asked(now, []))
    two = view(memory_bytes=(200.0, 200.0, 200.0), deadlines_s=(50.0,))
    chain = contention(two, asked(two, [CHAIN]))
    weights = completion.init(rng)
    moments = [around, chain, alone, around]
    rows = [m.x(rng.dirichlet(np.ones(3), size=len(m.fixed_CF))) for m in moments]
    apart = [completion.times(weights, x, m.paths)[0] for x, m in zip(rows, moments, strict=True)]
    together = completion.times(weights, np.concatenate(rows), side_by_side([m.paths for m in moments]))[0]
    assert together == pytest.approx(np.concatenate(apart))
