"""Whether to split, where the answer is known."""

import pytest

from splitplace.placement.advice.memory_limits import memory_limits

pytestmark = [pytest.mark.sim, pytest.mark.usefixtures("short")]

VARIANTS = ("full", "layer-3", "semantic-4")


def test_a_whole_model_that_is_quicker_and_as_accurate_is_not_split(made):
    """Half a second whole, twice .4 s in a chain."""
    demand = made.table(made.split("full", 0.5), made.split("layer", 0.4, 0.4), made.split("semantic", 0.4, top1=0.8))
    given = made.advised(demand, made.fleet(2), made.ask(0.5, 5.0))
    assert (given.verdict, given.ship, given.policy) == ("do not split", ("a.constant.full-1",), "full+least-loaded")
    assert (
        given.whole == given.expect and given.split is not None and given.split.reward.mean <= given.expect.reward.mean
    )


def test_equal_worth_is_for_the_whole_model(made):
    """A chain of one piece in all but name gains nothing, and is one more thing to run."""
    demand = made.table(made.split("layer", 0.5, 0.5), made.split("full", 1.0))
    assert made.advised(demand, made.fleet(2), made.ask(0.2, 10.0)).verdict == "do not split"


def test_a_chain_of_one_fragment_is_a_whole_model(made):
    """What `split --fragments 1` makes of an ONNX file, which no training made a full model of."""
    demand = made.table(made.split("layer", 0.5), made.split("layer", 0.4, 0.4))
    (limit,) = memory_limits(demand, made.fleet().units())
    given = made.advised(demand, made.fleet(2), made.ask(0.5, 5.0))
    assert (given.verdict, given.ship) == ("do not split", ("a.constant.layer-1",))
    assert limit.whole_bytes == limit.least_bytes


@pytest.mark.slow
def test_branches_that_keep_a_deadline_that_the_whole_model_misses_are_worth_it(made):
    """3 s whole, .5 s side by side; 2 s are given."""
    demand = made.table(made.split("full", 3.0), made.split("semantic", 0.5, 0.5, top1=0.8))
    given = made.advised(demand, made.fleet(2), made.ask(0.2, 2.0))
    assert (given.verdict, given.ship) == ("split", ("a.constant.semantic-2",))
    assert "a.constant.full-1" not in given.ship and given.whole.violations.mean == 1.0
    assert "100.0% of the requests are late" in given.reason


@pytest.mark.slow
def test_where_no_device_holds_a_whole_model_splitting_is_the_only_way(made):
    """A byte less than the whole model takes, and it is not on offer; with that byte it is."""
    (limit,) = memory_limits(made.measured(*VARIANTS), made.fleet().units())
    asked = made.ask(1.0, 10.0, images=64)
    given = made.advised(made.measured(*VARIANTS), made.fleet(3, memory_bytes=limit.whole_bytes - 1), asked)
    assert given.verdict == "only split"
    assert str(limit.whole_bytes) in given.reason and given.memory == (limit,)
    assert given.left_out == {"mnist.mobilenetv2.full": "some fragment of it fits no device"}
    enough = made.advised(made.measured(*VARIANTS), made.fleet(3, memory_bytes=limit.whole_bytes), asked)
    assert enough.verdict == "do not split"


def test_where_nothing_fits_it_says_so_and_tries_nothing(made):
    """A byte less than the least fragment's."""
    demand = made.measured(*VARIANTS)
    (limit,) = memory_limits(demand, made.fleet().units())
    given = made.advised(demand, made.fleet(3, memory_bytes=limit.least_bytes - 1), made.ask(1.0, 10.0, images=64))
    assert (given.verdict, given.ship, given.policy, given.simulated_runs) == ("nothing fits", (), None, 0)
    assert given.memory == (limit,) and given.reason.startswith(
        "no device can hold every fragment of any split of mnist"
    )


@pytest.mark.parametrize(
    ("rate", "deadline_s", "said"),
    [
        (0.1, 0.9, "under the 1 s that the quickest split takes alone"),
        (3.0, 10.0, "the best policy could sustain 2, limited by cores"),
        (1.9, 1.2, "of the requests are late, 5.0% may be"),
    ],
)
def test_what_cannot_be_met_is_said_with_the_reason(made, rate, deadline_s, said):
    """Two devices, a model of 1 s: too short a deadline, too many requests, or both a little."""
    given = made.advised(made.table(made.split("full", 1.0)), made.fleet(2), made.ask(rate, deadline_s))
    assert given.verdict == "cannot be met"
    assert said in given.reason


def test_without_a_split_to_compare_with_it_says_that(made):
    """A catalog of one model."""
    given = made.advised(made.table(made.split("full", 1.0)), made.fleet(2), made.ask(0.1, 10.0))
    assert (given.verdict, given.reason) == ("do not split", "there is no split model on offer to compare with")
    assert given.split is None


def test_without_a_whole_model_to_compare_with_too(made):
    """Nor is splitting then the only way: nobody knows what the whole model takes."""
    given = made.advised(made.table(made.split("layer", 0.5, 0.5)), made.fleet(2), made.ask(0.1, 10.0))
    assert (given.verdict, given.reason) == ("split", "there is no whole model on offer to compare with")
    assert given.memory[0].whole_bytes is None


def test_of_two_whole_models_of_equal_worth_the_quicker(made):
    """Both always in time."""
    demand = made.table(made.split("full", 1.0), made.split("compressed", 0.5))
    assert made.advised(demand, made.fleet(2), made.ask(0.1, 10.0)).ship == ("a.constant.compressed-1",)
