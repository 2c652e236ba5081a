"""An experiment: policies x scenarios x loads x seeds, as one TOML file in `experiments/`."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from splitplace.benchmarks.experiment_text import EXPERIMENTS, document_of, shipped
from splitplace.benchmarks.grid_row import GridRow
from splitplace.benchmarks.grid_scenario import GridScenario
from splitplace.benchmarks.knobs import WorstSearch
from splitplace.benchmarks.paper_claim import PaperClaim, PaperColumn
from splitplace.errors import NotFoundError, SplitPlaceError, UsageError, unknown
from splitplace.records.base import Count, Name, Positive, PositiveCount, Record


class Quick(Record):
    """What of an experiment is done where minutes must do."""

    scenarios: tuple[Name, ...]
    loads: tuple[Positive, ...] = ()
    seeds: tuple[Count, ...]
    tuning_seeds: tuple[Count, ...] = ()
    intervals: PositiveCount


class Experiment(Record):
    """Every row in every scenario at every load, on every seed."""

    noun: ClassVar[str | None] = "file of an experiment"
    name: Name
    about: str = ""
    rows: Annotated[tuple[GridRow, ...], Field(min_length=1)]
    scenarios: Annotated[tuple[GridScenario, ...], Field(min_length=1)]
    loads: tuple[Positive, ...] = ()
    """Shares of capacity; none are needed where all scenarios state theirs."""
    seeds: Annotated[tuple[Count, ...], Field(min_length=2)]
    """On which rows are judged: all meet the same tasks."""
    tuning_seeds: tuple[Count, ...] = ()
    """On which a row's policy is chosen; none of those it is judged on."""
    intervals: PositiveCount
    states: str | None = None
    """Scenario whose shipped states serve a policy where its own scenario has none and they fit."""
    details: bool = False
    """Whether cells keep all of `CellDetail`, or their reward and what it is made of."""
    curves: bool = False
    """Whether it is of how the first row's bandit is trained (`bandit_training.py`), in place of what rows get."""
    shows: tuple[Name, ...] = ()
    """Tables and figures of the paper that it is, besides the one of its name."""
    printed: dict[str, dict[str, float]] = Field(default={})
    """What the paper prints of a row, by figure (`GridCell.figure`)."""
    columns: tuple[PaperColumn, ...] = ()
    """What its table shows."""
    claims: tuple[PaperClaim, ...] = ()
    search: WorstSearch | None = None
    """For each row's worst case, beside its cells (`adversary.py`)."""
    bounds: bool = True
    """Whether to compute, beside the cells, what no policy can exceed."""
    quick: Quick | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for kind, names in {
            "row": [row.name for row in self.rows],
            "scenario": [scenario.name for scenario in self.scenarios],
            "load": self.loads,
            "seed": [*self.seeds, *self.tuning_seeds],
        }.items():
            if twice := _twice(names):
                raise ValueError(f"{kind} {twice} stands twice: a name or number stands once, a seed judges or tunes")
        there = [scenario.name for scenario in self.scenarios]
        rows = {row.name for row in self.rows}
        if strange := {row for scenario in self.scenarios for row in scenario.rows} - rows:
            raise ValueError(
                f"scenarios have the rows {', '.join(sorted(strange))}: expected of {', '.join(sorted(rows))}"
            )
        if lost := [each.name for each in self.scenarios if each.right not in (*there, None)]:
            raise ValueError(f"scenarios {', '.join(lost)}: right must name one of {', '.join(sorted(there))}")
        if not self.loads and not all(scenario.as_stated for scenario in self.scenarios):
            raise ValueError("give loads: not every scenario is as_stated")
        choices = [row.name for row in self.rows if len(row.policies) > 1]
        if choices and not self.tuning_seeds:
            raise ValueError(f"rows {', '.join(choices)} have several policies: give tuning_seeds to choose on")
        return self

    @property
    def cases(self) -> list[tuple[GridScenario, float | None]]:
        """Every scenario at each of its loads, none for the one that it states itself."""
        found: list[tuple[GridScenario, float | None]] = []
        for scenario in self.scenarios:
            loads = [load for load in self.loads if load in (scenario.loads or self.loads)]
            found += [(scenario, load) for load in ([None] if scenario.as_stated else loads)]
        return found

    def only(self, rows: Sequence[str] = (), scenarios: Sequence[str] = ()) -> "Experiment":
        """Some of the rows and scenarios; all where none is named.

        Raises:
            UsageError: An unknown name.
        """
        chosen = {}
        for field, names in {"rows": rows, "scenarios": scenarios}.items():
            there = {each.name: each for each in getattr(self, field)}
            for name in names:
                if name not in there:
                    raise unknown(field.removesuffix("s"), name, there)
            chosen[field] = tuple(each for name, each in there.items() if name in names or not names)
        return self.model_copy(update=chosen)

    def quickly(self) -> "Experiment":
        """As much of it as is done in minutes.

        Raises:
            UsageError: It does not say what.
        """
        if self.quick is None:
            raise UsageError(f"experiment {self.name} says not what is quick: give it a table [quick], or run it whole")
        short = self.only(scenarios=self.quick.scenarios)
        brief = [scenario.model_copy(update={"intervals": self.quick.intervals}) for scenario in short.scenarios]
        numbers = {name: getattr(self.quick, name) for name in ("loads", "seeds", "tuning_seeds", "intervals")}
        return short.model_copy(update=numbers | {"scenarios": tuple(brief)})


def _twice(values: Iterable[object]) -> object | None:
    seen = set[object]()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return None


def load_experiment(name: str) -> Experiment:
    """One that ships with the benches by name, or a TOML file.

    Raises:
        UsageError: No such name or file.
        SplitPlaceError: Not an experiment, or one that names what there is not.
    """
    path = EXPERIMENTS / f"{name}.toml" if name in shipped() else Path(name)
    if not path.is_file():
        raise NotFoundError(f"no experiment {name!r}: expected one of {', '.join(shipped())}, or a TOML file")
    found = Experiment.parse(json.dumps(document_of(path), default=str), str(path))
    for scenario in found.scenarios:
        try:
            scenario.load()
        except SplitPlaceError as error:
            raise type(error)(f"{path}: scenario {scenario.name}: {error}") from error
    return found
