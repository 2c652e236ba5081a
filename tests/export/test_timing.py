"""Timing in rounds, on a clock that the test turns."""

import pytest

from splitplace.export.measure import timing
from splitplace.inference import probe


class ShiftingCore:
    """A core whose speed changes: the clock moves by what runs on it."""

    def __init__(self, monkeypatch, speeds):
        self.now, self.lost, self.speeds, self.turns = 0.0, 0.0, speeds, 0
        machine = self

        class Probe:
            def __init__(self, threads):
                pass

            def times(self, block_s, budget_s):
                return [probe.REFERENCE_S / machine.speed]

        monkeypatch.setattr(timing.probe, "Probe", Probe)
        monkeypatch.setattr(timing, "perf_counter", lambda: machine.now)
        monkeypatch.setattr(timing, "thread_time", lambda: machine.now - machine.lost)

    @property
    def speed(self):
        """Of the round that runs."""
        return self.speeds[min(self.turns, len(self.speeds) - 1)]

    def work(self, seconds):
        """What takes so long at speed 1."""

        def run():
            self.now += seconds / self.speed

        return run

    def next_round(self, number):
        """The speed may change now."""
        self.turns = number + 1


def test_a_machine_that_slows_down_between_rounds_does_not_change_the_answer(monkeypatch):
    """At speed 1, then 0.5, then 1 again, latencies are those of the median speed: the constant machine's."""
    found = []
    for speeds in ([1.0], [1.0, 1.0, 0.5, 1.0, 1.0]):
        machine = ShiftingCore(monkeypatch, speeds)
        works = {1: machine.work(0.01), 8: machine.work(0.07)}
        found.append(timing.in_rounds(works, threads=1, rounds=5, budget_s=0.5, after_round=machine.next_round))
    (steady_speed, steady), (speed, drifting) = found
    assert speed == steady_speed == 1.0
    for row, reference, seconds in zip(drifting, steady, (0.01, 0.07), strict=True):
        assert reference.median_s == pytest.approx(seconds)
        assert row.median_s == pytest.approx(seconds)


def test_half_the_speed_is_twice_the_time_at_half_the_core_speed(monkeypatch):
    """Latency x core_speed is the same on both: what the contract scales by."""
    machine = ShiftingCore(monkeypatch, [0.5])
    speed, (row,) = timing.in_rounds({4: machine.work(0.01)}, threads=1, rounds=3, budget_s=0.3)
    assert (speed, row.median_s) == (0.5, pytest.approx(0.02))


def test_a_run_that_outlasts_the_budget_is_made_three_times(monkeypatch):
    """Beside one warm-up: no uncounted run before each, for nothing is left in the caches of so long a run."""
    machine = ShiftingCore(monkeypatch, [1.0])
    rounds = []
    _, (row, short) = timing.in_rounds(
        {256: machine.work(10.0), 1: machine.work(0.01)}, threads=1, rounds=10, budget_s=1.0, after_round=rounds.append
    )
    assert row.runs == 3
    assert short.runs == pytest.approx(100, abs=10)
    assert rounds == list(range(10))


def test_under_a_quota_a_sample_is_the_mean_of_a_block(monkeypatch):
    """Every other run is paused for 0.03 s: runs of 0.01 and 0.04 s count as 0.025."""
    machine = ShiftingCore(monkeypatch, [1.0])
    runs = []

    def paused():
        machine.now += 0.04 if len(runs) % 2 else 0.01
        runs.append(1)

    _, (row,) = timing.in_rounds({1: paused}, threads=1, rounds=4, budget_s=4.0, block_s=0.5)
    assert row.p10_s == pytest.approx(0.025, rel=0.05)
    assert row.p90_s == pytest.approx(0.025, rel=0.05)


def test_what_another_process_takes_of_the_core_is_not_counted(monkeypatch):
    """Work of 0.01 s that has to wait 0.02 s for its core: only the work is its cost."""
    machine = ShiftingCore(monkeypatch, [1.0])

    def interrupted():
        machine.now += 0.03
        machine.lost += 0.02

    _, (row,) = timing.in_rounds({1: interrupted}, threads=1, rounds=3, budget_s=0.3)
    assert row.p90_s == pytest.approx(0.01)
