"""A decider of your own: a chain for whoever can wait for it, branches for the rest. It learns nothing."""

import numpy as np

import splitplace as sp


class Patient:
    """Layer splits where the deadline is at least twice what a chain takes on idle devices."""

    name = "patient"

    def init(self, view):
        """Remembers nothing."""

    def update(self, state, feedback):
        """Learns nothing."""

    def decide(self, state, view, rng):
        """One decision for each undecided task."""
        tasks, decisions = view.tasks, []
        for row in tasks.undecided:
            chain = view.offers[int(tasks.application_T[row]), "layer"]
            branches = view.offers[int(tasks.application_T[row]), "semantic"]
            fragments = view.splits.fragments(chain)
            alone_s = sum(np.median(view.fragments.service_s(f, int(tasks.n_T[row]))) for f in fragments)
            split = chain if tasks.deadline_s_T[row] >= 2 * alone_s else branches
            decisions.append(sp.Decide(int(tasks.id_T[row]), split))
        return decisions


if __name__ == "__main__":
    least_loaded = sp.parse_policy("layer+least-loaded").placer
    done = sp.simulate(sp.Composed(Patient(), least_loaded), demand="upstream", intervals=20)
    print(f"reward {done.metrics.reward:.3f}, decisions {done.metrics.decisions}")
