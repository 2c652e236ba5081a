"""Devices that say that they are there, and do nothing.

One that says that it has nothing to compute is not taken for hung: what it is to run is under way to it, and over a
slow road a micro-batch takes its time. Were it taken from it, it would be sent anew, and never arrive.
"""

from collections.abc import Sequence

from splitplace.placement.broker.setup import Setup
from splitplace.placement.broker.state import Attempt, FleetState

LOAD_S = 60.0
"""How long reading, verifying and opening a fragment may take on a slow device; twice as long each time that its
process was lost, until it runs something: it begins anew, and may take longer than that."""
MOST_DOUBLINGS = 6
WAIT_S = 60.0
"""How long a device may say that what it is to run has not come: besides twenty times what that takes over its link."""


def stuck(
    setup: Setup, state: FleetState, now_s: float, limit_s: float, said_idle_s: Sequence[float]
) -> list[tuple[int, str]]:
    """Devices that have had something to do and have done nothing for too long, with the reason.

    Too long is `limit_s`, or twenty times what the fragment takes there; while one is being loaded, `LOAD_S`; and while
    a device says that it has nothing to compute, `WAIT_S` and what the way there takes.

    Args:
        setup: The splits and devices.
        state: Of the fleet.
        now_s: On the run's clock.
        limit_s: The least that is too long.
        said_idle_s: When each device said last that it has nothing to compute.
    """
    found = []
    for row, device in enumerate(state.devices):
        idle_s = now_s - device.progressed_s
        could_s = min(idle_s, now_s - said_idle_s[row])
        loading = any(not resident.loaded for resident in state.ledger.held[row].values())
        load_s = LOAD_S * 2 ** min(device.losses, MOST_DOUBLINGS)
        least_s = max(limit_s, load_s) if loading else limit_s
        if not device.up or device.silent or idle_s <= least_s:
            continue
        for job in device.jobs:
            attempt = state.jobs[job]
            for name, of in attempt.devices.items():
                patience_s = max(least_s, 20.0 * float(setup.latency_s(attempt.split, name, row)))
                still_s = now_s - attempt.progressed_s
                if (
                    of == row
                    and (
                        min(could_s, still_s) > patience_s
                        or min(idle_s, still_s) > patience_s + WAIT_S + 20.0 * _way_s(setup, attempt, name, row)
                    )
                    and _has_work(setup, state, attempt, name)
                ):
                    found.append((row, f"it did nothing for {idle_s:.0f} s with {name} to run"))
                    break
            else:
                continue
            break
    return found


def _way_s(setup: Setup, attempt: Attempt, name: str, device: int) -> float:
    """What a micro-batch takes over a device's link, as stated, on its way to a fragment there."""
    entry = setup.entry(attempt.split)
    size_bytes = sum(edge.bytes_per_sample for edge in entry.split.edges if edge.dst == name) * entry.micro_batch
    return size_bytes / setup.devices[device].down_bytes_per_s


def _has_work(setup: Setup, state: FleetState, attempt: Attempt, name: str) -> bool:
    """Whether a fragment's device could do something for it now.

    Who has the input from another one had it before that one ran it; of one that may itself wait for this one's output
    that tells nothing, but of who passed it on to that one, it does.
    """
    if attempt.started_s is None:
        loaded = state.ledger.is_loaded(setup.row(attempt.split, name), attempt.devices[name])
        return name in attempt.unassigned or not loaded
    split = setup.entry(attempt.split).split
    parents, order = split.parents(name), split.topological
    before = attempt.handed_on.get(name)
    while before is not None and order.index(before) > order.index(name):
        before = attempt.handed_on.get(before)
    if before is not None and len(attempt.ran[before]) <= len(attempt.ran[name]):
        return False
    if setup.precedence == "strict":
        return bool(attempt.left(name)) and not any(attempt.left(parent) for parent in parents)
    return bool(attempt.left(name)) and all(len(attempt.ran[parent]) > len(attempt.ran[name]) for parent in parents)
