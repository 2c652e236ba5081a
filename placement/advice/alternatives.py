"""What could be shipped with which policy: each variant alone under a fixed rule, and sets under those that choose."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from splitplace.placement.advice.offers import Offered, OnOffer

JOINT, MAB, RULE = "joint", "mab+least-loaded", "least-loaded"
MOST_VARIANTS = 6
"""Of one strategy that are tried alone; of more, the most accurate. All are in the sets."""
USED = 0.05
"""A split that fewer of its application's requests get than this is not worth shipping."""


@dataclass(frozen=True)
class Alternative:
    """One thing that could be done.

    Args:
        splits: To ship, in the demand's order; at least one of every application.
        policy: By name, as the registry knows it.
        about: What the splits have in common.
    """

    splits: tuple[Offered, ...]
    policy: str
    about: str

    @property
    def name(self) -> str:
        """What tables and pictures call it."""
        return f"{self.about}, {self.policy}"

    @property
    def references(self) -> tuple[str, ...]:
        """Of the splits."""
        return tuple(split.reference for split in self.splits)

    @property
    def whole(self) -> bool:
        """Whether no model is split."""
        return all(split.whole for split in self.splits)

    @property
    def effort(self) -> tuple[bool, int, int]:
        """What it asks of those who run it, to compare: a split model, splits an application, a policy that chooses."""
        each: dict[str, int] = {}
        for split in self.splits:
            each[split.application] = each.get(split.application, 0) + 1
        return (not self.whole, max(each.values()), (RULE, JOINT, MAB).index(self.policy.removeprefix(self._rule)))

    @property
    def _rule(self) -> str:
        return "" if self.policy in (JOINT, MAB) else f"{self.splits[0].strategy}+"


def variants(offers: OnOffer) -> dict[str, tuple[Offered, ...]]:
    """The splits of each variant that every application has."""
    found: dict[str, list[Offered]] = {}
    for split in offers.splits:
        found.setdefault(split.variant, []).append(split)
    return {name: tuple(splits) for name, splits in found.items() if len(splits) == len(offers.applications)}


def first(offers: OnOffer) -> list[Alternative]:
    """What is tried on every occasion, the simplest first.

    Each variant under its strategy's fixed rule; those in pieces under `joint` too, which gathers a chain where the
    rule scatters it; and `joint` over all whole models, and over everything.
    """
    alone = [splits for splits in variants(offers).values() if splits in _most_accurate(offers)]
    alone.sort(key=lambda splits: not splits[0].whole)
    tried = [Alternative(splits, f"{splits[0].strategy}+{RULE}", splits[0].variant) for splits in alone]
    tried += [Alternative(splits, JOINT, splits[0].variant) for splits in alone if not splits[0].whole]
    whole = tuple(split for split in offers.splits if split.whole)
    sets = {"all whole models": whole, "all splits": offers.splits}
    return _distinct([*tried, *(Alternative(splits, JOINT, about) for about, splits in sets.items() if splits)], offers)


def then(offers: OnOffer, worth: Mapping[Alternative, float], used: Mapping[str, float]) -> list[Alternative]:
    """What is tried once all of `first` have been seen once.

    Args:
        offers: What is on offer.
        worth: Reward of each alternative so far.
        used: By reference, share of its application's requests that `joint` over everything gave to a split.

    Returns:
        `joint` over the splits that it used; and `mab` between the best two of its arms.
    """
    kept = tuple(split for split in offers.splits if used.get(split.reference, 0.0) >= USED)
    more = [Alternative(kept, JOINT, "the splits that joint uses")]
    arms = []
    for strategy in ("layer", "semantic"):
        mine = [a for a in worth if {s.strategy for s in a.splits} == {strategy}]
        if mine:
            arms.append(max(mine, key=lambda alternative: worth[alternative]))
    if len(arms) == 2:
        chosen = {*arms[0].references, *arms[1].references}
        splits = tuple(split for split in offers.splits if split.reference in chosen)
        more.append(Alternative(splits, MAB, " and ".join(arm.about for arm in arms)))
    return _distinct(more, offers, worth)


def _most_accurate(offers: OnOffer) -> list[tuple[Offered, ...]]:
    kept = []
    by_strategy: dict[str, list[tuple[Offered, ...]]] = {}
    for splits in variants(offers).values():
        by_strategy.setdefault(splits[0].strategy, []).append(splits)
    for group in by_strategy.values():
        kept += sorted(group, key=lambda splits: -sum(split.top1 or 0.0 for split in splits))[:MOST_VARIANTS]
    return kept


def _distinct(
    alternatives: Iterable[Alternative], offers: OnOffer, known: Iterable[Alternative] = ()
) -> list[Alternative]:
    """Those that serve every application and are not there yet; of one whole model a choice is none."""
    seen = {(alternative.references, alternative.policy) for alternative in known}
    kept = []
    for alternative in alternatives:
        key = (alternative.references, alternative.policy)
        serves_all = {split.application for split in alternative.splits} == set(offers.applications)
        idle = alternative.policy == JOINT and alternative.whole and len(alternative.splits) == len(offers.applications)
        same = idle and len({split.variant for split in alternative.splits}) == 1
        if serves_all and not same and key not in seen:
            seen.add(key)
            kept.append(alternative)
    return kept
