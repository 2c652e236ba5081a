"""What a policy leaves undone gains it nothing: the cohort that is scored is nobody's choice."""

from dataclasses import replace

import numpy as np
import pytest

from splitplace.placement.learning.score import Score
from splitplace.placement.placers.least_loaded import LeastLoaded, least_loaded
from splitplace.placement.simulator.demands import load_demand
from splitplace.placement.simulator.run import simulate
from splitplace.placement.simulator.shipped import load_fleet, load_scenario
from splitplace.records.action import Decide, Wait

GAIN = 0.0005
INTERVALS, SEEDS = 40, (11, 12)


class Honest(LeastLoaded):
    """The most accurate split for every task, on the least loaded devices."""

    name = "honest"

    def __init__(self, end_s):
        self.end_s = end_s

    def decide(self, state, view, rng):
        """By evaluated accuracy; of equals the one in one piece."""
        splits, tasks = view.splits, view.tasks
        worth_S = splits.top1_S - 1e-3 * (splits.count_S > 1)
        rows_AS = [np.where(splits.application_S == a, worth_S, -1.0) for a in range(len(view.applications))]
        return [
            Decide(int(tasks.id_T[row]), int(rows_AS[int(tasks.application_T[row])].argmax()))
            for row in tasks.undecided
        ]

    def place(self, state, view, requests, rng):
        """All but those that are held back."""
        held = [request for request in requests if self.holds(view, request)]
        waits = [Wait(int(view.tasks.id_T[request.task]), f) for request in held for f in request.fragments]
        return [*least_loaded(view, [request for request in requests if request not in held]), *waits]

    def holds(self, view, request):
        """Nothing."""
        return False


class LeavesTheHard(Honest):
    """Never starts what is hard and need not end within the run."""

    name = "leaves-the-hard"

    def holds(self, view, request):
        """Of low accuracy and due after the end."""
        due_s = view.now_s - view.tasks.age_s_T[request.task] + view.tasks.deadline_s_T[request.task]
        return due_s > self.end_s and view.splits.top1_S[request.split] < 0.68


class LeavesTheLate(Honest):
    """Gives up what it cannot do in time any more."""

    name = "leaves-the-late"

    def holds(self, view, request):
        """Past its deadline."""
        return bool(view.tasks.age_s_T[request.task] > view.tasks.deadline_s_T[request.task])


class StartsNone(Honest):
    """Keeps the fleet idle."""

    name = "starts-none"

    def holds(self, view, request):
        """Everything."""
        return True


@pytest.fixture(scope="module")
def gains():
    """Of a policy over the honest one, means over seeds: reward, accuracy, deadlines met, realised O^P."""
    known = {}

    def figures(policy, scenario):
        if (policy, scenario) not in known:
            chosen, demand, found = load_scenario(scenario), load_demand("measured"), []
            end_s = INTERVALS * chosen.interval_s
            for seed in SEEDS:
                score = Score(from_s=chosen.startup_s, to_s=end_s)
                run = simulate(chosen, load_fleet(chosen.fleet), demand, policy(end_s), INTERVALS, seed, watch=score)
                m = run.metrics
                found.append((m.reward, m.accuracy, 1 - m.sla_violation, score.mean))
            known[policy, scenario] = np.mean(found, axis=0)
        return known[policy, scenario]

    return lambda policy, scenario: figures(policy, scenario) - figures(Honest, scenario)


@pytest.mark.parametrize("scenario", ["measured-50", "paper-50"])
@pytest.mark.parametrize("policy", [LeavesTheHard, StartsNone])
def test_a_policy_that_leaves_tasks_undone_gains_nothing(gains, policy, scenario):
    """Neither in reward nor in accuracy, deadlines met or O^P."""
    assert (gains(policy, scenario) <= GAIN).all()


@pytest.mark.parametrize("scenario", ["measured-50", "paper-50"])
def test_what_is_late_is_worth_finishing(gains, scenario):
    """Whoever gives it up has p = 0 of it."""
    assert (gains(LeavesTheLate, scenario)[:3] <= GAIN).all()


@pytest.mark.parametrize("scenario", ["measured-50", "paper-50"])
def test_a_policy_that_starts_nothing_loses_everything(gains, scenario):
    """The honest policy's reward, and of O^P more than idle hosts save in energy."""
    reward, *_, objective = gains(StartsNone, scenario)
    assert reward < -0.5
    assert objective < -0.5


def test_o_p_is_of_intervals_after_start_up_and_before_the_last_deadlines(view, left):
    """Intervals of 300 s, deadlines of 100 at most: of four with a task each, the second alone counts."""
    first, score = view(), Score(beta=0.0, from_s=300.0, to_s=1000.0)
    for at_s, p in ((300.0, 0.1), (600.0, 0.8), (901.0, 0.2), (1000.0, 0.3)):
        score(replace(first, now_s=at_s, finished=left((0, 10, 9.0, p, 0))), [])
    assert score.intervals == pytest.approx([0.9])
    assert score.from_s == [300.0]
