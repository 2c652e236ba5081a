"""What a simulated stream says, against closed forms; and that it says the same twice."""

import math

import pytest

from splitplace.placement.advice import trial
from splitplace.placement.advice.alternatives import first
from splitplace.placement.advice.breaking import NEAR, STEPS
from splitplace.placement.advice.trial import estimate

pytestmark = pytest.mark.sim


@pytest.mark.slow
def test_one_device_breaks_below_its_capacity_and_above_what_markov_allows(made):
    """A model of 1 s on one core: no more than 1 request a second is sustained.

    Under processor sharing the mean response is 1 / (1 - ρ) s (M/G/1-PS), so P(response > 100 s) <= 1 / (100 (1 - ρ)),
    which is within 5 % up to ρ = .8.
    """
    given = made.advised(made.table(made.split("full", 1.0)), made.fleet(), made.ask(0.3, 100.0))
    assert given.capacity.tasks_per_interval == pytest.approx(1.0)
    assert given.capacity.bottleneck == "cores"
    assert 0.8 <= given.breaks.breaks <= given.breaks.capacity == given.capacity.tasks_per_interval
    assert given.breaks.holds >= 0.3
    assert given.breaks.breaks <= NEAR * given.breaks.holds or given.simulated_runs > STEPS


@pytest.mark.slow
def test_what_is_already_too_much_breaks_below_it(made):
    """Twice the capacity is asked for: nine tenths of it are simulated."""
    given = made.advised(made.table(made.split("full", 1.0)), made.fleet(), made.ask(2.0, 100.0))
    assert (given.verdict, given.simulated_rate) == ("cannot be met", pytest.approx(0.9))
    assert 0.8 <= given.breaks.breaks <= 1.0


@pytest.mark.slow
def test_the_mean_response_is_that_of_processor_sharing(made):
    """At ρ = .5, 1 / (1 - ρ) = 2 s; over six streams."""
    given = made.advised(made.table(made.split("full", 1.0)), made.fleet(), made.ask(0.5, 100.0))
    assert given.expect.response_s.mean == pytest.approx(2.0, abs=0.4)
    assert given.expect.response_s.low <= given.expect.response_s.mean <= given.expect.response_s.high


def test_energy_and_cost_are_a_requests_share(made, short):
    """100 W over 10 s a request, and 10 W for the second that it computes; a dollar a second for 10 s."""
    given = made.advised(made.table(made.split("full", 1.0)), made.fleet(), made.ask(0.1, 1e3))
    assert given.expect.energy_j.mean == pytest.approx(1010.0, abs=0.2)
    assert given.expect.cost_usd == pytest.approx(10.0)


def test_the_accuracy_is_the_splits_own(made, short):
    """Whoever is answered gets it, without the luck of single images."""
    demand = made.table(made.split("full", 1.0, top1=0.75), made.split("full", 1.0, application="b", top1=0.25))
    given = made.advised(demand, made.fleet(), made.ask(0.1, 1e3))
    assert given.expect.accuracy.mean == pytest.approx(0.5)
    assert given.applications == {"a": 0.5, "b": 0.5}


def test_every_stream_asks_for_the_same_number_of_each_application(made, short):
    """So that an accuracy over few streams compares with one over many: of three, all alike, it has no width."""
    splits = [made.split("full", 0.1, top1=k / 10, application=name) for k, name in ((9, "a"), (8, "b"), (1, "c"))]
    given = made.advised(made.table(*splits), made.fleet(), made.ask(1.0, 10.0))
    assert given.expect.accuracy.mean == pytest.approx(0.6)
    assert given.expect.accuracy.high - given.expect.accuracy.low == pytest.approx(0.0)


@pytest.mark.parametrize("strategies", [("full",), pytest.param(("full", "semantic"), marks=pytest.mark.slow)])
def test_the_same_call_gives_the_same_advice_and_another_seed_other_streams(made, short, strategies):
    """To the last digit; under one rule, and where policies race."""
    splits = {"full": made.split("full", 1.0), "semantic": made.split("semantic", 0.6, 0.6, top1=0.8)}
    demand = made.table(*(splits[strategy] for strategy in strategies))
    one, again, other = (made.advised(demand, made.fleet(2), made.ask(0.5, 4.0), seed=s) for s in (0, 0, 1))
    assert one == again
    assert one.expect.response_s != other.expect.response_s


def test_a_longer_deadline_makes_nobody_late(made):
    """The same requests, the same fixed rule."""
    late = []
    for deadline_s in (1.0, 2.0, 4.0, 8.0, 16.0):
        trials = made.trials(made.table(made.split("full", 1.0)), made.fleet(), made.ask(0.7, deadline_s))
        late.append(trials.run(first(trials.offers)[0], 0.7, 0).late)
    assert late == sorted(late, reverse=True)
    assert late[0] > 0.4 > late[-1]


def test_a_fleet_twice_as_fast_sustains_twice_as_much(made):
    """By the program; and no request takes longer."""
    demand, both = made.table(made.split("full", 1.0)), []
    for speed in (1.0, 2.0):
        trials = made.trials(demand, made.fleet(core_speed=speed), made.ask(0.6, 5.0))
        both.append((trials.capacity(trials.offers.splits), trials.run(first(trials.offers)[0], 0.6, 0)))
    assert both[1][0].tasks_per_interval == pytest.approx(2 * both[0][0].tasks_per_interval)
    assert both[1][1].response_s < both[0][1].response_s and both[1][1].late <= both[0][1].late


def test_a_fleet_that_falls_behind_is_seen_though_nobody_is_late_yet(made):
    """Twice as many requests as it can do: at least half pile up, long before a deadline of a million seconds."""
    trials = made.trials(made.table(made.split("full", 1.0)), made.fleet(), made.ask(2.0, 1e6))
    found = trials.run(first(trials.offers)[0], 2.0, 0)
    assert found.late == 0.0
    assert 0.4 <= found.growth <= 1.0


def test_requests_smaller_than_the_micro_batch_are_not_filled_up(made):
    """Eight images run as eight, a thousand by 64."""
    assert made.trials(made.measured("full"), made.fleet(), made.ask(1.0, 1.0, images=8)).offers.micro_batch == 8
    assert made.trials(made.measured("full"), made.fleet(), made.ask(1.0, 1.0, images=1000)).offers.micro_batch == 64


def test_each_alternative_is_simulated_once_on_each_stream(made, short, monkeypatch):
    """Counted where it is done; and never more requests than are told."""
    calls, simulate = [], trial.simulate
    monkeypatch.setattr(trial, "simulate", lambda *a, **k: calls.append(1) or simulate(*a, **k))
    demand = made.table(made.split("full", 1.0), made.split("layer", 0.5, 0.5), made.split("semantic", 0.6, 0.6))
    given = made.advised(demand, made.fleet(2), made.ask(0.5, 4.0))
    assert given.simulated_runs == len(calls)
    assert given.simulated_requests >= trial.LEAST * len(calls)


def test_an_interval_of_one_stream_is_not_known_and_of_equal_values_has_no_width():
    """As Student's t has it: mean 2, 12.706 x .5 either way of two."""
    assert estimate([1.0]).low is None
    assert (estimate([1.0, 1.0]).low, estimate([1.0, 1.0]).high) == (1.0, 1.0)
    two = estimate([1.5, 2.5])
    assert (two.mean, two.low, two.high) == (
        2.0,
        pytest.approx(2 - 6.353, abs=1e-3),
        pytest.approx(2 + 6.353, abs=1e-3),
    )
    assert estimate([1.0, math.nan]) is None
