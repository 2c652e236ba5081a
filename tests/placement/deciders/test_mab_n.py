"""R an image and evaluations as the prior, on numbers worked out by hand; the view is that of `test_mab.py`."""

from dataclasses import replace

import numpy as np
import pytest

from splitplace.placement.deciders.epsilon_greedy import EpsilonGreedy
from splitplace.placement.deciders.mab import HIGH, LOW, Mab
from splitplace.placement.deciders.mab_n import MabN
from splitplace.placement.policy import Leaving
from splitplace.placement.state_files import Packed

pytestmark = pytest.mark.base

LAYER, SEMANTIC = 0, 1
RNG = np.random.default_rng(0)


def sized(now, *n):
    """The view, its tasks of these sizes."""
    return replace(now, tasks=replace(now.tasks, n_T=np.array(n)))


def test_r_starts_at_the_prior_an_image(view):
    """18.3 s for four images."""
    now = view(deadlines_s=(10.0,))
    state = MabN().update(MabN().init(now), Leaving(now, now.finished))
    assert state.layer_response_s_A[0] == pytest.approx(18.3 / 4)


def test_the_context_is_of_the_tasks_own_size(view):
    """R is 2 s an image: 20 s are enough for ten images and not for eleven; the decision carries the size."""
    now = sized(view(deadlines_s=(20.0, 20.0)), 10, 11)
    state = replace(MabN().init(now), layer_response_s_A=np.array([2.0]))
    assert [(d.context, d.tag) for d in MabN().decide(state, now, RNG)] == [(HIGH, 10), (LOW, 11)]
    of_task = replace(Mab().init(now), layer_response_s_A=np.array([20.0]))
    assert [d.context for d in Mab().decide(of_task, now, RNG)] == [HIGH, HIGH]


def test_eq_2_averages_responses_an_image(view, left):
    """20 s for ten images, then 30 s for five: .9 x 6 + .1 x 2."""
    now = view()
    state = replace(MabN().init(now), layer_response_s_A=np.array([np.nan]))
    finished = replace(left((LAYER, 50, 20.0, 1.0, HIGH), (LAYER, 50, 30.0, 1.0, HIGH)), tag_E=np.array([10, 5]))
    state = MabN().update(state, Leaving(now, finished))
    assert state.layer_response_s_A[0] == pytest.approx(0.9 * 6 + 0.1 * 2)


def test_q_starts_at_the_evaluations(view):
    """Layer .95, semantic .9; a layer split in the low context is late, by the context's own meaning."""
    state = MabN().init(view())
    assert state.reward_cd == pytest.approx(np.array([[(1 + 0.95) / 2, (1 + 0.9) / 2], [0.95 / 2, (1 + 0.9) / 2]]))
    assert state.count_cd.sum() == 0


def test_a_split_without_an_evaluation_is_taken_to_be_right(view):
    """Optimistic, as the paper's bandit is before its first sample."""
    now = view()
    now = replace(now, splits=replace(now.splits, top1_S=np.array([np.nan, 0.9])))
    assert MabN().init(now).reward_cd[HIGH, LAYER] == 1.0


def test_the_first_decisions_follow_the_prior(view):
    """Layer where there is time, semantic where there is none, and neither has to be tried first."""
    now = view(deadlines_s=(100.0, 100.0, 1.0, 1.0))
    state = MabN().update(MabN().init(now), Leaving(now, now.finished))
    assert [d.split for d in MabN().decide(state, now, RNG)] == [LAYER, LAYER, SEMANTIC, SEMANTIC]


def test_the_prior_counts_as_one_decision(view):
    """Eq. 9 with N + 1; eq. 5 moves Q from the prior by its step."""
    mab, now = MabN(), view()
    state = replace(mab.init(now), t=100)
    counts = np.array([3, 24])
    assert mab.upper_bounds(state, HIGH, counts) == pytest.approx(Mab().upper_bounds(state, HIGH, counts + 1))


def test_eq_5_moves_q_from_the_prior(view, left):
    """A reward of (1 + .5) / 2 against .975: by a tenth of the way, not all of it."""
    mab, now = MabN(gamma=0.1), view()
    state = mab.update(mab.init(now), Leaving(now, left((LAYER, 10, 9.0, 0.5, HIGH))))
    assert state.reward_cd[HIGH, LAYER] == pytest.approx(0.975 + 0.1 * (0.75 - 0.975))


def test_epsilon_greedy_trains_it_in_its_own_contexts(view):
    """The sizes travel with the decisions of the training, too."""
    trainer, now = EpsilonGreedy(mab=MabN()), sized(view(deadlines_s=(20.0, 20.0)), 10, 11)
    state = trainer.init(now)
    state = replace(state, bandit=replace(state.bandit, layer_response_s_A=np.array([2.0])))
    assert [(d.context, d.tag) for d in trainer.decide(state, now, RNG)] == [(HIGH, 10), (LOW, 11)]


def test_its_state_comes_back(view):
    """R, Q and N; t starts anew."""
    mab, now = MabN(), view()
    state = replace(mab.init(now), layer_response_s_A=np.array([2.0]), count_cd=np.array([[1, 2], [3, 4]]), t=7)
    packed = mab.pack(state)
    again = mab.unpack(Packed(packed.arrays, packed.facts), now)
    assert again.layer_response_s_A.tolist() == [2.0]
    assert again.reward_cd.tolist() == state.reward_cd.tolist()
    assert again.count_cd.tolist() == [[1, 2], [3, 4]]
    assert again.t == 0
