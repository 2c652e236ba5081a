"""`policy train`: the bandit by ε-greedy (§6.3), then surrogates on the traces of the same runs, then what is tuned.

Everything that is chosen here is chosen on runs that neither the training nor any evaluation meets.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from splitplace.placement import states as store
from splitplace.placement.deciders.compressed import Compressed, CompressedState
from splitplace.placement.deciders.gillis import Gillis
from splitplace.placement.deciders.mab import Mab
from splitplace.placement.learning import curves
from splitplace.placement.learning.collect import SEED_BASE, Collected, collect
from splitplace.placement.learning.fit import SurrogateFit, fit
from splitplace.placement.learning.score import Score
from splitplace.placement.learning.train_tasks import train_tasks
from splitplace.placement.placers.daso import Daso, DasoSlots, DasoState
from splitplace.placement.placers.gobi import Gobi
from splitplace.placement.policy import Composed, Decider, Placer, States
from splitplace.placement.simulator.demands import DemandLike
from splitplace.placement.simulator.results import SimulationRun
from splitplace.placement.simulator.run import simulate
from splitplace.placement.simulator.scenario import Scenario
from splitplace.placement.simulator.traces import write_parquet
from splitplace.placement.surrogates.features import alike
from splitplace.records.device import Fleet
from splitplace.records.view import Floats, View
from splitplace.seeds import generator

ETAS = (1e-3, 1e1, 1e2, 1e3, 1e4)
"""Steps of eq. 12 that are tried; the first is the paper's."""
TUNING_SEEDS, TUNING_INTERVALS = (0, 1, 2, 3), 40

Say = Callable[[str, float], None]
"""Told what is being done and how far it is, 0 to 1."""


@dataclass(frozen=True)
class LearningSettings:
    """What is trained, on what."""

    scenario: Scenario
    fleet: Fleet
    demand: DemandLike
    demand_name: str
    runs: int = 12
    intervals: int = 200
    seed: int = 0
    placers: tuple[Daso, ...] = (Daso(), Gobi(), DasoSlots())
    tasks: bool = True
    """Whether to train `daso-tasks` too."""


@dataclass(frozen=True, eq=False)
class TrainedSurrogate:
    """One surrogate's training."""

    fit: SurrogateFit
    state: DasoState
    eta_scores: dict[float, float]
    """Mean realised O^P on the tuning runs."""


def train(settings: LearningSettings, out: Path, say: Say) -> dict[str, object]:
    """Everything that learns, for one scenario; states, traces and curves are in `out` afterwards.

    Returns:
        What was learned, as plain figures.
    """
    placers = settings.placers
    total = settings.runs * settings.intervals

    def progress(run: int, interval: int) -> None:
        say("running the training workload", (run * settings.intervals + interval) / total)

    scenario, fleet, demand = settings.scenario, settings.fleet, settings.demand
    found = collect(scenario, fleet, demand, placers, settings.runs, settings.intervals, settings.seed, progress)
    _write_traces(found, out)
    curves.write(out / "curves", found.notes, found.view.applications)

    view, mab = found.view, Mab()
    bandit = replace(found.bandit.bandit, t=0)
    about: dict[str, str | int | float] = {
        "scenario": scenario.name,
        "demand": settings.demand_name,
        "runs": settings.runs,
        "intervals": settings.intervals,
        "seed": settings.seed,
    }
    store.save(out, mab, bandit, view, about | {"epsilon": found.bandit.epsilon, "rho": found.bandit.rho})
    document: dict[str, object] = {
        "bandit": {
            "epsilon": found.bandit.epsilon,
            "rho": found.bandit.rho,
            "R_s": dict(zip(view.applications, bandit.layer_response_s_A.tolist(), strict=True)),
            "Q": bandit.reward_cd.tolist(),
            "N": bandit.count_cd.tolist(),
        }
    }
    trained: dict[str, TrainedSurrogate] = {}
    for placer in placers:
        result = _train_placer(settings, placer, found, Mab(), say)
        trained[placer.name] = result
        facts: dict[str, float | int] = {
            "pairs": len(found.traces[placer.name].y_B),
            **result.fit.facts(),
            "eta": result.state.eta,
        }
        store.save(out, placer, result.state, view, about | facts)
        scores = {f"{eta:g}": score for eta, score in result.eta_scores.items()}
        document[placer.name] = facts | {"explained": result.fit.explained, "objective_by_eta": scores}
    if settings.tasks:
        document["daso-tasks"] = train_tasks(
            scenario, fleet, demand, settings.runs, settings.intervals, settings.seed, say,
            lambda placer, state, seed: _objective(settings, mab, placer, States(bandit, state), seed), TUNING_SEEDS,
            lambda placer, state, facts: store.save(out, placer, state, view, {**about, **facts}),
        )  # fmt: skip
    strategies = {strategy for _, strategy in view.offers}
    if "compressed" in strategies and "gobi" in trained:
        gobi = trained["gobi"].state
        document["gillis"] = _train_gillis(settings, out, gobi, found, about, say)
        document["compressed"] = _choose_ratio(settings, out, gobi, found, about, say)
    return document


def _train_placer(settings: LearningSettings, placer: Daso, found: Collected, mab: Mab, say: Say) -> TrainedSurrogate:
    say(f"training {placer.name}", 0.0)
    traces = found.traces[placer.name]
    held = max(settings.runs // 4, 1)
    learned_from = tuple(range(max(settings.runs - held, 1)))
    held_out = tuple(range(settings.runs - held, settings.runs))
    start = placer.init(found.view)
    rng = generator(settings.seed, "fit", placer.name)
    result = fit(
        start.surrogate, traces.of(learned_from), traces.of(held_out), placer.lr, placer.weight_decay, rng,
        lambda epoch, mse: say(f"training {placer.name}: held-out MSE {mse:.4f}", min(epoch / 60, 1.0)),
        _renaming(placer, found.view, settings.seed),
    )  # fmt: skip
    state = placer.state(result.surrogate, start.time_s, start.devices, placer.eta, trained=True)
    bandit = replace(found.bandit.bandit, t=0)
    scores: dict[float, list[float]] = {}
    for i, eta in enumerate(ETAS):
        say(f"tuning {placer.name}: η = {eta:g}", i / len(ETAS))
        states = States(bandit, replace(state, eta=eta))
        scores[eta] = [_objective(settings, mab, placer, states, s) for s in TUNING_SEEDS]
    means = {eta: float(np.mean(each)) for eta, each in scores.items()}
    return TrainedSurrogate(result, replace(state, eta=chosen_eta(scores)), means)


def chosen_eta(scores: Mapping[float, Sequence[float]]) -> float:
    """The paper's step, unless others realise more on every tuning run; of those, the one with the best mean.

    Args:
        scores: O^P of each tuning run by η, the paper's first.
    """
    printed = next(iter(scores))
    better = [eta for eta in scores if all(a > b for a, b in zip(scores[eta], scores[printed], strict=True))]
    return max(better, key=lambda eta: float(np.mean(scores[eta])), default=printed)


def _renaming(placer: Daso, view: View, seed: int) -> Callable[[Floats], Floats]:
    """Which of several devices alike does what makes no difference; a flat FCN does not know until it is shown."""
    layout, groups, rng = placer.features(len(view.devices.names)), alike(view), generator(seed, "alike", placer.name)

    def vary(x_BN: Floats) -> Floats:
        if x_BN.ndim > 2:  # the shared form cannot tell them apart anyway
            return x_BN
        order_BD = np.tile(np.arange(len(view.devices.names)), (len(x_BN), 1))
        for group in groups:
            order_BD[:, group] = rng.permuted(order_BD[:, group], axis=1)
        return layout.renamed(x_BN, order_BD)

    return vary


def _tuning_run(
    settings: LearningSettings, decider: Decider, placer: Placer, states: States, seed: int, score: Score | None = None
) -> SimulationRun:
    at = SEED_BASE + 1000 * settings.seed + 900 + seed  # beyond the training runs
    intervals = min(TUNING_INTERVALS, settings.intervals)
    policy = Composed(decider, placer)
    return simulate(
        settings.scenario, settings.fleet, settings.demand, policy, intervals, at, states, score, strict=True
    )


def _objective(settings: LearningSettings, decider: Decider, placer: Placer, states: States, seed: int) -> float:
    score = Score()
    _tuning_run(settings, decider, placer, states, seed, score)
    return score.mean


def _train_gillis(
    settings: LearningSettings,
    out: Path,
    gobi: DasoState,
    found: Collected,
    about: dict[str, str | int | float],
    say: Say,
) -> dict[str, object]:
    """The same number of intervals as the bandit, with GOBI placing."""
    gillis = Gillis(explore=True)
    run = simulate(
        settings.scenario,
        settings.fleet,
        settings.demand,
        Composed(gillis, Gobi()),
        settings.intervals,
        SEED_BASE + 1000 * settings.seed,
        States(gillis.init(found.view), gobi),
        progress=lambda interval: say("training gillis", interval / settings.intervals),
        strict=True,
    )
    store.save(out, Gillis(), run.states.decider, found.view, about)
    return {"visited": int((run.states.decider.count > 0).sum()), "updates": int(run.states.decider.count.sum())}


def _choose_ratio(
    settings: LearningSettings,
    out: Path,
    gobi: DasoState,
    found: Collected,
    about: dict[str, str | int | float],
    say: Say,
) -> dict[str, object]:
    """MC's compressed model of each application: by the reward of the tuning runs, all at one rank of size."""
    say("choosing compression", 0.0)
    decider, scores = Compressed(), {}
    candidates = Compressed.candidates(found.view)
    for rank in range(max(len(rows) for rows in candidates)):
        split_A = tuple(rows[min(rank, len(rows) - 1)] for rows in candidates)
        states = States(CompressedState(split_A), gobi)
        runs = [_tuning_run(settings, decider, Gobi(), states, seed) for seed in TUNING_SEEDS]
        scores[split_A] = float(np.mean([run.metrics.reward or 0.0 for run in runs]))
    best = max(scores, key=lambda split_A: scores[split_A])
    store.save(out, decider, CompressedState(best), found.view, about)
    references = found.view.splits.references
    return {"splits": [references[row] for row in best], "rewards": list(scores.values())}


def _write_traces(found: Collected, out: Path) -> None:
    for name, traces in found.traces.items():
        flat = traces.x_BN.reshape(len(traces.y_B), -1).astype(np.float32)
        columns: dict[str, Any] = {"run": traces.run_B.astype(np.int64), "objective": traces.y_B, "x": list(flat)}
        write_parquet(out / f"traces.{name}.parquet", columns, f'{{"placer": "{name}"}}')
