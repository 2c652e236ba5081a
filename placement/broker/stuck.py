"""Devices that say that they are there, and do nothing."""

from splitplace.placement.broker.setup import Setup
from splitplace.placement.broker.state import Attempt, FleetState

LOAD_S = 60.0
"""How long reading, verifying and opening a fragment may take on a slow device."""


def stuck(setup: Setup, state: FleetState, now_s: float, limit_s: float) -> list[tuple[int, str]]:
    """Devices that have had something to do and have done nothing for too long, with the reason.

    Too long is `limit_s`, or twenty times what the fragment takes there; while one is being loaded, `LOAD_S`.
    """
    found = []
    for row, device in enumerate(state.devices):
        idle_s = now_s - device.progressed_s
        loading = any(not resident.loaded for resident in state.ledger.held[row].values())
        least_s = max(limit_s, LOAD_S) if loading else limit_s
        if not device.up or device.silent or idle_s <= least_s:
            continue
        for job in device.jobs:
            attempt = state.jobs[job]
            for name, of in attempt.devices.items():
                patience_s = max(least_s, 20.0 * float(setup.latency_s(attempt.split, name, row)))
                if (
                    of == row
                    and min(idle_s, now_s - attempt.progressed_s) > patience_s
                    and _has_work(setup, state, attempt, name)
                ):
                    found.append((row, f"it did nothing for {idle_s:.0f} s with {name} to run"))
                    break
            else:
                continue
            break
    return found


def _has_work(setup: Setup, state: FleetState, attempt: Attempt, name: str) -> bool:
    """Whether a fragment's device could do something for it now.

    Who has the input from another one passed it on before that one ran it.
    """
    if attempt.started_s is None:
        loaded = state.ledger.is_loaded(setup.row(attempt.split, name), attempt.devices[name])
        return name in attempt.unassigned or not loaded
    parents = setup.entry(attempt.split).split.parents(name)
    before = attempt.handed_on.get(name)
    if before is not None and len(attempt.ran[before]) <= len(attempt.ran[name]):
        return False
    if setup.precedence == "strict":
        return bool(attempt.left(name)) and not any(attempt.left(parent) for parent in parents)
    return bool(attempt.left(name)) and all(len(attempt.ran[parent]) > len(attempt.ran[name]) for parent in parents)
