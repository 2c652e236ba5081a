"""Claim: on a Ray cluster, too, every acknowledged task ends once, and right: nodes, head, broker die, links are cut.

A head and some nodes, each a `ray start` of its own on this machine, and a fleet of the engine `ray` over them, under
the chaos bench's clients and held to account by its checker (`chaos_check.py`). What dies is killed (SIGKILL, all of
its processes at once) and comes back as a supervisor would bring it back; how long the fleet takes to notice, and to
have the device again, is looked at from outside, by `fleet status`.
"""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated

from pydantic import Field

from splitplace import provenance
from splitplace.benchmarks import chaos_check, chaos_splits
from splitplace.benchmarks.chaos import END_S, Spread, run_folder
from splitplace.benchmarks.chaos_clients import StreamClient
from splitplace.benchmarks.ray_cluster import ray_cluster
from splitplace.benchmarks.ray_faults_run import GAP_S, RayFaultsRun, kinds
from splitplace.benchmarks.ray_links import node_network
from splitplace.benchmarks.results_file import save
from splitplace.errors import NotReadyError
from splitplace.records.base import Count, NonNegative, PositiveCount, Record
from splitplace.records.provenance import Provenance

CLIENTS = 3


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
        run = RayFaultsRun(folder, cluster, nodes, seed, say)
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


def _stream(run: RayFaultsRun, rounds: int) -> tuple[int, int, int, int]:
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


def _sizes(run: RayFaultsRun) -> tuple[int, int, int]:
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
