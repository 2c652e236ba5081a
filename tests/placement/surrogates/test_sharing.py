"""What containers hold each other up for, by running sums, held against a table of all pairs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitplace.placement.surrogates.sharing import Sharing, SizeOrder, Sizes, Standing, TaskPairs

pytestmark = pytest.mark.base

GROUPS = 3
SIZES = (0.0, 0.5, 1.0, 1.0, 7.25)
"""Few, so that many are equal."""


class Pairs:
    """The same with a table of pairs: what each container is held up by each."""

    def __init__(self, size, task, group, p, scale):
        self.size, self.group, self.p, self.scale = size, np.eye(GROUPS)[group], p, scale
        self.same = (task[:, None] == task).astype(float)
        self.other = 1.0 - self.same
        np.fill_diagonal(self.same, 0.0)
        self.together = (p * scale) @ p.T
        self.lesser = np.minimum(size[:, None], size)

    def held(self):
        """By siblings, then by others of each group."""
        pairs = self.together * self.lesser
        return np.column_stack([(pairs * self.same).sum(axis=1), (pairs * self.other) @ self.group])

    def slopes(self, d):
        """D f / d P and d f / d size from d f / d held."""
        spread = d[:, :1] * self.same + (d[:, 1:] @ self.group.T) * self.other
        to_p = spread * self.lesser
        to_size = spread * self.together
        mine = np.where(self.size[:, None] <= self.size, to_size, 0.0)
        return ((to_p + to_p.T) @ self.p) * self.scale, mine.sum(axis=1) + (to_size - mine).sum(axis=0)


@st.composite
def moments(draw):
    """Some containers that stand on one device, some spread, some nowhere; of a few tasks, and of equal sizes."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    count, devices = draw(st.integers(1, 14)), draw(st.integers(1, 4))
    p = rng.dirichlet(np.ones(devices), size=count)
    kinds = rng.integers(3, size=count)
    p[kinds == 0] = np.eye(devices)[rng.integers(devices, size=int((kinds == 0).sum()))]
    p[kinds == 1] *= float(rng.random() < 0.5)
    task = np.unique(rng.integers(5, size=count), return_inverse=True)[1]
    group, size = rng.integers(GROUPS, size=count), rng.choice(SIZES, size=count)
    return size, task, group, p, rng.random(devices), rng.normal(size=(count, 1 + GROUPS)), rng


@given(moment=moments())
def test_running_sums_are_the_table_of_pairs(moment):
    """What holds up whom, and how that changes with P and with the sizes; of equal sizes the one held up has it."""
    size, task, group, p, scale, d, rng = moment
    sharing = Sharing(Sizes(size, TaskPairs.of(task, group, GROUPS)), Standing.of(p), scale)
    pairs = Pairs(size, task, group, p, scale)
    to_p, to_size = pairs.slopes(d)
    free = np.flatnonzero(rng.random(len(size)) < 0.6)
    assert sharing.held() == pytest.approx(pairs.held(), abs=1e-12)
    assert sharing.slope(d, free) == pytest.approx(to_p[free], abs=1e-12)
    assert sharing.size_slope(d) == pytest.approx(to_size, abs=1e-12)


def test_what_is_kept_does_not_grow_with_the_square_of_the_containers():
    """Of ten times the containers, ten times the numbers: in orders, running sums and pairs within tasks."""

    def kept(count):
        rng = np.random.default_rng(0)
        pairs = TaskPairs.of(np.arange(count) // 4, rng.integers(GROUPS, size=count), GROUPS)
        sizes, p = Sizes(rng.random(count), pairs), rng.dirichlet(np.ones(3), size=count)
        order = SizeOrder.of(sizes.size_C, pairs.group_C, GROUPS)
        sharing = Sharing(sizes, Standing.of(p), np.ones(3))
        arrays = (*vars(pairs).values(), *vars(order).values(), *vars(sharing).values(), order.running(p))
        return sum(array.size for array in arrays if isinstance(array, np.ndarray))

    assert kept(4000) < 11 * kept(400)
