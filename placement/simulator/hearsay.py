"""What a policy is told of costs, where a scenario says that it is told wrong; what happens goes by the truth.

Profiles age, devices throttle and evaluations are of other images: whoever decides has to find out. Tasks, deadlines,
loads and bounds are of the truth, so that a run with mistakes is paired with the same run without.
"""

from dataclasses import replace

import numpy as np

from splitplace.placement.simulator.costs import Costs
from splitplace.placement.simulator.scenario import Mistakes
from splitplace.seeds import generator


def hearsay(costs: Costs, mistakes: Mistakes, seed: int) -> Costs:
    """The costs as policies are told them; the same where there is no mistake.

    Args:
        costs: As they are.
        mistakes: How wrong.
        seed: Of the run; every kind of mistake has a generator of its own.
    """
    told = costs
    if mistakes.profiles > 1 and (count := round(mistakes.devices * costs.fragments.latency_s_FD.shape[1])):
        rng = generator(seed, "mistakes", "profiles")
        factor_D = np.ones(costs.fragments.latency_s_FD.shape[1])
        wrong = rng.choice(len(factor_D), count, replace=False)
        factor_D[wrong] = mistakes.profiles ** rng.choice([-1.0, 1.0], count)
        told = replace(told, fragments=replace(told.fragments, latency_s_FD=told.fragments.latency_s_FD * factor_D))
    if mistakes.evaluations:
        rng = generator(seed, "mistakes", "evaluations")
        by_S = mistakes.evaluations * rng.choice([-1.0, 1.0], len(costs.splits.top1_S))
        told = replace(told, splits=replace(told.splits, top1_S=np.clip(costs.splits.top1_S + by_S, 0.0, 1.0)))
    return told
