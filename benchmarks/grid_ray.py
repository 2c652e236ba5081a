"""Cells over a Ray cluster, in place of this machine's processes: one a core, those of a node that dies elsewhere.

Ray ends the process that is connected to it when its head is gone for a minute, so that what talks to Ray is a process
of its own (`grid_foreman.py`); results come from it as they are there.
"""

import logging
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TypeVar

from splitplace.benchmarks import grid_wire as wire
from splitplace.benchmarks.grid_wire import CellAgain, CellAsked, CellBatch, CellDone, CellFailed, CrewAsked, Luggage
from splitplace.benchmarks.results_file import stamped
from splitplace.children import child_env, python_code
from splitplace.errors import NotReadyError, SplitPlaceError, UsageError
from splitplace.placement.engines.ray import RayEngine
from splitplace.placement.engines.ray_check import check_ray

log = logging.getLogger(__name__)

Task = TypeVar("Task")
Result = TypeVar("Result")
CODE = "from splitplace.benchmarks.grid_foreman import main; main()"
END_S = 10.0
"""How long it may take to end what measures."""


class RayCrew:
    """The cores of the cluster that $RAY_ADDRESS names, or that runs on this machine.

    Args:
        most: Of them; all if not stated.

    Raises:
        MissingExtraError: Ray is not installed.
        UsageError: There is no token for it.
    """

    def __init__(self, most: int | None = None):
        check_ray("--ray")
        self.most = most
        self.nodes = Counter[str]()
        """Cores that measure, or have, by address."""
        self._batch = 0
        self._foreman: subprocess.Popen[bytes] | None = None

    def results(self, work: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """What comes of each task, as it comes; as `grid.measure` has it.

        Raises:
            NotReadyError: There is no cluster, or none of its nodes can measure.
            SplitPlaceError: What a task raised, or who measured it ended by itself again and again.
        """
        self._batch += 1
        luggage, (takes, gives) = Luggage(), wire.adapters(work)
        packed = [takes.dump_json(luggage.packed(task)).decode() for task in tasks]
        self._say(CellBatch(number=self._batch, files=luggage.files))
        for number, task in enumerate(packed):
            self._say(CellAsked(batch=self._batch, number=number, work=wire.name_of(work), task=task))
        left = set(range(len(tasks)))
        while left:
            report = self._heard()
            match report:
                case CellDone(batch=batch, number=number) if batch == self._batch and number in left:
                    left.remove(number)
                    result: Result = gives.validate_json(report.result)
                    yield stamped(result, report.machine)
                case CellFailed(batch=batch) if batch == self._batch:
                    raise (UsageError if report.usage else SplitPlaceError)(report.problem)
                case CellAgain(node=node):
                    log.warning("who measured a cell on node %s has ended: it is measured again", node)
                case wire.NodeHired(node=node):
                    self.nodes[node] += 1
                case wire.NodeRefused(node=node, reason=reason):
                    log.warning("node %s measures nothing: %s", node, reason)
                case wire.ForemanEnded(reason=reason):
                    raise NotReadyError(reason)

    def close(self) -> None:
        """End all that measures."""
        foreman, self._foreman = self._foreman, None
        if foreman is None:
            return
        assert foreman.stdin is not None and foreman.stdout is not None
        with suppress(OSError):
            foreman.stdin.close()
        foreman.stdout.close()
        try:
            foreman.wait(END_S)
        except subprocess.TimeoutExpired:
            foreman.kill()
            foreman.wait()

    def _say(self, request: wire.Request) -> None:
        if self._foreman is None:
            asked = CrewAsked(facts=wire.CodeFacts.here(), most=self.most)
            self._foreman = subprocess.Popen(
                python_code(CODE, asked.model_dump_json()),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # Ray's own remarks; what concerns us it reports
                env=child_env(**RayEngine.environment() | {"RAY_USAGE_STATS_ENABLED": "0"}),
                start_new_session=True,  # an interrupt is for us, and we end it
            )
        assert self._foreman.stdin is not None
        with suppress(BrokenPipeError):  # it has ended, and said why
            self._foreman.stdin.write(request.model_dump_json().encode() + b"\n")
            self._foreman.stdin.flush()

    def _heard(self) -> wire.Report:
        assert self._foreman is not None and self._foreman.stdout is not None
        line = self._foreman.stdout.readline()
        if not line:
            raise NotReadyError(
                "what talks to Ray ended without a word (as when the cluster's head has been gone for a minute): what "
                "is measured is kept, and the same command goes on"
            )
        return wire.REPORTS.validate_json(line)
