"""Little fleets and splits whose advice can be worked out by hand."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from splitplace.placement.advice import trial
from splitplace.placement.advice.advice import Advice, advice
from splitplace.placement.advice.alternatives import Alternative
from splitplace.placement.advice.offers import Offered, offers
from splitplace.placement.advice.race import Raced
from splitplace.placement.advice.trial import Ask, TrialOutcome, Trials
from splitplace.placement.simulator.capacity import Capacity
from splitplace.placement.simulator.constants import Constants, ConstantSplit
from splitplace.placement.simulator.demands import DemandLike, load_demand
from splitplace.records.device import Device, FleetSpec

FAST = 1e15
"""Bytes/s of a link that never matters."""
IMAGES = 100


def fleet(count: int = 1, **changes: Any) -> FleetSpec:
    """Devices of one core of reference speed, with no link to wait for, that draw 100 W idle and 110 W busy."""
    fields: dict[str, Any] = {
        "name": "d", "kind": "k", "count": count, "cores": 1, "core_speed": 1.0, "memory_bytes": 10**12,
        "disk_bytes": 10**12, "disk_bytes_per_s": FAST, "up_bytes_per_s": FAST, "down_bytes_per_s": FAST, "rtt_s": 0.0,
        "power_w": tuple(100.0 + i for i in range(11)), "cost_usd_per_h": 3600.0,
    }  # fmt: skip
    return FleetSpec(name="little", devices=(Device(**(fields | changes)),))


def split(strategy: str, *core_s: float, top1: float | None = 0.9, application: str = "a", **changes: Any) -> Any:
    """A split whose fragments take so many seconds for a request of `IMAGES` images, and hand on nothing."""
    shape = "chain" if strategy == "layer" else "parallel"
    fields: dict[str, Any] = {
        "application": application, "strategy": strategy, "shape": shape, "core_s": core_s,
        "output_bytes": (0.0,) * len(core_s), "input_bytes_per_sample": 0, "weight_bytes": 1, "top1": top1,
    }  # fmt: skip
    return ConstantSplit(**(fields | changes))


def table(*splits: ConstantSplit) -> Constants:
    """A demand of them, whose containers take 10 bytes."""
    return Constants(source="by hand", images=IMAGES, micro_batch=IMAGES, memory_bytes=10, splits=splits)


def measured(*variants: str, application: str = "mnist") -> DemandLike:
    """The shipped demand of some variants of one application."""
    demand = load_demand("measured")
    names = [f"{application}.mobilenetv2.{variant}" for variant in variants]
    return demand.model_copy(update={"splits": tuple(s for s in demand.splits if s.split.reference in names)})


def ask(rate: float, deadline_s: float, images: int = IMAGES, late: float = 0.05) -> Ask:
    """Requests of `IMAGES` images unless told otherwise."""
    return Ask(rate, images, deadline_s, late)


def advised(demand: DemandLike, devices: FleetSpec, asked: Ask, accuracy: float | None = None, seed: int = 0) -> Advice:
    """The advice."""
    return advice(offers(demand, (), accuracy, asked.images), devices, asked, accuracy, seed)


def trials(demand: DemandLike, devices: FleetSpec, asked: Ask, seed: int = 0) -> Trials:
    """What runs alternatives."""
    return Trials(devices, offers(demand, (), None, asked.images), asked, seed)


def raced(
    strategy: str, *rewards: float, late: float = 0.0, p95_s: float = 1.0, growth: float = 0.0, rate: float = 1.0
) -> Raced:
    """An alternative of one split, with these rewards on as many streams; a capacity of 10 requests a second."""
    one = Offered(f"a.m.{strategy}", "a", strategy, strategy, 0.9, 1 if strategy in ("full", "compressed") else 2)
    outcomes = tuple(TrialOutcome(p95_s, p95_s, late, 0.9, reward, growth, 1.0, {}) for reward in rewards)
    most = Capacity(tasks_per_interval=10.0, bottleneck="cores", limits={}, used={}, splits={})
    return Raced(Alternative((one,), f"{strategy}+least-loaded", strategy), ask(rate, 1.0), outcomes, most)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams of 20 requests, where it is not numbers that are looked at."""
    monkeypatch.setattr(trial, "LEAST", 20)


@pytest.fixture(scope="session")
def made() -> SimpleNamespace:
    """The functions above."""
    makers: dict[str, Callable[..., Any]] = {
        "fleet": fleet, "split": split, "table": table, "measured": measured, "ask": ask, "advised": advised,
        "trials": trials, "raced": raced,
    }  # fmt: skip
    return SimpleNamespace(**makers)
