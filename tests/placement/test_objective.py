"""Eq. 3, 4 and 10 on numbers worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from splitplace.errors import SplitPlaceError
from splitplace.placement import objective
from splitplace.placement.deciders.mab import HIGH, LOW
from splitplace.placement.plan import check

pytestmark = pytest.mark.base

LAYER, SEMANTIC = 0, 1


def test_eq_3_and_4_average_by_context_and_arm(view, left):
    """(1 + .8)/2 and (0 + .6)/2 in (high, layer), .95 in (low, semantic); the other two cells saw nobody."""
    finished = left((LAYER, 10, 9.0, 0.8, HIGH), (LAYER, 10, 11.0, 0.6, HIGH), (SEMANTIC, 10, 1.0, 0.9, LOW))
    cells = objective.cell_means(*objective.cell_sums(view(), finished))
    assert cells[HIGH, LAYER] == pytest.approx(0.6)
    assert cells[LOW, SEMANTIC] == pytest.approx(0.95)
    assert np.isnan(cells[HIGH, SEMANTIC]) and np.isnan(cells[LOW, LAYER])
    assert objective.mean_reward(cells) == pytest.approx((0.6 + 0.95) / 2)


def test_eq_10_with_its_bounds(view, left):
    """Two hosts of 100..200 W drew 100 kJ in 300 s: (333.3 - 200) / 200 = 2/3. Responses 20 and 200 s of at most 100.

    O^P = .95 - .5 x 2/3 - .5 x (.2 + 1)/2.
    """
    finished = left((SEMANTIC, 300, 20.0, 0.9, LOW), (SEMANTIC, 300, 200.0, 0.9, LOW))
    value = objective.observed_objective(view(), [finished], energy_j=100_000.0, seconds=300.0)
    assert value == pytest.approx(0.95 - 0.5 * 2 / 3 - 0.5 * 0.6)


def test_power_is_clipped_to_idle_and_full():
    """Below idle is 0, above full is 1; a flat curve has nothing to save."""
    curve = np.tile(np.linspace(100.0, 200.0, 11), (2, 1))
    assert objective.normalised_power(0.0, 10.0, curve) == 0.0
    assert objective.normalised_power(1e9, 10.0, curve) == 1.0
    assert objective.normalised_power(1e9, 10.0, np.full((2, 11), 50.0)) == 0.0


def test_a_span_without_a_task_has_no_objective(view):
    """Neither O^MAB nor ART exist: no pair to learn from."""
    assert objective.observed_objective(view(), [], energy_j=1.0, seconds=1.0) is None


def test_a_task_that_never_leaves_counts_once_it_is_overdue(view):
    """Deadline 5 s, there for 50 of at most 100 s: reward 0, ART .5, nothing drawn beyond idle."""
    now = view(deadlines_s=(5.0,), split=(LAYER,))
    now = replace(now, tasks=replace(now.tasks, age_s_T=np.array([50.0])))
    assert objective.observed_objective(now, [], energy_j=0.0, seconds=300.0) == pytest.approx(-0.25)


def test_a_task_that_is_never_started_counts_once_it_is_overdue(view):
    """As one that was decided: whoever starts nothing gains nothing."""
    now = view(deadlines_s=(5.0,))
    now = replace(now, tasks=replace(now.tasks, age_s_T=np.array([50.0])))
    assert objective.observed_objective(now, [], energy_j=0.0, seconds=300.0) == pytest.approx(-0.25)


@pytest.mark.parametrize("split", [LAYER, SEMANTIC])
@pytest.mark.parametrize("context", [HIGH, LOW])
def test_o_p_is_one_formula_whoever_decides(view, left, split, context):
    """Three tasks' mean reward, whatever arm and context they stand in: (.9 + .4 + .95) / 3, no energy, no time."""
    finished = left((LAYER, 10, 0.0, 0.8, HIGH), (split, 10, 11.0, 0.8, context), (split, 10, 0.0, 0.9, context))
    value = objective.observed_objective(view(), [finished], energy_j=0.0, seconds=1.0, beta=0.0)
    assert value == pytest.approx((0.9 + 0.4 + 0.95) / 3)


def test_a_split_without_evaluation_cannot_be_learned_from(view, left):
    """Its p is NaN, which would make Q NaN for good."""
    with pytest.raises(SplitPlaceError, match="layer-2 has no evaluation"):
        objective.rewards(view(), left((LAYER, 10, 9.0, float("nan"), HIGH)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: replace(v, devices=replace(v.devices, cpu_D=np.array([0.0, np.nan]))), "cpu of d1 is nan"),
        (lambda v: replace(v, links=replace(v.links, rtt_s_D=np.array([np.inf, 0.1]))), "rtt_s of d0 is inf"),
        (lambda v: replace(v, tasks=replace(v.tasks, deadline_s_T=np.array([np.nan]))), "deadline_s of 100 is nan"),
    ],
)
def test_a_view_with_numbers_that_are_none_is_refused_by_name(view, change, said):
    """The field and whose it is."""
    with pytest.raises(SplitPlaceError, match=said):
        check(change(view(deadlines_s=(9.0,))))
