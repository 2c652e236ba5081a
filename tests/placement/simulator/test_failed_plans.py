"""A policy that raises or breaks a rule fails its own plan, by name: its tasks wait for the next, and it is counted."""

import re

import pytest

from splitplace.errors import SplitPlaceError

CHAIN = {"core_s": (1.0, 1.0, 1.0), "application": "toy"}
OTHER = {"core_s": (1.0,), "application": "other"}
ARRIVAL_S = 350.0


@pytest.fixture
def run(world, by_hand):
    """One task of `toy` in interval 3, on a device that has room, one that has none and one that is gone."""
    fleet = world.fleet(
        world.device(name="ok", memory_bytes=300),
        world.device(name="tiny", memory_bytes=1),
        world.device(name="dead", memory_bytes=300),
    )
    demand = world.constants(CHAIN, OTHER, memory_bytes=100)

    def play(policy, **changes):
        gone = {"events": ({"time_s": 1.0, "device": "dead", "kind": "leave"},), "strict": False} | changes
        return by_hand([(ARRIVAL_S, "toy", 1, 900)], fleet, demand, policy, **gone)

    return play


def test_a_plan_that_breaks_a_rule_fails_by_name(run, rogue, bad):
    """The same rules as on a fleet. The task is placed by the next plan, at the next interval's start."""
    found = run(rogue(bad))
    assert found.metrics.failed_plans == 1
    assert re.fullmatch(f"in interval 3: .*{re.escape(bad.said)}.*", found.first_failure)
    assert found.metrics.tasks.finished == 1
    assert found.tasks["wait_s"][0] == pytest.approx(400 - ARRIVAL_S)


def test_a_policy_that_behaves_fails_no_plan(run, rogue):
    """And nothing waits."""
    found = run(rogue())
    assert (found.metrics.failed_plans, found.first_failure) == (0, None)
    assert found.tasks["wait_s"][0] == 0


def test_a_policy_that_fails_every_plan_is_an_error(run, rogue, bad):
    """Not an idle fleet's figures: the first reason and the number of plans, at the end of the run at the latest."""
    said = f"policy rogue failed every plan \\(7 of them\\), the first in interval 3: .*{re.escape(bad.said)}"
    with pytest.raises(SplitPlaceError, match=said):
        run(rogue(bad, always=True))


def test_it_is_not_asked_for_ever(run, rogue):
    """A run that could only show an idle fleet ends after ten plans."""
    asked = []

    class Broken(rogue):
        def decide(self, state, view, rng):
            asked.append(view.now_s)
            raise ValueError("no")

    with pytest.raises(SplitPlaceError, match=r"10 of them.*in interval 0: ValueError: no"):
        run(Broken(), intervals=100_000)
    assert len(asked) == 10


@pytest.mark.parametrize(
    ("part", "table"),
    [("fragments", "latency_s_FD"), ("splits", "top1_S"), ("devices", "memory_used_bytes_D"), ("links", "rtt_s_D")],
)
def test_what_a_policy_is_shown_it_cannot_change(run, rogue, part, table):
    """Written into, a table that the run goes by would change what things cost, or what the plan is held against."""

    class Scribbler(rogue):
        def decide(self, state, view, rng):
            getattr(getattr(view, part), table)[:] = 0
            return super().decide(state, view, rng)

    with pytest.raises(SplitPlaceError, match=r"policy rogue failed every plan .* read-only"):
        run(Scribbler())


class Sleepy:
    """A bad answer for tests that need but one."""

    method, said = "place", "KeyError"

    @staticmethod
    def answer(right, view, todo):
        """None."""
        raise KeyError("asleep")


def test_a_strict_run_ends_at_the_first(run, rogue):
    """For what is measured or learned from it."""
    with pytest.raises(SplitPlaceError, match=r"policy rogue failed in interval 3: KeyError: 'asleep'"):
        run(rogue(Sleepy), strict=True)


def test_a_failed_plan_leaves_what_the_policy_knew(run, rogue):
    """What it made of the plan that failed is forgotten with it: the decision is counted once."""

    class Counting(rogue):
        def init(self, view):
            return 0

        def update(self, state, feedback):
            return state + (type(feedback).__name__ == "Taken" and len(feedback.decisions))

    assert run(Counting(Sleepy)).states == 1
