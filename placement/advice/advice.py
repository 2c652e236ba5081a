"""All of it in order: what is on offer, what fits, the race, the capacity, where it breaks, and the verdict."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from splitplace.errors import InfeasibleError
from splitplace.placement.advice.breaking import STEPS, STREAMS, Break, breaking
from splitplace.placement.advice.memory_limits import MemoryLimit, memory_limits
from splitplace.placement.advice.offers import OnOffer
from splitplace.placement.advice.race import Raced, afresh, best, beyond, finalists, race
from splitplace.placement.advice.trial import Ask, Estimate, Trials
from splitplace.placement.advice.verdict import Case, Verdict, judge
from splitplace.placement.simulator.capacity import Capacity
from splitplace.placement.simulator.scenario import Scenario, Workload
from splitplace.placement.simulator.setting import prepare
from splitplace.records.base import Count, Fraction, NonNegative, Positive, Record
from splitplace.records.device import FleetSpec

_NOBODY = Workload(rate=1.0, deadline_relative=(1.0, 1.0))
"""Who fits where does not hang on who asks."""
STRAINED = 0.9
"""Of the capacity: where more is asked for than any policy could sustain, this is simulated."""


class Prospect(Record):
    """An alternative, and what to expect of it at the rate asked for."""

    name: str
    policy: str
    splits: tuple[str, ...]
    whole: bool
    """Whether no model is split."""
    streams: Count
    """Of requests that it was simulated on; those that were left behind early have few."""
    keeps_up: bool
    """Whether no more are late than may be, and the fleet does not fall behind."""
    response_s: Estimate | None
    """Mean over the requests that were answered, in seconds; null where none was."""
    response_p95_s: Estimate | None
    """Their 95th percentile."""
    violations: Estimate
    """Share of requests that were answered after the deadline, or not at all."""
    accuracy: Estimate
    """Share of images answered right: the evaluated accuracy of the splits that answered, 0 where none did."""
    reward: Estimate
    """Mean of (1(in time) + accuracy) / 2 (eq. 15)."""
    energy_j: Estimate
    """Joules a request: its share of what the fleet draws idle, and what its work adds."""
    cost_usd: NonNegative
    """A request, as its share of what the fleet costs."""
    used: dict[str, Fraction]
    """By split, the share of its application's requests that got it."""


class Advice(Record):
    """What to ship to a fleet, what to expect of it, and whether to split at all."""

    verdict: Verdict
    reason: str
    ship: tuple[str, ...]
    """The splits to ship; none where nothing fits."""
    policy: str | None
    """That runs them, by name."""
    fleet: str
    devices: Count
    applications: dict[str, Fraction]
    """Their shares of the requests."""
    rate: Positive
    """Requests a second that were asked for."""
    simulated_rate: Positive
    """What everything below is told for: the same, or nine tenths of the capacity where it is above that."""
    images: Count
    """Of a request."""
    micro_batch: Count
    """Images that a device runs at once."""
    deadline_s: Positive
    accuracy: Fraction | None
    """The least that was asked for."""
    may_be_late: Fraction
    seed: Count
    expect: Prospect | None
    """What to expect of what is to be shipped."""
    whole: Prospect | None
    """The best without a split model, if there is one."""
    split: Prospect | None
    """The best with one, likewise."""
    capacity: Capacity | None
    """What the best policy could sustain with all splits on offer, and what limits it; its tasks are requests, its
    interval a second."""
    breaks: Break | None
    """Where what is to be shipped breaks, in requests a second."""
    memory: tuple[MemoryLimit, ...]
    """By application, the memory of a device below which splitting is the only way, and below which nothing fits."""
    alternatives: tuple[Prospect, ...]
    """All that were tried."""
    left_out: dict[str, str]
    """Splits that were not on offer, and alternatives that could not bear the rate, with why."""
    simulated_runs: Count
    simulated_requests: Count


def advice(
    offers: OnOffer,
    fleet: FleetSpec,
    ask: Ask,
    accuracy: float | None,
    seed: int,
    told: Callable[[float], None] = lambda share: None,
) -> Advice:
    """Advice by simulation; the same arguments give the same.

    Args:
        offers: The splits that may be shipped.
        fleet: The devices.
        ask: What is asked of them.
        accuracy: The least accuracy that the offers were chosen by, for the document.
        seed: Of all streams of requests.
        told: Called after each run with the share that is done, roughly.

    Raises:
        MissingExtraError: The extra `sim` is not installed.
        SplitPlaceError: The fleet has too many different devices, or a policy failed all its plans.
    """
    devices = fleet.units()
    limits, largest = memory_limits(offers.demand, devices), max(device.memory_bytes for device in devices)
    names = offers.applications
    facts: dict[str, Any] = {
        "fleet": fleet.name, "devices": len(devices), "applications": dict.fromkeys(names, 1 / len(names)),
        "rate": ask.rate, "images": ask.images, "micro_batch": offers.micro_batch, "deadline_s": ask.deadline_s,
        "accuracy": accuracy, "may_be_late": ask.late, "seed": seed, "memory": limits,
    }  # fmt: skip
    try:
        fit = _fitting(offers, fleet)
    except InfeasibleError as error:
        return Advice(
            verdict="nothing fits", reason=str(error), ship=(), policy=None, simulated_rate=ask.rate, expect=None,
            whole=None, split=None, capacity=None, breaks=None, alternatives=(), left_out=offers.left_out,
            simulated_runs=0, simulated_requests=0, **facts,
        )  # fmt: skip
    trials = Trials(fleet, fit, ask, seed)
    most = trials.capacity(fit.splits)
    if ask.rate > most.tasks_per_interval:  # without end: what is simulated is what could be borne
        trials = Trials(fleet, fit, replace(ask, rate=STRAINED * most.tasks_per_interval), seed)
    expected = 78 + STEPS * STREAMS

    def ran() -> None:
        told(min(trials.runs / expected, 1.0))

    raced = race(trials, ran)
    last = finalists(raced)
    chosen = best(last)
    kinds = [[one for one in last if one.alternative.whole is whole] for whole in (True, False)]
    whole, split = (best(kind) if kind else None for kind in kinds)
    # Chosen on some streams, they are judged on others, for the best of several looks better than it is.
    fresh = {one.alternative: afresh(trials, one, ran) for one in (chosen, whole, split) if one is not None}
    chosen = fresh[chosen.alternative]
    whole, split = (None if one is None else fresh[one.alternative] for one in (whole, split))
    verdict, reason = judge(Case(ask, chosen, whole, split, limits, largest, min(trials.alone_s.values()), most))
    breaks = breaking(trials, chosen, ran)
    price = sum(device.cost_usd_per_h * device.count for device in fleet.devices) / 3600 / trials.ask.rate
    told(1.0)
    return Advice(
        verdict=verdict,
        reason=reason,
        ship=chosen.alternative.references,
        policy=chosen.alternative.policy,
        simulated_rate=trials.ask.rate,
        expect=_prospect(chosen, price),
        whole=None if whole is None else _prospect(whole, price),
        split=None if split is None else _prospect(split, price),
        capacity=most,
        breaks=breaks,
        alternatives=tuple(_prospect(one, price) for one in raced),
        left_out=fit.left_out | beyond(trials, raced),
        simulated_runs=trials.runs,
        simulated_requests=trials.requests,
        **facts,
    )


def _fitting(offers: OnOffer, fleet: FleetSpec) -> OnOffer:
    """The offers without the splits that no device, or no disk, can hold.

    Raises:
        InfeasibleError: Some application is left with none.
    """
    _, costs = prepare(Scenario(name="fits", workload=_NOBODY), fleet, offers.demand)
    names = {split.reference for split in offers.splits} - set(costs.splits.references)
    return offers.without(dict.fromkeys(sorted(names), "some fragment of it fits no device"))


def _prospect(one: Raced, price: float) -> Prospect:
    alternative = one.alternative
    late, accuracy, reward, energy_j = (one.known(name) for name in ("late", "accuracy", "reward", "energy_j"))
    return Prospect(
        name=alternative.name,
        policy=alternative.policy,
        splits=alternative.references,
        whole=alternative.whole,
        streams=len(one.outcomes),
        keeps_up=one.keeps_up,
        response_s=one.estimate("response_s"),
        response_p95_s=one.estimate("response_p95_s"),
        violations=late,
        accuracy=accuracy,
        reward=reward,
        energy_j=energy_j,
        cost_usd=price,
        used=one.used(),
    )
