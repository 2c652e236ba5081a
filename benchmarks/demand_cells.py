"""The cells of the demand and their steps: what each step makes, out of what, and whether that is there.

A cell is a network on a data set. A step is done when what it made is there with the digest that was written down, and
made of what is there now; so whatever kills a run, the same command goes on with the step that it was at.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from pydantic import Field

from splitplace.catalog import Catalog
from splitplace.errors import NotFoundError, NotReadyError, unknown
from splitplace.export.measure.profiler import QUICK, Effort
from splitplace.files import replace_file
from splitplace.records.base import Count, Digest, NonNegative, Record
from splitplace.splitting.networks import check_model, model_label
from splitplace.training.data.applications import APPLICATIONS
from splitplace.training.run import WEIGHTS, Run

Kind = Literal["train", "ratios", "export", "evaluate", "profile"]
KINDS: tuple[Kind, ...] = ("ratios", "train", "export", "evaluate", "profile")
SHIP: tuple[Kind, ...] = ("export", "evaluate")
TREES: dict[str, tuple[int, ...]] = {"semantic-4": (4,), "semantic-2x2": (2, 2), "semantic-2": (2,)}
ROOTS, SPLITNET = "semantic-4-roots", "semantic-4-splitnet"
COMPRESSED = ("light", "quick", "small")
"""Compressed by a quarter of the channels; as quick as the critical path of `semantic-4`; as small as its largest
fragment."""
FULL, RATIOS = "full", "ratios"
EFFORT = Effort((1, 8, 32, 64), rounds=10, budget_s=1.0)


@dataclass(frozen=True)
class DemandCell:
    """One network on one data set."""

    application: str
    model: str

    def __str__(self) -> str:
        return f"{self.application}.{model_label(self.model)}"


NINE = tuple(
    DemandCell(application, model)
    for model, applications in (
        ("mobilenetv2", ("fashionmnist", "mnist", "tiny100")),
        ("resnet50v2", ("mnist", "fashionmnist", "tiny100")),
        ("inceptionv3", ("mnist", "fashionmnist", "tiny100")),
    )
    for application in applications
)
"""In the order in which each finished one is worth most for its time: the small network first, then short trainings."""
SPLITNET_MODEL = "mobilenetv2"
"""Learned groups are asked about once a data set."""
ONE_TREE = frozenset(NINE) - {DemandCell("mnist", "mobilenetv2")}
"""Where no trees of two and of nested branches stand beside the tree of four. Memory asks for them nowhere, for their
largest fragment is larger; and they would take a quarter of all the time."""


def parse_cells(text: str) -> tuple[DemandCell, ...]:
    """`mnist.resnet50v2,tiny100.mobilenetv2` as cells.

    Raises:
        UsageError: Not of this form, or a data set or network that is not known.
    """
    cells = []
    for part in text.split(","):
        application, dot, model = part.strip().partition(".")
        if not dot or application not in APPLICATIONS:
            raise unknown("cell", part, [*map(str, NINE), "any APPLICATION.MODEL"])
        check_model(model)
        cells.append(DemandCell(application, model))
    return tuple(dict.fromkeys(cells))


@dataclass(frozen=True)
class CellStep:
    """One thing to make; `stage` are the steps that one process does in a row, `after` the stage that comes before."""

    kind: Kind
    what: str
    stage: str
    after: str | None

    def __str__(self) -> str:
        return f"{self.kind} {self.what}" if self.kind != "ratios" else "choose ratios"


@dataclass(frozen=True)
class DemandSettings:
    """How the cells are made.

    Args:
        preset: Of the trainings: a name or a TOML file.
        share: Of the images that there are, for the estimates.
        layers: Fragments of the layer splits. The first is the one that deciders mean by `layer` and that loads and
            deadlines are stated by: four, as in the paper's published code.
        micro_batch: Samples a device runs at once.
        effort: Of the profiles.
        until: The last kind of step that is done.
        device: What trains, for the estimates.
        seed: Of everything.
    """

    preset: str = "demand"
    share: float = 1.0
    layers: tuple[int, ...] = (4, 3, 2)
    micro_batch: int = 64
    effort: Effort = EFFORT
    until: Kind = "profile"
    device: Literal["cpu", "gpu"] = "cpu"
    seed: int = 0

    def quick(self) -> "DemandSettings":
        """With profiles in a quarter of the time."""
        return replace(self, effort=QUICK)


def steps_of(cell: DemandCell, settings: DemandSettings) -> tuple[CellStep, ...]:
    """What a cell is made of, in order: each stage leaves something that is worth having."""
    layers = [f"layer-{fragments}" for fragments in settings.layers]
    trees = ["semantic-4"] if cell in ONE_TREE else [*TREES]
    trees += [SPLITNET] * (cell.model == SPLITNET_MODEL)
    compressed = [f"compressed-{name}" for name in COMPRESSED]
    steps = [CellStep("train", FULL, FULL, None), *_shipped([FULL], FULL), *_shipped(layers, f"ship {FULL}", "layers")]
    for tree in trees:
        steps.append(CellStep("train", tree, tree, FULL))
        steps += _shipped([tree, ROOTS] if tree == "semantic-4" else [tree], tree)
    steps.append(CellStep("ratios", RATIOS, RATIOS, FULL))
    for what in compressed:
        steps += [CellStep("train", what, what, RATIOS), *_shipped([what], what)]
    whats = [FULL, *layers, ROOTS, *trees, *compressed]
    steps += [CellStep("profile", what, "profile", None) for what in whats]
    return tuple(step for step in steps if KINDS.index(step.kind) <= KINDS.index(settings.until))


def _shipped(whats: Sequence[str], after: str, name: str | None = None) -> list[CellStep]:
    """Into the catalog, and held against held-out images there."""
    stage = f"ship {name or after}"
    return [CellStep(kind, what, stage, after) for what in whats for kind in SHIP]


class StepDone(Record):
    """A step's note beside the work: what it made, out of what, by which code on which machine."""

    step: str
    digest: Digest
    of: str
    """Digest of what it was made of; empty for what starts from nothing."""
    seconds: NonNegative
    commit: str
    machine: str
    percent: dict[str, Count] = Field(default={})
    """Of the step that chooses ratios: the share of channels to remove, by name."""


@dataclass(frozen=True)
class CellFolder:
    """Where a cell's work lies, and what is there.

    Args:
        work: Folder of all cells.
        cell: Whose.
    """

    work: Path
    cell: DemandCell
    _hashes: dict[tuple[str, int], str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def catalog(self) -> Path:
        """The cell's own catalog: what is looked for is found among its own measurements."""
        return self.work / "catalogs" / str(self.cell)

    def run(self, what: str) -> Path:
        """The RUN folder of what is trained."""
        return self.work / "runs" / f"{self.cell}.{self.variant(what)}"

    def variant(self, what: str) -> str:
        """The last part of its name: a compressed model's ratio in place of the word for it."""
        strategy, _, name = what.partition("-")
        return f"{strategy}-{self.percent(name)}" if strategy == "compressed" else what

    def reference(self, what: str) -> str:
        """What the catalog calls it."""
        return f"{self.cell}.{self.variant(what)}"

    def percent(self, name: str) -> int:
        """The ratio that was chosen, in percent.

        Raises:
            NotReadyError: None was chosen yet.
        """
        note = self.note("ratios", RATIOS)
        if note is None or name not in note.percent:
            raise NotReadyError(f"{self.cell}: no ratio was chosen for compressed-{name}")
        return note.percent[name]

    def note(self, kind: Kind, what: str) -> StepDone | None:
        """What was written down of a step; None if nothing was."""
        place = self._note(kind, what)
        return StepDone.parse(place.read_bytes(), str(place)) if place.is_file() else None

    def write(self, step: CellStep, note: StepDone) -> None:
        """Write down that a step is done."""
        replace_file(self._note(step.kind, step.what), note.model_dump_json(indent=1) + "\n")

    def _note(self, kind: Kind, what: str) -> Path:
        return self.work / "steps" / str(self.cell) / f"{kind}-{what}.json"

    def done(self, step: CellStep) -> bool:
        """Whether what it made is there, as it was written down, and of what is there now, which is done as well."""
        note, before = self.note(step.kind, step.what), self._before(step)
        if note is None or (before is not None and not self.done(before)):
            return False
        return (note.digest, note.of) == (self.found(step), self.source(step))

    def source(self, step: CellStep) -> str:
        """Digest of what a step starts from; empty where it starts from nothing, or that is not there."""
        before = self._before(step)
        return (before and self.found(before)) or ""

    def _before(self, step: CellStep) -> CellStep | None:
        """The step that makes what a step starts from."""
        before: tuple[Kind, str] | None = None
        if step.kind == "train" and step.what != FULL:
            before = ("train", FULL)
        elif step.kind == "export":
            before = ("export", FULL) if step.what.startswith("layer") else ("train", step.what.removesuffix("-roots"))
        elif step.kind in ("evaluate", "profile"):
            before = ("export", step.what)
        return None if before is None else CellStep(*before, "", None)

    def found(self, step: CellStep) -> str | None:
        """Digest of what a step makes, as it is there now; None if it is not."""
        if step.kind == "ratios":
            note = self.note(step.kind, step.what)
            return None if note is None else note.digest
        look: dict[Kind, Callable[[str], str | None]] = {
            "train": self._run_there,
            "export": lambda what: Catalog(self.catalog).split_descriptor(self.reference(what)).digest,
            "evaluate": self._evaluation_there,
            "profile": self._profiles_there,
        }
        try:
            return look[step.kind](step.what)
        except (NotReadyError, NotFoundError):
            return None

    def _run_there(self, what: str) -> str | None:
        run = Run.open(self.run(what))
        weights = run.path / WEIGHTS
        known = (str(weights), weights.stat().st_mtime_ns)
        if known not in self._hashes:
            self._hashes[known] = hashlib.sha256(weights.read_bytes()).hexdigest()
        return f"sha256:{self._hashes[known]}" if self._hashes[known] == run.config.weights_sha256 else None

    def _evaluation_there(self, what: str) -> str | None:
        evaluation = Catalog(self.catalog).evaluation(self.reference(what))
        return None if evaluation is None else digest_of(evaluation)

    def _profiles_there(self, what: str) -> str | None:
        catalog, reference = Catalog(self.catalog), self.reference(what)
        profiles = catalog.profiles(reference)
        if {fragment.digest for fragment in catalog.split(reference).fragments} - {one.digest for one in profiles}:
            return None
        return digest_of(*profiles)


def digest_of(*documents: Record | dict[str, int]) -> str:
    """Of what is no file of its own."""
    texts = [one.model_dump_json() if isinstance(one, Record) else json.dumps(one, sort_keys=True) for one in documents]
    return "sha256:" + hashlib.sha256("\n".join(texts).encode()).hexdigest()
