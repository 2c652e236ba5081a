"""The formulas of paper §6.4 against sums done by hand."""

import numpy as np
import pytest

from splitplace.placement.metrics import Outcomes, Usage, cohort, jain, summarise

pytestmark = pytest.mark.base

APPLICATIONS = ("mnist", "cifar100")


def outcomes(**changes: list[float]) -> Outcomes:
    """Four tasks: met, late, unfinished past its deadline; and one that is due after the run's end."""
    columns: dict[str, list[float]] = {
        "application_N": [0, 0, 1, 1],
        "strategy_N": [0, 1, 1, -1],
        "scored_N": [1, 1, 1, 0],
        "finished_N": [1, 1, 0, 0],
        "deadline_s_N": [10, 10, 10, 100],
        "response_s_N": [8, 12, 20, 20],
        "wait_s_N": [1, 3, 0, 20],
        "execute_s_N": [5, 6, 20, 0],
        "transfer_s_N": [2, 2, 0, 0],
        "migrate_s_N": [0, 1, 0, 0],
        "p_N": [0.9, 0.5, np.nan, np.nan],
    } | changes
    ints, bools = {"application_N", "strategy_N"}, {"finished_N", "scored_N"}
    kinds = {name: np.int64 if name in ints else np.bool_ if name in bools else np.float64 for name in columns}
    return Outcomes(**{name: np.array(values, kinds[name]) for name, values in columns.items()})


def test_an_unfinished_task_past_its_deadline_is_a_violation_worth_nothing() -> None:
    """Scored are three: one met, one late, one never finished, with p = 0; the fourth is counted and no more."""
    metrics = summarise(outcomes(), APPLICATIONS)
    assert metrics.tasks.model_dump() == {"arrived": 4, "finished": 2, "unfinished": 2}
    assert (metrics.scored, metrics.applications["cifar100"].scored) == (0.75, 0.5)
    assert metrics.sla_violation == pytest.approx(2 / 3)
    assert metrics.reward == pytest.approx(((1 + 0.9) + (0 + 0.5) + 0) / 2 / 3)
    assert metrics.accuracy == pytest.approx((0.9 + 0.5) / 3)


def test_a_task_outside_the_cohort_counts_for_nothing_even_if_it_finished() -> None:
    """The late one arrived during start-up: what is left is one met and one that was never answered."""
    metrics = summarise(outcomes(scored_N=[1, 0, 1, 0]), APPLICATIONS)
    assert (metrics.scored, metrics.sla_violation) == (0.5, 0.5)
    assert metrics.reward == pytest.approx((1 + 0.9) / 2 / 2)
    assert metrics.response_s.mean == 8.0
    assert metrics.jain_tasks == 1.0


def test_the_cohort_arrives_after_start_up_and_is_due_within_the_run() -> None:
    """Start-up ends at 30, the run at 100: both ends belong to it."""
    arrival_s, deadline_s = np.array([29.9, 30.0, 50.0, 50.0]), np.array([10.0, 10.0, 50.0, 50.1])
    assert cohort(arrival_s, deadline_s, 30.0, 100.0).tolist() == [False, True, True, False]


def test_reward_exec_only_leaves_the_wait_out() -> None:
    """The late task answered within its deadline once allocated: 12 - 3 <= 10."""
    metrics = summarise(outcomes(), APPLICATIONS)
    assert metrics.reward_exec_only == pytest.approx(((1 + 0.9) + (1 + 0.5) + 0) / 2 / 3)


def test_distributions_are_over_scored_tasks_that_finished() -> None:
    """Mean and percentiles of 8 and 12."""
    response = summarise(outcomes(), APPLICATIONS).response_s
    assert (response.mean, response.p50, response.p95) == pytest.approx((10, 10, 11.8))


def test_no_scored_task_gives_nulls_not_zeros() -> None:
    """An application whose tasks are all due later has no accuracy, no violation and no reward."""
    metrics = summarise(outcomes(scored_N=[1, 1, 0, 0]), APPLICATIONS)
    cifar = metrics.applications["cifar100"]
    assert cifar.tasks.arrived == 2
    assert cifar.sla_violation is cifar.reward is cifar.accuracy is cifar.response_s.mean is None


def test_unknown_accuracy_is_null_but_violations_count() -> None:
    """A split that nobody evaluated gives no accuracy and no reward; its deadlines are still known."""
    metrics = summarise(outcomes(p_N=[np.nan, 0.5, np.nan, np.nan]), APPLICATIONS)
    assert metrics.accuracy is metrics.reward is None
    assert metrics.sla_violation == pytest.approx(2 / 3)


def test_usage_in_the_units_of_the_schema() -> None:
    """Joules over 3.6e6 are kWh; cost is spread over the fragments that ran."""
    usage = Usage(energy_j=7.2e6, cost_usd=3.0, fragments=4, work_per_capacity_D=np.array([0.5, 0.5]))
    metrics = summarise(outcomes(), APPLICATIONS, usage)
    assert metrics.energy_kwh == pytest.approx(2.0)
    assert metrics.cost_usd_per_fragment == pytest.approx(0.75)
    assert metrics.jain_devices == pytest.approx(1.0)
    assert metrics.decisions == {"layer": 1, "semantic": 2}


def test_jain_is_one_when_equal_and_one_nth_when_one_has_everything() -> None:
    """The two ends of the index, and nothing for nothing."""
    assert jain([2, 2, 2, 2]) == pytest.approx(1.0)
    assert jain([5, 0, 0, 0]) == pytest.approx(0.25)
    assert jain([0, 0]) is None


def test_no_tasks_at_all() -> None:
    """An empty run is counted as such."""
    metrics = summarise(outcomes().where(np.zeros(4, np.bool_)), APPLICATIONS)
    assert metrics.tasks.arrived == 0
    assert metrics.applications == {}
