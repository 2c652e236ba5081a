"""Claim: on a Ray cluster, too, every acknowledged task ends once, and right: nodes, head, broker die, links are cut.

A head and some nodes, each a `ray start` of its own on this machine, and a fleet of the engine `ray` over them, under
the chaos bench's clients and held to account by its checker (`chaos_check.py`). What dies is killed (SIGKILL, all of
its processes at once) and comes back as a supervisor would bring it back; how long the fleet takes to notice, and to
have the device again, is looked at from outside, by `fleet status`.
"""

import json
import os
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal, get_args

import psutil
from pydantic import Field

from splitplace import provenance
from splitplace.api.start_fleet import start_fleet
from splitplace.benchmarks import chaos_check, chaos_splits
from splitplace.benchmarks.chaos import END_S, Spread, run_folder
from splitplace.benchmarks.chaos_clients import StreamClient
from splitplace.benchmarks.chaos_faults import Handle, send_signal
from splitplace.benchmarks.ray_cluster import RayCluster, ray_cluster
from splitplace.benchmarks.ray_links import HERE, node_network
from splitplace.benchmarks.results_file import save
from splitplace.errors import NotReadyError
from splitplace.placement.serve.client import Client
from splitplace.records.base import Count, NonNegative, PositiveCount, Record
from splitplace.records.provenance import Provenance

FaultKind = Literal[
    "node_killed", "device_killed", "link_cut_one_way", "link_cut_both_ways", "node_cut_off", "broker_killed",
    "head_killed",
]  # fmt: skip
KINDS: tuple[FaultKind, ...] = get_args(FaultKind)
CUTS: tuple[FaultKind, ...] = ("link_cut_one_way", "link_cut_both_ways")
"""Of all links between one node and the other nodes; head and broker reach all of them."""
NETWORKED: tuple[FaultKind, ...] = (*CUTS, "node_cut_off")
"""What takes a network of its own."""
CLIENTS = 3
POLICY = "random+least-loaded"
LOOK_S = 0.05
PATIENCE_S = 180.0
"""For what is waited for: a machine that others use, too, is slow at times."""
GAP_S = 2.0
"""Between two faults, all devices being up."""
APART_S = 3.0
"""That the head is gone for before nodes are looked at: they go on without."""


class RayFaultsResults(Record):
    """Everything counted, and what it took."""

    nodes: PositiveCount
    rounds: PositiveCount
    load: NonNegative
    """The machine's load average before the run."""
    load_after: NonNegative
    faults: dict[str, Count]
    sent: Count
    acknowledged: Count
    answered: Count
    failed_by_reason: dict[str, Count]
    compared: Count
    lost: Count
    twice: Count
    wrong: Count
    hung: Count
    noticed_s: dict[str, Spread]
    """From a kill until `fleet status` suspects the device, by kind; of a cut, until it says that a pair goes through
    the broker, which takes a task that needs it; of the head, from when nodes are looked at until Ray has ended them
    all."""
    ended_s: Annotated[dict[str, Spread], Field(default_factory=dict)]
    """From when a node was cut off, from the head as well, until Ray had ended it; not looked at in older files."""
    back_s: dict[str, Spread]
    """From its return (a device: its kill) until all devices are in the view, by kind; of a cut, from its end until all
    pairs go directly again."""
    node_bytes: Count
    """Resident, of one node's processes without the device's."""
    device_bytes: Count
    """Resident, of a device's runtime on a node, with fragments."""
    device_empty_bytes: Count | None = None
    """Likewise, before the first; not looked at in older files."""
    agent_bytes: Count
    """Resident, of the process of Ray's that an agent runs in."""
    provenance: Provenance


class _Run:
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


def run(path: Path, work: Path, nodes: int, rounds: int, seed: int, say: Callable[[str], None]) -> RayFaultsResults:
    """Bring the faults about, check, and write the results file.

    Args:
        path: The results file.
        work: Folder for catalog, fleet and histories; what an earlier run left in it is removed.
        nodes: Of the cluster, beside its head; each is a device.
        rounds: Of one fault of each kind.
        seed: Of the tasks and the weights.
        say: Told what is being done.

    Raises:
        UsageError: The work folder holds something else.
        SplitPlaceError: The cluster or the fleet did not start (again), or a device did not come back.
    """
    load, folder = os.getloadavg()[0], run_folder(work)
    chaos_splits.write(folder / "catalog", folder / "wholes", seed)
    names = [unit.name for unit in chaos_splits.fleet(nodes).units()]
    with node_network(names) as network, ray_cluster(folder / "devices", network) as cluster:
        run = _Run(folder, cluster, nodes, seed, say)
        sizes = _stream(run, rounds)
    say("checking every output")
    found = chaos_check.check(folder)
    results = RayFaultsResults(
        nodes=nodes,
        rounds=rounds,
        load=load,
        load_after=os.getloadavg()[0],
        faults=dict(sorted(found.faults.items())),
        sent=found.sent,
        acknowledged=found.acknowledged,
        answered=found.answered,
        failed_by_reason=dict(found.failed.most_common()),
        compared=found.compared,
        lost=len(found.lost),
        twice=len(found.twice),
        wrong=len(found.wrong),
        hung=len(found.hung),
        noticed_s={kind: Spread.of(values) for kind, values in run.noticed.items() if values},
        ended_s={kind: Spread.of(values) for kind, values in run.ended.items() if values},
        back_s={kind: Spread.of(values) for kind, values in run.back.items() if values},
        node_bytes=sizes[0],
        device_bytes=sizes[1],
        device_empty_bytes=sizes[3],
        agent_bytes=sizes[2],
        provenance=provenance.collect(seed),
    )
    save(path, results)
    return results


def _stream(run: _Run, rounds: int) -> tuple[int, int, int, int]:
    """Tasks and faults, until all has ended; answers with what a node, a device, an agent, an empty device hold."""
    run.say("starting the cluster")
    run.cluster.start_head()
    for name in run.devices:
        run.cluster.start_node(name)
    run.say("starting the fleet")
    client = run.start()
    clients = [
        StreamClient(number, run.seed, chaos_splits.SERVED["broadcast"], run.data, run.folder / "clients")
        for number in range(CLIENTS)
    ]
    patience_s = 0.0
    try:
        run.until(lambda: run.up(client) == set(run.devices), "all devices are up")
        empty_bytes = run.device_process(run.devices[0]).memory_info().rss
        for one in clients:
            one.start()
        run.until(lambda: bool(client.status().devices[0].fragments), "the first device has a fragment")
        time.sleep(GAP_S)
        sizes = *_sizes(run), empty_bytes
        for row in range(rounds):
            for kind in kinds(run.cluster):
                run.say(f"round {row + 1} of {rounds}: {kind}")
                client = run.inject(kind, row, client)
        patience_s = END_S
    finally:
        run.say("waiting for the last tasks")
        for one in clients:
            one.until_s = time.monotonic() + patience_s
            one.enough.set()
        for one in clients:
            if one.is_alive():
                one.join()
        with suppress(NotReadyError):
            client.stop()
    for one in clients:
        if one.failure is not None:
            raise NotReadyError(f"client {one.number} failed: {one.failure!r}") from one.failure
    return sizes


def _sizes(run: _Run) -> tuple[int, int, int]:
    device = run.device_process(run.devices[0])
    agent = device.parent()
    assert agent is not None
    node = sum(process.memory_info().rss for process in run.family(run.devices[0]))
    return node - device.memory_info().rss, device.memory_info().rss, agent.memory_info().rss


def verdict(results: RayFaultsResults) -> dict[str, bool]:
    """Each promise, and whether it held."""
    return {
        "acknowledged tasks lost: 0": results.lost == 0,
        "tasks ended twice: 0": results.twice == 0,
        f"outputs further than {chaos_check.TOLERANCE:g} from the whole model's: 0": results.wrong == 0,
        "tasks hanging: 0": results.hung == 0,
    }
