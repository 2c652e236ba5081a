"""`splitplace bench` on policies: experiments of many cells, over all cores."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from splitplace import provenance
from splitplace.cli.bench import at_least_one, measuring, show

if TYPE_CHECKING:
    from splitplace.benchmarks.experiment_file import ExperimentResults

RESULTS = Path("benchmarks/results")
QUICK = Path("runs/bench-quick")
PACKAGES = ("scipy", "safetensors", "matplotlib")


def policies(
    *,
    experiment: str = "policies",
    results: Path | None = None,
    quick: bool = False,
    jobs: int | None = None,
    only: tuple[str, ...] = (),
    scenarios: tuple[str, ...] = (),
    fresh: bool = False,
    json: bool = False,
) -> None:
    """Measure what joint is worth beside every other policy, each with its best placer, and beside a bound.

    Cells already in the results file are kept, so an interrupted run goes on where it stopped: the whole takes hours,
    about six on two cores. A picture of how far each stays below the bound goes beside the results (.svg).

    Args:
        experiment: One that ships, or a TOML file: rows, scenarios, loads, seeds.
        results: The results file; benchmarks/results/policies.json if not stated, of --quick in runs/bench-quick.
        quick: Few scenarios, loads, seeds and intervals: minutes instead of hours.
        jobs: Processes; one a core if not stated.
        only: Some of the rows, as the experiment names them; the others' cells stay as they are.
        scenarios: Some of the scenarios, likewise.
        fresh: Measure these again.
        json: Print one JSON document.
    """
    file = results or (QUICK if quick else RESULTS) / "policies.json"
    with measuring("policies", file, "sim", packages=PACKAGES) as say:
        from splitplace.benchmarks import policies as bench
        from splitplace.benchmarks.policies_table import section

        found = _run(file, experiment, quick, jobs, only, scenarios, fresh, say)
        picture = bench.draw(file, found)
    facts = {"picture": picture and str(picture), "verdict": bench.verdict(found)}
    show(section, file, found, json, **facts)


def robustness(
    *,
    experiment: str = "robustness",
    results: Path | None = None,
    quick: bool = False,
    jobs: int | None = None,
    only: tuple[str, ...] = (),
    scenarios: tuple[str, ...] = (),
    fresh: bool = False,
    json: bool = False,
) -> None:
    """Measure what wrong profiles, wrong evaluations and failing devices cost a policy that had time to find out.

    Cells already in the results file are kept, as in `bench policies`.

    Args:
        experiment: One that ships, or a TOML file: rows, scenarios, those that they are held against, loads, seeds.
        results: The results file; benchmarks/results/robustness.json if not stated, of --quick in runs/bench-quick.
        quick: Few scenarios, loads, seeds and intervals.
        jobs: Processes; one a core if not stated.
        only: Some of the rows, as the experiment names them; the others' cells stay as they are.
        scenarios: Some of the scenarios, likewise.
        fresh: Measure these again.
        json: Print one JSON document.
    """
    file = results or (QUICK if quick else RESULTS) / "robustness.json"
    with measuring("robustness", file, "sim", packages=PACKAGES) as say:
        from splitplace.benchmarks import robustness as bench

        found = _run(file, experiment, quick, jobs, only, scenarios, fresh, say)
    show(bench.section, file, found, json, verdict=bench.verdict(found))


def _run(
    file: Path,
    name: str,
    quick: bool,
    jobs: int | None,
    only: tuple[str, ...],
    scenarios: tuple[str, ...],
    fresh: bool,
    say: Callable[[str], None],
) -> "ExperimentResults":
    """What is missing of an experiment, or of this part of it."""
    from splitplace.benchmarks.experiment import load_experiment
    from splitplace.benchmarks.experiment_run import run

    at_least_one(jobs=jobs)
    whole = load_experiment(name)
    whole = whole.quickly() if quick else whole
    return run(file, whole, say, whole.only(only, scenarios), jobs or provenance.machine().cores, fresh)
