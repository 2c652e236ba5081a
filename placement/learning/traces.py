"""The training workload as learners meet it (`learner.Traces`): simulated, with seeds that no evaluation has."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from splitplace.errors import PolicyError, SplitPlaceError, raised
from splitplace.placement import registry
from splitplace.placement.learner import Examples, Figures, Fit, Learner, Predict, Recipe, Taught, Watch, Worth
from splitplace.placement.learning import curves
from splitplace.placement.learning.fit import fit
from splitplace.placement.learning.score import Score
from splitplace.placement.learning.workload import Explorer
from splitplace.placement.policy import Composed, Decider, Policy
from splitplace.placement.simulator.demands import DemandLike
from splitplace.placement.simulator.results import SimulationRun
from splitplace.placement.simulator.run import simulate
from splitplace.placement.simulator.scenario import Scenario
from splitplace.placement.simulator.traces import write_parquet
from splitplace.placement.state_files import save
from splitplace.placement.surrogates.network import Weights
from splitplace.progress import Progress
from splitplace.records.device import FleetSpec
from splitplace.records.view import View
from splitplace.seeds import generator

SEED_BASE = 1_000_000
"""Training never meets the workload of an evaluation: its seeds start here."""
TUNING, TUNING_RUNS, TUNING_INTERVALS = 900, 4, 40
"""Number of the first tuning run, how many there are, and how long each is at most."""


@dataclass(frozen=True)
class LearningSettings:
    """What is trained, on what."""

    scenario: Scenario
    fleet: FleetSpec
    demand: DemandLike
    demand_name: str
    runs: int = 12
    intervals: int = 200
    seed: int = 0
    parts: tuple[str, ...] = ()
    """Names of the learners; every one of the registry if empty."""
    options: Mapping[str, Mapping[str, bool | int | float | str]] = field(default_factory=dict)
    """By learner: fields that are not its own."""

    def part(self, name: str) -> Any:
        """Of the registry, or one of the user's own, with its options."""
        part = registry.part(name)
        return replace(part, **self.options[name]) if self.options.get(name) else part

    @property
    def about(self) -> Figures:
        """What stands in every state trained by them."""
        return {
            "scenario": self.scenario.name,
            "demand": self.demand_name,
            "runs": self.runs,
            "intervals": self.intervals,
            "seed": self.seed,
        }


@contextmanager
def own(part: Learner) -> Iterator[None]:
    """Within, a learner is asked, which may be somebody's own: what it raises is told by its name, in a line.

    Raises:
        PolicyError: It raised something.
        SplitPlaceError: It says what it lacks; or what it asked for.
    """
    try:
        yield
    except (SplitPlaceError, KeyboardInterrupt, OSError, MemoryError):
        raise
    except BaseException as error:
        if type(part).__module__.startswith("splitplace."):
            raise  # a fault of ours stays what it is
        raise PolicyError(part.name, raised(error)) from error


class SimulatedTraces:
    """The traces of one training; keeps what it has trained, in memory and in the folder.

    Args:
        settings: What is trained, on what.
        out: Folder of the states.
        say: Told how far it is.
    """

    def __init__(self, settings: LearningSettings, out: Path, say: Progress):
        self.settings, self.out, self.say = settings, out, say
        self.seed, self.runs, self.intervals = settings.seed, settings.runs, settings.intervals
        self._learned: dict[str, Taught | None] = {}
        self._stems: list[str] = []
        self._asking: list[str] = []
        """Those in training, each asked for by the one before."""

    @cached_property
    def view(self) -> View:
        """The first of the first run."""
        seen: list[View] = []
        self.replay(0, lambda view, actions: seen.append(view) if not seen else None)
        return seen[0]

    def replay(self, run: int, watch: Watch | None = None, decider: Decider | None = None) -> SimulationRun:
        """As `Traces.replay`."""
        explorer = Explorer.drawn(run, self.intervals, generator(self.seed, "explorer", run))
        policy = Composed(decider or registry.part("epsilon-greedy"), explorer)
        total = self.runs * self.intervals

        def progress(interval: int) -> None:
            self.say("running the training workload", (run * self.intervals + interval) / total)

        return self._simulate(policy, run, self.intervals, None, watch, progress)

    def play(self, policy: Policy, at: int, states: Any = None, watch: Watch | None = None) -> SimulationRun:
        """As `Traces.play`."""

        def progress(interval: int) -> None:
            self.say(f"running {policy.name}", interval / self.intervals)

        return self._simulate(policy, at, self.intervals, states, watch, progress)

    def tune(self, policy: Policy, states: Any) -> list[Worth]:
        """As `Traces.tune`."""
        worth, placer = [], getattr(policy, "placer", policy)
        weights = {name: float(getattr(placer, name, 0.5)) for name in ("alpha", "beta")}  # of the O^P that it climbs
        for run in range(TUNING_RUNS):
            self.say(f"tuning {policy.name}", run / TUNING_RUNS)
            score = Score(**weights)
            found = self._simulate(policy, TUNING + run, min(TUNING_INTERVALS, self.intervals), states, score, None)
            worth.append(Worth(score.mean, found.metrics.reward or 0.0))
        return worth

    def _simulate(
        self,
        policy: Policy,
        at: int,
        intervals: int,
        states: Any,
        watch: Watch | None,
        progress: Callable[[int], None] | None,
    ) -> SimulationRun:
        s, seed = self.settings, SEED_BASE + 1000 * self.seed + at
        return simulate(s.scenario, s.fleet, s.demand, policy, intervals, seed, states, watch, progress, strict=True)

    def part(self, name: str) -> Any:
        """As `Traces.part`."""
        return self.settings.part(name)

    def trained(self, name: str) -> tuple[Any, Any]:
        """As `Traces.trained`."""
        part = self.part(name)
        learned = self.learn(part)
        if learned is None:
            raise SplitPlaceError(f"{name} has no state to start from: there is nothing to choose between here")
        return part, learned.state

    def learn(self, part: Learner) -> Taught | None:
        """Train a learner, unless it is trained already; its state is in the folder afterwards."""
        if part.name in self._asking:
            raise SplitPlaceError(f"{' asks for '.join([*self._asking, part.name])}: neither can be trained first")
        if part.name not in self._learned:
            self.say(f"training {part.name}", 0.0)
            self._asking.append(part.name)
            with own(part):
                learned = part.train(self)
                if learned is not None:
                    about = {**self.settings.about, **learned.about}
                    self._stems.append(save(self.out, part, learned.state, self.view, about).stem)
            self._asking.pop()
            self._learned[part.name] = learned
        return self._learned[part.name]

    @property
    def learned(self) -> list[str]:
        """What the files of those are called that have a state by now."""
        return list(self._stems)

    def fit(
        self,
        name: str,
        predict: Predict,
        start: Weights,
        train: Examples,
        held_out: Examples,
        recipe: Recipe,
        rng: np.random.Generator,
        vary: Callable[[Any], Any] | None = None,
    ) -> Fit:
        """As `Traces.fit`."""

        def say(epoch: int, mse: float) -> None:
            self.say(f"training {name}: held-out MSE {mse:.4f}", epoch / recipe.epochs)

        return fit(predict, start, train, held_out, recipe, rng, say, vary)

    def keep(self, name: str, columns: Mapping[str, npt.NDArray[Any] | Sequence[Any]]) -> None:
        """As `Traces.keep`: the file traces.NAME.parquet."""
        write_parquet(self.out / f"traces.{name}.parquet", dict(columns), f'{{"part": "{name}"}}')

    def curves(self, name: str, points: Iterable[tuple[float, Mapping[str, float]]]) -> None:
        """As `Traces.curves`: a folder of its own, which TensorBoard shows as a run."""
        curves.write(self.out / "curves" / name, points)
