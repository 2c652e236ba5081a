"""What a device is ordered before it runs anything: to say how fast it is, to open a fragment, to forget one."""

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

from splitplace.errors import IntegrityError, NotFoundError, OverloadedError, SplitPlaceError, raised
from splitplace.inference import memory
from splitplace.inference.cpu_share import CpuShare
from splitplace.inference.speed import measured_core_speed
from splitplace.placement.device.fragments import LoadedFragments, Opened, TimedWork
from splitplace.placement.device.supply import origin
from splitplace.placement.device.worker import SessionWorker, Then, Work
from splitplace.placement.protocol import fields, messages
from splitplace.records.fragment import Fragment

FILE_FAULTS = (IntegrityError, NotFoundError, PermissionError)
"""What opening a fragment raises whose file is missing, damaged, no model or not readable, whichever device tries."""


class WorkerOrders:
    """The worker carries them out, one after another; the broker is told what came of each.

    Args:
        fragments: What is loaded.
        worker: The thread that computes.
        share: What slows its work down.
        threads: That it computes with.
        tell: Says something to the broker.
        refuse: Says to the broker that nothing came of what a peer said, and why.
    """

    def __init__(
        self,
        fragments: LoadedFragments,
        worker: SessionWorker,
        share: CpuShare,
        threads: int,
        tell: Callable[[messages.Message], None],
        refuse: Callable[[str, str], None],
    ):
        self._fragments, self._worker, self._share, self._threads = fragments, worker, share, threads
        self._tell, self._refuse = tell, refuse

    def probe(self, trim: float) -> None:
        """Measure how fast this device is, with its emulated share multiplied by `trim` from now on."""
        self._later(partial(measured_core_speed, self._share, trim, self._threads), self._probed)

    def load(self, fragment: Fragment) -> None:
        """Open a fragment; it is known from now on, for what is to be run of it."""
        try:
            self._fragments.expect(fragment)
        except SplitPlaceError as error:
            self._tell(messages.LoadFailed(digest=fragment.digest, error=fields.text(error)))
            return
        self._later(partial(self._fragments.open, fragment), partial(self._loaded, fragment))

    def unload(self, digest: str) -> None:
        """Forget a fragment, and give its memory back."""
        self._fragments.forget(digest)
        self._later(memory.release, Future.result)

    def _later(self, work: Work, then: Then) -> None:
        try:
            self._worker.order(work, then)
        except OverloadedError as error:
            self._refuse(fields.BROKER, str(error))

    def _probed(self, future: Future[float]) -> None:
        if (error := future.exception()) is not None:  # no thread, file or memory for it now: it goes on without
            self._refuse(fields.BROKER, f"the probe failed: {raised(error)}")
            return
        self._tell(messages.Probed(core_speed=future.result()))

    def _loaded(self, fragment: Fragment, future: Future[TimedWork[Opened]]) -> None:
        error = future.exception()
        if error is not None:
            self._fragments.forget(fragment.digest)
            of_file = isinstance(error, FILE_FAULTS)
            self._tell(messages.LoadFailed(digest=fragment.digest, error=fields.text(error), of_file=of_file))
            return
        took = future.result()
        self._fragments.opened(fragment, took.result)
        had = origin(self._fragments.store, fragment.digest)
        self._tell(
            messages.Loaded(
                digest=fragment.digest,
                start_s=took.start_s,
                end_s=took.end_s,
                rss_bytes=memory.rss_bytes(),
                source=had.source,
                problem=had.problem,
            )
        )
