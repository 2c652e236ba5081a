"""What a search for bad cases may turn: fields of a scenario, and how far."""

import math
from typing import Annotated, Any, Self

import numpy as np
from pydantic import Field, model_validator

from splitplace.benchmarks.grid_scenario import GridScenario, GridSetting, merged
from splitplace.records.base import Count, Positive, PositiveCount, Record

Point = dict[str, float | str]
"""The value of each knob, by its path."""
STEP = 0.25
"""Of a knob's range in logarithms, the standard deviation of a step; of choices, how often another is drawn."""


class Knob(Record):
    """One field: a number between two, in logarithms, or one of several names."""

    path: str
    """From the scenario's table on, as workload.load; `fleet` is the setting's."""
    low: Positive | None = None
    high: Positive | None = None
    times: tuple[Positive, Positive] | None = None
    """Where the field is a pair: multiples of the number."""
    whole: bool = False
    """Whether the field has whole numbers."""
    choices: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if bool(self.choices) == (self.low is not None and self.high is not None):
            raise ValueError(f"knob {self.path}: state low and high, or choices")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"knob {self.path}: expected low < high")
        return self

    def drawn(self, rng: np.random.Generator) -> float | str:
        """Anything in the range."""
        if self.choices:
            return self.choices[int(rng.integers(len(self.choices)))]
        return self._kept(math.exp(rng.uniform(*self._logs())))

    def near(self, value: float | str, rng: np.random.Generator) -> float | str:
        """A step away, within the range."""
        if isinstance(value, str):
            return self.drawn(rng) if rng.random() < STEP else value
        low, high = self._logs()
        return self._kept(math.exp(min(max(math.log(value) + STEP * (high - low) * rng.standard_normal(), low), high)))

    def field(self, value: float | str) -> Any:
        """What the scenario's field is then."""
        if isinstance(value, str):
            return value
        values = [value * factor for factor in self.times or (1.0,)]
        numbers: list[float] = [round(one) if self.whole else one for one in values]
        return numbers if self.times else numbers[0]

    def _logs(self) -> tuple[float, float]:
        assert self.low is not None and self.high is not None
        return math.log(self.low), math.log(self.high)

    def _kept(self, value: float) -> float:
        """To three digits: a point is read by people."""
        return float(f"{value:.3g}")


class WorstSearch(Record):
    """Where and how long it is searched."""

    setting: GridSetting
    intervals: PositiveCount
    seeds: Annotated[tuple[Count, ...], Field(min_length=1)]
    """On which a point is looked at."""
    judged: Annotated[tuple[Count, ...], Field(min_length=2)]
    """On which what was found is judged."""
    steps: PositiveCount
    """For each row."""
    quick_steps: PositiveCount
    knobs: Annotated[tuple[Knob, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _other_seeds(self) -> Self:
        if set(self.seeds) & set(self.judged):
            raise ValueError("what was found is judged on other seeds than it was found on")
        return self

    def scenario(self, point: Point) -> GridScenario:
        """A point as a scenario, at the load that it states."""
        changes, fleet = dict(self.setting.changes), self.setting.fleet
        for knob in self.knobs:
            value = knob.field(point[knob.path])
            if knob.path == "fleet":
                fleet = value
                continue
            nested = value
            for name in reversed(knob.path.split(".")):
                nested = {name: nested}
            changes = merged(changes, nested)
        return GridScenario(
            name="point",
            scenario=self.setting.scenario,
            demand=self.setting.demand,
            fleet=fleet,
            changes=changes,
            intervals=self.intervals,
            as_stated=True,
        )
