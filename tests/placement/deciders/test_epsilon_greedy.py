"""Eq. 6-8 on numbers worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from splitplace.placement.deciders.epsilon_greedy import EpsilonGreedy
from splitplace.placement.deciders.mab import HIGH
from splitplace.placement.policy import Leaving

pytestmark = pytest.mark.base

LAYER, SEMANTIC = 0, 1


def test_it_starts_with_epsilon_one_and_rho_k(view):
    """K = .1."""
    state = EpsilonGreedy().init(view())
    assert (state.epsilon, state.rho) == (1.0, 0.1)


def test_eq_7_and_8_compare_with_the_rho_before(view):
    """O = .105 passes ρ = .1, not the ρ = .11 of after: ε .9, ρ .11. Then .105 does not pass .11."""
    decider = EpsilonGreedy(k=0.1)
    state = decider.init(view())
    assert decider.adapt(state, 0.105) == pytest.approx((0.9, 0.11))
    moved = replace(state, epsilon=0.9, rho=0.11)
    assert decider.adapt(moved, 0.105) == (0.9, 0.11)


def test_rho_is_capped_at_the_largest_reward(view):
    """1.1 x .95 would be 1.045, which no reward ever passes."""
    decider = EpsilonGreedy()
    state = replace(decider.init(view()), rho=0.95)
    assert decider.adapt(state, 1.0)[1] == 1.0


def test_an_interval_without_a_task_changes_nothing(view):
    """0/0 of eq. 3, 4."""
    decider = EpsilonGreedy()
    assert decider.adapt(decider.init(view()), float("nan")) == (1.0, 0.1)


def test_epsilon_and_rho_move_once_an_interval(view, left):
    """Tasks that left in two plans of one interval make one O^MAB, at the first plan after its end (300 s)."""
    decider = EpsilonGreedy()
    state = decider.init(view())
    for now_s in (100.0, 200.0):
        now = view(now_s=now_s, finished=left((SEMANTIC, 10, 1.0, 0.9, HIGH)))
        state = decider.update(state, Leaving(now, now.finished))
        assert state.epsilon == 1.0
    now = view(now_s=300.0)
    state = decider.update(state, Leaving(now, now.finished))
    assert state.epsilon == pytest.approx(0.9)
    assert state.count_cd.sum() == 0


def test_eq_6_explores_with_epsilon_and_else_takes_the_best(view):
    """ε = 0 always takes the larger Q; ε = 1 takes either half of the time."""
    decider = EpsilonGreedy()
    now = view(deadlines_s=(100.0,) * 1000)
    state = decider.init(now)
    q = np.array([[0.2, 0.9], [0.2, 0.9]])
    state = replace(state, bandit=replace(state.bandit, reward_cd=q, layer_response_s_A=np.array([1.0])))
    greedy = decider.decide(replace(state, epsilon=0.0), now, np.random.default_rng(0))
    assert {decision.split for decision in greedy} == {SEMANTIC}
    explored = decider.decide(replace(state, epsilon=1.0), now, np.random.default_rng(0))
    assert 400 < sum(decision.split == LAYER for decision in explored) < 600
