"""Emulated speed: shares as stated, by both methods; and the arithmetic of the governor."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from splitplace.errors import SplitPlaceError
from splitplace.inference import cpu_share
from splitplace.inference.cpu_share import PERIOD_US, WEIGHT, Governor, Quota, Whole, open_share, set_quota

pytestmark = pytest.mark.base

WORKER = """
import resource, sys, time
from splitplace.inference.cpu_share import open_share
share = open_share(float(sys.argv[1]), 1, sys.argv[2])
used = lambda: sum(resource.getrusage(resource.RUSAGE_SELF)[:2])

def work():
    end = time.thread_time() + 0.03
    while time.thread_time() < end:
        pass

share.run(work)
wall, cpu = time.perf_counter(), used()
for _ in range(20):
    share.run(work)
print((used() - cpu), (time.perf_counter() - wall))
share.close()
"""


def quota_allowed():
    """Whether this process may create a cgroup with a CPU quota."""
    code = "from splitplace.inference.cpu_share import Quota; Quota(0.5, 1).close()"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=300, check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("method", ["cgroup", "governor"])
@pytest.mark.parametrize("share", [0.5, 0.25])
def test_a_process_never_gets_more_than_its_share(method, share):
    """Of a real core, over 0.6 s of work: neighbours can only take from it, and `bench timings` says what is left.

    A quota is by period: what a period has over, and how the kernel deals it out in slices, are some milliseconds.
    """
    if method == "cgroup" and not quota_allowed():
        with pytest.raises(SplitPlaceError, match="use the governor"):
            open_share(share, 1, "cgroup")
        return
    done = subprocess.run(
        [sys.executable, "-c", WORKER, str(share), method], check=True, capture_output=True, text=True, timeout=300
    )
    cpu_s, wall_s = map(float, done.stdout.split())
    assert cpu_s >= 0.6
    assert cpu_s <= share * wall_s * 1.05 + 2 * PERIOD_US / 1e6


def test_the_governor_pays_back_busy_time_by_the_share(monkeypatch):
    """On a clock of our own: 20 ms of work at a quarter take 80 ms, however the pauses fall."""
    clock = {"now": 0.0}

    def sleep(seconds):
        clock["now"] += seconds + 0.003  # wakes up late, as systems do

    def work():
        clock["now"] += 0.02

    governor = Governor(0.25, threads=2)  # with threads, busy time is wall time
    governor._clock = lambda: clock["now"]
    monkeypatch.setattr(cpu_share.time, "perf_counter", lambda: clock["now"])
    monkeypatch.setattr(cpu_share.time, "sleep", sleep)
    for _ in range(100):
        governor.run(work)
    assert clock["now"] == pytest.approx(100 * 0.08, rel=0.01)


def test_time_lost_to_neighbours_is_not_multiplied(monkeypatch):
    """10 ms of CPU that took 100 ms of wall time on a busy machine, at a quarter: already slower than asked for."""
    clock = {"now": 0.0, "busy": 0.0}

    def work():
        clock["now"] += 0.1
        clock["busy"] += 0.01

    governor = Governor(0.25, threads=1)
    governor._clock = lambda: clock["busy"]
    monkeypatch.setattr(cpu_share.time, "perf_counter", lambda: clock["now"])
    monkeypatch.setattr(cpu_share.time, "sleep", lambda seconds: pytest.fail("no pause is due"))
    governor.run(work)
    assert clock["now"] == pytest.approx(0.1)


def test_a_whole_share_needs_no_method():
    """1 is the machine as it is."""
    share = open_share(1.0, 1)
    assert isinstance(share, Whole) and share.method == "none"


@pytest.mark.parametrize("share", [0.0, -0.5, 1.5, float("nan")])
def test_a_share_out_of_range_is_refused(share):
    """Emulation can only slow down."""
    with pytest.raises(SplitPlaceError, match="cpu_share"):
        open_share(share, 1)


def test_without_a_cgroup_the_governor_takes_over(monkeypatch):
    """`auto` falls back and says so by its method; `cgroup` refuses."""
    monkeypatch.setattr(cpu_share, "_cpu_groups", lambda: iter(()))
    assert open_share(0.5, 1).method == "governor"
    with pytest.raises(SplitPlaceError, match="no cgroup with a cpu controller"):
        open_share(0.5, 1, "cgroup")


@pytest.mark.parametrize("version", [1, 2])
def test_the_quota_is_written_for_both_versions(version, tmp_path, monkeypatch):
    """Against the files of a made-up hierarchy: a quarter of two cores in a period of 20 ms; then all is removed."""
    monkeypatch.setattr(cpu_share, "_cpu_groups", lambda: iter([(tmp_path, version)]))
    monkeypatch.setattr(Path, "rmdir", shutil.rmtree)  # a real cgroup's files vanish with it
    quota = Quota(0.25, 2)
    group = tmp_path / f"splitplace-{os.getpid()}"
    if version == 1:
        assert (group / "cpu.cfs_quota_us").read_text() == "10000"
        assert (group / "cpu.cfs_period_us").read_text() == "20000"
        assert (group / "cpu.shares").read_text() == str(WEIGHT * 1024)
    else:
        assert (group / "cpu.max").read_text() == "10000 20000"
        assert (group / "cpu.weight").read_text() == str(WEIGHT * 100)
    assert (group / "cgroup.procs").read_text() == str(os.getpid())
    quota.close()
    assert not group.exists()


@pytest.mark.parametrize("version", [1, 2])
def test_a_trim_changes_the_quota_and_not_the_stated_share(version, tmp_path, monkeypatch):
    """A tenth more of a quarter of two cores; the next trim starts from the stated share again."""
    monkeypatch.setattr(cpu_share, "_cpu_groups", lambda: iter([(tmp_path, version)]))
    quota, written = Quota(0.25, 2), []
    for factor in (1.1, 0.9):
        quota.trim(factor)
        name = "cpu.cfs_quota_us" if version == 1 else "cpu.max"
        written.append((tmp_path / f"splitplace-{os.getpid()}" / name).read_text().split()[0])
    assert written == ["11000", "9000"]
    assert quota.share == 0.25


def test_a_trimmed_governor_pauses_by_the_trimmed_share(monkeypatch):
    """20 ms of work at a quarter, trimmed to 1.25 times that: 64 ms."""
    clock = {"now": 0.0}
    governor = Governor(0.25, threads=2)
    governor._clock = lambda: clock["now"]
    monkeypatch.setattr(cpu_share.time, "perf_counter", lambda: clock["now"])
    monkeypatch.setattr(cpu_share.time, "sleep", lambda seconds: clock.update(now=clock["now"] + seconds))
    governor.trim(1.25)
    governor.run(lambda: clock.update(now=clock["now"] + 0.02))
    assert clock["now"] == pytest.approx(0.02 / (0.25 * 1.25))


def test_a_tiny_share_lengthens_the_period(tmp_path, monkeypatch):
    """The kernel takes no quota below 1 ms."""
    monkeypatch.setattr(cpu_share, "_cpu_groups", lambda: iter([(tmp_path, 2)]))
    Quota(0.01, 1)
    group = tmp_path / f"splitplace-{os.getpid()}"
    assert (group / "cpu.max").read_text() == "1000 100000"


def test_sweeping_spares_the_living(tmp_path, monkeypatch):
    """Only cgroups whose owner is gone are removed."""
    monkeypatch.setattr(cpu_share, "_cpu_groups", lambda: iter([(tmp_path, 2)]))
    mine, dead, foreign = (tmp_path / f"splitplace-{name}" for name in (os.getpid(), 2**22 + 1, "other"))
    for group in (mine, dead, foreign):
        group.mkdir()
    cpu_share.sweep()
    assert [group.exists() for group in (mine, dead, foreign)] == [True, False, True]


def test_the_governor_measures_cpu_time_of_one_thread(monkeypatch):
    """A sleep inside the work is not busy time: no pause follows."""
    pauses, sleep = [], time.sleep
    monkeypatch.setattr(cpu_share.time, "sleep", pauses.append)
    Governor(0.1, threads=1).run(lambda: sleep(0.05))
    assert pauses == []


@pytest.mark.parametrize("version", [1, 2])
def test_the_quota_of_another_process_is_changed(monkeypatch, tmp_path, version):
    """By its number, in whichever version's files; one without such a cgroup is told."""
    (tmp_path / f"{cpu_share.PREFIX}4711").mkdir()
    monkeypatch.setattr(cpu_share, "_cpu_groups", lambda: iter([(tmp_path, version)]))
    set_quota(4711, 0.25, 2)
    group = tmp_path / f"{cpu_share.PREFIX}4711"
    if version == 1:
        assert (group / "cpu.cfs_quota_us").read_text() == str(PERIOD_US // 2)
    else:
        assert (group / "cpu.max").read_text() == f"{PERIOD_US // 2} {PERIOD_US}"
    with pytest.raises(SplitPlaceError, match="process 4712 has no cgroup"):
        set_quota(4712, 0.25, 2)
