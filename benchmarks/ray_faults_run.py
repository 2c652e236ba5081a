"""The faults of the bench `ray_faults`, brought about one after another, and how long the fleet takes over each."""

import json
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal, get_args

import psutil

from splitplace.api.start_fleet import start_fleet
from splitplace.benchmarks import chaos_splits
from splitplace.benchmarks.chaos_faults import Handle, send_signal
from splitplace.benchmarks.ray_cluster import RayCluster
from splitplace.benchmarks.ray_links import HERE
from splitplace.errors import NotReadyError
from splitplace.placement.serve.client import Client

FaultKind = Literal[
    "node_killed", "device_killed", "link_cut_one_way", "link_cut_both_ways", "node_cut_off", "broker_killed",
    "head_killed",
]  # fmt: skip
KINDS: tuple[FaultKind, ...] = get_args(FaultKind)
CUTS: tuple[FaultKind, ...] = ("link_cut_one_way", "link_cut_both_ways")
"""Of all links between one node and the other nodes; head and broker reach all of them."""
NETWORKED: tuple[FaultKind, ...] = (*CUTS, "node_cut_off")
"""What takes a network of its own."""
POLICY = "random+least-loaded"
LOOK_S = 0.05
PATIENCE_S = 180.0
"""For what is waited for: a machine that others use, too, is slow at times."""
GAP_S = 2.0
"""Between two faults, all devices being up."""
APART_S = 3.0
"""That the head is gone for before nodes are looked at: they go on without."""


class RayFaultsRun:
    """A fleet over a cluster, and its clients."""

    def __init__(self, folder: Path, cluster: RayCluster, nodes: int, seed: int, say: Callable[[str], None]):
        self.folder, self.cluster, self.seed, self.say = folder, cluster, seed, say
        self.devices = [unit.name for unit in chaos_splits.fleet(nodes).units()]
        self.data = folder / "data"
        self.noticed: dict[str, list[float]] = {kind: [] for kind in KINDS}
        self.back: dict[str, list[float]] = {kind: [] for kind in KINDS}
        self.ended: dict[str, list[float]] = {"node_cut_off": []}

    def start(self) -> Client:
        """The fleet, (again)."""
        return start_fleet(
            chaos_splits.fleet(len(self.devices)),
            self.folder / "catalog",
            policy=POLICY,
            data=self.data,
            seed=self.seed,
            micro_batch=chaos_splits.MICRO_BATCH,
            engine="ray",
            listen=self.cluster.here,
        )

    def up(self, client: Client) -> set[str]:
        """The devices of which `fleet status` suspects nothing."""
        return {device.name for device in client.status().devices if device.up and not device.suspected}

    def relayed(self, client: Client) -> bool:
        """Whether any device goes through the broker to another one."""
        return any(device.through_broker for device in client.status().devices)

    def until(self, holds: Callable[[], bool], what: str) -> float:
        """How long it takes."""
        begun_s = time.monotonic()
        while not holds():
            if time.monotonic() - begun_s > PATIENCE_S:
                raise NotReadyError(f"{what}: not within {PATIENCE_S:.0f} s")
            time.sleep(LOOK_S)
        return time.monotonic() - begun_s

    def note(self, kind: FaultKind, at: float, device: str | None = None) -> None:
        """For the checker."""
        line = {"kind": kind, "at": at, "until": time.time(), "device": device}
        with (self.folder / "faults.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def inject(self, kind: FaultKind, row: int, client: Client) -> Client:
        """One fault, and all devices up again after it; answers with a client of the broker that there is then."""
        device, at, all_up = self.devices[row % len(self.devices)], time.time(), set(self.devices)
        match kind:
            case "node_killed":
                self.cluster.kill(device)
                self.noticed[kind].append(self.until(lambda: device not in self.up(client), f"{device} is missed"))
                self.cluster.start_node(device)
            case "device_killed":
                self.device_process(device).kill()
                self.noticed[kind].append(self.until(lambda: device not in self.up(client), f"{device} is missed"))
            case "link_cut_one_way" | "link_cut_both_ways":
                away = [(device, other) for other in self.devices if other != device]
                back = [(other, device) for _, other in away] if kind == "link_cut_both_ways" else []
                assert self.cluster.network is not None
                self.until(lambda: not self.relayed(client), "all go directly")
                with self.cluster.network.cut([*away, *back]):
                    self.noticed[kind].append(self.until(lambda: self.relayed(client), f"{device} goes round"))
                    time.sleep(APART_S)
                self.back[kind].append(self.until(lambda: not self.relayed(client), "all go directly again"))
            case "node_cut_off":
                assert self.cluster.network is not None
                with self.cluster.network.cut([(device, other) for other in (HERE, *self.devices) if other != device]):
                    begun_s = time.monotonic()
                    self.noticed[kind].append(self.until(lambda: device not in self.up(client), f"{device} is missed"))
                    self.until(lambda: self.cluster.has_ended(device), f"Ray ends the node of {device}")
                    self.ended[kind].append(time.monotonic() - begun_s)
                self.cluster.kill(device)  # what is left of it; then a supervisor starts it again
                self.cluster.start_node(device)
            case "broker_killed":
                with Handle(client.pid) as process:
                    send_signal(process, signal.SIGKILL)
                    select.select([process], [], [])  # until it has ended: what it holds is free then
                client.close()
                client = self.start()
            case "head_killed":
                self.cluster.kill("head")
                time.sleep(APART_S)
                if {device.name for device in client.status().devices if device.up} != all_up:
                    raise NotReadyError("the head's death took devices with it")
                # Nodes end by themselves when it stays away (`ray_cluster.py` says after how long); a supervisor starts
                # them again. On one machine Ray refuses a head at an address that some node still calls its own.
                self.noticed[kind].append(self.until(lambda: not self.up(client), "Ray's nodes have ended"))
                for name in self.devices:
                    self.cluster.kill(name)
                self.cluster.start_head()
                for name in self.devices:
                    self.cluster.start_node(name)
        back_s = self.until(lambda: self.up(client) == all_up, f"all devices are up after {kind}")
        if kind not in CUTS:
            self.back[kind].append(back_s)
        self.note(kind, at, device if kind == "device_killed" else None)
        time.sleep(GAP_S)
        return client

    def device_process(self, device: str) -> psutil.Process:
        """The device runtime on a node."""
        for process in self.family(device):
            with suppress(psutil.NoSuchProcess):
                if any("placement.device.__main__" in word for word in process.cmdline()):
                    return process
        raise NotReadyError(f"no device runtime on the node of {device}")

    def family(self, device: str) -> list[psutil.Process]:
        """All processes of a node."""
        return psutil.Process(self.cluster.processes[device].pid).children(recursive=True)


def kinds(cluster: RayCluster) -> tuple[FaultKind, ...]:
    """The faults that can be brought about on a cluster."""
    apart = cluster.network is not None and len(cluster.network.addresses) > 1
    return KINDS if apart else tuple(kind for kind in KINDS if kind not in NETWORKED)
