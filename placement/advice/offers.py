"""The splits that may be shipped: of the applications asked for, evaluated, and accurate enough."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from splitplace.errors import InfeasibleError, NotReadyError, unknown
from splitplace.placement.simulator.demands import DemandLike
from splitplace.records.demand import Demand
from splitplace.records.split import Strategy


@dataclass(frozen=True)
class Offered:
    """One split of a demand.

    Args:
        reference: Its name.
        application: That it is of.
        strategy: How it was made.
        variant: What it is called over all applications, as layer-3; with the model where an application has several.
        top1: Evaluated accuracy; None without an evaluation.
        fragments: How many it has.
    """

    reference: str
    application: str
    strategy: Strategy
    variant: str
    top1: float | None
    fragments: int

    @property
    def whole(self) -> bool:
        """Whether it runs in one piece, as a chain of one fragment does: that is what `split --fragments 1` makes."""
        return self.fragments == 1


@dataclass(frozen=True)
class OnOffer:
    """What is on offer, and what is not.

    Args:
        demand: Of the splits that are, at the micro-batch of the requests.
        splits: They, in the demand's order.
        left_out: Why each of the others is not, by reference.
    """

    demand: DemandLike
    splits: tuple[Offered, ...]
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def applications(self) -> tuple[str, ...]:
        """Those that are asked for."""
        return tuple(dict.fromkeys(split.application for split in self.splits))

    @property
    def micro_batch(self) -> int:
        """Images that a device runs at once; the least of all splits'."""
        if isinstance(self.demand, Demand):
            return min(entry.micro_batch for entry in self.demand.splits)
        return self.demand.micro_batch

    def without(self, left_out: dict[str, str]) -> "OnOffer":
        """The same without these."""
        kept = tuple(split for split in self.splits if split.reference not in left_out)
        names = {split.reference for split in kept}
        return OnOffer(restricted(self.demand, names), kept, self.left_out | left_out)


def listed(demand: DemandLike) -> tuple[Offered, ...]:
    """Every split of a demand."""
    if isinstance(demand, Demand):
        rows = [
            (
                entry.split.reference,
                entry.split.strategy,
                entry.evaluation.top1 if entry.evaluation else None,
                len(entry.split.fragments),
            )
            for entry in demand.splits
        ]
    else:
        rows = [(split.reference, split.strategy, split.top1, len(split.core_s)) for split in demand.splits]
    parts = [reference.split(".", 2) for reference, *_ in rows]
    models: dict[str, set[str]] = {}
    for application, model, _ in parts:
        models.setdefault(application, set()).add(model)
    several = any(len(of_one) > 1 for of_one in models.values())
    return tuple(
        Offered(reference, application, strategy, f"{model}.{rest}" if several else rest, top1, fragments)
        for (reference, strategy, top1, fragments), (application, model, rest) in zip(rows, parts, strict=True)
    )


def offers(demand: DemandLike, applications: Sequence[str], accuracy: float | None, images: int) -> OnOffer:
    """What may be shipped.

    Args:
        demand: Everything there is.
        applications: That are asked for; all if none is named.
        accuracy: The least top-1 accuracy, 0 to 1, if one is asked for.
        images: Of a request: no micro-batch is larger.

    Raises:
        NotFoundError: An application that the demand has not.
        NotReadyError: No split of an application is evaluated.
        InfeasibleError: None is accurate enough.
    """
    everything = listed(demand)
    known = tuple(dict.fromkeys(split.application for split in everything))
    for name in applications:
        if name not in known:
            raise unknown("application", name, known)
    asked = tuple(dict.fromkeys(applications)) or known
    left_out: dict[str, str] = {}
    for split in everything:
        if split.application not in asked:
            continue
        if split.top1 is None:
            left_out[split.reference] = "it is not evaluated"
        elif accuracy is not None and split.top1 < accuracy:
            left_out[split.reference] = f"its accuracy is {split.top1:.4g}"
    kept = tuple(split for split in everything if split.application in asked and split.reference not in left_out)
    for application in asked:
        if not any(split.application == application for split in kept):
            raise _none_left([split for split in everything if split.application == application], accuracy)
    names = {split.reference for split in kept}
    return OnOffer(_in_batches_of(restricted(demand, names), images), kept, left_out)


def _none_left(splits: list[Offered], accuracy: float | None) -> NotReadyError | InfeasibleError:
    application, evaluated = splits[0].application, [split for split in splits if split.top1 is not None]
    if not evaluated:
        return NotReadyError(
            f"no split of {application} is evaluated, and advice without accuracies is none: run "
            f"`splitplace evaluate CATALOG:{splits[0].reference}`, for each"
        )
    best = max(evaluated, key=lambda split: split.top1 or 0.0)
    return InfeasibleError(
        f"no split of {application} is {accuracy:g} accurate: {best.reference} comes closest with {best.top1:.4g}; "
        "ask for less, or train a better one"
    )


def restricted(demand: DemandLike, references: Collection[str]) -> DemandLike:
    """The demand of these splits, in its own order."""
    if isinstance(demand, Demand):
        return demand.model_copy(update={"splits": tuple(e for e in demand.splits if e.split.reference in references)})
    return demand.model_copy(update={"splits": tuple(s for s in demand.splits if s.reference in references)})


def _in_batches_of(demand: DemandLike, images: int) -> DemandLike:
    """Requests smaller than the micro-batch run as they come; published constants know one size only."""
    if not isinstance(demand, Demand):
        return demand
    entries = (entry.model_copy(update={"micro_batch": min(entry.micro_batch, images)}) for entry in demand.splits)
    return demand.model_copy(update={"splits": tuple(entries)})
