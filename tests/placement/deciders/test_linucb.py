"""The ridge regressions against least squares, and LinUCB on a view to follow by hand."""

from dataclasses import replace

import numpy as np
import pytest

from splitplace.errors import ContractError
from splitplace.placement.deciders.linucb import AFTER_APPLICATIONS, LinUcb, arms, features_of
from splitplace.placement.deciders.ridge import Ridge
from splitplace.placement.policy import REMEMBERED, Leaving, Taken, still_out
from splitplace.records.action import Decide

pytestmark = pytest.mark.base

LAYER, SEMANTIC = 0, 1
RNG = np.random.default_rng(0)


def test_theta_is_the_least_squares_solution():
    """Against numpy's, of the rows with sqrt(λ) I below them."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(40, 5)), rng.normal(size=40)
    ridge = Ridge.none(5, 0.7)
    for row, target in zip(x, y, strict=True):
        ridge = ridge.seen(row, target)
    rows, targets = np.vstack([x, np.sqrt(0.7) * np.eye(5)]), np.concatenate([y, np.zeros(5)])
    assert ridge.theta_F == pytest.approx(np.linalg.lstsq(rows, targets)[0])
    assert ridge.samples == 40


def test_sherman_morrison_is_the_inverse_of_the_sum():
    """After thirty samples on their way, against one inversion."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(30, 4))
    doubt = Ridge.none(4, 2.0).doubt([])
    for row in x:
        doubt = doubt.asked(row)
    assert doubt.inverse_FF == pytest.approx(np.linalg.inv(2.0 * np.eye(4) + x.T @ x))
    assert Ridge.none(4, 2.0).doubt(x).inverse_FF == pytest.approx(doubt.inverse_FF)


def test_width_falls_where_one_has_looked_and_stays_elsewhere():
    """Along x by 1 / sqrt(1 + n) at λ = 1; across it stays 1."""
    x, across = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    ridge = Ridge.none(2, 1.0)
    for _ in range(8):
        ridge = ridge.seen(x, 0.5)
    assert ridge.doubt([]).width(x) == pytest.approx(1 / 3)
    assert ridge.doubt([]).width(across) == pytest.approx(1.0)


def test_features_of_a_task(view):
    """One application; deadline 36.6 s over 18.3 s; 5 s of work on each of two cores; links; 18.3 s over 100 s."""
    now = view(deadlines_s=(36.6,))
    devices = replace(now.devices, backlog_s_D=np.array([5.0, 5.0]), net_D=np.array([0.2, 0.6]))
    x = features_of(replace(now, devices=devices), 0)
    assert x == pytest.approx([1.0, 2.0, 5.0 / 18.3, 0.4, 0.183])
    assert len(x) == 1 + len(AFTER_APPLICATIONS)


def test_features_stay_finite_where_links_carry_nothing(view):
    """Devices out of reach: R is infinite, and the task is decided all the same."""
    now = view(deadlines_s=(10.0,))
    away = replace(now, links=replace(now.links, up_bytes_per_s_D=np.zeros(2), down_bytes_per_s_D=np.zeros(2)))
    assert np.isfinite(features_of(away, 0)).all()
    assert [d.task for d in LinUcb().decide(LinUcb().init(away), away, RNG)] == [100]


def test_arms_are_splits_without_their_application(view):
    """Two applications with a split of one name share its arm."""
    now = view()
    splits = replace(now.splits, references=("mnist.m.layer-2", "fashionmnist.m.layer-2"))
    assert arms(replace(now, splits=splits)) == (["m.layer-2"], [0, 0])
    assert arms(now) == (["mobilenetv2.layer-2", "mobilenetv2.semantic-2"], [0, 1])


def test_the_bound_is_estimate_and_width(view):
    """Promise + θᵀx + α width, worked out apart: .975 + .3 (shrunk) of the known arm, .95 of the other."""
    now = view(deadlines_s=(36.6,))
    x = features_of(now, 0)
    known, unknown = Ridge.none(len(x), 1.0), Ridge.none(len(x), 1.0)
    for _ in range(50):
        known = known.seen(x, 0.3)
    state = replace(LinUcb().init(now), ridge_K=(known, unknown))
    more, width = 0.3 * 50 * (x @ x) / (1 + 50 * (x @ x)), np.sqrt(x @ x)
    assert known.theta_F @ x == pytest.approx(more)
    turn = (0.975 + more - 0.95) / (width - known.doubt([]).width(x))
    assert LinUcb(alpha=0.99 * turn).decide(state, now, RNG)[0].split == LAYER
    assert LinUcb(alpha=1.01 * turn).decide(state, now, RNG)[0].split == SEMANTIC


def test_tasks_of_one_plan_are_not_all_decided_alike(view):
    """Nothing is known: what was just asked is less in doubt, so the arms take turns."""
    now = view(deadlines_s=(20.0,) * 4)
    assert [d.split for d in LinUcb().decide(LinUcb().init(now), now, RNG)] == [LAYER, SEMANTIC] * 2


def test_what_is_under_way_counts_in_the_next_plan(view):
    """One layer task has no answer yet: the next one is semantic."""
    linucb, now = LinUcb(), view(deadlines_s=(20.0,))
    state = linucb.update(linucb.init(now), Taken(now, (Decide(100, LAYER),)))
    assert state.ridge_K[LAYER].samples == 0
    assert [d.split for d in linucb.decide(state, now, RNG)] == [SEMANTIC]


def test_a_reward_is_learned_with_the_features_of_its_decision(view, left):
    """.9 where .95 was promised; the view has changed by then; id 0 is what `left` calls its first task."""
    linucb, then = LinUcb(), view(deadlines_s=(36.6,))
    then = replace(then, tasks=replace(then.tasks, id_T=np.array([0])))
    x = features_of(then, 0)
    state = linucb.update(linucb.init(then), Taken(then, (Decide(0, SEMANTIC),)))
    now = view()
    state = linucb.update(state, Leaving(now, left((SEMANTIC, 10, 9.0, 0.8, 0))))
    assert state.under_way == {}
    assert state.ridge_K[SEMANTIC].target_F == pytest.approx((0.9 - 0.95) * x)
    assert state.ridge_K[SEMANTIC].gram_FF == pytest.approx(np.eye(len(x)) + np.outer(x, x))
    assert state.ridge_K[LAYER].samples == 0


def test_a_task_that_a_view_does_not_show_is_remembered(view, left):
    """A live view leaves out some that wait, and just from those there is something to learn."""
    linucb, then = LinUcb(), view(deadlines_s=(20.0,))
    then = replace(then, tasks=replace(then.tasks, id_T=np.array([0])))
    state = linucb.update(linucb.init(then), Taken(then, (Decide(0, LAYER),)))
    hidden = view()
    state = linucb.update(state, Leaving(hidden, hidden.finished))
    state = linucb.update(state, Leaving(hidden, left((LAYER, 20, 30.0, 0.9, 0))))
    assert (state.ridge_K[LAYER].samples, state.under_way) == (1, {})


def test_what_never_comes_back_is_forgotten(view):
    """The latest are kept."""
    asked = dict.fromkeys(range(3 * REMEMBERED), "asked")
    kept = still_out(asked, view().finished)
    assert list(kept) == list(range(2 * REMEMBERED, 3 * REMEMBERED))


def test_it_learns_which_split_meets_which_deadline(view, left):
    """Only semantic is done within 5 s, both within 40 s where layer is right more often."""
    linucb, rng = LinUcb(alpha=0.1), np.random.default_rng(3)
    state, chosen = linucb.init(view()), []
    for _ in range(400):
        deadline_s = float(rng.choice([5.0, 40.0]))
        now = view(deadlines_s=(deadline_s,))
        now = replace(now, tasks=replace(now.tasks, id_T=np.array([0])))
        (decision,) = linucb.decide(state, now, RNG)
        state = linucb.update(state, Taken(now, (decision,)))
        response_s, p = (18.0, 0.95) if decision.split == LAYER else (4.0, 0.7)
        after = view()
        state = linucb.update(state, Leaving(after, left((decision.split, deadline_s, response_s, p, 0))))
        chosen.append(decision.split == (SEMANTIC if deadline_s < 18 else LAYER))
    assert np.mean(chosen[-100:]) > 0.95


def test_its_state_comes_back(view):
    """A, b and counts; what is under way is not kept."""
    linucb, now = LinUcb(), view(deadlines_s=(20.0,))
    x = features_of(now, 0)
    state = replace(linucb.init(now), ridge_K=(Ridge.none(len(x), 1.0).seen(x, 0.5), Ridge.none(len(x), 1.0)))
    again = linucb.unpack(linucb.pack(replace(state, under_way={1: (0, x)})), now)
    assert again.under_way == {}
    for one, other in zip(again.ridge_K, state.ridge_K, strict=True):
        np.testing.assert_array_equal(one.gram_FF, other.gram_FF)
        np.testing.assert_array_equal(one.target_F, other.target_F)
        assert one.samples == other.samples


@pytest.mark.parametrize(
    "spoil",
    [
        {"gram": np.zeros((2, 5, 5))},
        {"gram": np.stack([np.triu(np.ones((5, 5))) + np.eye(5)] * 2)},
        {"gram": np.stack([np.eye(5)] * 3)},
        {"target": np.full((2, 5), np.nan)},
        {"target": np.zeros((2, 4))},
        {"samples": np.array([-1, 0])},
    ],
    ids=["singular", "not symmetric", "another arm", "no number", "other features", "below 0"],
)
def test_regressions_that_are_none_are_refused(view, spoil):
    """A file is not trusted."""
    packed = LinUcb().pack(LinUcb().init(view()))
    with pytest.raises(ContractError, match="the state of linucb has not the regressions of these splits"):
        LinUcb().unpack(replace(packed, arrays=packed.arrays | spoil), view())
