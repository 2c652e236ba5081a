"""The probe that measures a core's speed, on a clock that the test turns."""

from threading import Barrier

import pytest

from splitplace.inference import probe


class Core:
    """A session in the probe's place: each run moves the clock by what the core of that moment takes."""

    def __init__(self, monkeypatch, seconds):
        self.now, self.runs, self.seconds = 0.0, 0, seconds
        monkeypatch.setattr(probe.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(probe, "open_session", lambda *_: self)

    def run(self, outputs, inputs):
        """One run of the probe's model."""
        self.now += self.seconds[self.runs % len(self.seconds)]
        self.runs += 1


def test_the_shipped_model_is_the_one_its_script_builds():
    """Byte by byte, so that speeds measured anywhere compare."""
    from splitplace.export.convert.probe_model import build

    assert build() == probe.model()


def test_the_real_probe_gives_a_speed():
    """The model loads and runs here; how fast is for no test to say."""
    assert probe.core_speed(block_s=0.0, budget_s=0.0) > 0


@pytest.mark.parametrize(("run_s", "speed"), [(probe.REFERENCE_S, 1.0), (probe.REFERENCE_S / 2, 2.0)])
def test_the_speed_is_the_reference_cores_time_over_this_ones(monkeypatch, run_s, speed):
    """And what it takes is the budget, the warm-up and at most one block more."""
    core = Core(monkeypatch, [run_s])
    assert probe.core_speed() == pytest.approx(speed)
    assert 0.6 <= core.now < 0.6 + probe.BLOCK_S + 2 * run_s


def test_of_several_cores_the_mean_speed_is_told(monkeypatch):
    """All probe at once, a session of one thread each, of which one is half as fast as the reference core."""
    opened, together = list[int](), Barrier(2)
    monkeypatch.setattr(probe, "open_session", lambda model, threads, source: opened.append(threads) or len(opened))

    def on_a_core(self, session, block_s):
        together.wait(timeout=300)  # breaks unless both are there
        return session * probe.REFERENCE_S

    monkeypatch.setattr(probe.Probe, "_on_a_core", on_a_core)
    monkeypatch.setattr(probe, "_WARM_UP_S", 0.0)
    assert probe.core_speed(2, block_s=0.0, budget_s=0.0) == pytest.approx(0.75)
    assert opened == [1, 1]


def test_a_block_is_slowed_by_pauses_that_a_single_run_does_not_feel(monkeypatch):
    """Every tenth run is paused for 9 runs: sustained, the core has half of its speed; the median run, all of it."""
    core = Core(monkeypatch, [0.001] * 9 + [0.011])
    assert probe.measure(block_s=0.1, budget_s=1.0) == pytest.approx(0.002, rel=0.1)
    core.runs = 0
    assert probe.measure(block_s=0.0, budget_s=1.0) == pytest.approx(0.001)
