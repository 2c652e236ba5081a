"""What policies are told wrong: equal truth changes nothing, and nothing but the policy hears of it."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from splitplace.placement.registry import parse_policy
from splitplace.placement.simulator.demands import load_demand
from splitplace.placement.simulator.hearsay import hearsay
from splitplace.placement.simulator.run import simulate
from splitplace.placement.simulator.scenario import Mistakes
from splitplace.placement.simulator.setting import prepare
from splitplace.placement.simulator.shipped import load_fleet, load_scenario

SCENARIO = load_scenario("measured-50")
FLEET, DEMAND = load_fleet("azure10"), load_demand("measured")
COSTS = prepare(SCENARIO, FLEET, DEMAND)[1]


def run(policy, mistakes, seed=0, watch=None):
    """A few intervals."""
    scenario = SCENARIO.model_copy(update={"mistakes": mistakes})
    return simulate(scenario, FLEET, DEMAND, parse_policy(policy), 8, seed, watch=watch)


def same(one, other):
    """Whether every task and fragment went the same way, to the last bit."""
    for part in ("tasks", "fragments", "intervals"):
        columns = getattr(one, part), getattr(other, part)
        for name in columns[0]:
            if not np.array_equal(columns[0][name], columns[1][name], equal_nan=True):
                return False
    return True


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    mistakes=st.sampled_from([Mistakes(), Mistakes(devices=0.5), Mistakes(profiles=3.0, devices=0.0)]),
    seed=st.integers(0, 3),
    policy=st.sampled_from(["joint", "mab+least-loaded", "compressed+earliest-finish"]),
)
def test_no_mistake_is_the_truth(mistakes, seed, policy):
    """A factor of one, or no device of which it is so: the same bytes, whoever decides."""
    assert hearsay(COSTS, mistakes, seed) is COSTS
    assert same(run(policy, mistakes, seed), run(policy, Mistakes(), seed))


@settings(max_examples=8, deadline=None)
@given(
    profiles=st.floats(1.0, 8.0), devices=st.floats(0.0, 1.0), evaluations=st.floats(0.0, 1.0), seed=st.integers(0, 3)
)
def test_what_happens_goes_by_the_truth(profiles, devices, evaluations, seed):
    """Whoever asks neither profiles nor evaluations meets the same tasks, and gets the same."""
    wrong = Mistakes(profiles=profiles, devices=devices, evaluations=evaluations)
    assert same(run("random+random", wrong, seed), run("random+random", Mistakes(), seed))


def test_who_asks_is_misled():
    """Profiles off by eight on half of the devices: whoever goes by them places otherwise."""
    wrong = Mistakes(profiles=8.0, devices=0.5)
    assert not same(run("layer+earliest-finish", wrong), run("layer+earliest-finish", Mistakes()))


def test_profiles_are_wrong_on_so_many_devices():
    """By the factor, one way or the other, all fragments alike; on the others they are right."""
    told = hearsay(COSTS, Mistakes(profiles=2.0, devices=0.3), seed=1)
    ratio_FD = told.fragments.latency_s_FD / COSTS.fragments.latency_s_FD
    assert (ratio_FD == ratio_FD[0]).all()
    found = sorted(ratio_FD[0].tolist())
    assert found.count(1.0) == 7 and set(found) <= {0.5, 1.0, 2.0}
    assert told.splits is COSTS.splits and told.fragments.memory_bytes_FD is COSTS.fragments.memory_bytes_FD


def test_evaluations_are_wrong_by_so_much():
    """Up or down, but no accuracy is below none or above all."""
    told = hearsay(COSTS, Mistakes(evaluations=0.05), seed=1)
    off_S = told.splits.top1_S - COSTS.splits.top1_S
    within_S = (told.splits.top1_S > 0) & (told.splits.top1_S < 1)
    np.testing.assert_allclose(np.abs(off_S[within_S]), 0.05)
    assert (off_S > 0).any() and (off_S < 0).any() and (told.splits.top1_S <= 1).all()
    assert told.fragments is COSTS.fragments


def test_the_view_has_what_is_told_in_its_backlogs_too():
    """Seconds of work waiting are what the policy would compute itself from the profiles it sees."""
    views = []
    run("layer+least-loaded", Mistakes(profiles=2.0), watch=lambda view, _: views.append(view))
    wrong = hearsay(COSTS, Mistakes(profiles=2.0), seed=0)
    seen = [view for view in views if (view.containers.device_C >= 0).any()]
    assert seen
    for view in seen:
        c = view.containers
        np.testing.assert_array_equal(view.fragments.latency_s_FD, wrong.fragments.latency_s_FD)
        placed = np.flatnonzero(c.device_C >= 0)
        work_s_D = np.zeros(len(view.devices.names))
        for row in placed.tolist():
            n, device = int(view.tasks.n_T[c.task_C[row]]), int(c.device_C[row])
            whole_s = float(wrong.fragments.service_s(int(c.fragment_C[row]), n)[device])
            work_s_D[device] += c.remaining_C[row] * whole_s
        np.testing.assert_allclose(view.devices.backlog_s_D, work_s_D)


@pytest.mark.parametrize("wrong", [{"profiles": 0.5}, {"devices": 1.5}, {"evaluations": -0.1}])
def test_mistakes_that_cannot_be_are_refused(wrong):
    """Of factors below one the inverse is meant by the toss of a coin."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Mistakes(**wrong)
