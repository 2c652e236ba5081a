"""A decider that learns: Thompson sampling (Thompson 1933) between layer and semantic, for each application."""

from dataclasses import dataclass

import numpy as np

import splitplace as sp

ARMS = ("layer", "semantic")


@dataclass(frozen=True)
class Beliefs:
    """Beta distributions of each arm's reward: applications x arms."""

    won_Ad: np.ndarray
    lost_Ad: np.ndarray


class Thompson:
    """Draws a reward for each arm from what it believes, and takes the arm that drew more."""

    name = "thompson"

    def init(self, view):
        """Everything is equally likely."""
        shape = len(view.applications), len(ARMS)
        return Beliefs(np.ones(shape), np.ones(shape))

    def decide(self, state, view, rng):
        """One draw an arm and task; randomness from the generator that is given."""
        tasks, decisions = view.tasks, []
        for row in tasks.undecided:
            application = int(tasks.application_T[row])
            drawn = rng.beta(state.won_Ad[application], state.lost_Ad[application])
            arm = int(np.argmax(drawn))
            split = view.offers[application, ARMS[arm]]
            decisions.append(sp.Decide(int(tasks.id_T[row]), split, tag=arm))
        return decisions

    def update(self, state, feedback):
        """Half for the deadline, half for the share of images answered right, as the paper's reward."""
        if not isinstance(feedback, sp.Leaving):
            return state
        left = feedback.finished
        reward_E = ((left.response_s_E <= left.deadline_s_E) + left.accuracy_E) / 2
        won_Ad, lost_Ad = state.won_Ad.copy(), state.lost_Ad.copy()
        np.add.at(won_Ad, (left.application_E, left.tag_E), reward_E)
        np.add.at(lost_Ad, (left.application_E, left.tag_E), 1 - reward_E)
        return Beliefs(won_Ad, lost_Ad)


if __name__ == "__main__":
    least_loaded = sp.parse_policy("layer+least-loaded").placer
    done = sp.simulate(sp.Composed(Thompson(), least_loaded), demand="upstream", intervals=20)
    print(f"reward {done.metrics.reward:.3f}, decisions {done.metrics.decisions}")
