"""UCB-V and UCB1-Tuned: the index against its formula, what it is made of, and regret on arms whose truth is known."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from splitplace.errors import ContractError
from splitplace.placement.deciders.mab import HIGH, LOW, Mab
from splitplace.placement.deciders.mab_tuned import MabTuned
from splitplace.placement.deciders.mab_v import MabV
from splitplace.placement.policy import Leaving, Taken
from splitplace.placement.state_files import Packed
from splitplace.records.action import Decide

pytestmark = pytest.mark.base

LAYER, SEMANTIC = 0, 1
BOTH = pytest.mark.parametrize("mab", [MabV(), MabTuned()], ids=lambda mab: mab.name)
Index = Callable[[np.ndarray, np.ndarray, np.ndarray, int], np.ndarray]


def test_ucb_v_is_mean_width_and_range():
    """.6 + sqrt(2 x .04 x 1.2 log 100 / 8) + 3 x 1.2 log 100 / 8."""
    e = 1.2 * math.log(100)
    index = MabV().index(np.array([0.6]), np.array([0.04]), np.array([8]), 100)
    assert index == pytest.approx([0.6 + math.sqrt(2 * 0.04 * e / 8) + 3 * e / 8])


def test_ucb1_tuned_takes_the_lesser_of_the_largest_variance_and_its_bound():
    """.04 + sqrt(2 log 100 / 400) = .19 of 400 plays; of 8 plays it would be 1.11, and 1/4 holds."""
    log = math.log(100)
    index = MabTuned().index(np.array([0.6, 0.6]), np.array([0.04, 0.04]), np.array([400, 8]), 100)
    many = 0.6 + math.sqrt(log / 400 * (0.04 + math.sqrt(2 * log / 400)))
    assert index == pytest.approx([many, 0.6 + math.sqrt(log / 8 / 4)])


@BOTH
def test_an_index_falls_to_the_mean_with_plays_and_rises_with_variance(mab):
    """In N, V and t."""
    mean, few, many = np.array([0.5]), np.array([2000]), np.array([10**9])
    assert mab.index(mean, np.array([0.25]), many, 1000) == pytest.approx(mean, abs=1e-3)
    assert mab.index(mean, np.array([0.2]), few, 1000) > mab.index(mean, np.array([0.01]), few, 1000)
    assert mab.index(mean, np.array([0.01]), few, 1000) > mab.index(mean, np.array([0.01]), few, 10)


@BOTH
def test_mean_and_variance_are_those_of_all_rewards(mab, view, left):
    """Rewards of a cell in three plans, two tasks in one of them, against numpy's of the list."""
    now, state = view(), mab.init(view())
    batches = [[(9.0, 0.8), (11.0, 0.6)], [(9.0, 0.9)], [(12.0, 0.5)]]
    for batch in batches:
        finished = left(*((LAYER, 10, response_s, p, HIGH) for response_s, p in batch))
        state = mab.update(state, Leaving(now, finished))
    rewards = [((response_s <= 10) + p) / 2 for batch in batches for response_s, p in batch]
    assert state.samples_cd.tolist() == [[4, 0], [0, 0]]
    assert state.reward_cd[HIGH, LAYER] == pytest.approx(np.mean(rewards))
    assert state.variance_cd[HIGH, LAYER] == pytest.approx(np.var(rewards))
    assert math.isnan(state.reward_cd[LOW, SEMANTIC])


@BOTH
def test_a_variance_is_never_below_nothing(mab, view, left):
    """Equal rewards, which rounding would make differ."""
    state = mab.init(view())
    for _ in range(50):
        state = mab.update(state, Leaving(view(), left((LAYER, 10, 9.0, 0.1, HIGH))))
    assert state.variance_cd[HIGH, LAYER] >= 0.0
    assert np.isfinite(mab.upper_bounds(state, HIGH, np.array([50, 1]))).all()


@BOTH
def test_contexts_and_r_are_the_papers(mab, view, left):
    """As `mab`: contexts by R of eq. 2, every arm of a context once before any twice, N at the decision."""
    now = view(deadlines_s=(100.0, 100.0, 1.0, 1.0))
    state = mab.update(mab.init(now), Leaving(now, now.finished))
    paper = Mab().update(Mab().init(now), Leaving(now, now.finished))
    decisions = mab.decide(state, now, np.random.default_rng(0))
    assert decisions == Mab().decide(paper, now, np.random.default_rng(0))
    state = mab.update(state, Taken(now, tuple(decisions)))
    assert state.count_cd.tolist() == [[1, 1], [1, 1]]
    finished = left((LAYER, 5, 20.0, 1.0, HIGH))
    state, paper = (m.update(s, Leaving(now, finished)) for m, s in ((mab, state), (Mab(), paper)))
    assert state.layer_response_s_A == paper.layer_response_s_A


@BOTH
def test_an_arm_that_never_answers_is_not_played_for_good(mab, view, left):
    """Layer tasks get stuck and no reward of theirs comes: their index falls with the decisions all the same."""
    now, state = view(deadlines_s=(100.0,)), mab.init(view())
    state = mab.update(state, Leaving(now, left((SEMANTIC, 100, 1.0, 0.9, HIGH))))
    played = []
    for _ in range(200):
        (decision,) = mab.decide(state, now, np.random.default_rng(0))
        state = mab.update(state, Taken(now, (decision,)))
        if decision.split == SEMANTIC:
            state = mab.update(state, Leaving(now, left((SEMANTIC, 100, 1.0, 0.9, decision.context))))
        played.append(decision.split)
    assert played.count(SEMANTIC) > 20


@BOTH
def test_its_state_comes_back(mab, view, left):
    """Samples and squares too; t starts anew."""
    now = view()
    state = mab.update(mab.init(now), Leaving(now, left((LAYER, 10, 9.0, 0.8, HIGH), (LAYER, 10, 11.0, 0.6, HIGH))))
    state = mab.update(state, Taken(now, (Decide(100, LAYER, context=HIGH),)))
    again = mab.unpack(mab.pack(state), now)
    np.testing.assert_array_equal(again.reward_cd, state.reward_cd)
    np.testing.assert_array_equal(again.variance_cd, state.variance_cd)
    assert again.samples_cd.tolist() == state.samples_cd.tolist()
    assert again.count_cd.tolist() == state.count_cd.tolist()
    assert again.t == 0


@BOTH
@pytest.mark.parametrize(
    "spoil",
    [
        {"samples": np.zeros((2, 3), np.int64)},
        {"samples": np.array([[-1, 0], [0, 0]])},
        {"samples": np.array([[1, 0], [0, 0]])},
        {"squares": np.full((2, 2), np.nan)},
        {"q": np.zeros(2)},
    ],
    ids=["shape", "below 0", "of a Q that is unknown", "no number", "q"],
)
def test_samples_that_are_none_are_refused(mab, view, spoil):
    """A file is not trusted."""
    packed = mab.pack(mab.init(view()))
    with pytest.raises(ContractError, match=f"the state of {mab.name} has not the"):
        mab.unpack(replace(packed, arrays=packed.arrays | spoil), view())
    assert isinstance(packed, Packed)


def worse_plays(index: Index, arms: list[Callable[[np.random.Generator], float]], plays: int, seed: int) -> int:
    """How often the second arm, the worse one, is played, each arm once at first."""
    rng = np.random.default_rng(seed)
    total, squares, count = np.zeros(2), np.zeros(2), np.zeros(2, np.int64)
    for t in range(plays):
        if t < 2:
            arm = t
        else:
            mean = total / count
            arm = int(np.argmax(index(mean, np.maximum(squares / count - mean**2, 0.0), count, t)))
        reward = arms[arm](rng)
        total[arm] += reward
        squares[arm] += reward**2
        count[arm] += 1
    return int(count[1])


def bernoulli(p: float) -> Callable[[np.random.Generator], float]:
    """1 with probability p, else 0."""
    return lambda rng: float(rng.random() < p)


def ucb1(mean, variance, count, t):
    """Auer et al.'s plain index, which eq. 9 is with c = sqrt 2."""
    return mean + np.sqrt(2 * math.log(t) / count)


def test_regret_of_ucb_v_is_below_its_proven_bound():
    """E R <= 10 (σ²/Δ + 2) log n for ζ = 1.2, c = 1 (their theorem): Bernoulli .9 and .6, n = 2000, ten seeds."""
    n, gap, variance = 2000, 0.3, 0.6 * 0.4
    regrets = [gap * worse_plays(MabV().index, [bernoulli(0.9), bernoulli(0.6)], n, seed) for seed in range(10)]
    bound = 10 * (variance / gap + 2) * math.log(n)
    assert bound < gap * n / 2  # what a coin would regret: the bound says something
    assert np.mean(regrets) < bound


def test_ucb1_tuned_regrets_less_than_ucb1():
    """Their experiment: Bernoulli .9 and .8, n = 2000; over five seeds, by more than a third."""
    arms = [bernoulli(0.9), bernoulli(0.8)]
    tuned, plain = (sum(worse_plays(i, arms, 2000, seed) for seed in range(5)) for i in (MabTuned().index, ucb1))
    assert tuned < 2 / 3 * plain


@BOTH
def test_rewards_that_hardly_vary_are_known_sooner(mab):
    """.55 and .45 within .02: of 4000 plays fewer than half as many of the worse arm as UCB1 takes."""
    arms = [lambda rng: 0.55 + 0.02 * rng.random(), lambda rng: 0.45 + 0.02 * rng.random()]
    assert worse_plays(mab.index, arms, 4000, 0) < worse_plays(ucb1, arms, 4000, 0) / 2
