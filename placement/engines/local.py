"""The `local` engine: device runtimes as processes of this machine, which end with the process that launched them."""

import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, ClassVar

from splitplace.children import child_env, python_child
from splitplace.errors import NotReadyError
from splitplace.inference import cpu_share
from splitplace.placement.device.config import DeviceConfig
from splitplace.placement.engines.engine import Exited


@dataclass
class _Child:
    process: "subprocess.Popen[bytes]"
    stderr: IO[bytes]
    reported: bool = False


class LocalEngine:
    """Launches each device as a subprocess; no file, no argument and no environment holds its keys."""

    name: ClassVar[str] = "local"
    same_machine: ClassVar[bool] = True

    def __init__(self) -> None:
        self._children: dict[str, _Child] = {}

    def launch(self, config: DeviceConfig) -> None:
        """Start the process and hand it its configuration; its open standard input ties its life to ours."""
        assert config.name not in self._children, f"{config.name} is launched already"
        cpu_share.sweep()
        stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the child
        process = subprocess.Popen(
            python_child("splitplace.placement.device.__main__"),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env=child_env(),
            # Ctrl-C is for us: we end the devices in order.
            start_new_session=True,
        )
        self._children[config.name] = _Child(process, stderr)
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it died at once: `events` tells why
            process.stdin.write(config.model_dump_json().encode() + b"\n")
            process.stdin.flush()

    def stop(self, device: str, timeout_s: float = 5.0) -> None:
        """End its standard input, then by force."""
        child = self._children.pop(device, None)
        if child is None:
            return
        assert child.process.stdin is not None
        with suppress(BrokenPipeError):
            child.process.stdin.close()
        try:
            child.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.wait()
        child.stderr.close()
        cpu_share.sweep()

    def health(self) -> dict[str, bool]:
        """Whether each process runs."""
        return {name: child.process.poll() is None for name, child in self._children.items()}

    def events(self) -> list[Exited]:
        """The devices that ended since the last call, each with its last words."""
        found = []
        for name, child in self._children.items():
            code = child.process.poll()
            if code is None or child.reported:
                continue
            child.reported = True
            found.append(Exited(name, _reason(code, child.stderr)))
        return found

    def pid(self, device: str) -> int:
        """Of a launched device.

        Raises:
            SplitPlaceError: It was not launched here.
        """
        if device not in self._children:
            raise NotReadyError(f"no device {device!r}: launched {', '.join(sorted(self._children)) or 'none'}")
        return self._children[device].process.pid


def _reason(code: int, stderr: IO[bytes]) -> str:
    end = stderr.seek(0, 2)
    stderr.seek(max(end - 4096, 0))
    lines = stderr.read().decode(errors="replace").strip().splitlines()
    how = f"killed by signal {-code}" if code < 0 else f"exited with {code}"
    return f"{how}: {lines[-1]}" if lines else how
