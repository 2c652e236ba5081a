"""What ends a verb that waits in the main thread: the signals that ask for it."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

LOOK_EVERY_S = 0.2
"""How often whoever waits looks whether what is waited for has ended by itself."""


@contextmanager
def asked_to_end(stop: Callable[[], None]) -> Iterator[None]:
    """Within, the signals that ask for the end call `stop`; a second Ctrl-C interrupts as always.

    A terminal that goes asks, too, unless it was said (nohup) that it does not matter. In another thread than the main
    one no signal is heard.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def note(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before[signal.SIGINT])
        stop()

    asking = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        asking.append(signal.SIGHUP)
    before = {number: signal.signal(number, note) for number in asking}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
