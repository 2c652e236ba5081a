"""A road between two nodes that can be broken: a TCP relay on loopback. What is encrypted goes through as it is."""

import socket
import struct
import threading
from contextlib import suppress

CHUNK = 65536


class Proxy:
    """Listens at `endpoint` and relays to `target`, both as ZeroMQ writes them.

    Args:
        target: Who is on the other side.
        permits: One for each chunk (64 KiB at most) on its way there, taken when it goes; none: all may.
        back: Likewise, on its way back.
    """

    def __init__(
        self, target: str, permits: threading.Semaphore | None = None, back: threading.Semaphore | None = None
    ):
        self._permits, self._back = permits, back
        host, port = target.removeprefix("tcp://").rsplit(":", 1)
        self._target = host, int(port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open = threading.Event()
        self._open.set()
        self._sockets: list[socket.socket] = []
        self._closed = False
        self.connections = 0
        """That have been made."""
        threading.Thread(target=self._accept, daemon=True).start()

    def reset(self) -> None:
        """Break all connections, with what is under way on them; new ones may come."""
        sockets, self._sockets = self._sockets, []
        for end in sockets:
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            _close(end)

    def stall(self) -> None:
        """Nothing goes through any more, either way; the connections stay."""
        self._open.clear()

    def stall_these(self) -> None:
        """Nothing goes through those that are there, for good; new ones are as ever."""
        self.stall()
        self._open = threading.Event()
        self._open.set()

    def heal(self) -> None:
        """Everything goes through again."""
        self._open.set()

    def close(self) -> None:
        """Break and accept no more."""
        self._closed = True
        _close(self._listener)
        self.heal()
        self.reset()

    def _accept(self) -> None:
        while not self._closed:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)
            except OSError:
                continue
            self._sockets += [near, far]
            self.connections += 1
            for src, dst, permits in ((near, far, self._permits), (far, near, self._back)):
                threading.Thread(target=self._relay, args=(src, dst, permits, self._open), daemon=True).start()

    def _relay(
        self, src: socket.socket, dst: socket.socket, permits: threading.Semaphore | None, may_pass: threading.Event
    ) -> None:
        with suppress(OSError):
            while data := src.recv(CHUNK):
                may_pass.wait()
                if permits is not None:
                    permits.acquire()
                dst.sendall(data)
        for end in (src, dst):
            _close(end)


def _close(end: socket.socket) -> None:
    """Whoever waits on it is woken: a descriptor that is closed under a thread that waits may be another's by then."""
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
