"""One run of the bench `adaptation`: who takes part, from which states, in which scenario, and what came of it."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from splitplace import provenance
from splitplace.benchmarks.copies import Foretold
from splitplace.benchmarks.experiment import load_experiment
from splitplace.benchmarks.grid_row import GridRow
from splitplace.benchmarks.grid_scenario import shift_s
from splitplace.benchmarks.results_file import Measured
from splitplace.placement import states as store
from splitplace.placement.learning.score import Score
from splitplace.placement.learning.traces import LearningSettings
from splitplace.placement.learning.train import train as train_parts
from splitplace.placement.metrics import outcome, outcomes_of
from splitplace.placement.placers.daso import Daso
from splitplace.placement.placers.daso_warm import DasoWarm
from splitplace.placement.policy import Composed
from splitplace.placement.simulator.demands import DemandLike
from splitplace.placement.simulator.results import SimulationRun
from splitplace.placement.simulator.run import simulate
from splitplace.placement.simulator.scenario import Scenario
from splitplace.placement.simulator.shipped import load_fleet, load_scenario
from splitplace.records.base import Count
from splitplace.records.view import View

SHIFTS = ("rate", "mix", "network")
PLACERS: dict[str, Daso] = {"daso": Daso(), "daso-warm": DasoWarm()}


@cache
def rows() -> dict[str, GridRow]:
    """Who takes part, as `experiments/adaptation.toml` has it; daso there is whichever placer is asked for."""
    return {row.name: row for row in load_experiment("adaptation").rows}


def arms() -> list[str]:
    """What the bandit could have had: the rows whose decider learns nothing."""
    return [name for name, row in rows().items() if not hasattr(_composed(row).decider, "train")]


BIN = 5
"""Intervals that are averaged into one point."""
TRAINING_RUNS, TRAINING_INTERVALS = 8, 100


class AdaptationCell(Measured):
    """One run, a number a bin."""

    shift: str
    placer: str
    row: str
    seed: Count
    reward: tuple[float, ...]
    """Of the tasks that arrived in the bin."""
    scored: tuple[float, ...] = ()
    """Share of them that it is of: those due within the run; none in a file from before there was a cohort."""
    objective: tuple[float, ...]
    """O^P (eq. 10) of its intervals."""
    error: tuple[float, ...]
    """Of the policy's own surrogate: mean of |predicted - realised| O^P."""


def scenario_of(shift: str) -> Scenario:
    """The shipped scenario of a shift."""
    return load_scenario(f"shift-{shift}")


def calm() -> Scenario:
    """What all of them are before their shift: the scenario of the training."""
    scenarios = []
    for scenario in map(scenario_of, SHIFTS):
        workload = scenario.workload.model_copy(update={"phases": ()})
        still = {"name": "shift-none", "about": "", "network": (), "workload": workload}
        scenarios.append(scenario.model_copy(update=still))
    assert all(scenario == scenarios[0] for scenario in scenarios), "the shifts start from different scenarios"
    return scenarios[0]


def train(folder: Path, demand: DemandLike, demand_name: str, say: Callable[[str], None]) -> None:
    """States for the time before the shift, as `policy train` makes them, unless the folder has them."""
    if not (folder / "mab.safetensors").is_file() or not (folder / "daso.safetensors").is_file():
        scenario = calm()
        settings = LearningSettings(
            scenario,
            load_fleet(scenario.fleet),
            demand,
            demand_name,
            TRAINING_RUNS,
            TRAINING_INTERVALS,
            parts=("mab", "daso"),
        )
        train_parts(settings, folder, lambda what, share: say(f"{what} {share:.0%}"))


def measure(
    folder: Path, demand: DemandLike, shift: str, placer: str, row: GridRow, seed: int, intervals: int
) -> AdaptationCell:
    """One run."""
    scenario, inner = scenario_of(shift), PLACERS[placer]
    policy = Composed(_composed(row).decider, inner)
    stops = tuple(inner.name if name == "daso" else name for name in row.stops)
    copy = row.model_copy(update={"stops": stops}).running(policy, shift_s(scenario))
    assert isinstance(copy, Composed)
    watched = Foretold(copy.placer, inner, {})

    def first(view: View) -> Any:
        return store.from_folder(policy, folder, view)[0]

    score = Score(from_s=scenario.startup_s, to_s=intervals * scenario.interval_s)
    watching = Composed(copy.decider, watched)  # type: ignore[arg-type]  # its name is a property
    run = simulate(scenario, load_fleet(scenario.fleet), demand, watching, intervals, seed, first, score, strict=True)
    return _cell(run, score, watched.notes, scenario.interval_s, intervals, (shift, placer, row.name, seed))


def _composed(row: GridRow) -> Composed:
    policy = row.policy(row.policies[0])
    assert isinstance(policy, Composed), "the experiment's rows are of a decider and a placer"
    return policy


def _cell(
    run: SimulationRun,
    score: Score,
    notes: dict[float, float],
    interval_s: float,
    intervals: int,
    key: tuple[str, str, str, int],
) -> AdaptationCell:
    outcomes = outcomes_of(run.tasks)
    bins = range(-(-intervals // BIN))
    bin_N = np.asarray(run.tasks["arrival_s"], np.float64) // (BIN * interval_s)
    bin_I = np.array(score.from_s) // (BIN * interval_s)
    realised = np.array(score.intervals)
    error = np.abs(realised - np.array([notes[at_s] for at_s in score.from_s]))
    shift, placer, row, seed = key
    got = [outcome(outcomes.where(bin_N == b)) for b in bins]
    return AdaptationCell(
        shift=shift,
        placer=placer,
        row=row,
        seed=seed,
        reward=tuple(round(each.reward or 0.0, 4) for each in got),
        scored=tuple(round(each.scored or 0.0, 4) for each in got),
        objective=tuple(_mean(realised[bin_I == b]) for b in bins),
        error=tuple(_mean(error[bin_I == b]) for b in bins),
        commit=provenance.commit(),
    )


def _mean(values: Any) -> float:
    return round(float(np.mean(values)), 4) if len(values) else 0.0


def shift_interval() -> float:
    """The interval in which all of them shift."""
    (at,) = {shift_s(s) / s.interval_s for s in map(scenario_of, SHIFTS)}
    return at
