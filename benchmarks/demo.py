"""Claim: on a live fleet, too, fewer tasks are late under `joint` than under the paper's bandit.

The demo's fleet, splits and stream, of several seeds; each stream is sent under both, the one that goes first in turns.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from splitplace import provenance
from splitplace.benchmarks.paired import Interval, interval
from splitplace.benchmarks.results_file import Measured, save
from splitplace.demo.requests import RIVALS
from splitplace.progress import silent
from splitplace.records.base import Count, Fraction, NonNegative, Positive, PositiveCount, Record
from splitplace.records.provenance import Provenance

if TYPE_CHECKING:
    from splitplace.demo.pipeline import Played

TRAINED_SEED = 0
"""Of the networks: as the demo has them if it is asked for none."""
DEFAULT, BANDIT = RIVALS


class DemoStream(Measured):
    """One stream under one policy."""

    seed: Count
    policy: str
    first: bool
    """Of the two that it was sent under."""
    tasks: PositiveCount
    layer_s: Positive
    """What deadlines and gaps are multiples of."""
    late: Fraction
    """The share of tasks that missed their deadline."""
    accuracy: Fraction
    reward: Fraction
    response_s: Positive
    """Mean."""


class DemoResults(Record):
    """Everything measured."""

    load: NonNegative
    """The machine's load average before the run."""
    cells: tuple[DemoStream, ...]
    provenance: Provenance


def run(path: Path, folder: Path, seeds: Sequence[int], tasks: int, say: Callable[[str], None]) -> DemoResults:
    """Measure, and write the results file.

    Args:
        path: The results file.
        folder: Of the networks, the catalog and the fleets; what is trained and measured there stays.
        seeds: Of the streams, each once.
        tasks: Of a stream.
        say: Told what is being done.

    Raises:
        SplitPlaceError: The images cannot be had, or a device or a task failed.
    """
    from splitplace.demo import pipeline
    from splitplace.export.catalog_writer import CatalogWriter

    load = os.getloadavg()[0]
    say("the networks and their splits")
    data = pipeline.images()
    shipped = pipeline.ship(folder / "catalog", *pipeline.train(data, folder / "runs", TRAINED_SEED), data)
    catalog = CatalogWriter(folder / "catalog")
    pipeline.profile(catalog.path, shipped.all, silent)
    pipeline.judge(catalog, shipped, data, silent)
    commit, cells = provenance.commit(), list[DemoStream]()
    for at, seed in enumerate(seeds):
        layer_s = None
        for policy in RIVALS if at % 2 == 0 else RIVALS[::-1]:
            say(f"stream {seed} under {policy}")
            kept = folder / f"fleet-{RIVALS.index(policy)}"
            played = pipeline.play(policy, catalog, shipped, data, kept, seed, tasks, silent, layer_s)
            cells.append(_stream(played, seed, tasks, first=layer_s is None, commit=commit))
            layer_s = played.layer_s
    results = DemoResults(load=load, cells=tuple(cells), provenance=provenance.collect())
    save(path, results)
    return results


def _stream(played: "Played", seed: int, tasks: int, first: bool, commit: str | None) -> DemoStream:
    found = played.metrics
    late, accuracy, reward, response_s = found.sla_violation, found.accuracy, found.reward, found.response_s.mean
    assert late is not None and accuracy is not None and reward is not None and response_s is not None
    return DemoStream(
        seed=seed, policy=played.policy, first=first, tasks=tasks, layer_s=played.layer_s, late=late,
        accuracy=accuracy, reward=reward, response_s=response_s, commit=commit,
    )  # fmt: skip


def differences(cells: Sequence[DemoStream], field: str) -> Interval:
    """Of the default policy's figures over the bandit's on the same streams."""
    by_seed: dict[int, dict[str, float]] = {}
    for cell in cells:
        by_seed.setdefault(cell.seed, {})[cell.policy] = getattr(cell, field)
    return interval([both[DEFAULT] - both[BANDIT] for both in by_seed.values()])


def verdict(results: DemoResults) -> dict[str, bool | str]:
    """Whether fewer are late: told only where the interval lies on one side."""
    found = differences(results.cells, "late")
    told = found.high < 0 if found.high < 0 or found.low >= 0 else "cannot be told, the interval holds 0"
    return {f"fewer tasks are late under {DEFAULT} than under {BANDIT} on the same streams": told}
