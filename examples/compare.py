"""Two policies on the same tasks, seed by seed: a difference counts if its interval leaves out zero."""

import numpy as np
from scipy import stats

import splitplace as sp

SEEDS = range(5)


def rewards(policy):
    """Mean reward of each seed's run; the same seed means the same tasks, whatever the policy."""
    runs = (sp.simulate(policy, scenario="measured-50", intervals=20, seed=seed) for seed in SEEDS)
    return np.array([run.metrics.reward for run in runs])


if __name__ == "__main__":
    gain = rewards("layer+daso-tasks") - rewards("layer+least-loaded")
    half = stats.t.ppf(0.975, len(gain) - 1) * gain.std(ddof=1) / np.sqrt(len(gain))
    print(f"daso-tasks over least-loaded: {gain.mean():+.3f} [{gain.mean() - half:+.3f}, {gain.mean() + half:+.3f}]")
