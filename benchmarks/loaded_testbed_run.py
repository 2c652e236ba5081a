"""Runs streams of tasks on fleets of device processes and through the simulator: what `loaded_testbed.py` tells of."""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from splitplace import provenance
from splitplace.benchmarks import testbed
from splitplace.benchmarks.loaded_testbed import (
    LINK_BYTES_PER_S,
    STRATEGIES,
    LoadedCell,
    LoadedCosts,
    LoadedResults,
    Part,
)
from splitplace.benchmarks.loaded_testbed_group import CORES, SHARES, SPLITS, GroupKey, LoadedGroup, simulated_cell
from splitplace.benchmarks.results_file import save
from splitplace.benchmarks.shaped_links import KeyedEngine, shaped
from splitplace.errors import NotReadyError, SplitPlaceError, UsageError, unknown
from splitplace.export.catalog_writer import CatalogWriter
from splitplace.export.measure.profiler import QUICK, Effort
from splitplace.inference.cpu_share import open_share
from splitplace.records.split import Strategy

TRIES = 3
"""Of a group, while the machine changes or stands still meanwhile."""
ALL_PARTS: tuple[Part, ...] = tuple(SPLITS)


def run(
    path: Path,
    work: Path,
    tasks: int,
    say: Callable[[str], None],
    strategies: Sequence[str] = STRATEGIES,
    cores: Sequence[int] = tuple(SHARES),
    fresh: bool = False,
    effort: Effort = QUICK,
    parts: Sequence[str] = ALL_PARTS,
) -> LoadedResults:
    """Measure what the results file lacks, group by group, and write it after each.

    Args:
        path: The results file.
        work: Folder of the catalog; profiles in it are of this machine and taken anew.
        tasks: Of a stream, after those that warm it up.
        say: Told what is being measured.
        strategies: Which splits.
        cores: Of a device: which fleets.
        fresh: Measure what is there, too, of what is asked for.
        effort: Of the profiles.
        parts: Which parts.

    Raises:
        UsageError: A split, fleet or part that is none of these, or that no part has together.
        NotReadyError: Nothing of what is asked for can be measured here.
    """
    asked = groups(strategies, cores, parts)
    old = LoadedResults.parse(path.read_bytes(), str(path)) if path.is_file() else None
    costs = [] if old is None else [each for each in old.costs if not (fresh and key_of(each) in asked)]
    cells = [] if old is None else [cell for cell in old.cells if not (fresh and key_of(cell) in asked)]
    there = {key_of(each) for each in costs}
    missing = [key for key in asked if key not in there]
    if not missing and old is not None:
        return old
    reasons = not_to_be_had({key.part for key in missing})
    missing = [key for key in missing if key.part not in reasons]
    for reason in reasons.values():
        say(f"left out: {reason}")
    if not missing:
        raise NotReadyError("; ".join(reasons.values()))
    before = () if old is None else old.left_out
    left_out = tuple(dict.fromkeys([*(line for line in before if _still(line, missing)), *reasons.values()]))
    catalog, references = _catalog(work, say)
    load = os.getloadavg()[0]
    say("what profiles do not have")
    more = {wire: testbed.overheads(*([KeyedEngine] if wire else [])) for wire in {_keyed(key) for key in missing}}
    for key in missing:
        group = LoadedGroup(key, catalog, references, tasks, more[_keyed(key)], effort, say)
        for tries in range(1, TRIES + 1):
            found, told = group.measured(load, tries)
            if not (told.shaky or any(cell.stalled for cell in found)):
                break
        cells, costs = [*cells, *found], [*costs, told]
        results = LoadedResults(
            cells=tuple(cells), costs=tuple(costs), provenance=provenance.collect(0), left_out=left_out
        )
        save(path, results)
    return results


def groups(strategies: Sequence[str], cores: Sequence[int], parts: Sequence[str]) -> list[GroupKey]:
    """What is asked for, in the order of measuring.

    Raises:
        UsageError: A split, fleet or part that is none of these, or that no part has together.
    """
    for asked in strategies:
        if asked not in STRATEGIES:
            raise unknown("split", asked, STRATEGIES)
    for count in cores:
        if count not in SHARES:
            raise unknown("fleet of devices of so many cores", str(count), map(str, SHARES))
    for part in parts:
        if part not in ALL_PARTS:
            raise unknown("part of the bench", part, ALL_PARTS)
    found = [
        GroupKey(part, strategy, count)
        for part in ALL_PARTS
        if part in parts
        for strategy in SPLITS[part]
        if strategy in strategies
        for count in CORES[part]
        if count in cores
    ]
    if not found:
        raise UsageError(
            f"{', '.join(parts)} of {', '.join(strategies)} on {', '.join(map(str, cores))} core(s): nothing there; "
            f"shaped has {', '.join(SPLITS['shaped'])}, faulty has {', '.join(SPLITS['faulty'])}, both on 1 core"
        )
    return found


def not_to_be_had(parts: Iterable[Part]) -> dict[Part, str]:
    """Why these parts cannot be measured here, of those that cannot; each reason names its part."""
    found = dict[Part, str]()
    if "shaped" in parts:
        try:
            shaped(["one"], LINK_BYTES_PER_S).close()
        except NotReadyError as error:
            found["shaped"] = f"shaped links: no network namespaces with tbf here ({error})"
    if "faulty" in parts:
        try:
            open_share(0.9, 1, "cgroup").close()
        except SplitPlaceError as error:
            found["faulty"] = f"faults: a device is slowed by its CPU quota ({error})"
    return found


def key_of(found: LoadedCell | LoadedCosts) -> GroupKey:
    """Which group something is of."""
    return GroupKey(found.part, found.strategy, found.cores)


def _still(line: str, missing: Sequence[GroupKey]) -> bool:
    """Whether what was left out before is not measured now."""
    starts = {"shaped": "shaped links:", "faulty": "faults:", "plain": "plain:"}
    return not any(line.startswith(starts[key.part]) for key in missing)


def _keyed(key: GroupKey) -> bool:
    """Whether devices meet as between machines."""
    return key.part == "shaped"


def _catalog(work: Path, say: Callable[[str], None]) -> tuple[CatalogWriter, dict[Strategy, str]]:
    from splitplace.benchmarks import artifacts  # needs torch; who reads the results does not

    say("exporting a chain, a tree, a whole and a compressed model")
    catalog, references = CatalogWriter(work), dict[Strategy, str]()
    for artifact in artifacts.splits("mobilenetv2", 0):
        catalog.write(artifact)
        references[artifact.split.strategy] = artifact.split.reference
    return catalog, references


def simulated_again(path: Path, say: Callable[[str], None]) -> LoadedResults:
    """What is measured stays, what was simulated is simulated anew: of the costs that the file has, as of now.

    Raises:
        NotReadyError: There is no such file.
        SplitPlaceError: It is none of such results.
    """
    if not path.is_file():
        raise NotReadyError(f"{path} is not there: measure first, without --simulate-again")
    old = LoadedResults.parse(path.read_bytes(), str(path))
    costs, cells = {key_of(each): each for each in old.costs}, list[LoadedCell]()
    for cell in old.cells:
        say(f"{cell.strategy}, {cell.cores} core(s), {cell.precedence}, load {cell.load:g}")
        came = [*cell.warm, *zip(cell.arrival_s, cell.images, strict=True)]
        simulated, drift = simulated_cell(costs[key_of(cell)], cell.precedence, came, cell.fault)
        cells.append(cell.model_copy(update={"simulated": simulated, "drift": drift}))
    save(path, results := old.model_copy(update={"cells": tuple(cells)}))
    return results
