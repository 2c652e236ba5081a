"""When to split by layer, by meaning, to compress, or not to split: the splits of a demand against one another.

The paper's figure 2 stands beside: chains and trees on ten hosts, simulated. Everything is read from a demand; nothing
is trained or measured here.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from splitplace import provenance
from splitplace.api.simulate import simulate
from splitplace.benchmarks.paired import Interval, interval
from splitplace.benchmarks.results_file import save
from splitplace.errors import NotReadyError
from splitplace.records.base import Count, Fraction, Positive, PositiveCount, Record
from splitplace.records.dag import path_ends
from splitplace.records.demand import Demand, SplitDemand
from splitplace.records.provenance import Provenance
from splitplace.records.split import INPUT, Strategy

AXES = ("path_s", "largest_bytes", "moved_bytes")
"""Of `SplitPoint`, what accuracy is held against; less is better."""
AS_GOOD = 1.1
"""A compressed model is as quick, or as small, as a tree if it takes at most a tenth more: ratios are whole percent."""
NEAR = 0.01
"""Of accuracy: what is given up for something by those who give up little."""
FLEET, SCENARIO, SEEDS = "azure10", "paper-50", (1, 2, 3, 4, 5)
"""Ten hosts, and the paper's tasks at its rate."""
INTERVALS = 100
PAPERS: tuple[Strategy, ...] = ("layer", "semantic")
WHOLE: tuple[Strategy, ...] = ("full", "compressed")


class SplitPoint(Record):
    """One split, on a core of speed 1.0 a fragment."""

    reference: str
    application: str
    model: str
    strategy: Strategy
    variant: str
    """The last part of the reference."""
    top1: Fraction
    fragments: PositiveCount
    path_s: Positive
    """Seconds an image in a micro-batch, from the image to the slowest answer, without links."""
    largest_bytes: PositiveCount
    """Of memory, that the largest fragment adds to a device at the micro-batch."""
    device_bytes: PositiveCount
    """With the runtime: a device with less holds not every fragment."""
    moved_bytes: Count
    """An image, over all links where every fragment has a device of its own: from the broker, and between fragments."""


class StrategyCell(Record):
    """A strategy on ten hosts, one application: means over tasks, intervals over seeds."""

    application: str
    strategy: Strategy
    accuracy: Interval
    response_s: Interval


class FrontierResults(Record):
    """The results file."""

    demand: Provenance
    """Of the demand: the code and machine that measured it."""
    micro_batch: PositiveCount
    points: tuple[SplitPoint, ...]
    paper: tuple[StrategyCell, ...]
    provenance: Provenance


def run(path: Path, demand: Demand, say: Callable[[str], None]) -> FrontierResults:
    """Read the demand, simulate the paper's two strategies, and write the results file.

    Args:
        path: The results file.
        demand: Whose splits, all evaluated.
        say: Told what is being simulated.

    Raises:
        NotReadyError: A split was not evaluated.
    """
    found = FrontierResults(
        demand=demand.provenance,
        micro_batch=min(entry.micro_batch for entry in demand.splits),
        points=tuple(point(entry) for entry in demand.splits),
        paper=strategies(demand, SEEDS, INTERVALS, say),
        provenance=provenance.collect(SEEDS[0]),
    )
    save(path, found)
    return found


def point(entry: SplitDemand) -> SplitPoint:
    """Where a split stands; of several profiles of a fragment, by the first."""
    split, first = entry.split, {profile.digest: profile for profile in reversed(entry.profiles)}
    mine = {fragment.name: first[fragment.digest] for fragment in split.fragments}
    fed_by = {name: [edge.src for edge in split.edges if edge.dst == name and edge.src != INPUT] for name in mine}
    ends_s = path_ends(
        [fragment.name for fragment in split.fragments],
        lambda name, ends: (0.0, *(ends[parent] for parent in fed_by[name])),
        lambda name: mine[name].latency_s(entry.micro_batch) * mine[name].core_speed / entry.micro_batch,
    )
    if entry.evaluation is None:
        raise NotReadyError(
            f"{split.reference} was not evaluated: run splitplace evaluate on it, and gather the demand anew"
        )
    sizes = {name: profile.fragment_bytes(entry.micro_batch) for name, profile in mine.items()}
    return SplitPoint(
        reference=split.reference,
        application=split.application,
        model=split.model,
        strategy=split.strategy,
        variant=split.reference.split(".", 2)[2],
        top1=entry.evaluation.top1,
        fragments=len(mine),
        path_s=float(max(ends_s.values())),
        largest_bytes=max(sizes.values()),
        device_bytes=max(size + mine[name].runtime_base_bytes for name, size in sizes.items()),
        moved_bytes=sum(edge.bytes_per_sample for edge in split.edges),
    )


def strategies(
    demand: Demand, seeds: Sequence[int], intervals: int, say: Callable[[str], None]
) -> tuple[StrategyCell, ...]:
    """The paper's figure 2: its two strategies, each on the least-loaded hosts, the same tasks under both."""
    found: dict[tuple[str, Strategy], list[tuple[float, float]]] = {}
    for strategy in PAPERS:
        for seed in seeds:
            say(f"{strategy}, seed {seed}")
            ran = simulate(
                f"{strategy}+least-loaded", scenario=SCENARIO, fleet=FLEET, demand=demand,
                intervals=intervals, seed=seed,
            )  # fmt: skip
            for application, figures in ran.metrics.applications.items():
                accuracy, response_s = figures.accuracy, figures.response_s.mean
                if accuracy is not None and response_s is not None:  # of none is nothing known where nothing finished
                    found.setdefault((application, strategy), []).append((accuracy, response_s))
    return tuple(
        StrategyCell(
            application=application,
            strategy=strategy,
            accuracy=interval([accuracy for accuracy, _ in rows]),
            response_s=interval([response_s for _, response_s in rows]),
        )
        for (application, strategy), rows in found.items()
    )


def best(points: Sequence[SplitPoint], axis: str) -> tuple[SplitPoint, ...]:
    """Those that none beats: as accurate and less costly, or as costly and more accurate; the cheapest first."""
    kept: list[SplitPoint] = []
    for one in sorted(points, key=lambda one: (getattr(one, axis), -one.top1)):
        if not kept or one.top1 > kept[-1].top1:
            kept.append(one)
    return tuple(kept)


def rival(tree: SplitPoint, points: Sequence[SplitPoint], axis: str) -> SplitPoint | None:
    """The most accurate compressed model of the same network that is as good on an axis; None where none is."""
    those = [
        one
        for one in points
        if one.strategy == "compressed"
        and (one.application, one.model) == (tree.application, tree.model)
        and getattr(one, axis) <= AS_GOOD * getattr(tree, axis)
    ]
    return max(those, key=lambda one: one.top1, default=None)


def cells_of(points: Sequence[SplitPoint]) -> Mapping[str, tuple[SplitPoint, ...]]:
    """By APPLICATION.MODEL."""
    found: dict[str, list[SplitPoint]] = {}
    for one in points:
        found.setdefault(f"{one.application}.{one.model}", []).append(one)
    return {name: tuple(rows) for name, rows in found.items()}


def verdict(results: FrontierResults) -> dict[str, bool | str]:
    """The paper's claims, and whether each held: of its figure 2, and that trees beat compressed models (§3)."""
    found: dict[str, bool | str] = {}
    by_place = {(cell.application, cell.strategy): cell for cell in results.paper}
    for application in dict.fromkeys(cell.application for cell in results.paper):
        layer, semantic = (by_place.get((application, strategy)) for strategy in PAPERS)
        if layer and semantic:
            more = layer.accuracy.mean > semantic.accuracy.mean
            found[f"{application}: chains are more accurate than trees"] = more
            longer = layer.response_s.mean > semantic.response_s.mean
            found[f"{application}: chains take longer than trees"] = longer
    for name, points in cells_of(results.points).items():
        trees = [one for one in points if one.strategy == "semantic"]
        for axis, what in (("path_s", "quick"), ("largest_bytes", "small")):
            if trees:
                tree = min(trees, key=lambda one: (getattr(one, axis), -one.top1))
                other = rival(tree, points, axis)
                claim = f"{name}: {tree.variant} is more accurate than every compressed model that is as {what}"
                found[claim] = f"none is as {what}" if other is None else tree.top1 > other.top1
    return found
