"""A Ray cluster of real `ray start` processes on this machine: a head, and nodes that are devices by their labels."""

import os
import secrets
import socket
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from splitplace.benchmarks.ray_links import NodeNetwork
from splitplace.errors import NotReadyError

PATIENCE_S = 90.0
BIN = Path(sysconfig.get_path("scripts"))


def free_port() -> int:
    """That nobody has at the moment."""
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


class RayCluster:
    """Small, without a dashboard, with a token; whatever was started is ended by `close`.

    Args:
        folder: For Ray's own files, a short path: its sockets lie there.
        devices: Where each node keeps what it is.
        network: That the nodes are on; without, each is at a loopback address.
    """

    def __init__(self, folder: Path, devices: Path, network: NodeNetwork | None = None):
        self.folder, self.devices, self.network, self.port = folder, devices, network, free_port()
        self.client_port = free_port()
        """Where Ray's client is let in, that need not run on a node."""
        self.here = network.here if network is not None else "127.0.0.1"
        """This machine, as the nodes reach it."""
        self.address = f"{self.here}:{self.port}"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.environment = {
            "RAY_ADDRESS": self.address,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_enable_metrics_collection": "0",
            # Ray's own word that a node is gone: 1 s x 3, where its default is half a minute.
            "RAY_health_check_initial_delay_ms": "1000",
            "RAY_health_check_period_ms": "1000",
            "RAY_health_check_timeout_ms": "1000",
            "RAY_health_check_failure_threshold": "3",
            # How long a node waits for a head that is gone, where the default is a minute.
            "RAY_gcs_rpc_server_reconnect_timeout_s": "10",
            # And for the process that it starts for a client (`ray://`), where the default is half a minute.
            "RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S": "300",
            "SPLITPLACE_DEVICES": str(devices),
            "OMP_NUM_THREADS": "1",
        }

    def _start(self, name: str, *options: str, within: Sequence[str] = ()) -> None:
        command = [
            *within, str(BIN / "ray"), "start", *options, "--disable-usage-stats", "--include-log-monitor=false",
            "--block",
            f"--temp-dir={self.folder}", "--memory=200000000", "--object-store-memory=80000000",
        ]  # fmt: skip
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                command, env=os.environ | self.environment, stdout=log, stderr=log, start_new_session=True
            )
        end_s = time.monotonic() + PATIENCE_S
        while b"Ray runtime started" not in (self.folder / f"{name}.log").read_bytes():
            if self.processes[name].poll() is not None or time.monotonic() > end_s:
                raise NotReadyError(f"ray start did not start {name}: {self.said(name)[-1000:]}")
            time.sleep(0.1)

    def said(self, name: str) -> str:
        """What a `ray start` printed."""
        return (self.folder / f"{name}.log").read_text()

    def start_head(self) -> None:
        """No device: it has no label."""
        at = () if self.network is None else (f"--node-ip-address={self.here}",)
        self._start("head", "--head", *at, f"--port={self.port}", "--num-cpus=0", "--include-dashboard=false",
                    f"--ray-client-server-port={self.client_port}")  # fmt: skip

    def start_node(self, device: str) -> None:
        """A node that is a device, at an address of its own."""
        own, within = f"127.0.0.{2 + sum(map(ord, device)) % 200}", list[str]()
        if self.network is not None:
            own, within = self.network.addresses[device], self.network.within(device)
        self._start(device, f"--address={self.address}", f"--node-ip-address={own}", "--num-cpus=1",
                    f"--labels=splitplace-device={device}", within=within)  # fmt: skip

    def has_ended(self, name: str) -> bool:
        """Whether a `ray start` has ended by itself: what it started is of no more use."""
        return self.processes[name].poll() is not None

    def kill(self, name: str) -> None:
        """All processes of a node or of the head at once, as when the power goes."""
        process = self.processes.pop(name)
        try:
            family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
        except psutil.NoSuchProcess:
            family = []
        for one in family:
            try:
                one.kill()
            except psutil.NoSuchProcess:
                continue
        process.wait()

    def close(self) -> None:
        """End all of it."""
        for name in tuple(self.processes)[::-1]:
            self.kill(name)


@contextmanager
def ray_cluster(devices: Path, network: NodeNetwork | None = None) -> Iterator[RayCluster]:
    """One, not started yet, with this process's environment as Ray wants it, for as long as it lasts.

    Args:
        devices: As of `RayCluster`.
        network: Likewise.
    """
    with tempfile.TemporaryDirectory(prefix="sp-ray-", ignore_cleanup_errors=True) as short:
        cluster, before = RayCluster(Path(short), devices, network), dict(os.environ)
        os.environ.update(cluster.environment)
        try:
            yield cluster
        finally:
            cluster.close()
            os.environ.clear()
            os.environ.update(before)
