"""The bandit against numbers worked out by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest

from splitplace.errors import SplitPlaceError
from splitplace.placement.deciders.epsilon_greedy import EpsilonGreedy
from splitplace.placement.deciders.estimate import unloaded_response_s
from splitplace.placement.deciders.mab import HIGH, LOW, Mab
from splitplace.placement.placers.best_fit import BestFit
from splitplace.placement.policy import Composed, Frozen, Leaving, States, Taken, estimates
from splitplace.records.action import Decide

pytestmark = pytest.mark.base

LAYER, SEMANTIC = 0, 1


def test_prior_is_the_longest_path_of_service_and_transfer(view):
    """Chain: (0.1 + 4*50/100 + 10) + (0.1 + 4*25/100 + 5) + 0.1; branches run side by side: 0.1 + 2 + 2 + 0.1."""
    tables = view().splits, view().fragments, view().links
    assert unloaded_response_s(*tables, LAYER, n=4) == pytest.approx(18.3)
    assert unloaded_response_s(*tables, SEMANTIC, n=4) == pytest.approx(4.2)


def test_r_starts_at_the_prior_of_the_first_task(view):
    """R_a is unknown until the application's first task, then the profiles' estimate for its batch."""
    empty = view()
    state = Mab().init(empty)
    assert np.isnan(state.layer_response_s_A).all()
    seen = view(deadlines_s=(10.0,))
    state = Mab().update(state, Leaving(seen, seen.finished))
    assert state.layer_response_s_A[0] == pytest.approx(18.3)


def test_r_stays_unknown_while_links_carry_nothing(view):
    """An infinite R would never come down again; the task counts as one below R. Back in reach, R is the prior."""
    mab, seen = Mab(), view(deadlines_s=(10.0,))
    away = replace(seen, links=replace(seen.links, up_bytes_per_s_D=np.zeros(2), down_bytes_per_s_D=np.zeros(2)))
    assert unloaded_response_s(away.splits, away.fragments, away.links, LAYER, n=4) == math.inf
    state = mab.update(mab.init(away), Leaving(away, away.finished))
    assert np.isnan(state.layer_response_s_A).all()
    assert [decision.context for decision in mab.decide(state, away, np.random.default_rng(0))] == [LOW]
    state = mab.update(state, Leaving(seen, seen.finished))
    assert state.layer_response_s_A[0] == pytest.approx(18.3)


def test_eq_2_weighs_the_newest_layer_response_by_phi(view, left):
    """R = .9 r + .1 R, task by task; semantic tasks leave R alone."""
    mab, empty = Mab(phi=0.9), view()
    state = replace(mab.init(empty), layer_response_s_A=np.array([10.0]))
    finished = left((LAYER, 5, 20.0, 1.0, HIGH), (SEMANTIC, 5, 99.0, 1.0, HIGH), (LAYER, 5, 30.0, 1.0, HIGH))
    state = mab.update(state, Leaving(empty, finished))
    assert state.layer_response_s_A[0] == pytest.approx(0.9 * 30 + 0.1 * (0.9 * 20 + 0.1 * 10))


def test_eq_3_to_5_move_each_cell_by_its_own_mean_reward(view, left):
    """Cell (high, layer): rewards (1+.8)/2 and (0+.6)/2, mean .6; Q = .5 + .1 (.6 - .5). Cells without a task stay."""
    mab, empty = Mab(gamma=0.1), view()
    state = replace(mab.init(empty), reward_cd=np.full((2, 2), 0.5))
    finished = left((LAYER, 10, 9.0, 0.8, HIGH), (LAYER, 10, 11.0, 0.6, HIGH), (SEMANTIC, 10, 1.0, 0.9, LOW))
    reward_cd = mab.update(state, Leaving(empty, finished)).reward_cd
    assert reward_cd == pytest.approx(np.array([[0.51, 0.5], [0.5, 0.5 + 0.1 * (0.95 - 0.5)]]))


def test_a_response_at_the_deadline_meets_it(view, left):
    """Eq. 3 counts r <= sla as met."""
    mab, empty = Mab(), view()
    state = mab.update(mab.init(empty), Leaving(empty, left((LAYER, 10, 10.0, 1.0, HIGH))))
    assert state.reward_cd[HIGH, LAYER] == 1.0


def test_the_first_sample_becomes_q(view, left):
    """Before it Q is unknown, and a step of gamma from nothing would punish the arm tried last."""
    mab, empty = Mab(gamma=0.1), view()
    state = mab.update(mab.init(empty), Leaving(empty, left((SEMANTIC, 10, 11.0, 0.4, LOW))))
    assert state.reward_cd[LOW, SEMANTIC] == pytest.approx(0.2)
    assert math.isnan(state.reward_cd[HIGH, SEMANTIC])


def test_weights_of_deadline_and_accuracy_are_the_users(view, left):
    """With sla_weight 1 only the deadline counts."""
    mab, empty = Mab(sla_weight=1.0), view()
    state = mab.update(mab.init(empty), Leaving(empty, left((LAYER, 10, 1.0, 0.1, HIGH))))
    assert state.reward_cd[HIGH, LAYER] == 1.0


def test_eq_9_adds_the_exploration_bonus(view):
    """Q + .5 sqrt(log 100 / N) with N = 4 and 25."""
    mab = Mab(c=0.5)
    state = replace(mab.init(view()), reward_cd=np.array([[0.6, 0.8], [0, 0]]), t=100)
    bounds = mab.upper_bounds(state, HIGH, np.array([4, 25]))
    assert bounds == pytest.approx(
        [0.6 + 0.5 * math.sqrt(math.log(100) / 4), 0.8 + 0.5 * math.sqrt(math.log(100) / 25)]
    )


def test_every_arm_of_a_context_is_tried_before_any_twice(view):
    """Two tasks at once in a fresh context: one layer, one semantic."""
    mab = Mab()
    now = view(deadlines_s=(100.0, 100.0, 1.0, 1.0))
    state = mab.update(mab.init(now), Leaving(now, now.finished))
    decisions = mab.decide(state, now, np.random.default_rng(0))
    assert [(d.split, d.context) for d in decisions] == [(LAYER, HIGH), (SEMANTIC, HIGH), (LAYER, LOW), (SEMANTIC, LOW)]


def test_context_is_high_from_r_upwards(view):
    """Sla >= R_a is the high context, and the decision carries it."""
    mab = Mab()
    now = view(deadlines_s=(18.2, 18.4))
    state = mab.update(mab.init(now), Leaving(now, now.finished))
    assert [d.context for d in mab.decide(state, now, np.random.default_rng(0))] == [LOW, HIGH]


def test_n_counts_decisions_not_completions(view):
    """N moves when a decision is taken."""
    mab = Mab()
    now = view(deadlines_s=(100.0,))
    state = mab.update(mab.init(now), Taken(now, (Decide(100, SEMANTIC, context=LOW),)))
    assert state.count_cd.tolist() == [[0, 0], [0, 1]]


def test_a_stationary_case_converges_to_the_better_arm(view, left):
    """Tight deadlines that only semantic meets: it is played nearly always in the end."""
    mab, rng = Mab(), np.random.default_rng(0)
    state = mab.init(view())
    finished, played = None, []
    for _ in range(300):
        now = view(deadlines_s=(5.0,), finished=finished)
        state = mab.update(state, Leaving(now, now.finished))
        (decision,) = mab.decide(state, now, rng)
        state = mab.update(state, Taken(now, (decision,)))
        played.append(decision.split)
        response_s, accuracy = (18.0, 0.95) if decision.split == LAYER else (4.0, 0.9)
        finished = left((decision.split, 5.0, response_s, accuracy, decision.context))
    assert np.mean(np.array(played[-100:]) == SEMANTIC) > 0.9


def test_an_application_without_a_semantic_split_is_refused(view):
    """The bandit has nothing to choose from, and says for which application."""
    now = view()
    lonely = replace(now, splits=replace(now.splits, strategies=("layer", "full")))
    with pytest.raises(SplitPlaceError, match="mnist has no semantic split"):
        Mab().init(lonely)


def test_it_tells_what_it_has_learned(view):
    """Q and N by arm and context, R by application; of what was not seen no value. Through a composed policy, too."""
    empty = view()
    fresh = Mab().init(empty)
    assert {estimate.value for estimate in Mab().estimates(fresh, empty.applications)} == {None}
    state = replace(
        fresh,
        layer_response_s_A=np.array([7.0]),
        reward_cd=np.array([[0.5, 0.25], [0.75, np.nan]]),
        count_cd=np.array([[3, 1], [2, 0]]),
    )
    composed = Composed(Mab(), BestFit())
    told = estimates(composed, States(state, composed.placer.init(empty)), empty.applications)
    assert [(one.name, one.unit, one.value, one.count) for one in told] == [
        ("layer, deadline >= R", "reward", 0.5, 3),
        ("semantic, deadline >= R", "reward", 0.25, 1),
        ("layer, deadline < R", "reward", 0.75, 2),
        ("semantic, deadline < R", "reward", None, 0),
        (f"R, {empty.applications[0]}", "s", 7.0, None),
    ]
    assert estimates(Frozen(composed), States(state, None), empty.applications) == told
    assert EpsilonGreedy().estimates(EpsilonGreedy().init(empty), empty.applications)[0].value is None
    assert estimates(BestFit(), None, ()) == ()
