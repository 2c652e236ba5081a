"""What a broker tells of its devices and tasks: at this moment, and of a whole run. From any thread."""

import logging
from statistics import median

from splitplace.placement.broker.loop import Loop
from splitplace.placement.broker.member import Member
from splitplace.placement.broker.meter import DeviceReport
from splitplace.placement.broker.state import DeviceState, FleetState
from splitplace.placement.engines.joined import JoinedEngine
from splitplace.placement.engines.machines import Presence
from splitplace.placement.policy import estimates
from splitplace.records.fleet_status import DeviceStatus, PolicyEstimate, TaskTally

log = logging.getLogger(__name__)


def device_statuses(loop: Loop) -> tuple[DeviceStatus, ...]:
    """What each device is doing now."""
    now_s, engine = loop.fleet.now_s(), loop.fleet.engine
    presence = engine.presence() if isinstance(engine, JoinedEngine) else {}
    return tuple(
        _status(loop, member, device, presence.get(member.name, "here"), now_s)
        for member, device in zip(loop.members, loop.state.devices, strict=True)
    )


def _status(loop: Loop, member: Member, device: DeviceState, machine: Presence, now_s: float) -> DeviceStatus:
    setup, ledger = loop.setup, loop.state.ledger
    held = tuple(ledger.held[member.row].items())
    named = {}
    for row, resident in held:
        if resident.loaded:
            split, name = setup.fragment(row)
            named[row] = f"{split.reference}/{name}"
    measured = member.monitor.measured(now_s) if device.up else None
    rows = setup.held(named)
    fragments = {} if measured is None else measured.fragments
    return DeviceStatus(
        name=member.name,
        up=device.up,
        suspected=device.up and (member.hushed or not loop.state.placeable(member.row, now_s)),
        machine=machine,
        labels=member.device.labels,
        core_speed=member.core_speed,
        pid=member.hello.pid if member.hello and device.up and loop.fleet.engine.same_machine else None,
        cpu_share=member.cpu_share,
        busy_share=member.meter.busy(now_s) if device.up else 0.0,
        memory_bytes=int(ledger.capacity_bytes[member.row]),
        memory_used_bytes=int(ledger.account[1][member.row]),
        fragments=tuple(named.values()),
        micro_batches_run=member.meter.micro_batches_run,
        through_broker=tuple(sorted(member.relayed)) if device.up else (),
        loaded_from=dict(member.loaded),
        registry_problem=member.registry_problem,
        measured=None if measured is None else measured.device,
        power_w=None if measured is None else member.monitor.power_at(measured.device.cpu),
        energy_j=member.monitor.energy_j,
        measured_fragments={named[rows[key]]: use for key, use in fragments.items() if key in rows},
    )


def learned(loop: Loop) -> tuple[PolicyEstimate, ...]:
    """What the policy has learned, in its own words; nothing of one that tells nothing, or cannot."""
    try:
        return estimates(loop.policy, loop.consulting.planner.states, loop.setup.statics.applications)
    except BaseException:  # whatever it raises, in the loop's own thread
        log.exception("policy %s does not tell what it has learned", loop.policy.name)  # somebody's code
        return ()


def tally(state: FleetState) -> TaskTally:
    """Tasks by where they are."""
    running = len(state.jobs)
    return TaskTally(
        waiting=max(len(state.tasks) - running, 0),
        running=running,
        answered=state.answered,
        failed=state.failed,
        cancelled=state.cancelled,
    )


def device_reports(loop: Loop) -> tuple[DeviceReport, ...]:
    """What each device is and did so far."""
    now_s = loop.fleet.now_s()
    return tuple(
        _report(loop, member, device, now_s) for member, device in zip(loop.members, loop.state.devices, strict=True)
    )


def _report(loop: Loop, member: Member, device: DeviceState, now_s: float) -> DeviceReport:
    ledger, meter = loop.state.ledger, member.meter
    up_s = device.up_s + (now_s - device.since_s if device.up else 0.0)
    return DeviceReport(
        name=member.name,
        up=device.up,
        cpu_share=member.cpu_share,
        cpu_share_method=member.hello.cpu_share_method if member.hello else "none",
        core_speed_stated=member.device.core_speed,
        core_speed_measured=member.core_speed,
        speed_ratio_measured=median(member.ratios(loop.members[0])),
        fragments_run=meter.fragments_run,
        micro_batches_run=meter.micro_batches_run,
        busy_s=meter.busy_s,
        busy_share=min(meter.busy_s / max(up_s, 1e-9), 1.0),
        memory_bytes=ledger.capacity_bytes[member.row],
        memory_peak_bytes=ledger.peak_bytes[member.row],
        rss_bytes=meter.rss_bytes,
    )
