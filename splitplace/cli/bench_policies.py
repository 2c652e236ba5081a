"""`splitplace bench` on policies: experiments of many cells, over all cores."""

from pathlib import Path

from splitplace import provenance
from splitplace.cli.bench import at_least_one, measuring, show

RESULTS = Path("benchmarks/results/policies.json")
QUICK = Path("runs/policies-quick.json")


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

    Cells already in the results file are kept, so an interrupted run goes on where it stopped. A picture of how far
    each stays below the bound goes beside the results (.svg).

    Args:
        experiment: One that ships, or a TOML file: rows, scenarios, loads, seeds.
        results: The results file; benchmarks/results/policies.json if not stated, of --quick runs/policies-quick.json.
        quick: Few scenarios, loads, seeds and intervals: minutes instead of hours.
        jobs: Processes; one a core if not stated.
        only: Some of the rows, as the experiment names them; the others' cells stay as they are.
        scenarios: Some of the scenarios, likewise.
        fresh: Measure these again.
        json: Print one JSON document.
    """
    at_least_one(jobs=jobs)
    file = results or (QUICK if quick else RESULTS)
    with measuring("policies", file, "sim", packages=("scipy", "safetensors", "matplotlib")) as say:
        from splitplace.benchmarks import policies as bench
        from splitplace.benchmarks.experiment import load_experiment
        from splitplace.benchmarks.policies_table import section

        whole = load_experiment(experiment)
        whole = whole.quickly() if quick else whole
        part = whole.only(only, scenarios)
        found = bench.run(file, whole, say, part, jobs or provenance.machine().cores, fresh)
        picture = bench.draw(file, found)
    facts = {"picture": picture and str(picture), "verdict": bench.verdict(found)}
    show(section, file, found, json, **facts)
