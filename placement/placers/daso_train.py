"""How DASO, GOBI and their variants are trained: the surrogate on traces (eq. 11), then the step of the ascent."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from splitplace.errors import SplitPlaceError
from splitplace.placement.learner import Recipe, Taught, Traces, held_out
from splitplace.placement.policy import Composed, States
from splitplace.placement.surrogates import surrogate
from splitplace.placement.surrogates.ascent import chosen_eta
from splitplace.placement.surrogates.experience import PairRecorder, Pairs
from splitplace.placement.surrogates.features import alike, renamed_at_random
from splitplace.placement.surrogates.network import Weights
from splitplace.placement.surrogates.problem import carried_out
from splitplace.placement.surrogates.surrogate import Surrogate
from splitplace.records.action import Action
from splitplace.records.view import Floats, View
from splitplace.seeds import generator

if TYPE_CHECKING:
    from splitplace.placement.placers.daso import Daso, DasoState

ETAS = (1e-3, 1e1, 1e2, 1e3, 1e4)
"""Steps of eq. 12 that are tried; the first is the paper's."""


def train(placer: "Daso", traces: Traces) -> Taught:
    """Eq. 11 on the pairs of the training workload; then η, by what it realises under the trained bandit.

    Raises:
        SplitPlaceError: In some run, no task left or was overdue.
    """
    start = placer.init(traces.view)
    of_run = [_pairs(placer, traces, start, run) for run in range(traces.runs)]
    run_B = np.repeat(np.arange(traces.runs), [len(pairs) for pairs in of_run])
    pairs = Pairs(np.concatenate([p.x_BN for p in of_run]), np.concatenate([p.y for p in of_run]))
    flat = list(pairs.x_BN.reshape(len(pairs), -1).astype(np.float32))
    traces.keep(placer.name, {"run": run_B, "objective": pairs.y, "x": flat})
    learned_B = run_B < traces.runs - held_out(traces.runs)
    seen, unseen = pairs[np.flatnonzero(learned_B)], pairs[np.flatnonzero(~learned_B)]
    layout, groups = placer.features(start.devices), alike(traces.view)
    rng = generator(traces.seed, "alike", placer.name)

    def vary(shown: Pairs) -> Pairs:
        return replace(shown, x_BN=renamed_at_random(layout, shown.x_BN, groups, rng))

    def predict(weights: Weights, some: Pairs, xp: Any) -> Any:
        return surrogate.predict(replace(start.surrogate, weights=weights), xp.asarray(some.x_BN), xp)

    result = traces.fit(
        placer.name,
        predict,
        # The output starts at the mean, so that no step is spent on finding it.
        (*start.surrogate.weights[:-1], np.full(1, seen.y.mean())),
        seen,
        unseen,
        Recipe(placer.lr, placer.weight_decay),
        generator(traces.seed, "fit", placer.name),
        vary if start.surrogate.form == "flat" else None,  # the shared form cannot tell devices apart anyway
    )
    net = Surrogate(start.surrogate.form, result.weights)
    trained = placer.state(net, start.time_s, start.devices, placer.eta, trained=True)
    (mab, bandit), scores = traces.trained("mab"), dict[float, list[float]]()
    for eta in ETAS:
        states = States(bandit, replace(trained, eta=eta))
        scores[eta] = [worth.objective for worth in traces.tune(Composed(mab, placer), states)]
    eta = chosen_eta(scores)
    realised = {f"objective_at_eta_{eta:g}": float(np.mean(each)) for eta, each in scores.items()}
    return Taught(replace(trained, eta=eta), {"pairs": len(pairs), **result.figures(), "eta": eta, **realised})


def _pairs(placer: "Daso", traces: Traces, start: "DasoState", run: int) -> Pairs:
    """What came of the placements of one run, features scaled by its own largest deadline."""

    def x(view: View, actions: Sequence[Action]) -> Floats:
        return placer.input(replace(start, time_s=view.longest_s), view, carried_out(view, actions))

    recorder = PairRecorder(x, placer.alpha, placer.beta)
    traces.replay(run, recorder)
    pairs = recorder.pairs()
    if pairs is None:
        raise SplitPlaceError(
            f"nothing to learn from: in {traces.intervals} intervals of {traces.view.interval_s:g} s of run {run}, "
            "no task left or was overdue; train for more intervals, or with a larger load"
        )
    return pairs
