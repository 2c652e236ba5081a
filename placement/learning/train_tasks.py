"""Trains `daso-tasks`: around good placements, then where its own ascent leads, then η by what it realises."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from splitplace.errors import SplitPlaceError
from splitplace.placement.learning import fit_completion
from splitplace.placement.learning.fit_completion import EPOCHS, CompletionFit, Sample
from splitplace.placement.learning.samples import AROUND_SEED, OWN_SEED, Around, collect
from splitplace.placement.placers.daso_tasks import DasoTasks, TasksState
from splitplace.placement.simulator.demands import DemandLike
from splitplace.placement.simulator.scenario import Scenario
from splitplace.placement.surrogates import completion
from splitplace.records.device import Fleet
from splitplace.seeds import generator

ETAS = (10.0, 30.0, 100.0, 300.0)
"""Steps of the ascent that are tried; the runs of the placer itself take turns with them."""
OWN_SHARE = 2
"""One run in so many is the placer's own."""

Say = Callable[[str, float], None]


def train_tasks(
    scenario: Scenario,
    fleet: Fleet,
    demand: DemandLike,
    runs: int,
    intervals: int,
    seed: int,
    say: Say,
    objective: Callable[[DasoTasks, TasksState, int], float],
    tuning_seeds: Sequence[int],
    save: Callable[[DasoTasks, TasksState, Mapping[str, float | int]], object],
) -> dict[str, object]:
    """Two rounds of runs and fits; a quarter of the runs of each is held out. What was learned, as plain figures.

    Args:
        scenario: Of the training.
        fleet: Its devices.
        demand: What the splits cost.
        runs: Of the first round; the second has half as many.
        intervals: Of each run.
        seed: Of all of it.
        say: Told what is being done and how far it is.
        objective: The O^P that a placer realises on a tuning run.
        tuning_seeds: Of those runs.
        save: Told the placer, its state and what to write beside it.

    Raises:
        SplitPlaceError: The runs were too short for any task to leave.
    """
    placer = DasoTasks()
    rng = generator(seed, "fit", placer.name)
    train, held_out = list[Sample](), list[Sample]()

    def add(found: list[list[Sample]]) -> list[Sample]:
        """The samples held out of this round."""
        held = max(len(found) // 4, 1)
        train.extend(sample for run in found[:-held] for sample in run)
        late = [sample for run in found[-held:] for sample in run]
        held_out.extend(late)
        return late

    def learn() -> CompletionFit:
        if not all(any(np.isfinite(s.left_T).any() for s in part) for part in (train, held_out)):
            raise SplitPlaceError(
                f"nothing to learn from: no task left in {intervals} intervals of {scenario.interval_s:g} s; train for "
                "more intervals, or with a larger load"
            )
        return fit_completion.fit(
            completion.init(generator(0, "surrogate", placer.name)), train, held_out, placer.lr, placer.weight_decay,
            rng, lambda epoch, mse: say(f"training {placer.name}: held-out MSE {mse:.4f}", epoch / EPOCHS),
        )  # fmt: skip

    def progress(run: int, interval: int) -> None:
        say(f"placing for {placer.name}", min((run * intervals + interval) / (runs * intervals), 1.0))

    base = 1000 * seed
    around = [(Around(), lambda view: None)] * runs
    add(collect(scenario, fleet, demand, around, intervals, base + AROUND_SEED, progress))
    weights = learn().weights
    own = [
        (replace(placer, peak=(0.9, 0.5)[run % 2]), lambda view, w=weights, r=run: TasksState(w, ETAS[r % 4], True))
        for run in range(max(runs // OWN_SHARE, 2))
    ]
    late = add(collect(scenario, fleet, demand, own, intervals, base + OWN_SEED, progress))
    before, _ = fit_completion.errors(weights, late)
    result = learn()
    after, _ = fit_completion.errors(result.weights, late)
    scores = dict[float, float]()
    for i, eta in enumerate(ETAS):
        say(f"tuning {placer.name}: η = {eta:g}", i / len(ETAS))
        state = TasksState(result.weights, eta, trained=True)
        scores[eta] = float(np.mean([objective(placer, state, s) for s in tuning_seeds]))
    best = max(scores, key=lambda eta: scores[eta])
    facts: dict[str, float | int] = {
        "examples": result.examples,
        **result.facts(),
        "own_mse_before": float(np.mean(before**2)) if len(before) else 0.0,
        "own_mse_after": float(np.mean(after**2)) if len(after) else 0.0,
        "eta": best,
    }
    save(placer, TasksState(result.weights, best, trained=True), facts)
    return facts | {"explained": result.explained, "objective_by_eta": {f"{e:g}": s for e, s in scores.items()}}
