"""The broker's part in what devices cannot say to each other: it hands their messages on, in a thread of its own.

A device sends what does not get through directly here, over a connection of its own, with the name of whom it is for
before it. The relay puts the name of who proved to have sent it in that one's place, and sends it on, over a connection
of its own likewise. It decodes nothing and copies no tensor; numbers, acknowledgements and credits are between the two
devices (`route.py`). So neither the broker's loop nor its journal nor its own word to a device waits for a tensor of
others, and what is slow, or full, costs whoever goes through here and nobody else.

What it holds is bounded: of each pair twice what a device may have under way, for each receiver a quarter of what there
is room for, and all together. What goes beyond is dropped, and said again by who said it: an honest device never gets
there alone, and a receiver that hangs leaves room for all others.
"""

import logging
import os
import threading
from collections import deque
from collections.abc import Iterable, Sequence

import zmq

from splitplace.errors import ContractError, OverloadedError, SplitPlaceError
from splitplace.placement.protocol import envelope
from splitplace.placement.protocol.fields import MAX_FRAME_BYTES, MAX_TENSORS
from splitplace.placement.protocol.inbox import Inbox
from splitplace.placement.protocol.keys import Access
from splitplace.placement.protocol.pieces import most_frames
from splitplace.placement.protocol.route import RELAY_WINDOW, RELAY_WINDOW_BYTES

log = logging.getLogger(__name__)

Parts = Sequence["bytes | zmq.Frame"]

QUEUED_IN, QUEUED_OUT = 16, 4
"""Messages that ZeroMQ holds of a connection that comes in, and for one that goes out; all others wait here."""
PAIR_MESSAGES, PAIR_BYTES = 4 * RELAY_WINDOW, 2 * RELAY_WINDOW_BYTES
"""Of one device to another: what may be under way, once more after it was said again, and acknowledgements."""
ALL_BYTES = 256 * 2**20
RECEIVER_BYTES = ALL_BYTES // 4
AT_ONCE = 64
"""Messages that are taken in before it is looked what can be handed on."""


class Backlog:
    """What waits to be handed on. Who waits for the same device takes turns; of one sender's nothing overtakes."""

    def __init__(self) -> None:
        self._waiting: dict[str, dict[str, deque[tuple[Parts, int]]]] = {}
        """By who it is for, and from whom: who is next comes first."""
        self._pair_bytes: dict[tuple[str, str], int] = {}
        self._receiver_bytes: dict[str, int] = {}
        self.held_bytes = 0

    def put(self, src: str, dst: str, parts: Parts, size_bytes: int) -> bool:
        """Take in a message; answers whether there was room. One goes at any size, where nothing else waits."""
        pair_bytes, queue = self._pair_bytes.get((src, dst), 0), self._waiting.get(dst, {}).get(src, ())
        if queue and (len(queue) >= PAIR_MESSAGES or pair_bytes + size_bytes > PAIR_BYTES):
            return False
        receiver_bytes = self._receiver_bytes.get(dst, 0)
        if receiver_bytes and receiver_bytes + size_bytes > RECEIVER_BYTES:
            return False
        if self.held_bytes and self.held_bytes + size_bytes > ALL_BYTES:
            return False
        self._waiting.setdefault(dst, {}).setdefault(src, deque()).append((parts, size_bytes))
        self._count(src, dst, size_bytes)
        return True

    @property
    def awaited(self) -> tuple[str, ...]:
        """For whom something waits."""
        return tuple(self._waiting)

    def first(self, dst: str) -> Parts | None:
        """What is to be handed on to a device next; none where nothing waits."""
        return next(iter(self._waiting[dst].values()))[0][0] if dst in self._waiting else None

    def done(self, dst: str) -> None:
        """The first was handed on: another sender's is next."""
        senders = self._waiting[dst]
        src = next(iter(senders))
        queue = senders.pop(src)
        _, size_bytes = queue.popleft()
        self._count(src, dst, -size_bytes)
        if queue:
            senders[src] = queue
        if not senders:
            del self._waiting[dst]

    def drop(self, dst: str) -> None:
        """Whom it was for is gone."""
        while dst in self._waiting:
            self.done(dst)

    def _count(self, src: str, dst: str, size_bytes: int) -> None:
        self.held_bytes += size_bytes
        self._pair_bytes[src, dst] = self._pair_bytes.get((src, dst), 0) + size_bytes
        if not self._pair_bytes[src, dst]:
            del self._pair_bytes[src, dst]
        self._receiver_bytes[dst] = self._receiver_bytes.get(dst, 0) + size_bytes
        if not self._receiver_bytes[dst]:
            del self._receiver_bytes[dst]


class Relay(threading.Thread):
    """Runs from its making until it is closed; its methods are for the thread that made it.

    Args:
        access: The broker's.
        max_frame_bytes: A larger frame costs its sender the connection, before it is read.
    """

    def __init__(self, access: Access, max_frame_bytes: int = MAX_FRAME_BYTES):
        super().__init__(name="relay", daemon=True)
        self._inbox = Inbox(access, max_frame_bytes, QUEUED_IN)
        self.endpoint = self._inbox.endpoint
        """Where devices find it."""
        self.handed_on = 0
        """Messages, acknowledgements included."""
        self._where: dict[str, str] = {}
        """The devices that there are, and where each listens; another dictionary whenever that changes."""
        self._pipes: dict[str, tuple[str, zmq.Socket[bytes]]] = {}
        """Of each device that something was handed on to: where it listened, and the connection."""
        self._full: set[str] = set()
        """Those whose connection has no room."""
        self._backlog = Backlog()
        self._complained: set[str] = set()
        self._ending = False
        self._failure: BaseException | None = None
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._woken, False)
        self._poller = zmq.Poller()
        self._inbox.watched_by(self._poller)
        self._poller.register(self._woken, zmq.POLLIN)
        self.start()

    def meet(self, device: str, endpoint: str) -> None:
        """A device is there: what is for it is handed on to where it listens."""
        self._where = self._where | {device: endpoint}
        self._look_again()

    def part(self, device: str) -> None:
        """A device is gone: what waits for it is dropped, and nothing more is taken in for it."""
        self._where = {name: endpoint for name, endpoint in self._where.items() if name != device}
        self._look_again()

    def know(self, device: str, key: str | None) -> None:
        """From now on this key alone proves a device's name; without one, nothing does."""
        self._inbox.know(device, key)

    def check(self) -> None:
        """Whoever needs the relay is to know when it runs no more.

        Raises:
            SplitPlaceError: It ended before it was closed; says of what.
        """
        if not self.is_alive():
            raise SplitPlaceError(
                f"the relay has ended ({self._failure!r}), and is to run as long as the broker: start that again"
            ) from self._failure

    def close(self) -> None:
        """End, with whatever waits."""
        self._ending = True
        self._look_again()
        self.join()
        self._inbox.close()
        os.close(self._woken)
        os.close(self._wake)

    def _look_again(self) -> None:
        os.write(self._wake, b"!")

    def run(self) -> None:
        """Hand on, until it is closed."""
        try:
            while not self._ending:
                wait_s = self._inbox.look()
                events = dict(self._poller.poll(None if wait_s == float("inf") else round(1000 * wait_s)))
                if self._woken in events:
                    os.read(self._woken, 4096)
                    self._let_go()
                for src, parts in self._inbox.take(events, AT_ONCE):
                    self._accept(src, parts)
                self._hand_on(self._backlog.awaited)
        except BaseException as error:  # noqa: BLE001 - handed to the thread that checks
            self._failure = error
        finally:
            for _, socket in self._pipes.values():
                socket.close(linger=0)

    def _let_go(self) -> None:
        """Of devices that are gone, or listen elsewhere."""
        for device in [device for device, (endpoint, _) in self._pipes.items() if endpoint != self._where.get(device)]:
            self._has_room(device)
            self._pipes.pop(device)[1].close(linger=0)

    def _accept(self, src: str, parts: "Sequence[zmq.Frame]") -> None:
        try:
            dst = envelope.addressed(parts[0].buffer)
            most = 2 + most_frames(MAX_TENSORS, sum(map(len, parts)))
            if not 2 <= len(parts) <= most:
                raise ContractError(f"{len(parts)} frames to be handed on, expected 2 to {most}")
        except SplitPlaceError as error:
            if src not in self._complained:
                self._complained.add(src)
                log.warning("%s sent what cannot be handed on, and is told of once: %s", src, error)
            return
        if dst == src or dst not in self._where:
            log.debug("what %s sends to %s is dropped: that is no device, or gone", src, dst)
        elif not self._backlog.put(src, dst, (envelope.address(src), *parts[1:]), sum(map(len, parts))):
            log.debug("what %s sends to %s is dropped: too much waits", src, dst)

    def _hand_on(self, devices: Iterable[str]) -> None:
        for device in devices:
            socket = self._pipe(device)
            if socket is None:
                self._backlog.drop(device)
                continue
            try:
                while (parts := self._backlog.first(device)) is not None:
                    socket.send_multipart(parts, flags=zmq.NOBLOCK, copy=False)
                    self._backlog.done(device)
                    self.handed_on += 1
                self._has_room(device)
            except zmq.Again:
                if device not in self._full:
                    self._full.add(device)
                    self._poller.register(socket, zmq.POLLOUT)

    def _has_room(self, device: str) -> None:
        if device in self._full:
            self._full.remove(device)
            self._poller.unregister(self._pipes[device][1])

    def _pipe(self, device: str) -> "zmq.Socket[bytes] | None":
        """The connection to a device; none if it is gone."""
        known, endpoint = self._pipes.get(device), self._where.get(device)
        if known is not None and known[0] == endpoint:
            return known[1]
        self._let_go()
        if endpoint is None:
            return None
        try:
            socket = self._inbox.pipe_to(device, endpoint, QUEUED_OUT)
        except (ContractError, OverloadedError) as error:
            # Its key was taken from it just now, or where it says that it is nobody can be, or no file is left.
            log.warning("nothing can be handed on to %s: %s", device, error)
            return None
        self._pipes[device] = endpoint, socket
        return socket
