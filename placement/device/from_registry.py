"""Fragments by digest from the registry that a fleet's catalog lies in; who does not answer in time is left.

What asks is a thread of its own: the look-up of a name, a credential helper and a handshake have no bounds of ours, and
a device that waits for them does nothing else. One that is left ends by itself, with the next bytes that come.
"""

import threading
import time
from collections.abc import Callable
from typing import NoReturn

from splitplace.catalog.blobs import BlobStore
from splitplace.catalog.oci import WEIGHT_TYPE, Descriptor
from splitplace.distribution.connections import LEAST_BYTES_PER_S
from splitplace.distribution.downloads import download, unfinished
from splitplace.distribution.mirrors import open_places
from splitplace.distribution.reference import parse_remote
from splitplace.distribution.repository import Repository
from splitplace.distribution.transport import Patience, Transport
from splitplace.errors import IntegrityError, NotReadyError, OverloadedError, SplitPlaceError, of_system

QUIET_S = 10.0
"""So long without a byte of a blob, or so far behind LEAST_BYTES_PER_S, and it is left."""
PULL_S = 30.0
"""A blob that is not there by then is left, whatever comes of it: the broker takes a device that loads for longer than
a minute for one that does nothing (`broker/stuck.py`), and is to have the other half of it for giving the same."""
AGAIN_S = 60.0
"""After which a registry that did not answer is asked again: others need not wait for it one after another."""
PATIENCE = Patience(attempts=3, longest_s=2.0, then="it is left for now")


class FragmentRegistry:
    """One repository, asked as whoever this machine's user is logged in as there, and by its mirrors here.

    Args:
        place: `oci://HOST/REPOSITORY`.
        blobs: Where what it gives is kept.
        now_s: A clock.
    """

    def __init__(self, place: str, blobs: BlobStore, now_s: Callable[[], float] = time.monotonic):
        self.place, self._blobs, self._now_s = place, blobs, now_s
        self._again_s, self._problem = now_s(), ""

    def bring(self, digest: str, limit: int) -> None:
        """Have the blob of this digest among those that are kept, held against it.

        Raises:
            NotReadyError: It does not answer, or did not a moment ago.
            IntegrityError: It has others, or more than `limit` bytes; nothing of them is kept.
            SplitPlaceError: It refuses them, or there is no room.
        """
        if self._now_s() < self._again_s:
            raise NotReadyError(self._problem)
        try:
            _Pull(self.place, self._blobs, digest, limit, self._now_s).wait()
        except (NotReadyError, OverloadedError) as error:
            self._again_s, self._problem = self._now_s() + AGAIN_S, str(error)
            raise

    def drop(self, digest: str) -> None:
        """Forget the beginning of a blob that was had elsewhere."""
        unfinished(self._blobs, digest).unlink(missing_ok=True)


class _Pull(threading.Thread):
    """Of one blob."""

    def __init__(self, place: str, blobs: BlobStore, digest: str, limit: int, now_s: Callable[[], float]):
        super().__init__(name="registry", daemon=True)
        self._place, self._blobs, self._digest, self._limit, self._now_s = place, blobs, digest, limit, now_s
        self._end_s, self._behind_s = now_s() + PULL_S, now_s() + QUIET_S
        self._ended, self._left = threading.Event(), False
        self._error: SplitPlaceError | None = None

    def wait(self) -> None:
        """Until it is there, or has failed, or is left; as `FragmentRegistry.bring`."""
        try:
            self.start()
        except RuntimeError as error:
            raise NotReadyError(f"{self._place} is not asked: {error}") from error
        while not self._ended.wait(max(min(self._behind_s, self._end_s) - self._now_s(), 0.0)):
            now_s = self._now_s()
            if now_s >= self._end_s:
                self._leave(f"did not give all of it within {PULL_S:g} s")
            if now_s >= self._behind_s:
                self._leave(f"gave nothing for {QUIET_S:g} s, or less than {LEAST_BYTES_PER_S // 1024} KiB/s")
        if self._error is not None:
            raise self._error

    def _leave(self, why: str) -> NoReturn:
        self._left = True
        raise NotReadyError(f"{self._place} {why}")

    def run(self) -> None:
        """In its thread."""
        try:
            self._bring()
        except SplitPlaceError as error:
            self._error = error
        except OSError as error:
            self._error = of_system(error)
        finally:
            if self._left and self._blobs.path(self._digest).exists():  # had elsewhere: nobody goes on with this one
                unfinished(self._blobs, self._digest).unlink(missing_ok=True)
            self._ended.set()  # what else it was, the thread says; the blob is not there then

    def _bring(self) -> None:
        reference = parse_remote(self._place)
        self._blobs.folder.mkdir(parents=True, exist_ok=True)
        places = open_places(reference, lambda host, plain: Transport(host, plain_http=plain, patience=PATIENCE))
        try:
            places.fixed(self._from)
        finally:
            places.close()

    def _from(self, place: Repository) -> None:
        size = place.blob_size(self._digest)
        if size > self._limit:
            raise IntegrityError(f"{place}: {self._digest} has {size} bytes, expected at most {self._limit}")
        download(place, self._blobs, Descriptor(mediaType=WEIGHT_TYPE, digest=self._digest, size=size), self._came)

    def _came(self, size: int) -> None:
        if self._left:
            raise NotReadyError(f"{self._place}: nobody waits for it any more")
        # What came fast is no credit for silence.
        self._behind_s = min(self._behind_s + size / LEAST_BYTES_PER_S, self._now_s() + QUIET_S)
