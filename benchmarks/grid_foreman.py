"""The process that talks to Ray for an experiment: gives cells to the cores of its nodes, one each, until all are done.

    python -c "from splitplace.benchmarks.grid_foreman import main; main()" CREW

Requests come in by standard input, reports go out by standard output, a line each. What passes through Ray is a class
by its name, and JSON as bytes.
"""

import os
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from splitplace.benchmarks import grid_wire as wire
from splitplace.benchmarks.grid_wire import CellAsked, CellBatch, CellDone, CellFailed, CodeFacts, CrewAsked
from splitplace.benchmarks.grid_worker import GridWorker
from splitplace.benchmarks.ray_connection import connect
from splitplace.children import ONE_THREAD
from splitplace.errors import SplitPlaceError
from splitplace.placement.engines.ray_check import ray_problem
from splitplace.placement.protocol.fields import text

LOOK_S = 1.0
"""Between two looks at which nodes there are."""
TICK_S = 0.2
NOBODY_S = 120.0
"""For so long there may be nobody who measures: cores that are busy, or a node that is to come back."""
BUSY_S = 30.0
"""A core that has not come in so long is somebody else's: another one is looked for as well."""
MOST_ENDS = 3
"""Of those who measure a cell: then it is the cell that ends them."""


@dataclass(eq=False)
class _Hand:
    """A core that measures: an actor on a node, and what is waited for from it."""

    node: str
    address: str
    hired_s: float
    actor: Any
    waits: Any | None
    """For its hello, or for a cell; None if it has nothing to do."""
    machine: str = ""
    """Empty until it has said hello."""
    cell: CellAsked | None = None


class Foreman:
    """Who measures what.

    Args:
        asked: By what code, and on how many cores.
        ray: The module, connected.
        report: Is told.
        now_s: A clock.
    """

    def __init__(
        self, asked: CrewAsked, ray: Any, report: Callable[[wire.Report], None],
        now_s: Callable[[], float] = time.monotonic,
    ):  # fmt: skip
        self._asked, self._ray, self._report, self._now_s = asked, ray, report, now_s
        self._hands: list[_Hand] = []
        self._batch = -1
        self._queue = deque[CellAsked]()
        self._files: Any = None
        self._ends = Counter[int]()
        """Of those who measured a cell of this batch."""
        self._refused: dict[str, str] = {}
        """Why, by node id."""
        self._looked_s = float("-inf")
        self._ever = False
        """Whether somebody has measured."""
        self._somebody_s = now_s()
        """When there was somebody who measures, or nothing to do."""

    @property
    def busy(self) -> bool:
        """Whether there is something to do."""
        return bool(self._queue) or any(hand.waits is not None for hand in self._hands)

    def heed(self, request: wire.Request) -> None:
        """Take in cells."""
        if isinstance(request, CellBatch):
            self._batch = request.number
            self._queue.clear()
            self._ends.clear()
            self._somebody_s = self._now_s()
            self._files = self._ray.put(wire.FILES.dump_json(request.files))
        else:
            self._queue.append(request)

    def step(self) -> None:
        """Hire where it is of use, hear who is done, and give out what is left.

        Raises:
            NoNodeError: Nobody can measure.
        """
        if any(hand.machine for hand in self._hands):
            self._somebody_s = self._now_s()
        if self._queue:
            self._look()
        waiting = {hand.waits: hand for hand in self._hands if hand.waits is not None}
        if waiting:
            for ref in self._ray.wait(list(waiting), num_returns=1, timeout=TICK_S)[0]:
                self._hear(waiting[ref], ref)
        elif self._queue:
            time.sleep(TICK_S)
        self._give()

    def end(self) -> None:
        """Nobody measures any more."""
        for hand in self._hands:
            self._dismiss(hand)

    def _look(self) -> None:
        """At the nodes that are up: as many cores are hired as there are cells for, node by node in turns."""
        now_s = self._now_s()
        if now_s - self._looked_s < LOOK_S:
            return
        self._looked_s = now_s
        nodes = [node for node in self._ray.nodes() if node["Alive"]]
        cores = {str(node["NodeID"]): int(node["Resources"].get("CPU", 0)) for node in nodes}
        addresses = {str(node["NodeID"]): str(node["NodeManagerAddress"]) for node in nodes}
        there = {node: count for node, count in cores.items() if count}
        refused = {node: self._refused[node] for node in there if node in self._refused}
        none_can = bool(refused) and refused.keys() == there.keys() and not self._ever
        if none_can or now_s - self._somebody_s > NOBODY_S:
            raise NoNodeError(_nobody(len(nodes), len(there), sorted(set(refused.values()))))
        wanted = len(self._queue) + sum(hand.cell is not None for hand in self._hands)
        coming = [hand for hand in self._hands if hand.machine or now_s - hand.hired_s < BUSY_S]
        wanted = min(wanted, self._asked.most or wanted) - len(coming)
        on = Counter(hand.node for hand in self._hands)
        free = [(on[node] + i, node) for node, count in there.items() for i in range(count - on[node])]
        for _, node in sorted(place for place in free if place[1] not in refused)[: max(wanted, 0)]:
            self._hire(node, addresses[node])

    def _hire(self, node: str, address: str) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        # Not soft: what a node is refused for is of that node.
        pinned = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
        actor = (
            self._ray.remote(GridWorker)
            .options(num_cpus=1, max_restarts=0, scheduling_strategy=pinned, runtime_env={"env_vars": ONE_THREAD})
            .remote()
        )
        self._hands.append(_Hand(node, address, self._now_s(), actor, actor.hello.remote()))

    def _hear(self, hand: _Hand, ref: Any) -> None:
        hand.waits = None
        try:
            answer = self._ray.get(ref)
        except Exception as error:  # noqa: BLE001 - in whichever way Ray says that it has ended
            self._lost(hand, error)
            return
        if hand.cell is None:
            self._greet(hand, answer)
            return
        hand.cell = None
        said = wire.ANSWERS.validate_json(answer)
        self._report(said.model_copy(update={"machine": hand.machine}) if isinstance(said, CellDone) else said)

    def _greet(self, hand: _Hand, answer: bytes) -> None:
        try:
            hello = wire.NodeHello.parse(answer, "its hello")
        except SplitPlaceError as error:  # of before what a hello has now, or of after it
            here = self._asked.facts.splitplace
            self._refuse(hand, f"its splitplace is another than here ({here}): install there what is here ({error})")
            return
        if problem := self._asked.facts.difference(hello.facts) or hello.problem:
            self._refuse(hand, problem)
        else:
            hand.machine, self._ever = hello.facts.machine, True
            self._report(wire.NodeHired(node=hand.address))

    def _lost(self, hand: _Hand, error: Exception) -> None:
        """It has ended, or never was: its node may be gone, which is no reason to refuse it when it comes back."""
        self._dismiss(hand)
        self._hands.remove(hand)
        if (cell := hand.cell) is not None:
            if cell.batch == self._batch:  # else nobody asks for it any more
                self._again(cell, hand, error)
        elif not hand.machine and any(node["NodeID"] == hand.node and node["Alive"] for node in self._ray.nodes()):
            self._refuse(hand, _why(error, self._asked.facts))

    def _again(self, cell: CellAsked, hand: _Hand, error: Exception) -> None:
        self._ends[cell.number] += 1
        if self._ends[cell.number] < MOST_ENDS:
            self._queue.appendleft(cell)
            self._report(wire.CellAgain(batch=cell.batch, number=cell.number, node=hand.address))
            return
        problem = (
            f"{MOST_ENDS} times who measured a cell ended by itself (as when memory runs out), lastly on node "
            f"{hand.address}: go on with fewer --jobs; Ray says: {text(error)[:300]}"
        )
        self._report(CellFailed(batch=cell.batch, number=cell.number, problem=problem))

    def _refuse(self, hand: _Hand, reason: str) -> None:
        """Of this node, whoever was hired there."""
        if hand.node not in self._refused:
            self._refused[hand.node] = f"node {hand.address}: {reason}"
            self._report(wire.NodeRefused(node=hand.address, reason=reason))
        for other in [one for one in self._hands if one.node == hand.node]:
            self._dismiss(other)
            self._hands.remove(other)
        self._looked_s = float("-inf")  # whether there is another is known at once

    def _dismiss(self, hand: _Hand) -> None:
        with suppress(Exception):  # it has ended, in whichever way Ray says so
            self._ray.kill(hand.actor)

    def _give(self) -> None:
        for hand in self._hands:
            if self._queue and hand.machine and hand.waits is None:
                hand.cell = self._queue.popleft()
                hand.waits = hand.actor.measure.remote(hand.cell.model_dump_json().encode(), self._files)


class NoNodeError(SplitPlaceError):
    """None of a cluster's nodes can measure."""


def _nobody(nodes: int, with_cores: int, refused: list[str]) -> str:
    """Why, and what to do."""
    if refused:
        return f"no node of the Ray cluster can measure: {'; '.join(refused)}"
    if not with_cores:
        return f"none of the Ray cluster's {nodes} nodes has a core to give: start one with ray start --num-cpus=N"
    return (
        f"no core of the Ray cluster's {nodes} nodes came free within {NOBODY_S:.0f} s: wait for what runs there, or "
        "run without --ray"
    )


def _why(error: Exception, facts: CodeFacts) -> str:
    """What keeps a node that is up from measuring."""
    said = text(error)
    if "No module named 'splitplace" in said:
        return f"it has no splitplace, expected {facts.splitplace}: pip install 'splitplace[ray,sim]' there"
    return ray_problem(error)


def _reports() -> Callable[[wire.Report], None]:
    """Writes them where standard output went; what Ray prints goes to standard error from now on."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def report(said: wire.Report) -> None:
        out.write(said.model_dump_json() + "\n")
        out.flush()

    return report


def _listen(requests: "SimpleQueue[wire.Request | None]") -> None:
    for line in sys.stdin.buffer:
        requests.put(wire.REQUESTS.validate_json(line))
    requests.put(None)


def _work(foreman: Foreman, requests: "SimpleQueue[wire.Request | None]") -> None:
    """Until standard input ends."""
    while True:
        with suppress(Empty):
            while True:
                request = requests.get(block=not foreman.busy)
                if request is None:
                    return
                foreman.heed(request)
        foreman.step()


def main() -> None:
    """Until standard input ends, or nothing can be measured."""
    requests: SimpleQueue[wire.Request | None] = SimpleQueue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    report = _reports()
    address = os.environ.get("RAY_ADDRESS", "auto")
    try:
        import ray

        asked = CrewAsked.parse(sys.argv[1], "the request to measure")
        connect(ray, address, lambda reason: report(wire.ForemanEnded(reason=reason)))
        foreman = Foreman(asked, ray, report)
        try:
            _work(foreman, requests)
        finally:
            foreman.end()
    except SplitPlaceError as error:
        report(wire.ForemanEnded(reason=str(error)))
    except BaseException as error:  # noqa: BLE001 - whatever it is, the command is told
        report(wire.ForemanEnded(reason=f"Ray cannot be asked: {ray_problem(error)}"))
    os._exit(0)  # Ray's own threads may wait for a head that is gone
