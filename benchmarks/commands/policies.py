"""`splitplace bench` on policies: experiments of many cells, over all cores of this machine or of a cluster."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cyclopts import Parameter

from splitplace.benchmarks.commands.measuring import crew, measuring, show
from splitplace.benchmarks.commands.options import RESULTS, Json, OnRay, Processes

QUICK = Path("runs/bench-quick")
PACKAGES = ("scipy", "safetensors", "matplotlib", "pyarrow")


@Parameter(name="*")
@dataclass(frozen=True)
class GridOptions:
    """What every experiment of many cells takes.

    Args:
        results: The results file; benchmarks/results/NAME.json if not stated, of --quick in runs/bench-quick. The cells
            are written beside it as a table (.parquet), and a picture (.svg).
        quick: Few scenarios, loads, seeds and intervals: minutes instead of hours.
        only: Some of the rows, as the experiment names them; the others' cells stay as they are.
        scenarios: Some of the scenarios, likewise.
        fresh: Measure these again.
    """

    results: Path | None = None
    quick: bool = False
    jobs: Processes = None
    ray: OnRay = False
    only: tuple[str, ...] = ()
    scenarios: tuple[str, ...] = ()
    fresh: bool = False
    json: Json = False

    def file(self, name: str) -> Path:
        """Where an experiment of this name is kept."""
        return self.results or (QUICK if self.quick else RESULTS) / f"{name}.json"


USUAL = GridOptions()


def policies(*, experiment: str = "policies", options: GridOptions = USUAL) -> None:
    """Measure what joint is worth beside every other policy, each with its best placer, and beside a bound.

    Cells already in the results file are kept, so an interrupted run goes on where it stopped: the whole takes
    hours, a quarter of one for each scenario. The picture is of how far each stays below the bound.

    Args:
        experiment: One that ships, or a TOML file: rows, scenarios, loads, seeds.
    """
    file, found = _measured("policies", "policies", experiment, options)
    from splitplace.benchmarks import policies
    from splitplace.benchmarks.policies_table import section

    picture = policies.draw(file, found)
    facts = {"picture": picture and str(picture), "verdict": policies.verdict(found)}
    show(section, file, found, options.json, **facts)


def robustness(*, experiment: str = "robustness", options: GridOptions = USUAL) -> None:
    """Measure what wrong profiles, wrong evaluations and failing devices cost a policy that had time to find out.

    Cells already in the results file are kept, as in `bench policies`.

    Args:
        experiment: One that ships, or a TOML file: rows, scenarios, those that they are held against, loads, seeds.
    """
    file, found = _measured("robustness", "robustness", experiment, options)
    from splitplace.benchmarks import robustness

    show(robustness.section, file, found, options.json, verdict=robustness.verdict(found))


def table4(*, options: GridOptions = USUAL) -> None:
    """Run the paper's Table 4 (figures 7 and 8): its seven rows, controls, bounds and joint, on the same tasks.

    Cells already in the results file are kept, so an interrupted run goes on where it stopped.
    """
    paper("table4", options=options)


def paper(name: str, /, *, options: GridOptions = USUAL) -> None:
    """Run one of the paper's experiments: policies over what it sweeps, and its claims held against what came out.

    Cells already in the results file are kept, so an interrupted run goes on where it stopped. States that its
    scenarios need and that do not ship are trained first, into build/bench-states.

    Args:
        name: table4, or a figure, as fig9; or a TOML file of an experiment.
    """
    from splitplace.benchmarks.experiment_text import experiment_of

    experiment = experiment_of(name)
    _paper(f"paper {name}", experiment, Path(experiment).stem, options)


def published_code(*, options: GridOptions = USUAL) -> None:
    """Hold the simulator against what the paper's published code gave with the same constants."""
    _paper("published-code", "published_code", "published_code", options)


def _paper(command: str, experiment: str, file: str, options: GridOptions) -> None:
    """An experiment with claims: measured, judged, drawn and shown."""
    path, found = _measured(command, file, experiment, options)
    from splitplace.benchmarks import bandit_training, paper_table
    from splitplace.benchmarks import paper as of_cells

    bench: Any = bandit_training if found.experiment.curves else of_cells
    section = bandit_training.section if found.experiment.curves else paper_table.section
    picture = bench.draw(path, found)
    show(section, path, found, options.json, picture=picture and str(picture), verdict=bench.verdict(found))


def fair(*, adversaries: bool = False, experiment: str = "fair", options: GridOptions = USUAL) -> None:
    """Compare all policies, each with the paper's placer and with its best, on five fleets; or look for worst cases.

    Cells already in the results file are kept, so an interrupted run goes on where it stopped.

    Args:
        adversaries: Search for the scenario in which each row is furthest behind the best other one; it is kept in
            NAME-adversaries.json. Of the options, --scenarios and --fresh mean nothing then.
        experiment: One that ships, or a TOML file.
    """
    if not adversaries:
        _paper("fair", experiment, "fair", options)
        return
    path = options.file("fair-adversaries")
    with measuring("fair", path, "sim", packages=PACKAGES) as say, crew(options.jobs, options.ray) as jobs:
        from splitplace.benchmarks.adversary import Adversary, section
        from splitplace.benchmarks.experiment import load_experiment

        whole = load_experiment(experiment).only(options.only)
        steps = 0 if whole.search is None else whole.search.quick_steps if options.quick else whole.search.steps
        found = Adversary(path, whole, steps, jobs, say).run()
    show(section, path, found, options.json)


def _measured(bench: str, file: str, experiment: str, options: GridOptions) -> tuple[Path, Any]:
    """What is missing of an experiment, or of a part of it; with the cells as a table beside the file."""
    path = options.file(file)
    with measuring(bench, path, "sim", packages=PACKAGES) as say, crew(options.jobs, options.ray) as jobs:
        from splitplace.benchmarks import bandit_training, experiment_run
        from splitplace.benchmarks.cells_parquet import write_cells
        from splitplace.benchmarks.experiment import load_experiment

        whole = load_experiment(experiment)
        whole = whole.quickly() if options.quick else whole
        part = whole.only(options.only, options.scenarios)
        if whole.curves:
            return path, bandit_training.run(path, whole, say, part, jobs, options.fresh)
        found = experiment_run.run(path, whole, say, part, jobs, options.fresh)
        write_cells(path.with_suffix(".parquet"), found)
    return path, found
