"""The fragments that a device holds: their contracts, their sessions, and what each has used of the device."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Generic, TypeVar

import psutil

from splitplace.catalog.blobs import BlobStore
from splitplace.catalog.oci import MAX_MODEL_BYTES
from splitplace.catalog.onnxfile import check_model
from splitplace.errors import NotReadyError, OverloadedError
from splitplace.inference import memory
from splitplace.inference.cpu_share import CpuShare
from splitplace.inference.encoded_images import EncodedImages, as_tensor
from splitplace.inference.executor import FragmentSession
from splitplace.placement.protocol import fields
from splitplace.placement.protocol.outflow import Values
from splitplace.records.fragment import Fragment

T = TypeVar("T")
_PROCESS = psutil.Process()


def disk_read_bytes() -> int | None:
    """What this process had the system fetch from storage; None where the system does not tell."""
    try:
        return int(_PROCESS.io_counters().read_bytes)
    except (AttributeError, psutil.AccessDenied, OSError):
        # macOS has no such counter, some containers hide it, and a process may have no descriptor left.
        return None


@dataclass(frozen=True)
class TimedWork(Generic[T]):
    """What a piece of work gave, and what it took."""

    result: T
    start_s: float
    end_s: float
    cpu_s: float
    """Of all threads of this process; the network's thread, which never computes, included."""
    decode_s: float = 0.0
    """Of the time: until images that came as PNG were pixels."""


def timed(work: Callable[[], T]) -> TimedWork[T]:
    """Do `work`, on the monotonic clock."""
    start_s, cpu_before_s = time.monotonic(), time.process_time()
    result = work()
    return TimedWork(result, start_s, time.monotonic(), time.process_time() - cpu_before_s)


@dataclass(frozen=True)
class Opened:
    """A session, by how much the process grew with it, and what was fetched from storage for it."""

    session: FragmentSession
    resident_bytes: int
    disk_read_bytes: int | None


@dataclass(eq=False)
class _Held:
    fragment: Fragment
    session: FragmentSession | None = None
    """None while it is being loaded."""
    resident_bytes: int = 0
    disk_read_bytes: int | None = None
    sent_bytes: int = 0
    received_bytes: int = 0
    micro_batches: int = 0
    busy_s: float = 0.0
    decode_s: float = 0.0
    cpu_s: float = 0.0


class LoadedFragments:
    """Fragments by digest, from the order to load them to the order to forget them.

    Args:
        store: Where their files are read from.
        threads: Of each session.
        share: What slows loads and runs down.
    """

    def __init__(self, store: BlobStore, threads: int, share: CpuShare):
        self.store, self.threads, self.share = store, threads, share
        self._held: dict[str, _Held] = {}

    def expect(self, fragment: Fragment) -> None:
        """It will be loaded: from now on it can be assigned.

        Raises:
            OverloadedError: There are as many as a device may hold.
        """
        if fragment.digest not in self._held and len(self._held) >= fields.MAX_FRAGMENTS:
            raise OverloadedError(
                f"{len(self._held)} fragments here, expected at most {fields.MAX_FRAGMENTS}: unload some"
            )
        self._held.setdefault(fragment.digest, _Held(fragment))

    def forget(self, digest: str) -> None:
        """Drop its session and contract; one that is not there: nothing."""
        self._held.pop(digest, None)

    def contract(self, digest: str) -> Fragment:
        """What it takes and gives.

        Raises:
            NotReadyError: No order to load it has come.
        """
        if digest not in self._held:
            raise NotReadyError(f"{digest} is not loaded")
        return self._held[digest].fragment

    def open(self, fragment: Fragment) -> TimedWork[Opened]:
        """Read it from the catalog, verified, and open its session; takes long, keeps nothing (`opened` does).

        Raises:
            SplitPlaceError: Its bytes are missing, damaged, or no model.
        """

        def load() -> Opened:
            before, read_before = memory.rss_bytes(), disk_read_bytes()
            model = self.store.read_digest(fragment.digest, MAX_MODEL_BYTES)
            check_model(model, f"{fragment.name} ({fragment.digest})")
            session = FragmentSession(fragment, model, self.threads)
            del model
            read = disk_read_bytes()
            read = None if read is None or read_before is None else read - read_before
            return Opened(session, max(memory.rss_bytes() - before, 0), read)

        return timed(partial(self.share.run, load))

    def opened(self, fragment: Fragment, opened: Opened) -> None:
        """Keep what `open` gave, unless the fragment was forgotten meanwhile."""
        held = self._held.get(fragment.digest)
        if held is not None:
            held.session, held.resident_bytes = opened.session, opened.resident_bytes
            held.disk_read_bytes = opened.disk_read_bytes

    def work(self, digest: str, values: Values) -> Callable[[], TimedWork[dict[str, fields.Array]]]:
        """What runs one micro-batch, of images that came as PNG once they are pixels.

        Raises:
            NotReadyError: It is not loaded.
        """
        held = self._held.get(digest)
        if held is None or held.session is None:
            raise NotReadyError(f"{digest} is not loaded")
        return partial(_run, held.session, values, self.share)

    def ran(self, digest: str, took: TimedWork[dict[str, fields.Array]]) -> None:
        """Count a run."""
        held = self._held.get(digest)
        if held is not None:
            held.micro_batches += 1
            held.busy_s += took.end_s - took.start_s
            held.decode_s += took.decode_s
            held.cpu_s += took.cpu_s

    def moved(self, digest: str, sent: Values | None = None, received: Values | None = None) -> None:
        """Count tensors that went to another machine, or came from one."""
        held = self._held.get(digest)
        if held is not None:
            held.sent_bytes += sum(value.nbytes for value in (sent or {}).values())
            held.received_bytes += sum(value.nbytes for value in (received or {}).values())

    def usage(self) -> tuple[fields.FragmentUsage, ...]:
        """What each loaded fragment has used since it was loaded."""
        return tuple(
            fields.FragmentUsage(
                digest=digest,
                micro_batches=held.micro_batches,
                busy_s=held.busy_s,
                decode_s=held.decode_s,
                cpu_s=held.cpu_s,
                resident_bytes=held.resident_bytes,
                sent_bytes=held.sent_bytes,
                received_bytes=held.received_bytes,
                disk_read_bytes=held.disk_read_bytes,
            )
            for digest, held in self._held.items()
            if held.session is not None
        )


def _run(session: FragmentSession, values: Values, share: CpuShare) -> TimedWork[dict[str, fields.Array]]:
    decode_s = 0.0

    def run() -> dict[str, fields.Array]:
        nonlocal decode_s
        start_s = time.monotonic()
        inputs = {name: as_tensor(value) for name, value in values.items()}
        if any(isinstance(value, EncodedImages) for value in values.values()):
            decode_s = time.monotonic() - start_s
        return session.run(inputs)

    return replace(timed(partial(share.run, run)), decode_s=decode_s)
