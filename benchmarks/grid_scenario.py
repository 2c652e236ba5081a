"""Where the rows of an experiment take part: a scenario that ships, and what is other about it here."""

import hashlib
import json
import math
from collections.abc import Callable
from functools import cache
from typing import Any, Self

from pydantic import Field

from splitplace.errors import SplitPlaceError
from splitplace.placement.simulator.demands import SHIPPED_DEMANDS, DemandLike, load_demand
from splitplace.placement.simulator.scenario import Scenario
from splitplace.placement.simulator.shipped import load_fleet, load_scenario, names
from splitplace.records.base import Count, Name, Positive, PositiveCount, Record
from splitplace.records.device import FleetSpec

Fields = dict[str, dict[str, bool | int | float | str]]
"""Of a policy's parts, by their names: fields that are not their own."""


class GridSetting(Record):
    """A scenario, with fleet and demand."""

    scenario: str | None = None
    """A shipped one or a file."""
    fleet: str | None = None
    """The scenario's own if not stated."""
    demand: str = "measured"
    changes: dict[str, Any] = Field(default={})
    """Fields of the scenario that are not its own; of tables, those that are named."""

    @property
    def stated(self) -> str:
        """Name or file of the scenario."""
        assert self.scenario is not None, "who may leave it out says what it is then"
        return self.scenario

    @property
    def called(self) -> str:
        """In messages."""
        return self.stated

    def load(self) -> tuple[Scenario, FleetSpec, DemandLike]:
        """What is run."""
        scenario = load_scenario(self.stated)
        if self.changes:
            document = merged(scenario.model_dump(mode="json"), self.changes)
            scenario = Scenario.parse(json.dumps(document), f"the changes of scenario {self.called}")
        return scenario, load_fleet(self.fleet or scenario.fleet), _demand(self.demand)

    def moved(self, place: Callable[[str], str]) -> Self:
        """The same, its files where `place` has them: for a process that does not see this folder."""
        try:
            scenario, _, _ = self.load()
        except SplitPlaceError:  # it is told where it is run
            return self
        fleet, colon, size = (self.fleet or scenario.fleet).partition(":")
        moved = {
            "scenario": self.stated if self.stated in names("scenario") else place(self.stated),
            "fleet": (fleet if fleet in names("fleet") else place(fleet)) + colon + size,
            "demand": self.demand if self.demand in SHIPPED_DEMANDS else place(self.demand),
            "changes": merged(self.changes, files_moved(scenario, place)),
        }
        return self.model_copy(update=moved)


class TrainedOn(GridSetting):
    """What policies learned from before they came here (`trained_states.py`)."""

    scenario: str
    options: Fields = Field(default={})
    """As a row's: fields of the learners that are not their own."""
    intervals: PositiveCount | None = None
    """Of each run of the training; as `policy train` has it if not stated."""

    @property
    def digest(self) -> str:
        """Of all of it: settings that are the same have their states in common."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]


class GridScenario(GridSetting):
    """Where rows take part."""

    name: Name
    """As the tables call it; the scenario's, if that is not stated."""
    intervals: PositiveCount | None = None
    """The experiment's if not stated."""
    loads: tuple[Positive, ...] = ()
    """Those of the experiment's loads at which it is run; all if none is named."""
    as_stated: bool = False
    """It is run at the load that it states itself, and at no other."""
    rows: tuple[str, ...] = ()
    """Those that take part; all if none is named."""
    series: str | None = None
    """What it is a point of, where something is swept; its name if not stated."""
    at: float | None = None
    """Where in its series; its load if not stated."""
    options: Fields = Field(default={})
    """As a row's, of every row that has such a part."""
    trained: TrainedOn | None = None
    """What policies have learned from; if not stated, they start from states that ship."""
    from_interval: Count = 0
    """Cells are of the tasks that arrive from then on."""
    right: Name | None = None
    """Of the scenario that is the same but for what policies know: what is lost is lost against that."""

    @property
    def stated(self) -> str:
        """That of the name if no other is stated."""
        return self.scenario or self.name

    @property
    def called(self) -> str:
        """Its own name."""
        return self.name


def files_moved(scenario: Scenario, place: Callable[[str], str]) -> dict[str, Any]:
    """Its fields that name files, with these where `place` has them; as changes of a setting."""
    found: dict[str, Any] = {}
    if scenario.workload.trace is not None:
        found["workload"] = {"trace": place(scenario.workload.trace)}
    if scenario.mobility is not None and scenario.mobility not in names("mobility"):
        found["mobility"] = place(scenario.mobility)
    return found


def shift_s(scenario: Scenario) -> float:
    """When its rate, mix or links first shift; never, for infinity."""
    starts = [phase.start * scenario.interval_s for phase in scenario.workload.phases]
    return min(starts + [shift.time_s for shift in scenario.network], default=math.inf)


def merged(document: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A table with what is changed in it, and in its tables."""
    old = {name: value for name, value in document.items() if isinstance(value, dict)}
    deep = {name: merged(old.get(name, {}), new) for name, new in changes.items() if isinstance(new, dict)}
    return document | changes | deep


@cache
def _demand(name: str) -> DemandLike:
    """Read once a process: many cells have the same."""
    return load_demand(name)
