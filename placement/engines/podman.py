"""The `podman` engine: device runtimes as containers of this machine, with limits of memory and of the cores' time.

As in the paper's testbed (§6.1), where fragments run in containers. The kernel holds the limits: a device that takes
more memory than it is stated to have is killed, and the fleet goes on without it.

Containers are of this machine's network and processes, so that the fleet's own addresses and process numbers hold in
them; of its files they see the catalog alone, which they cannot write, and they have no capability. They run as the
user who launches them, whose catalog nobody else need be able to read: as root's, where that is root.
"""

import csv
import io
import json
import os
import resource
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from splitplace.children import child_env
from splitplace.errors import NotFoundError, NotReadyError, SplitPlaceError
from splitplace.inference.cpu_share import WEIGHT, quota
from splitplace.placement.device.config import DeviceConfig
from splitplace.placement.engines.child_engine import FORCED_S, Child, ChildEngine
from splitplace.placement.protocol.keys import Accesses

IMAGE = "localhost/splitplace-device"
"""What podman calls the image of a device that this machine made."""
CATALOG = "/catalog"
"""Where a container has it."""
DEVICE = "splitplace.placement.device.__main__"
FILES = 1024
"""That a container may open; podman's own number is more than some machines allow."""
ANSWER_S = 60.0
"""Within which podman answers what it knows."""
LOAD_S = 900.0
"""And takes an image of hundreds of megabytes, on a slow disk."""
SIGNALLED = 128
"""A container exits with so much more than the number of the signal that ended it."""
_KEPT = ("XDG_", "CONTAINER", "STORAGE_", "REGISTRIES_", "DBUS_")
"""What podman reads of the environment beside what every child has."""


class PodmanEngine(ChildEngine):
    """Launches each device as a container.

    Args:
        image: An image that podman has, with a device runtime in it: as `splitplace image` makes them.

    Raises:
        NotReadyError: There is no podman on this machine.
        NotFoundError: It has no such image, or it is none of ours.
    """

    name: ClassVar[str] = "podman"
    same_machine: ClassVar[bool] = True

    def __init__(self, image: str = IMAGE):
        super().__init__()
        self.image = image
        self._python = _interpreter(image)
        self._containers: dict[str, str] = {}

    def accesses(self, names: Iterable[str]) -> Accesses:
        """Keys: a container sees no socket files of this machine."""
        return Accesses.of(names, same_machine=False)

    def _command(self, config: DeviceConfig) -> list[str]:
        name = f"splitplace-{os.getpid()}-{secrets.token_hex(4)}-{config.name}"
        self._containers[config.name] = name
        quota_us, period_us = quota(config.cpu_share, config.threads)
        files = min(FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        limits = ["--cpu-period", str(period_us), "--cpu-quota", str(quota_us), "--cpu-shares", str(WEIGHT * 1024)]
        if config.memory_bytes is not None:
            limits += ["--memory", f"{config.memory_bytes}b", "--memory-swap", f"{config.memory_bytes}b"]
        return [
            *podman(),
            *("run", "--rm", "--interactive", "--pull", "never", "--name", name, "--log-driver", "none"),
            *(
                "--network",
                "host",
                "--pid",
                "host",
                "--ulimit",
                f"nofile={files}:{files}",
                "--ulimit",
                "nproc=1024:1024",
            ),
            *("--read-only", *_as_this_user(), "--cap-drop", "all"),
            *("--security-opt", "no-new-privileges", "--security-opt", "label=disable", *limits),
            *("--mount", _csv("type=bind", f"source={config.catalog}", f"destination={CATALOG}", "readonly")),
            *("--entrypoint", json.dumps([self._python, "-P", "-m", DEVICE]), self.image),
        ]

    def _environment(self) -> dict[str, str]:
        return child_env(**{name: value for name, value in os.environ.items() if name.startswith(_KEPT)})

    def _told(self, config: DeviceConfig) -> DeviceConfig:
        return config.model_copy(update={"catalog": CATALOG, "cpu_share_method": "container"})

    def _end(self, device: str, child: Child) -> None:
        _remove(self._containers[device])
        with suppress(subprocess.TimeoutExpired):
            child.process.wait(FORCED_S)
            return
        child.process.kill()  # podman itself hangs; the container had its standard input closed, and is gone

    def stop(self, device: str, timeout_s: float = 5.0) -> None:
        """End its standard input, then by force; the container is gone."""
        super().stop(device, timeout_s)
        self._containers.pop(device, None)

    def _reason(self, code: int, child: Child, last: str) -> str:
        code = SIGNALLED - code if code > SIGNALLED else code
        said = super()._reason(code, child, last)
        if code == -signal.SIGKILL and child.config.memory_bytes is not None:
            return f"{said}, as who takes more than its {child.config.memory_bytes / 2**20:.0f} MiB of memory is"
        return said

    def pid(self, device: str) -> int:
        """Of the device runtime in a container, on this machine.

        Raises:
            SplitPlaceError: It was not launched here, or does not run.
        """
        self._child(device)
        done = ask_podman("inspect", "--format", "{{.State.Pid}}", self._containers[device])
        if done.returncode or not int(done.stdout):
            raise NotReadyError(f"device {device!r} does not run: {done.stderr.strip() or 'it has ended'}")
        return int(done.stdout)


def _as_this_user() -> list[str]:
    """The same number inside as outside: without root, podman would else map it to one that owns none of our files."""
    same = ["--userns", "keep-id"] if os.getuid() else []
    return [*same, "--user", f"{os.getuid()}:{os.getgid()}"]


def podman() -> list[str]:
    """The command.

    Where cgroups are of version 1, or of both, crun refuses, and runc does not.

    Raises:
        NotReadyError: There is none on this machine.
    """
    program = shutil.which("podman")
    if program is None:
        raise NotReadyError("no podman here: install it (Debian: podman, runc, iptables), or take the engine local")
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        return [program]
    return [program, "--cgroup-manager", "cgroupfs", "--runtime", "runc"]


def ask_podman(
    *arguments: str, timeout_s: float = ANSWER_S, folder: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    """What a command of podman's answers, whether it worked or not.

    Args:
        arguments: Behind `podman`.
        timeout_s: Within which it has to.
        folder: That it works in; this process's own by default.

    Raises:
        NotReadyError: There is no podman, or it does not answer.
    """
    command = [*podman(), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout_s, cwd=folder)
    except subprocess.TimeoutExpired as error:
        raise NotReadyError(f"podman {arguments[0]}: no answer within {timeout_s:g} s") from error


def _interpreter(image: str) -> str:
    """The Python in an image of ours, by what it runs."""
    done = ask_podman("image", "inspect", "--format", "{{json .Config.Entrypoint}}", image)
    if done.returncode:
        raise NotFoundError(f"podman has no image {image!r}: podman pull it first, or leave --image out")
    entry = json.loads(done.stdout) or []
    if len(entry) < 4 or not str(entry[3]).startswith("splitplace."):
        raise NotFoundError(f"image {image!r} runs {entry}: expected one that `splitplace image` made")
    return str(entry[0])


def _remove(container: str) -> None:
    with suppress(SplitPlaceError):  # podman hangs: whoever waits for it ends that
        ask_podman("rm", "--force", "--ignore", "--time", "0", container)


def _csv(*fields: Sequence[str]) -> str:
    """Fields of one option, whatever the names of folders are."""
    target = io.StringIO()
    csv.writer(target, lineterminator="").writerow(fields)
    return target.getvalue()
