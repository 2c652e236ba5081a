"""Makes this process as slow as a slower device: a share of the machine's cores, by quota or by pausing.

Emulation, and reported as that. Two methods: a cgroup CPU quota, which the kernel enforces on every thread, where this
process may create one; else a duty-cycle governor around the session. Either may be asked for by name.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeVar

import psutil

from splitplace.errors import ContractError, SplitPlaceError
from splitplace.records.profile import CpuShareMethod

log = logging.getLogger(__name__)
T = TypeVar("T")

PERIOD_US = 20_000
"""Short against a fragment's run, so that one run is slowed as a whole stream is; but each period starts with cold
caches, which at 10 ms cost up to a quarter of the share and at 20 ms less than a tenth."""
MIN_PAUSE_S = 0.010
"""The governor saves shorter pauses up, for the same reason."""
MIN_QUOTA_US = 1000
"""The kernel takes no smaller one."""
WEIGHT = 32
"""How many neighbours' worth a device counts when they compete for a core: a device that is to have 0.8 of one must not
be left with a half. Its quota still bounds it."""
PREFIX = "splitplace-"

ShareMethod = Literal["auto", "cgroup", "governor", "container"]
"""Of the last, the container that this process runs in has the quota, and nobody here can change it."""


class CpuShare(Protocol):
    """What slows a device's work down."""

    share: float
    method: CpuShareMethod

    def run(self, work: Callable[[], T]) -> T:
        """Do `work` at the share, however long that takes."""
        ...

    def trim(self, factor: float) -> None:
        """Allow `factor` times the share, so that the speed, not the time on the CPU, is the stated share."""
        ...

    def close(self) -> None:
        """Leave nothing behind."""
        ...


@dataclass
class Whole:
    """The machine as it is."""

    share: float = 1.0
    method: CpuShareMethod = "none"

    def run(self, work: Callable[[], T]) -> T:
        """Just does it."""
        return work()

    def trim(self, factor: float) -> None:
        """Nothing slows it, nothing is trimmed."""

    def close(self) -> None:
        """Nothing to leave."""


@dataclass
class Contained:
    """The quota of the container that this process runs in."""

    share: float
    method: CpuShareMethod = "cgroup"

    def run(self, work: Callable[[], T]) -> T:
        """Just does it: the kernel slows it."""
        return work()

    def trim(self, factor: float) -> None:
        """It is as it was made."""

    def close(self) -> None:
        """Nothing of ours."""


def quota(share: float, cores: int) -> tuple[int, int]:
    """A CPU quota and its period, in microseconds, that give a share of some cores."""
    quota_us = round(share * cores * PERIOD_US)
    if quota_us >= MIN_QUOTA_US:
        return quota_us, PERIOD_US
    return MIN_QUOTA_US, round(MIN_QUOTA_US / (share * cores))


class Quota:
    """A cgroup of this process's own with a CPU quota of share x cores, v1 or v2, whichever is there and writable.

    Raises:
        OSError: This process may not create one.
    """

    method: CpuShareMethod = "cgroup"

    def __init__(self, share: float, cores: int):
        self.share = share
        self._quota_us, self._period_us = quota(share, cores)
        refused: OSError | None = None
        for parent, version in _cpu_groups():
            try:
                self._group = _create(parent, version, self._quota_us, self._period_us)
            except OSError as error:
                refused = error
                continue
            self._parent, self._version = parent, version
            return
        raise refused or FileNotFoundError("no cgroup with a cpu controller is mounted")

    def run(self, work: Callable[[], T]) -> T:
        """Just does it: the kernel slows it."""
        return work()

    def trim(self, factor: float) -> None:
        """Set the quota to `factor` times the stated one, and never below what the kernel takes."""
        _limit(self._group, self._version, max(round(self._quota_us * factor), MIN_QUOTA_US), self._period_us)

    def close(self) -> None:
        """Move out of the cgroup and remove it."""
        (self._parent / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")
        self._group.rmdir()


class Governor:
    """Pauses after a piece of work until it took busy / share in all.

    Busy is the CPU time of the calling thread where the session has only that one (time lost to neighbours on the
    machine is then not multiplied), else the wall time. A pause that came out too long shortens the next.
    """

    method: CpuShareMethod = "governor"

    def __init__(self, share: float, threads: int):
        self.share, self._trimmed = share, share
        self._clock = time.thread_time if threads == 1 else time.perf_counter
        self._owed_s = 0.0

    def run(self, work: Callable[[], T]) -> T:
        """Do `work`, then pause."""
        start_s, busy_before_s = time.perf_counter(), self._clock()
        result = work()
        busy_s = self._clock() - busy_before_s
        # Work that a busy machine stretched beyond busy / share earns no credit; a pause that came out too long does.
        self._owed_s += max(busy_s / self._trimmed - (time.perf_counter() - start_s), 0.0)
        if self._owed_s > MIN_PAUSE_S:
            paused_s = time.perf_counter()
            time.sleep(self._owed_s)
            self._owed_s -= time.perf_counter() - paused_s
        return result

    def trim(self, factor: float) -> None:
        """Pause as if the share were `factor` times the stated one."""
        self._trimmed = min(self.share * factor, 1.0)

    def close(self) -> None:
        """Nothing to leave."""


def open_share(share: float, cores: int, method: ShareMethod = "auto") -> CpuShare:
    """Slow this process to `share` of `cores` cores.

    Args:
        share: In (0, 1]; 1 is the machine as it is.
        cores: Threads of the session.
        method: `auto` takes a cgroup where this process may create one, else the governor; `container` is kept already.

    Raises:
        SplitPlaceError: A share out of range, or a cgroup was asked for and is not to be had.
    """
    if not 0 < share <= 1:
        raise ContractError(f"cpu_share {share}, expected above 0 and at most 1")
    if share == 1:
        return Whole()
    if method == "container":
        return Contained(share)
    if method == "governor":
        return Governor(share, cores)
    try:
        return Quota(share, cores)
    except OSError as error:
        if method == "cgroup":
            raise SplitPlaceError(f"no cgroup CPU quota here ({error}): use the governor") from error
        log.info("no cgroup CPU quota here (%s): governor", error)
        return Governor(share, cores)


def set_quota(pid: int, share: float, cores: int) -> None:
    """Give another process, which has a cgroup by `open_share`, another share of so many cores.

    Raises:
        SplitPlaceError: It has none.
    """
    for parent, version in _cpu_groups():
        group = parent / f"{PREFIX}{pid}"
        if group.is_dir():
            _limit(group, version, *quota(share, cores))
            return
    raise SplitPlaceError(f"process {pid} has no cgroup with a CPU quota: its share is not kept by the kernel")


def sweep() -> None:
    """Remove the cgroups of device processes that were killed before they could do it themselves."""
    for parent, _ in _cpu_groups():
        for group in parent.glob(f"{PREFIX}*"):
            owner = group.name.removeprefix(PREFIX)
            if owner.isdecimal() and not psutil.pid_exists(int(owner)):
                # Somebody else's sweep may come first, or a process of another pid namespace may still live there.
                with suppress(OSError):
                    group.rmdir()


def _create(parent: Path, version: int, quota_us: int, period_us: int) -> Path:
    group = parent / f"{PREFIX}{os.getpid()}"
    group.mkdir(exist_ok=True)
    try:
        _limit(group, version, quota_us, period_us)
        if version == 1:
            (group / "cpu.shares").write_text(str(WEIGHT * 1024), encoding="ascii")
        else:
            (group / "cpu.weight").write_text(str(WEIGHT * 100), encoding="ascii")
        (group / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")
    except OSError:
        group.rmdir()
        raise
    return group


def _limit(group: Path, version: int, quota_us: int, period_us: int) -> None:
    if version == 1:
        (group / "cpu.cfs_period_us").write_text(str(period_us), encoding="ascii")
        (group / "cpu.cfs_quota_us").write_text(str(quota_us), encoding="ascii")
    else:
        (group / "cpu.max").write_text(f"{quota_us} {period_us}", encoding="ascii")


def _cpu_groups() -> Iterator[tuple[Path, int]]:
    """Where a cgroup with a cpu controller might be created: below this process's own, then below the root; version."""
    try:
        mounts = [line.split() for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()]
        own = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()]
    except OSError:
        return  # not Linux
    for _, mount, kind, options, *_ in mounts:
        if kind == "cgroup" and "cpu" in options.split(","):
            version, paths = 1, [path for _, names, path in own if "cpu" in names.split(",")]
        elif kind == "cgroup2":
            version, paths = 2, [path for number, names, path in own if number == "0" and not names]
        else:
            continue
        root = Path(mount)
        for parent in dict.fromkeys([*(root / path.lstrip("/") for path in paths), root]):
            if parent.is_dir() and (version == 1 or _delegates_cpu(parent)):
                yield parent, version


def _delegates_cpu(group: Path) -> bool:
    try:
        return "cpu" in (group / "cgroup.subtree_control").read_text(encoding="ascii").split()
    except OSError:
        return False
