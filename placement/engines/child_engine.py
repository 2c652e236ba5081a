"""What engines share whose devices are children of this process: told on standard input, whose end is theirs."""

import logging
import subprocess
import tempfile
import threading
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from splitplace.errors import NotReadyError
from splitplace.placement.device.config import DeviceConfig
from splitplace.placement.engines.engine import EngineEvent, Exited

log = logging.getLogger(__name__)

FORCED_S = 10.0
"""How long what is ended by force may take to be gone; it is not waited for beyond that."""


@dataclass
class Child:
    """The process by which a device was launched."""

    process: "subprocess.Popen[bytes]"
    stderr: IO[bytes]
    config: DeviceConfig
    reported: bool = False


class ChildEngine(ABC):
    """Launches each device as a child; no file, no argument and no environment holds its keys."""

    def __init__(self) -> None:
        self._children: dict[str, Child] = {}

    @abstractmethod
    def _command(self, config: DeviceConfig) -> list[str]:
        """What runs a device, told `_told(config)` on its standard input."""

    @abstractmethod
    def _environment(self) -> dict[str, str]:
        """Of that command."""

    def _told(self, config: DeviceConfig) -> DeviceConfig:
        """What the device is told, where it sees the machine otherwise."""
        return config

    def _end(self, device: str, child: Child) -> None:
        """By force."""
        child.process.kill()

    def _reason(self, code: int, child: Child, last: str) -> str:
        """Why a device ended that nobody had asked to; `last` is the last line of what it said."""
        how = f"killed by signal {-code}" if code < 0 else f"exited with {code}"
        return f"{how}: {last}" if last else how

    def launch(self, config: DeviceConfig) -> None:
        """Start the process and hand it its configuration; its open standard input ties its life to ours."""
        assert config.name not in self._children, f"{config.name} is launched already"
        stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the child
        process = subprocess.Popen(
            self._command(config),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env=self._environment(),
            # Ctrl-C is for us: we end the devices in order.
            start_new_session=True,
        )
        self._children[config.name] = Child(process, stderr, config)
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it died at once: `events` tells why
            process.stdin.write(self._told(config).model_dump_json().encode() + b"\n")
            process.stdin.flush()

    def stop(self, device: str, timeout_s: float = 5.0) -> None:
        """End its standard input, then by force; what does not end within `FORCED_S` of that is left to a thread."""
        child = self._children.pop(device, None)
        if child is None:
            return
        assert child.process.stdin is not None
        with suppress(BrokenPipeError):
            child.process.stdin.close()
        try:
            child.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            if not self._forced(device, child):
                said = "device %s: its process %d has not ended within %g s of its being killed: it is not waited for"
                log.warning(said, device, child.process.pid, FORCED_S)
        else:
            child.stderr.close()

    def _forced(self, device: str, child: Child) -> bool:
        """Whether its process has ended by force, within `FORCED_S`."""
        ending = threading.Thread(target=self._force, args=(device, child), name=f"end-{device}", daemon=True)
        try:
            ending.start()
        except RuntimeError:  # no thread is to be had: it is ended here, and not waited for
            self._end(device, child)
            with suppress(subprocess.TimeoutExpired):
                child.process.wait(FORCED_S)
            child.stderr.close()
            return child.process.returncode is not None
        ending.join(FORCED_S)
        return not ending.is_alive()

    def _force(self, device: str, child: Child) -> None:
        self._end(device, child)
        child.process.wait()
        child.stderr.close()

    def health(self) -> dict[str, bool]:
        """Whether each process runs."""
        return {name: child.process.poll() is None for name, child in self._children.items()}

    def events(self) -> list[EngineEvent]:
        """The devices that ended since the last call, each with its last words."""
        found: list[EngineEvent] = []
        for name, child in self._children.items():
            code = child.process.poll()
            if code is None or child.reported:
                continue
            child.reported = True
            found.append(Exited(name, self._reason(code, child, _last_line(child.stderr))))
        return found

    def _child(self, device: str) -> Child:
        """A launched device.

        Raises:
            SplitPlaceError: It was not launched here.
        """
        if device not in self._children:
            raise NotReadyError(f"no device {device!r}: launched {', '.join(sorted(self._children)) or 'none'}")
        return self._children[device]


def _last_line(stderr: IO[bytes]) -> str:
    end = stderr.seek(0, 2)
    stderr.seek(max(end - 4096, 0))
    lines = stderr.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""
