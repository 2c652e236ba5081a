"""Whether to split, in words: from what the best whole and the best split alternative came to."""

from dataclasses import dataclass
from typing import Literal

from splitplace.placement.advice.memory_limits import MemoryLimit
from splitplace.placement.advice.race import GROWTH, Raced, gain
from splitplace.placement.advice.trial import Ask
from splitplace.placement.simulator.capacity import Capacity

Verdict = Literal["do not split", "split", "only split", "cannot be met", "nothing fits"]


@dataclass(frozen=True, eq=False)
class Case:
    """What there is to judge by.

    Args:
        ask: What is asked for.
        best: The best alternative.
        whole: The best without a split model, if there is one.
        split: The best with one, likewise.
        limits: Memory that splits take.
        largest_bytes: Of the largest device.
        alone_s: That the quickest split takes alone on the best devices.
        capacity: Of the fleet with all splits on offer; an interval is a second.
    """

    ask: Ask
    best: Raced
    whole: Raced | None
    split: Raced | None
    limits: tuple[MemoryLimit, ...]
    largest_bytes: int
    alone_s: float
    capacity: Capacity


def judge(case: Case) -> tuple[Verdict, str]:
    """The verdict, and why, in a sentence."""
    if not case.best.keeps_up or case.ask.rate > case.capacity.tasks_per_interval:
        return "cannot be met", _unmet(case)
    if case.best.alternative.whole:
        return "do not split", _against(case.best, case.split, "split model")
    too_large = [limit for limit in case.limits if (limit.whole_bytes or 0) > case.largest_bytes]
    if case.whole is None and too_large:
        return "only split", (
            f"no device holds a whole model of {too_large[0].application}: the least needs "
            f"{too_large[0].whole_bytes} bytes, the largest device has {case.largest_bytes}"
        )
    return "split", _against(case.best, case.whole, "whole model")


def _unmet(case: Case) -> str:
    best, ask, most = case.best, case.ask, case.capacity.tasks_per_interval
    if ask.deadline_s < case.alone_s:
        return (
            f"the deadline of {ask.deadline_s:g} s is under the {case.alone_s:.3g} s that the quickest split takes "
            "alone on the best devices"
        )
    if ask.rate > most:
        return (
            f"{ask.rate:g} requests a second are asked for, the best policy could sustain {most:.3g}, limited by "
            f"{case.capacity.bottleneck}"
        )
    return f"{best.alternative.name} comes closest: {_failing(best)}"


def _against(best: Raced, other: Raced | None, what: str) -> str:
    """What the other kind comes to, beside the best."""
    if other is None:
        return f"there is no {what} on offer to compare with"
    if not other.keeps_up:
        return f"the best {what} ({other.alternative.name}) does not do: {_failing(other)}"
    more = gain(other, best)
    interval = "" if more.low is None or more.high is None else f" [{more.low:+.4f}, {more.high:+.4f}]"
    how = "is no better"
    if more.low is not None and more.high is not None and (more.low > 0 or more.high < 0):
        how = "is worse" if more.high < 0 else "is better by less than is worth the labour"
    return f"the best {what} ({other.alternative.name}) {how}: reward {more.mean:+.4f}{interval}"


def _failing(one: Raced) -> str:
    """Why it does not keep up."""
    if one.ask.rate > one.capacity.tasks_per_interval:
        most = one.capacity.tasks_per_interval
        return f"its splits can sustain {most:.3g} requests a second, limited by {one.capacity.bottleneck}"
    behind = f", and {one.mean('growth'):.0%} of the requests pile up" if one.mean("growth") > GROWTH else ""
    return f"{one.mean('late'):.1%} of the requests are late, {one.ask.late:.1%} may be{behind}"
