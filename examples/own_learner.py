"""A decider that is trained beforehand: how long tasks take, as a function fitted to runs of the training workload."""

import tempfile
from dataclasses import dataclass

import numpy as np

import splitplace as sp


@dataclass(frozen=True)
class Responses:
    """Tasks that left: what was known when they were decided, and log(1 + response in seconds)."""

    x: np.ndarray
    y: np.ndarray

    def __len__(self):
        return len(self.y)

    def __getitem__(self, rows):
        return Responses(self.x[rows], self.y[rows])


def features(view, row, split):
    """Work alone, mean backlog a core, longest fragment (log seconds), and a one: shape (4,)."""
    n = int(view.tasks.n_T[row])
    service_s = [float(np.median(view.fragments.service_s(f, n))) for f in view.splits.fragments(split)]
    backlog_s = view.devices.backlog_s_D.sum() / view.devices.servers_D.sum()
    return np.array([np.log1p(sum(service_s)), np.log1p(backlog_s), np.log1p(max(service_s)), 1.0])


def predict(weights, some, xp):
    """Log(1 + response) by one hidden layer; `xp` is numpy or torch, and torch differentiates it as it stands."""
    hidden, out = weights
    return xp.tanh(xp.asarray(some.x) @ hidden) @ out


class Seen:
    """Watches a run."""

    def __init__(self):
        self.asked, self.x, self.y = {}, [], []

    def __call__(self, view, actions):
        """Notes what each task was decided on, and what came of those that left."""
        rows = {int(task): row for row, task in enumerate(view.tasks.id_T)}
        for action in actions:
            if isinstance(action, sp.Decide):
                self.asked[action.task] = features(view, rows[action.task], action.split)
        for task, response_s in zip(view.finished.id_E.tolist(), view.finished.response_s_E, strict=True):
            self.x.append(self.asked[task])
            self.y.append(np.log1p(response_s))


class Foreseeing:
    """Of the splits on offer, the one with the best reward if tasks take what was learned."""

    name = "foreseeing"

    def init(self, view):
        """Random weights, the same for every run."""
        rng = np.random.default_rng(0)
        return rng.normal(0, 0.5, (4, 8)), rng.normal(0, 0.5, 8)

    def decide(self, state, view, rng):
        """Reward as the paper's: half for the deadline, half for the accuracy of the split's evaluation."""
        tasks, splits, decisions = view.tasks, view.splits, []
        for row in tasks.undecided:
            offered = np.flatnonzero(splits.application_S == tasks.application_T[row])
            x = np.stack([features(view, row, split) for split in offered])
            met = np.expm1(predict(state, Responses(x, x[:, 0]), np)) <= tasks.deadline_s_T[row] - tasks.age_s_T[row]
            best = offered[int(np.argmax(met + splits.top1_S[offered]))]
            decisions.append(sp.Decide(int(tasks.id_T[row]), int(best)))
        return decisions

    def update(self, state, feedback):
        """Learns nothing while it runs."""
        return state

    def train(self, traces):
        """Least squares on every run but those that are held out."""
        runs = []
        for run in range(traces.runs):
            traces.replay(run, seen := Seen())
            runs.append(Responses(np.array(seen.x), np.array(seen.y)))
        last, recipe = runs.pop(), sp.Recipe(lr=1e-2, weight_decay=1e-4)
        every = Responses(np.concatenate([r.x for r in runs]), np.concatenate([r.y for r in runs]))
        rng = np.random.default_rng(traces.seed)
        fit = traces.fit(self.name, predict, self.init(traces.view), every, last, recipe, rng)
        return sp.Taught(fit.weights, fit.figures())

    def describe(self, loaded):
        """What `policy show` prints below the figures of the training."""
        return [f"{sum(a.size for a in loaded.arrays.values())} weights"]

    def pack(self, state):
        """For a file."""
        return sp.Packed({"hidden": state[0], "out": state[1]}, {})

    def unpack(self, packed, view):
        """From it."""
        return packed.arrays["hidden"], packed.arrays["out"]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        taught = sp.train_policy(out=folder, fleet="azure10", runs=4, intervals=60, parts=["own_learner:Foreseeing"])
        about = taught["learned"]["foreseeing"]["about"]
        print(f"explains {about['explained']:.0%} of the variance of runs it has not seen")
        policy = sp.parse_policy("own_learner:Foreseeing+least-loaded")
        done = sp.simulate(policy, scenario="measured-50", fleet="azure10", state=folder, intervals=30)
        print(f"reward {done.metrics.reward:.3f}, decisions {done.metrics.decisions}")
