"""The soak bench: how growth is told from samples, and that a death and a stall are told apart."""

import os
import signal

import numpy as np
import pytest

from splitplace.benchmarks import soak, soak_load
from splitplace.errors import UsageError
from splitplace.placement.serve.client import Client


def test_growth_is_the_slope_after_the_start_and_one_odd_sample_does_not_change_it():
    """5 MB a minute, told from samples of which the first quarter rises steeply and one is far off."""
    seconds = np.arange(0.0, 400.0, 5.0)
    held = [int(100e6 + 5e6 * at / 60 - (50e6 * (1 - at / 60) if at < 60 else 0)) for at in seconds]
    held[50] += 500_000_000
    found = soak.memory_of("broker", list(zip(seconds.tolist(), held, strict=True)))
    assert found.slope_bytes_per_min == pytest.approx(5e6, rel=1e-2)
    assert found.first_bytes == held[20] and found.peak_bytes == held[50]


def test_the_mean_size_of_a_task_is_that_of_the_tasks():
    """In closed form, against a million draws."""
    drawn = np.exp(np.random.default_rng(0).uniform(0, np.log(soak_load.MOST_IMAGES + 1), 10**6)).astype(int)
    assert soak_load.mean_images() == pytest.approx(drawn.mean(), rel=0.01)


@pytest.fixture
def short(monkeypatch):
    """A run of seconds."""
    for name, value in {"WARM_S": 0.5, "CAPACITY_S": 1.0, "STALL_EVERY_S": 1.0, "SAMPLE_S": 0.5}.items():
        monkeypatch.setattr(soak, name, value)


@pytest.mark.slow
def test_a_stalled_device_is_no_death_and_every_task_is_answered(tmp_path, short):
    """Ten seconds, with four stalls."""
    found = soak.run(tmp_path / "soak.json", tmp_path / "work", 1 / 6, 0.2, 1.0, 1, lambda said: None)
    assert (found.deaths, found.failed, found.refused, found.hung) == (0, 0, 0, 0)
    assert found.answered == found.tasks > 0 and found.stalls >= 2
    assert {memory.process for memory in found.memory} == {"broker", "client", "device-0", "device-1", "device-2"}
    assert found.data_bytes["journal"] > 0 and found.data_peak_bytes < soak.LIMIT_BYTES
    assert soak.SoakResults.parse((tmp_path / "soak.json").read_bytes(), "soak.json") == found


@pytest.mark.slow
def test_a_killed_device_is_a_death(tmp_path, short, monkeypatch):
    """Even though another process takes its place."""
    sample, killed = soak._Soak._sample, []

    def kill_and_sample(self, *given):
        if not killed:
            killed.append(Client(self.data).status().devices[0].pid)
            os.kill(killed[0], signal.SIGKILL)
        sample(self, *given)

    monkeypatch.setattr(soak._Soak, "_sample", kill_and_sample)
    found = soak.run(tmp_path / "soak.json", tmp_path / "work", 0.1, 0.2, 1.0, 1, lambda said: None)
    assert found.deaths == 1
    assert not soak.verdict(found)["devices taken for dead that were stopped for 2 s: 0"]


def test_a_folder_that_is_none_of_its_runs_is_left_alone(tmp_path):
    """Refused by name."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("x")
    with pytest.raises(UsageError, match="no run of this bench"):
        soak.run(tmp_path / "soak.json", tmp_path, 1.0, 0.8, 0.4, 1, lambda said: None)
    assert (tmp_path / "run" / "thesis.txt").exists()
