"""Between the loop and the policy: what it is shown of the fleet, and what its answer is as an event."""

import math
from collections.abc import Container, Sequence

import numpy as np

from splitplace.placement.broker import events as ev
from splitplace.placement.broker.member import Member
from splitplace.placement.broker.monitor import utilisation
from splitplace.placement.broker.planning import PlanAnswer
from splitplace.placement.broker.setup import Setup
from splitplace.placement.broker.state import FleetState, TaskState
from splitplace.placement.broker.view import MeasuredUse, build_view
from splitplace.placement.protocol import fields
from splitplace.records.action import Decide, Evict, Migrate, Place
from splitplace.records.view import Bools, View


def live_view(
    setup: Setup,
    state: FleetState,
    members: Sequence[Member],
    tasks: Sequence[TaskState],
    now_s: float,
    interval_s: float,
    avoided: Container[int] = (),
) -> View:
    """The fleet as it is now, with what its devices measure of themselves; nothing of it changes any more.

    The devices that are `avoided`, by row, are shown as if they were not there.
    """
    found = [member.monitor.measured(now_s) for member in members]
    held = [tuple(of_device) for of_device in state.ledger.held]
    measured = MeasuredUse(
        cpu_D=np.array([member.meter.busy(now_s) for member in members]),
        net_D=np.array([member.meter.link(now_s, member.device.up_bytes_per_s) for member in members]),
        busy_s_D=np.array([member.meter.busy_s for member in members]),
        measure=lambda: utilisation(setup.devices, found, [setup.held(rows) for rows in held]),
    )
    longest_s = setup.task_timeout_s  # no task is waited for longer
    grain = 1.0 if setup.precedence == "pipelined" else math.inf
    return build_view(
        setup.statics, setup.devices, state, tasks, measured, now_s, interval_s, longest_s, grain,
        _relayed_DD(members), avoided,
    )  # fmt: skip


def _relayed_DD(members: Sequence[Member]) -> Bools | None:  # noqa: N802 - shape suffix
    if not any(member.relayed for member in members):
        return None
    return np.array([[other.name in member.relayed for other in members] for member in members])


def event_of(answer: PlanAnswer, now_s: float) -> ev.PlanMade | ev.PlanRefused:
    """What a plan comes to."""
    if answer.failure is not None:
        return ev.PlanRefused(
            at_s=now_s,
            decision_s=answer.decision_s,
            policy=answer.failure.policy,
            reason=fields.text(answer.failure.reason),
            told=answer.told,
        )
    return ev.PlanMade(
        at_s=now_s,
        decision_s=answer.decision_s,
        told=answer.told,
        decided=tuple(action for action in answer.acts if isinstance(action, Decide)),
        evicted=tuple(action for action in answer.acts if isinstance(action, Evict)),
        placed=tuple(action for action in answer.acts if isinstance(action, Place)),
        moved=tuple(action for action in answer.acts if isinstance(action, Migrate)),
    )
