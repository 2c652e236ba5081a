"""Small worlds whose course can be worked out by hand."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from splitplace.placement.policy import Policy
from splitplace.placement.registry import parse_policy
from splitplace.placement.simulator.constants import Constants, ConstantSplit
from splitplace.placement.simulator.results import SimulationRun
from splitplace.placement.simulator.run import simulate
from splitplace.placement.simulator.scenario import Scenario, Workload
from splitplace.records.action import Action, Decide, Migrate, Place
from splitplace.records.device import Device, FleetSpec
from splitplace.records.view import View

FAST = 1e15
"""Bytes/s of a link that never matters."""


def device(**changes: Any) -> Device:
    """One core of reference speed, no link to wait for, 100 W whatever it does."""
    fields: dict[str, Any] = {
        "name": "d",
        "kind": "k",
        "cores": 1,
        "core_speed": 1.0,
        "memory_bytes": 10**12,
        "disk_bytes": 10**12,
        "disk_bytes_per_s": FAST,
        "up_bytes_per_s": FAST,
        "down_bytes_per_s": FAST,
        "rtt_s": 0.0,
        "power_w": (100.0,) * 11,
    }
    return Device(**(fields | changes))


def constants(*splits: dict[str, Any], micro_batch: int = 1, memory_bytes: int = 1) -> Constants:
    """Splits of application `a`; `core_s` is for 1000 images."""
    fields = {
        "application": "a",
        "strategy": "layer",
        "shape": "chain",
        "input_bytes_per_sample": 0,
        "weight_bytes": 1,
        "top1": 0.5,
    }
    rows = tuple(
        ConstantSplit(**(fields | {"output_bytes": (0.0,) * len(split["core_s"])} | split)) for split in splits
    )
    return Constants(source="by hand", images=1000, micro_batch=micro_batch, memory_bytes=memory_bytes, splits=rows)


def scenario(**changes: Any) -> Scenario:
    """Intervals of 100 s, a broker that is in nobody's way; the load is to be stated."""
    return Scenario(**({"name": "test", "interval_s": 100.0, "broker_bytes_per_s": None} | changes))


def poisson(rate: float, n: int) -> Workload:
    """A Poisson process of equal tasks, with deadlines of one interval."""
    return Workload(rate=rate, spread=True, batch=(n, n), deadline_intervals={"a": (1, 1)})


class SpreadAndMove:
    """Split 0 for all; fragment i of it on device i; and once, at `move_at`, everything placed moves one device on."""

    name = "spread"

    def __init__(self, move_at: float | None = None):
        self.move_at = move_at

    def init(self, view: View) -> None:
        """Remembers nothing."""

    def update(self, state: None, feedback: object) -> None:
        """Learns nothing."""

    def decide(self, state: None, view: View, rng: object) -> list[Decide]:
        """The first split."""
        return [Decide(int(view.tasks.id_T[row]), 0) for row in view.tasks.undecided]

    def place(self, state: None, view: View, requests: list[Any], rng: object) -> list[Action]:
        """By number, down devices left out."""
        up = [d for d, alive in enumerate(view.devices.up_D) if alive]
        actions: list[Action] = [
            Place(int(view.tasks.id_T[request.task]), fragment, up[fragment % len(up)])
            for request in requests
            for fragment in request.fragments
        ]
        if view.now_s == self.move_at:
            c = view.containers
            for task, fragment, device in zip(c.task_C, c.fragment_C, c.device_C, strict=True):
                if device >= 0:
                    target = (int(device) + 1) % len(view.devices.names)
                    actions.append(Migrate(int(view.tasks.id_T[task]), int(fragment), target))
        return actions


def spread(move_at: float | None = None) -> Policy:
    """The policy above."""
    return SpreadAndMove(move_at)


@pytest.fixture
def by_hand(tmp_path: Path) -> Callable[..., SimulationRun]:
    """Run tasks given as rows (arrival_s, application, n, deadline_s)."""

    def run(
        rows: list[tuple[Any, ...]], fleet: FleetSpec, demand: Constants, policy: str | Policy, **changes: Any
    ) -> SimulationRun:
        path = tmp_path / "trace.csv"
        with path.open("w", newline="") as lines:
            csv.writer(lines).writerows([("arrival_s", "application", "n", "deadline_s"), *rows])
        intervals, watch, strict = changes.pop("intervals", 10), changes.pop("watch", None), changes.pop("strict", True)
        chosen = scenario(workload=Workload(trace=str(path)), **changes)
        chosen_policy = parse_policy(policy) if isinstance(policy, str) else policy
        return simulate(chosen, fleet, demand, chosen_policy, intervals, watch=watch, strict=strict)

    return run


@pytest.fixture
def world() -> Any:
    """The functions above, for test modules, which cannot import from each other."""

    class World:
        device = staticmethod(device)
        constants = staticmethod(constants)
        scenario = staticmethod(scenario)
        poisson = staticmethod(poisson)
        spread = staticmethod(spread)

        @staticmethod
        def fleet(*devices: Device) -> FleetSpec:
            return FleetSpec(name="test", devices=devices)

    return World
