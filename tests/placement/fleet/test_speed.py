"""How well a speed is known, and what the fleet does about a share that came out wrong."""

import statistics
from types import SimpleNamespace

import numpy as np
import pytest

from splitplace.errors import NotReadyError
from splitplace.inference.speed import median_error
from splitplace.placement.broker import probing
from splitplace.placement.broker.member import Member
from splitplace.placement.broker.probing import SpeedProbe


def test_the_error_of_a_median_is_its_scatter_over_many_samples():
    """Against the scatter of the medians of 4,000 samples of 15 normal values around 1."""
    rng = np.random.default_rng(0)
    samples = rng.normal(1.0, 0.1, (4000, 15)).tolist()
    scatter = statistics.stdev(statistics.median(sample) for sample in samples)
    assert statistics.median(median_error(sample) for sample in samples) == pytest.approx(scatter, rel=0.15)


def test_one_outlier_does_not_move_the_error():
    """A neighbour that took the core away once says nothing about the other rounds."""
    calm = [1.0, 1.01, 0.99, 1.02, 0.98]
    assert median_error([*calm, 5.0]) < 2 * median_error(calm)


ERRORS = {"a": 1.0, "b": 0.85, "c": 1.02}
"""Of a machine, by device."""


def test_a_share_that_came_out_wrong_is_trimmed_and_measured_again(toy):
    """15 % too slow: the share grows by 1/0.85; 2 % off stays; what is reported is the second measurement."""
    shares = {"a": 0.8, "b": 0.5, "c": 0.4}
    members = [Member(toy.make_device(name), row, share) for row, (name, share) in enumerate(shares.items())]

    def answer(member):
        member.core_speeds.append(member.cpu_share * member.trim * ERRORS[member.name])

    SpeedProbe(answer, dict, lambda: False).measure(members)
    first, second, third = members
    assert [member.trim for member in members] == [1.0, pytest.approx(1 / 0.85), 1.0]
    assert second.off(first) == pytest.approx(1.0)
    assert third.off(first) == pytest.approx(1.02)


class Probed:
    """Devices that are asked to probe, some of which end or say nothing, on a fake clock."""

    def __init__(self, toy, *, ends=None, silent="", shares=(1.0, 1.0, 1.0)):
        self.members = [Member(toy.make_device(name), row, shares[row]) for row, name in enumerate("abc")]
        self.ends, self.silent, self.clock_s, self.asked = ends or {}, silent, 0.0, ""
        self.stopping = False

    def ask(self, member):
        """Answered at once, by who is well."""
        self.asked += member.name
        if member.name not in self.silent:
            member.core_speeds.append(member.cpu_share)

    def listen(self):
        """A moment passes; who has ended while somebody was asked is told once."""
        self.clock_s += 0.1
        return self.ends.pop(self.asked[-1], {})

    def measure(self, monkeypatch):
        """All of them; who was lost."""
        monkeypatch.setattr(probing, "time", SimpleNamespace(monotonic=lambda: self.clock_s))
        return SpeedProbe(self.ask, self.listen, lambda: self.stopping).measure(self.members)


def test_a_device_that_ends_during_anothers_probe_is_not_waited_for(toy, monkeypatch):
    """Its end is told once, and remembered; the others are probed, and nobody's time is spent on it."""
    probed = Probed(toy, silent="ab", ends={"a": {"a": "killed", "b": "killed by signal 9"}})
    assert probed.measure(monkeypatch) == {"a": "killed", "b": "killed by signal 9"}
    assert probed.members[2].core_speeds == [1.0] and probed.clock_s < 1.0


def test_a_device_that_does_not_answer_the_probe_is_passed_over(toy, monkeypatch):
    """Once others have answered; it is asked no more, also in the rounds that follow, and the next is compared with."""
    probed = Probed(toy, silent="a", shares=(0.5, 0.5, 0.25))
    assert probed.measure(monkeypatch) == {"a": "it did not answer the probe within 20 s"}
    assert probed.asked.count("a") == 1 and probed.clock_s < 1.5 * probing.LEAST_PATIENCE_S
    assert [len(member.core_speeds) for member in probed.members[1:]] == [probing.PROBE_ROUNDS[0]] * 2


def test_a_small_share_is_given_the_time_that_it_needs(toy, monkeypatch):
    """A twentieth of the machine takes twenty times as long, by what the others took: 40 s are no reason to go on."""
    probed = Probed(toy, shares=(1.0, 1.0, 0.05))
    took_s, due = {"a": 2.0, "b": 2.0, "c": 40.0}, []

    def slowly(member):
        probed.asked += member.name
        due.append((probed.clock_s + took_s[member.name], member))

    def listen():
        probed.clock_s += 0.1
        for at_s, member in [one for one in due if one[0] <= probed.clock_s]:
            due.remove((at_s, member))
            member.core_speeds.append(member.cpu_share)
        return {}

    probed.ask, probed.listen = slowly, listen
    assert probed.measure(monkeypatch) == {}
    assert [len(member.core_speeds) for member in probed.members] == [probing.PROBE_ROUNDS[0]] * 3


def test_where_no_device_answers_the_probe_it_says_why_of_each(toy, monkeypatch):
    """There is no fleet then."""
    probed = Probed(toy, silent="abc", ends={"a": {"a": "killed", "b": "exited with 1"}})
    with pytest.raises(NotReadyError, match=r"device a: killed; device b: exited with 1; device c: it did not answer"):
        probed.measure(monkeypatch)


def test_a_fleet_that_is_stopped_does_not_wait_for_a_probe(toy, monkeypatch):
    """Whoever is to answer."""
    probed = Probed(toy, silent="a")
    probed.stopping = True
    with pytest.raises(NotReadyError, match="stopped while device a was probed"):
        probed.measure(monkeypatch)
    assert probed.clock_s == 0.0
