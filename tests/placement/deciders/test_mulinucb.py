"""µLinUCB over cuts on a view to follow by hand: a chain of two, its whole, and a compressed model."""

import math
from dataclasses import replace

import numpy as np
import pytest

from splitplace.errors import ContractError, NotFoundError
from splitplace.placement.deciders.mulinucb import CONTEXT, MuLinUcb, MuLinUcbState, arms, context_of
from splitplace.placement.deciders.ridge import Ridge
from splitplace.placement.policy import Leaving, Taken
from splitplace.records.action import Decide

pytestmark = pytest.mark.base

LAYER, FULL, COMPRESSED = 0, 1, 2
RNG = np.random.default_rng(0)


@pytest.fixture
def cuts(view):
    """Views whose fragments 2 and 3 are a whole model and a compressed one; 300 s an interval."""

    def build(**changes):
        now = view(**changes)
        splits = replace(
            now.splits,
            references=("mnist.m.layer-2", "mnist.m.full", "mnist.m.compressed-50"),
            application_S=np.array([0, 0, 0]),
            strategies=("layer", "full", "compressed"),
            first_S=np.array([0, 2, 3]),
            count_S=np.array([2, 1, 1]),
            top1_S=np.array([0.95, 0.95, 0.8]),
        )
        latency_s = np.array([10.0, 5.0, 14.0, 6.0])[:, None] * np.ones(2)
        fragments = replace(now.fragments, split_F=np.array([0, 0, 1, 2]), latency_s_FD=latency_s)
        return replace(now, splits=splits, fragments=fragments)

    return build


def knowing(theta, times=10_000):
    """A model that has seen delays θᵀx for many x of every kind."""
    rng, delay = np.random.default_rng(1), Ridge.none(len(CONTEXT), 1.0)
    for x in rng.uniform(0, 1, (times, len(CONTEXT))):
        delay = delay.seen(x, float(x @ np.array(theta)))
    return delay


def test_the_context_of_a_chain_and_of_a_whole(cuts):
    """Work 15 s and 14 s; input 200 bytes at 100 a second; 100 bytes and one hop between; over 300 s."""
    now = cuts()
    assert context_of(now, LAYER, 4) == pytest.approx([1, 15 / 300, 2 / 300, 1 / 300, 1])
    assert context_of(now, FULL, 4) == pytest.approx([1, 14 / 300, 2 / 300, 0, 0])


def test_a_semantic_split_is_no_cut(view):
    """It is another network; an application with nothing else is refused by name."""
    now = view()
    assert arms(now, 0) == [LAYER]
    lonely = replace(now, splits=replace(now.splits, strategies=("semantic", "semantic")))
    with pytest.raises(NotFoundError, match="'mulinucb': mnist has no layer, full, compressed split"):
        MuLinUcb().init(lonely)


def test_the_forced_frames_are_multiples_of_t_to_the_mu():
    """Phases of 16, 32 and 64 frames: every 2nd, then every 32^¼ = 2.38th, then every 64^¼ = 2.83th, rounded up."""
    expected, start, horizon = [], 0, 16
    for _ in range(3):
        every = horizon**0.25
        expected += [start + math.ceil(m * every) for m in range(1, horizon) if math.ceil(m * every) <= horizon]
        start, horizon = start + horizon, 2 * horizon
    mulinucb = MuLinUcb()
    assert [t for t in range(1, start + 1) if mulinucb.forced(t)] == expected
    assert expected[:3] == [2, 4, 6]


def test_forcing_becomes_rare():
    """Of T frames of a phase T^(1 - µ) are forced: of the 4096th to the 8192nd an eighth, 1 / 4096^¼."""
    mulinucb = MuLinUcb(first=4096)
    assert sum(mulinucb.forced(t) for t in range(1, 4097)) == 512


def test_a_forced_frame_leaves_out_what_teaches_nothing_of_links(cuts):
    """The chain is by far the slowest, and taken all the same in the second frame, not in the first."""
    now = cuts(deadlines_s=(1.0,))
    slow_links = MuLinUcbState(knowing([0, 1, 1, 100, 1]))
    (free,) = MuLinUcb().decide(slow_links, now, RNG)
    assert free.split != LAYER
    (forced,) = MuLinUcb().decide(replace(slow_links, t=1), now, RNG)
    assert forced.split == LAYER


def test_delays_alone_decide_if_told_so(cuts):
    """As printed: the compressed model is quickest, whatever its accuracy and the deadline."""
    now = cuts(deadlines_s=(100.0,))
    state = MuLinUcbState(knowing([0, 1, 1, 1, 0]))
    assert MuLinUcb(delay_only=True).decide(state, now, RNG)[0].split == COMPRESSED


@pytest.mark.parametrize(("deadline_s", "best"), [(100.0, FULL), (12.0, COMPRESSED), (1.0, COMPRESSED)])
def test_of_those_in_time_the_most_accurate_and_of_equals_the_quickest(cuts, deadline_s, best):
    """Whole 16 s, chain 18 s and as accurate, compressed 8 s; where none is in time, the quickest."""
    now = cuts(deadlines_s=(deadline_s,))
    state = MuLinUcbState(knowing([0, 1, 1, 1, 0]))
    assert [d.split for d in MuLinUcb(alpha=0.01).decide(state, now, RNG)] == [best]


@pytest.mark.parametrize(("factor", "best"), [(0.99, COMPRESSED), (1.01, LAYER)])
def test_the_bound_is_the_estimate_less_the_width(cuts, factor, best):
    """θᵀx - α sqrt(1 - L) width, worked out apart: beyond the α where the two are equal the less known arm is taken."""
    now = cuts(deadlines_s=(1000.0,))
    now = replace(now, splits=replace(now.splits, application_S=np.array([0, 1, 0])))
    x = {split: context_of(now, split, 4) for split in (LAYER, COMPRESSED)}
    delay = Ridge.none(len(CONTEXT), 1.0)
    for _ in range(3):
        delay = delay.seen(x[LAYER], 0.5)
    for _ in range(30):
        delay = delay.seen(x[COMPRESSED], 0.1)
    estimate, width = ({s: f(x[s]) for s in x} for f in (lambda x_F: delay.theta_F @ x_F, delay.doubt([]).width))
    turn = (estimate[LAYER] - estimate[COMPRESSED]) / (width[LAYER] - width[COMPRESSED]) / math.sqrt(1 - 0.2)
    assert turn > 0
    mulinucb = MuLinUcb(alpha=factor * turn, delay_only=True)
    assert [d.split for d in mulinucb.decide(MuLinUcbState(delay), now, RNG)] == [best]


def test_a_task_with_nothing_to_spare_explores_less(cuts):
    """L = .8 of a deadline below what the chain takes alone (18.3 s with hops), .2 of others."""
    now = cuts()
    assert MuLinUcb().importance(now, LAYER, 4, 18.0) == 0.8
    assert MuLinUcb().importance(now, LAYER, 4, 19.0) == 0.2


def test_one_model_learns_from_every_arm(cuts, left):
    """Delays of whole models alone, of three sizes, tell what a chain's work and input cost."""
    mulinucb, state = MuLinUcb(ridge=1e-6), MuLinUcb(ridge=1e-6).init(cuts())
    for n in (4, 40, 400) * 20:
        then = cuts(deadlines_s=(50.0,))
        then = replace(then, tasks=replace(then.tasks, id_T=np.array([0]), n_T=np.array([n])))
        x = context_of(then, FULL, n)
        state = mulinucb.update(state, Taken(then, (Decide(0, FULL),)))
        response_s = 300.0 * (2.0 * x[1] + 0.5 * x[2] + 0.01)
        state = mulinucb.update(state, Leaving(cuts(), left((FULL, 50, response_s, 0.9, 0))))
    assert state.t == 60
    assert state.under_way == {}
    whole = context_of(cuts(), FULL, 100)
    assert state.delay.theta_F @ whole == pytest.approx(2.0 * whole[1] + 0.5 * whole[2] + 0.01, rel=1e-3)
    assert state.delay.theta_F[3:] == pytest.approx([0, 0], abs=1e-6)


def test_what_is_under_way_is_less_in_doubt(cuts):
    """Nothing is known: of a plan's tasks not all are decided alike."""
    now = cuts(deadlines_s=(50.0,) * 6)
    mulinucb = MuLinUcb(delay_only=True)
    assert len({d.split for d in mulinucb.decide(mulinucb.init(now), now, RNG)}) > 1


def test_it_finds_the_quickest_cut(cuts, left):
    """Links are forty times slower than they say: the chain, 56 s, is left alone but for the forced frames."""
    mulinucb, now = MuLinUcb(alpha=0.05), cuts(deadlines_s=(30.0,))
    now = replace(now, tasks=replace(now.tasks, id_T=np.array([0])))
    state, chosen = mulinucb.init(now), []
    for _ in range(300):
        (decision,) = mulinucb.decide(state, now, RNG)
        state = mulinucb.update(state, Taken(now, (decision,)))
        response_s = {LAYER: 17.0 + 40.0, FULL: 16.0, COMPRESSED: 8.0}[decision.split]
        state = mulinucb.update(state, Leaving(cuts(), left((decision.split, 30.0, response_s, 0.9, 0))))
        chosen.append(decision.split)
    free = [split for t, split in enumerate(chosen, start=1) if t > 100 and not mulinucb.forced(t)]
    assert set(free) == {FULL}
    assert {split for t, split in enumerate(chosen, start=1) if mulinucb.forced(t)} == {LAYER}


def test_its_state_comes_back(cuts):
    """A, b, how many, and where in the phases."""
    mulinucb, now = MuLinUcb(), cuts()
    state = MuLinUcbState(knowing([0, 1, 1, 1, 0], 5), t=9, under_way={1: np.ones(5)})
    again = mulinucb.unpack(mulinucb.pack(state), now)
    np.testing.assert_array_equal(again.delay.gram_FF, state.delay.gram_FF)
    np.testing.assert_array_equal(again.delay.target_F, state.delay.target_F)
    assert (again.delay.samples, again.t, again.under_way) == (5, 9, {})


@pytest.mark.parametrize(
    ("arrays", "facts"),
    [
        ({"gram": np.zeros((5, 5))}, {}),
        ({"gram": np.eye(4)}, {}),
        ({"target": np.full(5, np.nan)}, {}),
        ({}, {"samples": -1}),
        ({}, {"t": -1}),
    ],
    ids=["singular", "another context", "no number", "samples below 0", "t below 0"],
)
def test_a_regression_that_is_none_is_refused(cuts, arrays, facts):
    """A file is not trusted."""
    packed = MuLinUcb().pack(MuLinUcb().init(cuts()))
    with pytest.raises(ContractError, match="the state of mulinucb has not the regression"):
        MuLinUcb().unpack(replace(packed, arrays=packed.arrays | arrays, facts=packed.facts | facts), cuts())
