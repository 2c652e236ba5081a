"""Successive halving over alternatives: all on one stream, those that do best on more, paired stream by stream.

After Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization" (AISTATS 2016);
but that the best whole and the best split alternative stay to the end, for they are what is to be compared.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from splitplace.placement.advice.alternatives import JOINT, Alternative, first, then
from splitplace.placement.advice.trial import Ask, Estimate, TrialOutcome, Trials, estimate
from splitplace.placement.simulator.capacity import Capacity

RUNGS = ((1, 6), (3, 3), (6, 0))
"""Streams that each alternative has been on after a rung, and how many of the best go on to the next."""
STREAMS = RUNGS[-1][0]
GROWTH = 0.1
"""Requests under way that pile up by more than this share of those that come: the fleet falls behind."""
WORTH = 0.002
"""Reward that is worth a more laborious choice."""


@dataclass(frozen=True, eq=False)
class Raced:
    """An alternative with what came of it.

    Args:
        alternative: That was tried.
        ask: What was asked.
        outcomes: Of each stream.
        capacity: What the best policy could sustain with its splits.
    """

    alternative: Alternative
    ask: Ask
    outcomes: tuple[TrialOutcome, ...]
    capacity: Capacity

    @property
    def keeps_up(self) -> bool:
        """Whether no more are late than may be and the fleet does not fall behind, now or in the long run."""
        return self.ask.rate <= self.capacity.tasks_per_interval and holds(self.outcomes, self.ask.late)

    @property
    def rank(self) -> tuple[float, float, tuple[bool, int, int], str]:
        """First who keeps up, then who gets more reward, then who asks for less labour; the least is best."""
        late, behind = self.mean("late") - self.ask.late, self.mean("growth") - GROWTH
        beyond = 1 - self.capacity.tasks_per_interval / self.ask.rate
        short = sum(max(part, 0.0) for part in (late, behind, beyond))
        return short, -self.mean("reward"), self.alternative.effort, self.alternative.name

    def mean(self, name: str) -> float:
        """Of a field of the outcomes."""
        return float(np.mean([getattr(outcome, name) for outcome in self.outcomes]))

    def estimate(self, name: str) -> Estimate | None:
        """The same with its interval."""
        return estimate([getattr(outcome, name) for outcome in self.outcomes])

    def known(self, name: str) -> Estimate:
        """The same of a field that every outcome has."""
        found = self.estimate(name)
        assert found is not None, f"{name} is known of every stream"
        return found

    def used(self) -> dict[str, float]:
        """By reference, the mean share of its application's requests that a split got."""
        names = self.alternative.references
        return {name: float(np.mean([outcome.used.get(name, 0.0) for outcome in self.outcomes])) for name in names}


def holds(outcomes: Sequence[TrialOutcome], late: float) -> bool:
    """Whether no more than this share is late, and the fleet keeps up."""
    means = [float(np.mean([getattr(outcome, name) for outcome in outcomes])) for name in ("late", "growth")]
    return means[0] <= late and means[1] <= GROWTH


def gain(one: Raced, other: Raced, name: str = "reward") -> Estimate:
    """By how much the first exceeds the second, over the streams that both have been on."""
    pairs = zip(one.outcomes, other.outcomes, strict=False)
    found = estimate([getattr(a, name) - getattr(b, name) for a, b in pairs])
    assert found is not None, f"{name} is known of every stream"
    return found


def race(trials: Trials, told: Callable[[], None] = lambda: None) -> list[Raced]:
    """Everything that was tried, each on as many streams as it came to.

    Args:
        trials: Runs them, at the rate asked for.
        told: Called after each run.
    """
    field, out = _borne(trials, first(trials.offers)), dict[Alternative, Raced]()
    for number, (streams, stay) in enumerate(RUNGS):
        raced = [_on(trials, alternative, streams, told) for alternative in field]
        out |= {one.alternative: one for one in raced}
        if number == 0:
            new = then(trials.offers, {a: out[a].mean("reward") for a in field}, _used_by_joint(trials, out))
            raced += [_on(trials, alternative, streams, told) for alternative in new]
            out |= {one.alternative: one for one in raced}
        raced.sort(key=lambda one: one.rank)
        # The best of either kind stays, wherever it stands.
        kinds = [next((one for one in raced if one.alternative.whole is whole), None) for whole in (True, False)]
        kept = {one.alternative: None for one in (*raced[:stay], *(one for one in kinds if one))}
        field = list(kept)
    return list(out.values())


def best(raced: Sequence[Raced]) -> Raced:
    """The simplest of those that are as good as the best of these, all on the last rung."""
    keep_up = [one for one in raced if one.keeps_up]
    leader = min(keep_up or raced, key=lambda one: one.rank)

    def as_good(one: Raced) -> bool:
        if keep_up:
            more = gain(leader, one)
            return more.mean < WORTH or more.low is None or more.low <= 0
        fewer = gain(one, leader, "late")
        return fewer.mean <= 0 or fewer.low is None or fewer.low <= 0

    def labour(one: Raced) -> tuple[bool, int, int, float, str]:
        return (*one.alternative.effort, one.mean("response_p95_s"), one.alternative.name)

    return min((one for one in keep_up or raced if as_good(one)), key=labour)


def finalists(raced: Sequence[Raced]) -> list[Raced]:
    """Those that have been on all streams."""
    return [one for one in raced if len(one.outcomes) == STREAMS]


def afresh(trials: Trials, one: Raced, told: Callable[[], None] = lambda: None) -> Raced:
    """The same on as many streams that nothing was chosen on."""
    outcomes = []
    for stream in range(STREAMS, 2 * STREAMS):
        outcomes.append(trials.run(one.alternative, trials.ask.rate, stream))
        told()
    return replace(one, outcomes=tuple(outcomes))


def beyond(trials: Trials, raced: Sequence[Raced]) -> dict[str, str]:
    """Why some of the first were not tried, by name: no policy could bear the rate with their splits."""
    seen = {one.alternative for one in raced}
    most = {a: trials.capacity(a.splits) for a in first(trials.offers) if a not in seen}
    at_most = "requests a second at most, limited by"
    return {a.name: f"its splits sustain {c.tasks_per_interval:.3g} {at_most} {c.bottleneck}" for a, c in most.items()}


def _borne(trials: Trials, field: Sequence[Alternative]) -> list[Alternative]:
    """Those whose splits could sustain the rate: what is beyond takes long to simulate, and its end is known.

    Of a kind that has none, the one that comes closest.
    """
    most = {alternative: trials.capacity(alternative.splits).tasks_per_interval for alternative in field}
    kept = [alternative for alternative in field if most[alternative] >= trials.ask.rate]
    for whole in (True, False):
        kind = [alternative for alternative in field if alternative.whole is whole]
        if kind and not any(alternative.whole is whole for alternative in kept):
            kept.append(max(kind, key=lambda alternative: most[alternative]))
    return kept


def _on(trials: Trials, alternative: Alternative, streams: int, told: Callable[[], None]) -> Raced:
    outcomes = []
    for stream in range(streams):
        outcomes.append(trials.run(alternative, trials.ask.rate, stream))
        told()
    return Raced(alternative, trials.ask, tuple(outcomes), trials.capacity(alternative.splits))


def _used_by_joint(trials: Trials, out: Mapping[Alternative, Raced]) -> dict[str, float]:
    everything = [one for a, one in out.items() if a.policy == JOINT and a.splits == trials.offers.splits]
    return everything[0].used() if everything else {}
