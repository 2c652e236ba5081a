"""The chaos bench's faults: which, when and to whom is drawn from a seed; each is noted in a file as it happens.

Devices and broker are processes of their own. They are signalled by handles (pidfd), so that a signal never reaches a
process that has got the number of one that ended.
"""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from splitplace.benchmarks.chaos_links import Ends, SocketLinks
from splitplace.errors import NotReadyError
from splitplace.placement.serve.client import Client

Kind = Literal[
    "device_killed", "device_paused", "device_slow", "link_cut_one_way", "link_cut_both_ways", "broker_killed",
    "disk_full",
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)
NO_DISK = "a small disk of its own for the data folder takes a user who may mount one"
PARTS: dict[Kind, float] = {
    "device_killed": 0.3, "device_paused": 0.15, "device_slow": 0.15, "link_cut_one_way": 0.1,
    "link_cut_both_ways": 0.1, "broker_killed": 0.1, "disk_full": 0.1,
}  # fmt: skip
GAP_S = (0.3, 2.5)
"""Between two faults; those that last overlap with the next."""
PAUSED_S, SLOW_S, CUT_S, FULL_S = (2.0, 20.0), (3.0, 10.0), (1.0, 15.0), (1.0, 4.0)
STOPPED_S, RUNNING_S = 0.15, 0.05
"""A slow device, in turns."""
UP_WAIT_S = 60.0
"""For a device to be up, where all are down when one is to have a fault."""


@dataclass(frozen=True)
class Fault:
    """One that is to come."""

    kind: Kind
    gap_s: float
    """After the one before."""
    lasts_s: float
    draw: float
    """Which device or connection: a share of those that are up."""


def schedule(count: int, seed: int, kinds: Sequence[Kind], gap_s: tuple[float, float] = GAP_S) -> list[Fault]:
    """So many faults of these kinds, such gaps between: each once at least, where the count allows."""
    rng = np.random.default_rng([seed, 1])
    weights = np.array([PARTS[kind] for kind in kinds])
    drawn = [*kinds, *(kinds[int(i)] for i in rng.choice(len(kinds), count, p=weights / weights.sum()))][:count]
    spans = {
        "device_paused": PAUSED_S, "device_slow": SLOW_S, "link_cut_one_way": CUT_S, "link_cut_both_ways": CUT_S,
        "disk_full": FULL_S,
    }  # fmt: skip
    return [
        Fault(
            kind=drawn[int(i)],
            gap_s=float(rng.uniform(*gap_s)),
            lasts_s=float(rng.uniform(*spans.get(drawn[int(i)], (0.0, 0.0)))),
            draw=float(rng.random()),
        )
        for i in rng.permutation(count)
    ]


class Injector:
    """Brings faults about, one after another.

    Args:
        disk: Folder of the disk that the fleet's data is on, to be filled.
        links: What the fleet's processes meet through.
        log: File of what was done.
        client: Of the fleet.
        restart: Starts it again; answers its client.
    """

    def __init__(self, disk: Path, links: SocketLinks, log: Path, client: Client, restart: Callable[[], Client]):
        self.disk, self.links, self._restart, self._client = disk, links, restart, client
        self._log = log.open("a", encoding="utf-8")
        self._writing = threading.Lock()
        self._lasting: list[threading.Thread] = []

    def inject(self, fault: Fault) -> None:
        """Do it; what lasts goes on in a thread of its own.

        Raises:
            SplitPlaceError: No device came up for it, or the broker did not start again.
        """
        match fault.kind:
            case "device_killed":
                name, handle = self._device(fault.draw)
                with handle as process:
                    at = time.time()
                    send_signal(process, signal.SIGKILL)
                self._note(fault.kind, at, device=name, until=at)
            case "device_paused" | "device_slow":
                name, handle = self._device(fault.draw)
                self._go_on(self._hold, fault, name, handle)
            case "link_cut_one_way" | "link_cut_both_ways":
                self._go_on(self._cut, fault, *self._link(fault.draw))
            case "broker_killed":
                with Handle(self._client.pid) as process:
                    at = time.time()
                    send_signal(process, signal.SIGKILL)
                    select.select([process], [], [])  # until it has ended: what it holds is free then
                self._client.close()
                self._client = self._restart()
                self._note(fault.kind, at, until=time.time())
            case "disk_full":
                filler = self.disk / f"filler-{len(self._lasting)}"
                self._go_on(self._fill, fault, filler)

    def finish(self) -> Client:
        """Wait until what lasts is over; the client of the broker that there is."""
        for thread in self._lasting:
            thread.join()
        self._log.close()
        return self._client

    def _go_on(self, last: Callable[..., None], *given: Any) -> None:
        thread = threading.Thread(target=last, args=given, daemon=True)
        self._lasting.append(thread)
        thread.start()

    def _link(self, draw: float) -> tuple[str, Ends]:
        """A connection between two devices, or one and the broker; what to call it, and whose it is."""
        until_s = time.monotonic() + UP_WAIT_S
        while time.monotonic() < until_s:
            names = {device.pid: device.name for device in self._client.status().devices if device.up and device.pid}
            names[self._client.pid] = "broker"
            links = [
                (names[src], names[dst], (src, dst)) for src, dst in self.links.connected if {src, dst} <= set(names)
            ]
            if links:
                src, dst, ends = sorted(links)[int(draw * len(links))]
                return f"{src} to {dst}", ends
            time.sleep(0.1)
        raise NotReadyError(f"no two processes were connected for {UP_WAIT_S:.0f} s")

    def _device(self, draw: float) -> "tuple[str, Handle]":
        """One that is up, with a handle on its process."""
        until_s = time.monotonic() + UP_WAIT_S
        while time.monotonic() < until_s:
            up = [(device.name, device.pid) for device in self._client.status().devices if device.up and device.pid]
            while up:
                name, pid = up.pop(int(draw * len(up)))
                assert pid is not None
                with suppress(ProcessLookupError):
                    return name, Handle(pid)
            time.sleep(0.1)
        raise NotReadyError(f"no device was up for {UP_WAIT_S:.0f} s")

    def _hold(self, fault: Fault, name: str, handle: "Handle") -> None:
        at = time.time()
        until_s = time.monotonic() + fault.lasts_s
        with handle as process:
            try:
                while (left_s := until_s - time.monotonic()) > 0:
                    send_signal(process, signal.SIGSTOP)
                    time.sleep(left_s if fault.kind == "device_paused" else STOPPED_S)
                    if fault.kind == "device_slow":
                        send_signal(process, signal.SIGCONT)
                        time.sleep(RUNNING_S)
            finally:
                send_signal(process, signal.SIGCONT)
        self._note(fault.kind, at, device=name, until=time.time())

    def _cut(self, fault: Fault, link: str, ends: Ends) -> None:
        at, cut = time.time(), {ends} if fault.kind == "link_cut_one_way" else {ends, ends[::-1]}
        self.links.cut(cut)
        try:
            time.sleep(fault.lasts_s)
        finally:
            self.links.heal(cut)
        self._note(fault.kind, at, link=link, until=time.time())

    def _fill(self, fault: Fault, filler: Path) -> None:
        """Take all that the disk has left, again and again: what the fleet gives up meanwhile, too."""
        at, most = time.time(), 0
        until_s = time.monotonic() + fault.lasts_s
        with filler.open("ab", buffering=0) as file:
            while time.monotonic() < until_s:
                with suppress(OSError):
                    while True:
                        most += file.write(bytes(2**16))
                time.sleep(0.05)
        filler.unlink()
        self._note(fault.kind, at, until=time.time(), bytes=most)

    def _note(self, kind: Kind, at: float, **facts: Any) -> None:
        with self._writing:
            self._log.write(json.dumps({"kind": kind, "at": at, **facts}) + "\n")
            self._log.flush()


class Handle:
    """A handle on a process.

    Raises:
        ProcessLookupError: There is none of this number.
    """

    def __init__(self, pid: int):
        self._handle = os.pidfd_open(pid)

    def __enter__(self) -> int:
        return self._handle

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)


def send_signal(process: int, number: signal.Signals) -> None:
    """To a process by its handle; to one that has ended: nothing."""
    with suppress(ProcessLookupError):  # it has ended
        signal.pidfd_send_signal(process, number)


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[bool]:
    """A disk of its own at this folder, for as long as the context lasts; answers whether this user may have one.

    Once it is mounted SIGTERM raises SystemExit, as Ctrl-C raises KeyboardInterrupt: else it would outlive the process.
    For the main thread.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    options = f"size={size_bytes},mode=0700"
    if os.geteuid() or _call("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)):
        yield False
        return
    before = signal.signal(signal.SIGTERM, _terminated)
    try:
        yield True
    finally:
        _call("umount", "--lazy", str(folder))
        signal.signal(signal.SIGTERM, before)


def _terminated(number: int, frame: object) -> None:
    sys.exit(128 + number)


def _call(program: str, *arguments: str) -> int:
    """Of the system; its exit status, 1 where there is none of that name."""
    found = shutil.which(program)
    return 1 if found is None else subprocess.call([found, *arguments], stderr=subprocess.DEVNULL)
