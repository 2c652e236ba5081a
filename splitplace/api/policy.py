"""`train_policy`: what learns, taught on a simulated fleet; `saved_states`: what it was taught."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from splitplace.api.asked import whole_number
from splitplace.errors import explained
from splitplace.progress import Progress, silent

if TYPE_CHECKING:
    from splitplace.catalog import Catalog
    from splitplace.placement.simulator.demands import DemandLike
    from splitplace.placement.simulator.scenario import Scenario
    from splitplace.records.device import FleetSpec


@explained()
def train_policy(
    scenario: "str | Path | Scenario" = "measured-50",
    *,
    fleet: "str | Path | FleetSpec | None" = None,
    demand: "str | Path | Catalog | DemandLike" = "measured",
    out: str | Path = "policy-states",
    runs: int = 12,
    intervals: int = 200,
    seed: int = 0,
    parts: str | Sequence[str] = (),
    progress: Progress = silent,
) -> dict[str, Any]:
    """Train what learns: the bandit by ε-greedy, the surrogates of DASO and GOBI on the traces, and the others.

    Writes a state (safetensors) for each part, the trace sets (Parquet) and the curves of R, ε, ρ, N and Q
    (TensorBoard). Hand the folder to `simulate(state=...)`.

    Args:
        scenario: A shipped scenario, or a TOML file. From Python, also a scenario.
        fleet: A shipped fleet, NAME:N, or a TOML file; the scenario's own if not stated. From Python, also a fleet.
        demand: As in `simulate`.
        out: Folder for the states.
        runs: Training runs, 2 to 900; a quarter of them is held out. The bandit is the first's.
        intervals: Of each run, 2 to 100,000; the paper trains for 200.
        seed: Same seed, same states.
        parts: Deciders and placers by name or module:Class; all of the registry that learn if none is named.
        progress: Told what is being done and how far it is.

    Returns:
        `learned`: for each part, what its file says: R in seconds, rewards Q, counts N, held-out errors; and
        `left_out`: why others were not trained.

    Raises:
        MissingExtraError: The extra `train` is not installed.
        UsageError: An unknown scenario, fleet or demand, or numbers out of range.
        SplitPlaceError: Nothing to learn from.
    """
    from splitplace.api.simulate import resolve
    from splitplace.files import check_folder
    from splitplace.placement.learning.traces import LearningSettings
    from splitplace.placement.learning.train import train

    runs, intervals = whole_number("--runs", runs, 2, 900), whole_number("--intervals", intervals, 2, 100_000)
    seed = whole_number("--seed", seed)
    check_folder(Path(out), "--out")
    chosen, devices, costs = resolve(scenario, fleet, demand)
    name = demand if isinstance(demand, str | Path) else "given"
    asked = (parts,) if isinstance(parts, str) else tuple(parts)
    settings = LearningSettings(chosen, devices, costs, str(name), runs, intervals, seed, asked)
    return train(settings, Path(out).absolute(), progress)
