"""The `ray` engine: as `joined`, and the nodes of a Ray cluster join by themselves.

Ray is asked which machines there are, and to run one process on each: an agent (`agent.py`), in a detached actor that
is pinned to its node. That joins by a token as any machine does; from there on nothing passes through Ray. Which node
is which device, its label says: `ray start --labels=splitplace-device=NAME`.

Ray ends the process that is connected to it when its head is gone for a minute, so that what talks to Ray is a process
of its own (`recruiter.py`), which is started again; broker and devices go on without.
"""

import logging
import os
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, TypeAdapter, ValidationError

from splitplace.children import child_env, python_code
from splitplace.errors import SplitPlaceError
from splitplace.placement.device.joining import Ticket
from splitplace.placement.engines.joined import JoinedEngine
from splitplace.placement.engines.machines import Presence
from splitplace.placement.engines.ray_check import check_ray
from splitplace.placement.engines.roster import Roster
from splitplace.placement.protocol.fields import Text, text
from splitplace.records.base import Name, Record

log = logging.getLogger(__name__)

LABEL = "splitplace-device"
"""Of a node: the device that it is."""
INVITED_S = 300.0
"""How long a token for an agent is good: nodes are sent to one after another, and a busy one takes its time."""
AGAIN_S = 20.0
"""After which an agent that runs, or could not, and has not come is sent for again."""
SILENT_REPORTS = 10
"""So many reports of Ray's nodes in a row in which a device's machine was silent, and it is sent for, which ends what
still runs there. Not by time: after a pause of the broker's own the whole fleet has been silent for as long."""
ABSENT_REPORTS = 4
"""Likewise, of one that has a key and is not there: after a broker's start its machine comes back by itself in 2 s."""
REPORT_S = 0.5
"""Reports that come faster than that are one: they waited, or somebody was sent for."""
BACK_OFF_S, MAX_BACK_OFF_S = 1.0, 15.0
"""Before the process that talks to Ray is started again."""
END_S = 10.0
"""How long it may take to end all agents."""
CODE = "from splitplace.placement.engines.recruiter import main; main()"


class Nodes(Record):
    """Recruiter: the nodes of the cluster that are up and are devices of ours."""

    type: Literal["nodes"] = "nodes"
    nodes: dict[Name, str]
    """Node id by device."""


class Recruited(Record):
    """Recruiter: an agent runs on that node, or does not."""

    type: Literal["recruited"] = "recruited"
    device: Name
    node: str
    problem: Text = ""
    ended: Text = ""
    """Why the one before it ended by itself."""


class Trouble(Record):
    """Recruiter: Ray cannot be asked; it ends."""

    type: Literal["trouble"] = "trouble"
    reason: Text


class Recruit(Record):
    """To the recruiter: have an agent run on this node, in place of one that runs anywhere."""

    type: Literal["recruit"] = "recruit"
    device: Name
    node: str
    token: Annotated[str, Field(repr=False)]


class Dismiss(Record):
    """To the recruiter: end these agents."""

    type: Literal["dismiss"] = "dismiss"
    devices: tuple[Name, ...]


Report = Nodes | Recruited | Trouble
Request = Recruit | Dismiss
REPORTS: TypeAdapter[Report] = TypeAdapter(Annotated[Report, Field(discriminator="type")])
REQUESTS: TypeAdapter[Request] = TypeAdapter(Annotated[Request, Field(discriminator="type")])


class RayEngine(JoinedEngine):
    """Nodes of a Ray cluster, and other machines that join.

    The cluster is the one that $RAY_ADDRESS names, or that runs on this machine.
    """

    name: ClassVar[str] = "ray"

    def __init__(self, roster: Roster, host: str, catalog: Path, digests: Collection[str], registry: str | None = None):
        super().__init__(roster, host, catalog, digests, registry)
        self._stopping = threading.Event()
        self._recruiter: subprocess.Popen[bytes] | None = None
        self._writing = threading.Lock()
        self._recruiting = Recruiting(roster, self.presence, self._ticket, self._say)
        self._thread = threading.Thread(target=self._keep, name="ray", daemon=True)
        self._thread.start()

    @staticmethod
    def check() -> None:
        """Refuse where Ray is not installed, or would let in whoever reaches its ports.

        Raises:
            MissingExtraError: It is not installed.
            UsageError: There is no token.
        """
        check_ray("the engine ray")

    @staticmethod
    def environment() -> dict[str, str]:
        """What of this process's environment Ray needs: its own variables, the token among them."""
        return {name: value for name, value in os.environ.items() if name.startswith("RAY_")}

    def close(self) -> None:
        """End the agents on Ray's nodes; other machines knock on."""
        self._say(Dismiss(devices=self.roster.devices))
        self._stopping.set()
        recruiter = self._recruiter
        if recruiter is not None:
            with suppress(OSError):
                assert recruiter.stdin is not None
                recruiter.stdin.close()
            try:
                recruiter.wait(END_S)
            except subprocess.TimeoutExpired:
                recruiter.kill()
        self._thread.join()
        super().close()

    def _ticket(self, device: str) -> str:
        return Ticket(
            endpoint=self._gate.gate.endpoint,
            key=self._gate.gate.key,
            secret=self.roster.invite(device, INVITED_S, by_engine=True),
        ).token

    def _say(self, request: Request) -> None:
        with self._writing, suppress(OSError, ValueError):  # it has ended: the next one is told what holds then
            if self._recruiter is not None and self._recruiter.stdin is not None:
                self._recruiter.stdin.write(request.model_dump_json().encode() + b"\n")
                self._recruiter.stdin.flush()

    def _keep(self) -> None:
        """Keep a recruiter running, and heed what it reports."""
        back_off_s = BACK_OFF_S
        while not self._stopping.is_set():
            began_s = time.monotonic()
            self._run_recruiter()
            if time.monotonic() - began_s > 60:
                back_off_s = BACK_OFF_S
            self._stopping.wait(back_off_s)
            back_off_s = min(2 * back_off_s, MAX_BACK_OFF_S)

    def _run_recruiter(self) -> None:
        environment = child_env(**self.environment() | {"RAY_USAGE_STATS_ENABLED": "0"})
        with subprocess.Popen(
            python_code(CODE, self.roster.public_key),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # Ray's own remarks; what concerns us it reports
            env=environment,
            start_new_session=True,
        ) as recruiter:
            self._recruiter = recruiter
            if self._stopping.is_set():
                recruiter.kill()
            assert recruiter.stdout is not None
            for line in recruiter.stdout:
                try:
                    self._recruiting.hear(REPORTS.validate_json(line))
                except ValidationError:
                    log.warning("ray: %s", text(line.decode(errors="replace")))
        self._recruiting.begin_anew()


class Recruiting:
    """Who is sent for: a device whose node is up, that is not there, was not put out, and nobody was invited as.

    Args:
        roster: Of the fleet.
        presence: Whether each device's machine is there.
        ticket: Makes a token for one.
        say: To the recruiter.
        now_s: A clock.
    """

    def __init__(
        self,
        roster: Roster,
        presence: Callable[[], Mapping[str, Presence]],
        ticket: Callable[[str], str],
        say: Callable[[Request], None],
        now_s: Callable[[], float] = time.monotonic,
    ):
        self._roster, self._presence, self._ticket, self._say, self._now_s = roster, presence, ticket, say, now_s
        self._sent_s: dict[tuple[str, str], float] = {}
        """When an agent was sent for, or what became of that was told, by device and node."""
        self._asked: set[tuple[str, str]] = set()
        """What the recruiter has not answered. Another token would revoke the one that it has: on a machine where an
        agent takes longer to begin than it is waited for, none would ever be good."""
        self._silent: Counter[str] = Counter()
        """Reports in a row in which a device was silent, or not there."""
        self._counted_s = -REPORT_S
        """When a report was counted."""
        self._nodes: dict[str, str] = {}
        self._of: dict[str, str] = {}
        """The node that each device's agent is taken to run on: where it was sent for, or first found there."""
        self._trouble = ""

    def hear(self, report: Report) -> None:
        """Take in what the recruiter reports; it does so every second."""
        match report:
            case Nodes(nodes=nodes):
                if nodes != self._nodes:
                    log.info("Ray's nodes: %s", ", ".join(sorted(nodes)) or "none of this fleet")
                self._nodes = nodes
                if nodes:
                    self._trouble = ""
                self._send()
            case Recruited(device=device, node=node, problem=problem, ended=ended):
                self._asked.discard((device, node))
                if (device, node) in self._sent_s:
                    self._sent_s[device, node] = self._now_s()
                if ended:
                    log.warning("the former agent on Ray's node of %s had ended: %s", device, ended)
                if problem:
                    log.warning("no agent on Ray's node of %s: %s", device, problem)
            case Trouble(reason=reason):
                if reason != self._trouble:
                    log.warning("Ray cannot be asked: %s", reason)
                self._trouble = reason

    def begin_anew(self) -> None:
        """The recruiter has ended, and with it whatever it was asked."""
        self._asked.clear()
        self.hear(Nodes(nodes={}))

    def _missing(self, now_s: float) -> set[str]:
        """The devices whose machines left, or have been silent for long; or are silent, and their node is another."""
        presence = self._presence()
        silent = {device for device, found in presence.items() if found == "silent"}
        absent = {device for device, found in presence.items() if found == "absent"}
        self._silent = Counter({device: self._silent[device] for device in silent | absent})
        if now_s - self._counted_s >= REPORT_S:
            self._counted_s = now_s
            self._silent.update(silent | absent)
        for device, node in self._nodes.items():
            if presence.get(device) == "here":
                self._of.setdefault(device, node)
        moved = {  # Ray ended its agent with the former node
            device for device in silent if device in self._of and self._nodes.get(device) != self._of[device]
        }
        new = {device for device in absent if self._roster.key(device) is None}
        away = {device for device in absent if self._silent[device] >= ABSENT_REPORTS}
        return new | away | moved | {device for device in silent if self._silent[device] >= SILENT_REPORTS}

    def _send(self) -> None:
        now_s = self._now_s()
        missing = self._missing(now_s)
        for device, node in self._nodes.items():
            if device not in missing or device not in self._roster.devices:
                continue
            if self._roster.is_out(device) or self._roster.is_awaited(device):
                continue
            if (device, node) in self._asked or now_s - self._sent_s.get((device, node), -AGAIN_S) < AGAIN_S:
                continue
            self._sent_s = {key: at_s for key, at_s in self._sent_s.items() if key[0] != device}
            self._sent_s[device, node] = now_s
            try:
                token = self._ticket(device)
            except (
                SplitPlaceError,
                OSError,
            ) as error:  # no room on the disk, say: it is tried again
                log.warning("%s cannot be sent for: %s", device, text(error))
                continue
            self._of[device] = node
            self._asked.add((device, node))
            self._say(Recruit(device=device, node=node, token=token))
