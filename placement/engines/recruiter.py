"""The process that talks to Ray: says which nodes there are, and has agents run on them. Nothing else imports Ray.

    python -c "from splitplace.placement.engines.recruiter import main; main()" FLEET_KEY

Requests come in by standard input, reports go out by standard output, a line each. What passes through Ray is a class
by its name, and JSON as bytes: the token by which an agent joins, and how it fares.
"""

import hashlib
import logging
import os
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Annotated, Any

from pydantic import Field

from splitplace.errors import NotReadyError, SplitPlaceError
from splitplace.files import at_home, replace_file
from splitplace.placement.engines.agent import Agent
from splitplace.placement.engines.ray import (
    LABEL,
    REQUESTS,
    Nodes,
    Recruit,
    Recruited,
    Report,
    Request,
    Trouble,
)
from splitplace.placement.engines.ray_check import ray_problem
from splitplace.placement.protocol.fields import text
from splitplace.records.base import Name, Record

log = logging.getLogger(__name__)

EVERY_S = 1.0
PLACE_S = 120.0
"""How long an actor may take to be there: a node that is busy starts a process for it, as long as it is up."""
END_ALL_S = 5.0
"""How long agents may take to say that they end."""
ENDED = "ended.txt"
"""Of a device's folder: why its agent ended by itself."""
FOLDER_VARIABLE = "SPLITPLACE_DEVICES"


class Beginning(Record):
    """What an agent is told."""

    device: Name
    fleet: str
    token: Annotated[str, Field(repr=False)]


class Begun(Record):
    """What it answers."""

    problem: str = ""
    """Why it did not begin."""
    ended: str = ""
    """Why the one before it on this node ended by itself, if that is not told yet."""


class AgentActor:
    """Holds an agent, in a process of Ray's on the device's node."""

    def __init__(self) -> None:
        self._agent: Agent | None = None
        self._problem = ""

    def begin(self, request: bytes) -> bytes:
        """Join, or come back, and be the device from then on.

        Args:
            request: A `Beginning`, as JSON.

        Returns:
            A `Begun`, as JSON.
        """
        return self._begin(request).model_dump_json().encode()

    def _begin(self, request: bytes) -> Begun:
        asked = Beginning.parse(request, "the request to an agent")
        if os.environ.get("RAY_AUTH_MODE") != "token":
            return Begun(problem="this node runs without Ray's token: set RAY_AUTH_MODE=token there as well")
        ended = ""
        try:
            agent = Agent(device_folder(asked.fleet, asked.device))
            ended = self._why_ended(agent)
            if not agent.home.is_member(asked.token):
                agent.join(asked.token)
        except (SplitPlaceError, OSError) as error:
            return Begun(problem=text(error), ended=ended)
        self._agent = agent
        threading.Thread(target=self._serve, args=(agent,), name="agent", daemon=True).start()
        return Begun(ended=ended)

    def _serve(self, agent: Agent) -> None:
        try:
            agent.serve()
        except BaseException as error:
            log.exception("the agent ended")
            with suppress(OSError):
                replace_file(agent.folder / ENDED, text(error))
        finally:
            os._exit(0)  # an actor without an agent is of no use; the recruiter sends for another

    def _why_ended(self, agent: Agent) -> str:
        path = agent.folder / ENDED
        if not path.is_file():
            return ""
        said = text(path.read_bytes()[:1000].decode(errors="replace"))
        path.unlink()
        return said

    def end(self) -> bytes:
        """Leave in order; the process ends when that is done."""
        if self._agent is not None:
            self._agent.stop()
        return b""


def device_folder(fleet: str, device: str) -> Path:
    """Where a node keeps what it is: below $SPLITPLACE_DEVICES, or in the user's home, a folder a fleet and device."""
    named = os.environ.get(FOLDER_VARIABLE)
    root = Path(named) if named else at_home(".local/share/splitplace/devices")
    if root is None:
        raise SplitPlaceError(f"nobody's home is known on this node: say where to keep things by ${FOLDER_VARIABLE}")
    return root / hashlib.sha256(fleet.encode()).hexdigest()[:16] / device


class Recruiter:
    """Of one fleet.

    Args:
        fleet: Its public key.
        ray: The module.
    """

    def __init__(self, fleet: str, ray: Any):
        self.fleet, self.ray = fleet, ray
        self.namespace = f"splitplace-{hashlib.sha256(fleet.encode()).hexdigest()[:16]}"

    def connect(self) -> None:
        """To the cluster that $RAY_ADDRESS names, or that runs here."""
        self.ray.init(
            address=os.environ.get("RAY_ADDRESS", "auto"), namespace=self.namespace, log_to_driver=False,
            configure_logging=False,
        )  # fmt: skip

    def nodes(self) -> dict[str, str]:
        """The nodes that are up and have our label: node id by device."""
        found = {}
        for node in self.ray.nodes():
            device = (node.get("Labels") or {}).get(LABEL)
            if node["Alive"] and device:
                found[str(device)] = str(node["NodeID"])
        return found

    def heed(self, request: Request) -> Recruited | None:
        """Do what is asked."""
        if isinstance(request, Recruit):
            try:
                begun = self._recruit(request)
            except Exception as error:  # noqa: BLE001 - whatever Ray raises is what there is to report
                begun = Begun(problem=text(error)[:500])  # whose words may be none: its name, then
            return Recruited(
                device=request.device, node=request.node, problem=text(begun.problem), ended=text(begun.ended)
            )
        self._end(request.devices)
        return None

    def _recruit(self, request: Recruit) -> Begun:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        if self.nodes().get(request.device) != request.node:
            return Begun(problem="the node has gone meanwhile")
        self._kill(request.device)
        # Not soft: on another node it would be another device.
        pinned = NodeAffinitySchedulingStrategy(node_id=request.node, soft=False)
        actor = (
            self.ray.remote(AgentActor)
            .options(
                name=request.device, lifetime="detached", num_cpus=0, max_restarts=0, max_concurrency=2,
                scheduling_strategy=pinned,
            )
            .remote()
        )  # fmt: skip
        told = Beginning(device=request.device, fleet=self.fleet, token=request.token).model_dump_json().encode()
        try:
            begun = Begun.parse(self._answer(actor.begin.remote(told), request), "an agent's answer")
        except BaseException:
            self.ray.kill(actor)
            raise
        if begun.problem:
            self.ray.kill(actor)
        return begun

    def _answer(self, asked: Any, request: Recruit) -> bytes:
        """Of an actor, as long as its node is up: one whose node is gone waits without end."""
        end_s = time.monotonic() + PLACE_S
        while not self.ray.wait([asked], timeout=EVERY_S)[0]:
            if self.nodes().get(request.device) != request.node:
                raise NotReadyError("the node has gone meanwhile")
            if time.monotonic() > end_s:
                raise NotReadyError(f"the node has not started a process for it within {PLACE_S:g} s")
        answer: bytes = self.ray.get(asked)
        return answer

    def _actor(self, device: str) -> Any | None:
        try:
            return self.ray.get_actor(device)
        except ValueError:  # as Ray says that there is none
            return None

    def _kill(self, device: str) -> None:
        """End an agent that is there already, wherever it is; its device ends with it."""
        if (actor := self._actor(device)) is not None:
            self.ray.kill(actor)

    def _end(self, devices: Iterable[str]) -> None:
        """All are asked before any is waited for: one whose node hangs keeps no other."""
        asked = []
        for device in devices:
            with suppress(Exception):  # it has ended meanwhile, in whichever way Ray says so
                if (actor := self._actor(device)) is not None:
                    asked.append(actor.end.remote())
        if asked:
            self.ray.wait(asked, num_returns=len(asked), timeout=END_ALL_S)


def _report(report: Report) -> None:
    sys.stdout.write(report.model_dump_json() + "\n")
    sys.stdout.flush()


def _listen(requests: "SimpleQueue[Request | None]") -> None:
    for line in sys.stdin.buffer:
        requests.put(REQUESTS.validate_json(line))
    requests.put(None)


def main() -> None:
    """Until standard input ends."""
    requests: SimpleQueue[Request | None] = SimpleQueue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    try:
        import ray

        recruiter = Recruiter(sys.argv[1], ray)
        recruiter.connect()
        while True:
            _report(Nodes(nodes=recruiter.nodes()))
            with suppress(Empty):
                request = requests.get(timeout=EVERY_S)
                if request is None:
                    break
                if (report := recruiter.heed(request)) is not None:
                    _report(report)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the engine is told, and begins anew
        _report(Trouble(reason=ray_problem(error)))
    os._exit(0)  # Ray's own threads may wait for a head that is gone
