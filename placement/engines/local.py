"""The `local` engine: device runtimes as processes of this machine, which end with the process that launched them."""

import os
from collections.abc import Collection, Iterable
from typing import ClassVar

from splitplace.children import child_env, python_child
from splitplace.inference import cpu_share
from splitplace.placement.device.config import DeviceConfig
from splitplace.placement.engines.child_engine import ChildEngine
from splitplace.placement.protocol.keys import Accesses


class LocalEngine(ChildEngine):
    """Launches each device as a process of this interpreter.

    Args:
        variables: Of this process's environment what a device gets besides what every process of ours does.
    """

    name: ClassVar[str] = "local"
    same_machine: ClassVar[bool] = True

    def __init__(self, variables: Collection[str] = ()):
        super().__init__()
        self._variables = variables

    def accesses(self, names: Iterable[str]) -> Accesses:
        """Tokens for processes of this user."""
        return Accesses.of(names, same_machine=True)

    def _command(self, config: DeviceConfig) -> list[str]:
        return python_child("splitplace.placement.device.__main__")

    def _environment(self) -> dict[str, str]:
        return child_env(**{name: os.environ[name] for name in self._variables if name in os.environ})

    def launch(self, config: DeviceConfig) -> None:
        """As every engine; what devices left that were killed is swept first."""
        cpu_share.sweep()
        super().launch(config)

    def stop(self, device: str, timeout_s: float = 5.0) -> None:
        """As every engine; and swept after."""
        known = device in self._children
        super().stop(device, timeout_s)
        if known:
            cpu_share.sweep()

    def pid(self, device: str) -> int:
        """Of a launched device.

        Raises:
            SplitPlaceError: It was not launched here.
        """
        return self._child(device).process.pid
