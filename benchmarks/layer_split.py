"""Layer-wise splits: how good the plans are, and what cutting costs at run time.

Two tables. Plans: for every model and K, the bottleneck of our plan, its lower bound and gap, and what equal-node,
equal-parameter and equal-FLOP cuts reach, all on the same measured costs. Ratios: the chain of our fragments against
the whole model, and against a chain cut naively, side by side on one thread.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np

from splitplace import provenance
from splitplace.benchmarks.paired import MIN_PAIRS, Ratio, paired_ratios
from splitplace.benchmarks.results_file import Measured, save
from splitplace.export.convert.from_timm import TimmModel, from_timm
from splitplace.inference.executor import Array, open_session
from splitplace.inference.probe import core_speed
from splitplace.records.base import Positive, PositiveCount, Record
from splitplace.records.provenance import Provenance
from splitplace.splitting.artifact import SplitArtifact
from splitplace.splitting.layerwise import costs, cutting, fusion, measure, planner, recompose
from splitplace.splitting.layerwise.fusion import Blocks
from splitplace.splitting.layerwise.hosts import Host
from splitplace.splitting.layerwise.lattice import Floats, Lattice, Work

FAMILIES = ("mobilenetv2", "inceptionv3", "resnet50v2", "resnet34v2")
"""The three families; of ResNet-V2, ours and the paper's."""
FOREIGN = ("efficientnet_lite0", "densenet121", "vit_tiny_patch16_224")
FRAGMENTS = range(2, 9)
PLAN_BATCH = 8
RATIO_FRAGMENTS = 4
RATIO_SLACK = planner.SLACK
"""As `splitplace split` by default: three percent of the bottleneck for fewer bytes over the cuts."""
SMALL_PX = 32
RATIO_LIMIT = 1.03
OWN_CELLS = 2 * len(FAMILIES)
"""Ratios of the three families at their own image size, batch 8 and 32: what the claim is about."""
NOT_RUN = "not run"
GAP_GOAL = 0.01
Rule = Literal["nodes", "params", "flops"]
RULES: tuple[Rule, ...] = ("nodes", "params", "flops")


class PlanCell(Measured):
    """One model cut into at most K fragments, on measured costs; the others' cuts by the same costs."""

    model: str
    fragments: PositiveCount
    bottleneck_s: Positive
    lower_bound_s: Positive
    gap: float
    exact: bool
    equal_nodes_s: Positive
    equal_params_s: Positive
    equal_flops_s: Positive


class RatioCell(Measured):
    """Chain over whole at one image size and batch size; `runs` seconds are medians."""

    model: str
    px: PositiveCount
    batch: PositiveCount
    whole_s: Positive
    ours: Ratio
    naive: Ratio
    same: Ratio
    """The whole against itself: the noise floor."""


class LayerSplitResults(Record):
    """What has been measured so far; a run adds the cells that are missing."""

    plans: tuple[PlanCell, ...] = ()
    ratios: tuple[RatioCell, ...] = ()
    core_speed: Positive
    provenance: Provenance


@dataclass(frozen=True)
class LayerSplitSettings:
    """What to measure; the defaults are the published table."""

    models: tuple[str, ...] = FAMILIES + FOREIGN
    fragments: tuple[int, ...] = tuple(FRAGMENTS)
    batches: tuple[int, ...] = (8, 32)
    pairs: int = MIN_PAIRS
    profile_runs: int = measure.RUNS
    small: bool = True
    """Also at 32 px, where the network takes such images."""


def run(path: Path, settings: LayerSplitSettings, say: Callable[[str], None]) -> LayerSplitResults:
    """Measure every cell that the results file lacks, writing it after each; interrupted, the next run goes on.

    Args:
        path: The results file.
        settings: Which cells.
        say: Told of each step.

    Raises:
        SplitPlaceError: The file is no results file, or a model cannot be exported or cut.
    """
    if path.exists():
        results = LayerSplitResults.parse(path.read_bytes(), str(path))
    else:
        results = LayerSplitResults(core_speed=core_speed(), provenance=provenance.collect(seed=0))
    for name in settings.models:
        for add in _missing(name, settings, results, say):
            results = add(results)
            save(path, results)
    return results


def _missing(
    name: str, settings: LayerSplitSettings, results: LayerSplitResults, say: Callable[[str], None]
) -> Iterator[Callable[[LayerSplitResults], LayerSplitResults]]:
    """The steps that add one model's missing cells."""
    planned = {cell.fragments for cell in results.plans if cell.model == name}
    counts = [count for count in settings.fragments if count not in planned]
    if counts:
        say(f"{name}: measuring blocks, planning K = {counts}")
        plans = tuple(_plans(name, counts, settings, results.core_speed))
        yield lambda so_far: so_far.model_copy(update={"plans": so_far.plans + plans})
    sizes: list[int | None] = [None]
    if settings.small and name in FAMILIES and name != "inceptionv3":  # its stem has no 32 px form at its own strides
        sizes.append(SMALL_PX)
    batches = settings.batches if name in FAMILIES else settings.batches[:1]
    for size in sizes:
        done = {
            cell.batch
            for cell in results.ratios
            if cell.model == name and cell.ours.pairs >= settings.pairs and (cell.px == SMALL_PX) == (size is not None)
        }
        for batch in batches:
            if batch not in done:
                say(f"{name}: chain against whole, batch {batch}" + (f", {size} px" if size else ""))
                cell = _ratio(name, size, batch, settings.pairs)
                yield lambda so_far, cell=cell: so_far.model_copy(update={"ratios": (*so_far.ratios, cell)})  # type: ignore[misc]  # mypy cannot type a default in a lambda


def _plans(name: str, counts: Sequence[int], settings: LayerSplitSettings, speed: float) -> Iterator[PlanCell]:
    _, network = _opened(name, None)
    cost_s = measure.measured(network, PLAN_BATCH, settings.profile_runs) * speed
    work = costs.work(network, cost_s, PLAN_BATCH, measure.copy_s_per_byte() * speed)
    order = prefixes(work)
    for count in counts:
        hosts = [Host(f"d{i}") for i in range(count)]
        proposal = cutting.propose(network, work, hosts, count, slack=0.0)
        equal = {
            rule: planner.evaluate(order, equal_cuts(share(network, rule), count), hosts[:count]).bottleneck_s
            for rule in RULES
        }
        yield PlanCell(
            model=name,
            fragments=count,
            bottleneck_s=proposal.plan.bottleneck_s,
            lower_bound_s=proposal.lower_bound_s,
            gap=proposal.gap,
            exact=proposal.places.complete,
            equal_nodes_s=equal["nodes"],
            equal_params_s=equal["params"],
            equal_flops_s=equal["flops"],
            commit=provenance.commit(),
        )


@lru_cache(maxsize=2)
def _opened(name: str, size: int | None) -> tuple[TimmModel, Blocks]:
    found = from_timm(name, size, random_weights=True)
    return found, cutting.analyse(found.onnx, name)


def prefixes(work: Work) -> Lattice:
    """The places between blocks in their own order: where the simple rules cut."""
    return Lattice(work, np.tril(np.ones((work.n + 1, work.n), bool), -1), complete=False)


def share(network: Blocks, rule: Rule) -> Floats:
    """What a rule divides equally, for each block."""
    graph = network.graph
    if rule == "nodes":
        return np.array([len(members) for members in network.members], np.float64)
    if rule == "flops":
        flops = [sum(graph.nodes[i].flops_per_sample for i in members) for members in network.members]
        return np.array(flops, np.float64)
    weights = [frozenset(name for i in members for name in graph.nodes[i].weights) for members in network.members]
    return np.array([graph.params(names) for names in weights], np.float64)


def equal_cuts(amounts: Floats, fragments: int) -> list[int]:
    """Places that come closest to equal parts of `amounts`, every fragment with at least one block."""
    before = np.concatenate([[0.0], np.cumsum(amounts)])
    places = [0]
    for i in range(1, fragments):
        target = before[-1] * i / fragments
        lowest, highest = places[-1] + 1, len(amounts) - (fragments - i)
        places.append(lowest + int(np.argmin(np.abs(before[lowest : highest + 1] - target))))
    return [*places, len(amounts)]


def naive_chain(network: Blocks, fragments: int) -> SplitArtifact:
    """Cut at equal numbers of nodes, as one would by hand: through fusions, in plain layout."""
    plain = fusion.blocks(network.graph, set())
    work = costs.work(plain, np.ones(len(plain.members)), PLAN_BATCH)
    places = equal_cuts(np.array([len(members) for members in plain.members], np.float64), fragments)
    return cutting.cut(plain, prefixes(work), places, "custom", "naive")


def _ratio(name: str, size: int | None, batch: int, pairs: int) -> RatioCell:
    found, network = _opened(name, size)
    cost_s = measure.measured(network, batch)
    work = costs.work(network, cost_s, batch, measure.copy_s_per_byte())
    hosts = [Host(f"d{i}") for i in range(RATIO_FRAGMENTS)]
    proposal = cutting.propose(network, work, hosts, RATIO_FRAGMENTS, slack=RATIO_SLACK)
    ours = cutting.cut(network, proposal.places, proposal.plan.places, "custom", "ours")
    inputs = recompose.noise(ours.split.inputs, max(batch, max(recompose.BATCHES)))
    recompose.check(ours, found.onnx, inputs, "seeded noise")
    rows = {tensor: value[:batch] for tensor, value in inputs.items()}
    chains = {
        "ours": _timed([ours.models[f.name] for f in ours.split.fragments], rows),
        "naive": _timed(list(naive_chain(network, RATIO_FRAGMENTS).models.values()), rows),
    }
    whole_s, ratios = paired_ratios(_timed([found.onnx], rows), chains, pairs)
    return RatioCell(
        model=name,
        px=found.size,
        batch=batch,
        whole_s=whole_s,
        ours=ratios["ours"],
        naive=ratios["naive"],
        same=ratios["A/A"],
        commit=provenance.commit(),
    )


def _timed(models: Sequence[bytes], inputs: dict[str, Array]) -> Callable[[], float]:
    """Runs these models one after another, each fed by the former, and answers the seconds."""
    sessions = [open_session(model) for model in models]
    names = [([i.name for i in s.get_inputs()], [o.name for o in s.get_outputs()]) for s in sessions]

    def run_once() -> float:
        values = inputs
        start = time.perf_counter()
        for session, (takes, gives) in zip(sessions, names, strict=True):
            results = session.run(gives, {name: values[name] for name in takes})
            values = dict(zip(gives, results, strict=True))
        return time.perf_counter() - start

    return run_once


def verdict(results: LayerSplitResults) -> dict[str, bool | str]:
    """Whether the claims hold: a bound on a ratio holds if the interval's lower end is under it.

    A cell whose A/A interval is wider than the bound is tight says nothing.
    """
    gaps = all(cell.gap <= GAP_GOAL for cell in results.plans) if results.plans else NOT_RUN
    return {"every gap at most 1 %": gaps, "chain at most 3 % slower": _chain_verdict(results)}


def _chain_verdict(results: LayerSplitResults) -> bool | str:
    own = [cell for cell in results.ratios if cell.model in FAMILIES and cell.px > SMALL_PX]
    telling = [cell for cell in own if cell.same.high - cell.same.low <= RATIO_LIMIT - 1]
    if any(cell.ours.low > RATIO_LIMIT for cell in telling):
        return False
    if len(own) < OWN_CELLS:
        return f"{NOT_RUN} in {OWN_CELLS - len(own)} of {OWN_CELLS} cells"
    noisy = len(own) - len(telling)
    return f"not known, too noisy in {noisy} of {len(own)} cells: repeat on a quiet machine" if noisy else True
