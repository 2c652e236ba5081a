"""What is kept of the cells: the results file of `bench demand`, which outlives the work folder.

Trainings take days, and folders of weights are lost with a machine. A cell that is evaluated, or also profiled, is
kept here with what was measured of it, by which code and on which machine: it counts as done wherever the file is, and
the demand is put together of it, cell by cell.
"""

from collections.abc import Mapping
from pathlib import Path

from splitplace.benchmarks.demand_cells import DemandCell, DemandSettings, Kind, StepDone
from splitplace.records.base import Count, Fraction, Record
from splitplace.records.demand import SplitDemand
from splitplace.records.encoded_input import EncodedInput
from splitplace.records.evaluation import Evaluation
from splitplace.records.provenance import Provenance

MEASURED: tuple[Kind, ...] = ("evaluate", "profile")
"""The kinds of steps of which more is worth keeping than a note: what comes before leaves weights and graphs."""


class KeptCell(Record):
    """A cell of which nothing was missing up to a kind of step."""

    cell: str
    preset: str
    seed: Count
    share: Fraction
    """Of the images."""
    until: Kind
    """The last kind of step that was done."""
    steps: tuple[StepDone, ...]
    evaluations: dict[str, Evaluation]
    """By reference."""
    splits: tuple[SplitDemand, ...] = ()
    """In the order of the demand; of a cell that is profiled."""
    encoded: EncodedInput | None = None
    """What its images take on the wire; likewise."""

    @property
    def percent(self) -> Mapping[str, int]:
        """The ratios that were chosen, by name."""
        return next((step.percent for step in self.steps if step.percent), {})

    def top1(self, what: str) -> float | None:
        """Of a step's split; None of one that the cell does not have."""
        strategy, _, name = what.partition("-")
        variant = f"{strategy}-{self.percent.get(name)}" if strategy == "compressed" else what
        evaluation = self.evaluations.get(f"{self.cell}.{variant}")
        return None if evaluation is None else evaluation.top1

    def covers(self, cell: DemandCell, settings: DemandSettings) -> bool:
        """Whether all that is asked of a cell was measured."""
        mine = (self.cell, self.seed, self.share) == (str(cell), settings.seed, settings.share)
        return mine and settings.until in MEASURED[: MEASURED.index(self.until) + 1]


class DemandResults(Record):
    """The results file."""

    cells: tuple[KeptCell, ...]
    provenance: Provenance


def load(path: Path) -> tuple[KeptCell, ...]:
    """The cells that a results file keeps; none, where there is none.

    Raises:
        SplitPlaceError: It is no such file.
    """
    return DemandResults.parse(path.read_bytes(), str(path)).cells if path.is_file() else ()


def find_kept(cells: tuple[KeptCell, ...], cell: DemandCell, settings: DemandSettings) -> KeptCell | None:
    """What is kept of a cell, if that is all that is asked."""
    return next((one for one in cells if one.covers(cell, settings)), None)
