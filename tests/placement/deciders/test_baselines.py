"""Gillis, MC and the oracle."""

from dataclasses import replace

import numpy as np
import pytest

from splitplace.errors import SplitPlaceError, UsageError
from splitplace.placement.deciders.compressed import Compressed, CompressedState
from splitplace.placement.deciders.gillis import Gillis
from splitplace.placement.deciders.oracle import Oracle
from splitplace.placement.policy import Leaving, Taken
from splitplace.records.view import Finished

pytestmark = pytest.mark.base

RNG = np.random.default_rng(0)


def squeezed(view, **changes):
    """The application with a chain of two and two compressed models (rows 2 and 3 of the fragments made splits)."""
    now = view(**changes)
    splits = replace(
        now.splits,
        references=("mnist.m.layer-2", "mnist.m.compressed-50", "mnist.m.compressed-75"),
        application_S=np.array([0, 0, 0]),
        strategies=("layer", "compressed", "compressed"),
        first_S=np.array([0, 2, 3]),
        count_S=np.array([2, 1, 1]),
        top1_S=np.array([0.95, 0.8, 0.9]),
    )
    return replace(now, splits=splits, fragments=replace(now.fragments, split_F=np.array([0, 0, 1, 2])))


def finished(split, response_s, p, tag):
    """One task that left."""
    ints, floats = (lambda v: np.array([v], np.int64)), (lambda v: np.array([v], np.float64))
    return Finished(ints(1), ints(0), ints(split), floats(10.0), floats(response_s), floats(p), ints(tag), ints(0))


def test_mc_runs_the_most_accurate_ratio_until_one_was_chosen(view):
    """.9 over .8; a state that chose the other is followed; one that names the layer split is refused."""
    now = squeezed(view, deadlines_s=(9.0,))
    mc = Compressed()
    assert [d.split for d in mc.decide(mc.init(now), now, RNG)] == [2]
    chosen = CompressedState((1,))
    assert mc.unpack(mc.pack(chosen), now) == chosen
    with pytest.raises(SplitPlaceError, match="no compressed ones"):
        mc.unpack(mc.pack(CompressedState((0,))), now)


def test_mc_without_a_compressed_split_is_refused(view):
    """By the application's name, with what it has."""
    with pytest.raises(UsageError, match="mnist has no compressed split that fits the fleet, only layer, semantic"):
        Compressed().init(view())


def test_gillis_may_choose_layer_and_compressed_splits(view):
    """Two layer fragments and two ratios; a semantic split is no action of it."""
    assert Gillis.actions(squeezed(view)) == [[0, 1, 2]]
    assert Gillis.actions(view()) == [[0]]


def test_gillis_moves_q_of_the_cell_it_decided_in(view):
    """The first reward replaces the optimistic start, others are averaged: (.9 + 1)/2 = .95, then (0 + .5)/2 = .25."""
    gillis, now = Gillis(), squeezed(view, deadlines_s=(9.0,))
    state = gillis.init(now)
    (decision,) = gillis.decide(state, now, RNG)
    left = finished(decision.split, 1.0, 0.9, decision.tag)
    state = gillis.update(state, Leaving(now, left))
    assert state.count.sum() == 1
    assert state.value[state.count > 0] == pytest.approx([0.95])
    state = gillis.update(state, Leaving(now, finished(decision.split, 11.0, 0.5, decision.tag)))
    assert state.value[state.count > 0] == pytest.approx([(0.95 + 0.25) / 2])


def test_gillis_tells_tight_deadlines_from_loose_ones(view):
    """Tasks of 1 s and of 1000 s are in different cells."""
    now = squeezed(view, deadlines_s=(1.0, 1000.0))
    tight, loose = Gillis().decide(Gillis().init(now), now, RNG)
    assert tight.tag != loose.tag


def test_gillis_learns_the_better_action(view):
    """Only the ratio of 75 % meets the deadline: after training it is what a greedy Gillis does."""
    trainer, now = Gillis(explore=True), squeezed(view, deadlines_s=(9.0,))
    state, rng = trainer.init(now), np.random.default_rng(1)
    for _ in range(300):
        (decision,) = trainer.decide(state, now, rng)
        state = trainer.update(state, Taken(now, (decision,)))
        response_s = 5.0 if decision.split == 2 else 50.0
        state = trainer.update(state, Leaving(now, finished(decision.split, response_s, 0.9, decision.tag)))
    assert state.epsilon < 0.5
    greedy = Gillis().unpack(Gillis().pack(state), now)
    assert [d.split for d in Gillis().decide(greedy, now, rng)] == [2]


@pytest.mark.parametrize("decider", [Gillis(), Oracle()], ids=lambda decider: decider.name)
def test_a_decision_where_links_carry_nothing(view, decider):
    """Devices out of reach: what a task would take is infinite, and one split is chosen all the same."""
    now = view(deadlines_s=(10.0,), accuracy=((0.9, 0.5),))
    now = replace(now, links=replace(now.links, up_bytes_per_s_D=np.zeros(2), down_bytes_per_s_D=np.zeros(2)))
    assert [decision.task for decision in decider.decide(decider.init(now), now, RNG)] == [100]


def test_the_oracle_follows_what_only_it_can_see(view):
    """Task 0 does better as layer, task 1 as semantic, by the accuracies drawn for them."""
    now = view(deadlines_s=(1000.0, 1000.0), accuracy=((0.9, 0.5), (0.5, 0.9)))
    assert [d.split for d in Oracle().decide(Oracle().init(now), now, RNG)] == [0, 1]


def test_the_oracle_puts_the_deadline_first(view):
    """The chain takes 18.3 s alone: with 10 s left, the less accurate branches are worth more."""
    now = view(deadlines_s=(10.0,), accuracy=((0.99, 0.4),))
    assert [d.split for d in Oracle().decide(None, now, RNG)] == [1]


def test_the_oracle_refuses_an_environment_that_does_not_tell(view):
    """A live fleet cannot."""
    with pytest.raises(SplitPlaceError, match="only a simulator knows"):
        Oracle().init(view())
