"""Which alternatives are tried, how often, and which is best."""

from itertools import pairwise

import pytest

from splitplace.errors import InfeasibleError, NotFoundError, NotReadyError
from splitplace.placement.advice.alternatives import MOST_VARIANTS, first, then, variants
from splitplace.placement.advice.offers import offers
from splitplace.placement.advice.race import RUNGS, STREAMS, best, gain, race

pytestmark = [pytest.mark.sim, pytest.mark.usefixtures("short")]


def names(alternatives) -> list[str]:
    """Of them."""
    return [alternative.name for alternative in alternatives]


def test_each_variant_is_tried_alone_and_the_sets_under_joint(made):
    """Pieces under joint too; one whole model leaves joint nothing to choose."""
    demand = made.table(made.split("full", 1.0), made.split("layer", 0.5, 0.5), made.split("semantic", 0.6, 0.6))
    assert names(first(offers(demand, (), None, 100))) == [
        "full-1, full+least-loaded", "layer-2, layer+least-loaded", "semantic-2, semantic+least-loaded",
        "layer-2, joint", "semantic-2, joint", "all splits, joint",
    ]  # fmt: skip


def test_then_the_bandit_has_the_best_of_each_arm_and_joint_what_it_used(made):
    """Of two chains the better; a split that nobody got is not shipped."""
    demand = made.table(
        made.split("full", 1.0), made.split("layer", 0.5, 0.5), made.split("layer", 0.3, 0.3, 0.3),
        made.split("semantic", 0.6, 0.6),
    )  # fmt: skip
    offered = offers(demand, (), None, 100)
    worth = {alternative: 1.0 if alternative.about == "layer-3" else 0.5 for alternative in first(offered)}
    added = then(offered, worth, {"a.constant.full-1": 0.7, "a.constant.semantic-2": 0.26, "a.constant.layer-2": 0.04})
    assert names(added) == ["the splits that joint uses, joint", "layer-3 and semantic-2, mab+least-loaded"]
    assert added[0].references == ("a.constant.full-1", "a.constant.semantic-2")


def test_a_variant_that_an_application_lacks_is_in_the_sets_alone(made):
    """Alone it would leave the other application with nothing."""
    demand = made.table(
        made.split("full", 1.0), made.split("full", 1.0, application="b"), made.split("layer", 0.5, 0.5)
    )
    offered = offers(demand, (), None, 100)
    assert list(variants(offered)) == ["full-1"]
    assert names(first(offered)) == ["full-1, full+least-loaded", "all splits, joint"]


@pytest.mark.slow
def test_many_variants_do_not_make_many_runs(made):
    """Twenty chains: the most accurate alone, all in the set; so the work is bounded."""
    chains = [made.split("layer", *(1.0 / k for _ in range(k)), top1=0.5 + k / 100) for k in range(2, 22)]
    demand = made.table(made.split("full", 1.0), *chains)
    trials = made.trials(demand, made.fleet(2), made.ask(0.2, 10.0))
    raced = race(trials)
    alone = {one.alternative.about for one in raced} - {"all splits", "all whole models", "the splits that joint uses"}
    assert alone == {"full-1", *(f"layer-{k}" for k in range(21, 21 - MOST_VARIANTS, -1))}
    most = sum((stay + 2) * (streams - before) for (before, stay), (streams, _) in pairwise(RUNGS))
    assert trials.runs <= len(raced) * RUNGS[0][0] + most


@pytest.mark.slow
def test_the_best_whole_and_the_best_split_alternative_stay_to_the_end(made):
    """However far behind: they are what is to be compared."""
    chains = [made.split("layer", *(0.1 / k for _ in range(k))) for k in range(2, 6)]
    trials = made.trials(made.table(made.split("full", 60.0), *chains), made.fleet(2), made.ask(0.2, 1.0))
    last = [one for one in race(trials) if len(one.outcomes) == STREAMS]
    assert {one.alternative.whole for one in last} == {True, False}


def test_what_no_policy_could_bear_is_named_and_not_tried(made):
    """Two devices: 2 requests a second of 1 s, .4 of 5 s; unless a kind has nothing else."""
    demand = made.table(made.split("full", 1.0), made.split("layer", 2.5, 2.5), made.split("semantic", 0.5, 0.4))
    given = made.advised(demand, made.fleet(2), made.ask(0.5, 20.0))
    assert "layer-2" not in {one.name.split(",")[0] for one in given.alternatives}
    assert given.left_out["layer-2, joint"] == "its splits sustain 0.4 requests a second at most, limited by cores"
    only = made.table(made.split("full", 1.0), made.split("layer", 2.5, 2.5))
    alone = made.advised(only, made.fleet(2), made.ask(0.5, 20.0))
    assert alone.split is not None and alone.verdict == "do not split"


def test_streams_are_paired(made):
    """The same alternative against itself differs in nothing."""
    one, other = made.raced("full", 0.8, 0.9, 0.7), made.raced("layer", 0.7, 0.8, 0.6)
    assert gain(one, other).mean == pytest.approx(0.1)
    assert gain(one, other).low == pytest.approx(0.1)
    assert gain(one, one).high == 0.0


def test_what_is_worth_more_by_an_interval_is_best(made):
    """Though it has to be split."""
    better, simpler = made.raced("semantic", 0.82, 0.92, 0.721), made.raced("full", 0.8, 0.9, 0.7)
    assert best([simpler, better]) is better


@pytest.mark.parametrize("rewards", [(0.801, 0.901, 0.701), (0.9, 0.6, 0.95)])
def test_what_is_not_is_left_for_what_is_simpler(made, rewards):
    """Better by less than anybody notices, or by luck."""
    better, simpler = made.raced("semantic", *rewards), made.raced("full", 0.8, 0.9, 0.7)
    assert best([better, simpler]) is simpler


@pytest.mark.parametrize("fault", [{"late": 0.06}, {"growth": 0.2}, {"rate": 11.0}])
def test_what_does_not_keep_up_is_not_best_whatever_its_reward(made, fault):
    """Too many late, requests that pile up, or more than its splits can ever sustain."""
    assert not made.raced("full", 0.9, 0.9, 0.9, **fault).keeps_up
    slow = made.raced("layer", 0.5, 0.5, 0.5)
    assert best([made.raced("full", 0.9, 0.9, 0.9, **fault), slow]) is slow


def test_where_nothing_keeps_up_the_fewest_late(made):
    """Simplicity then decides between equals only."""
    late, later = made.raced("semantic", 0.5, 0.5, late=0.3), made.raced("full", 0.4, 0.4, late=0.6)
    assert best([later, late]) is late


def test_only_splits_of_at_least_that_accuracy_are_offered(made):
    """The others are named, with theirs."""
    demand = made.table(made.split("full", 1.0, top1=0.9), made.split("semantic", 0.5, 0.5, top1=0.8))
    given = made.advised(demand, made.fleet(2), made.ask(0.1, 10.0), accuracy=0.85)
    assert {split for one in given.alternatives for split in one.splits} == {"a.constant.full-1"}
    assert given.left_out == {"a.constant.semantic-2": "its accuracy is 0.8"}


def test_what_is_offered_by_nobody_is_said(made):
    """An accuracy, an application, an evaluation that is not there."""
    demand = made.table(made.split("full", 1.0, top1=0.9))
    with pytest.raises(InfeasibleError, match=r"no split of a is 0\.95 accurate: a\.constant\.full-1 comes closest"):
        offers(demand, (), 0.95, 100)
    with pytest.raises(NotFoundError, match="unknown application 'b': expected one of a"):
        offers(demand, ("b",), None, 100)
    with pytest.raises(NotReadyError, match=r"splitplace evaluate CATALOG:a\.constant\.full-1"):
        offers(made.table(made.split("full", 1.0, top1=None)), (), None, 100)


def test_a_split_without_an_evaluation_is_left_out_where_others_have_one(made):
    """And the answer says so."""
    demand = made.table(made.split("full", 1.0), made.split("semantic", 0.5, 0.5, top1=None))
    assert offers(demand, (), None, 100).left_out == {"a.constant.semantic-2": "it is not evaluated"}
