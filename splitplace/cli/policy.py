"""`splitplace policy`: train what learns, and look at what was learned."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from splitplace.cli.output import bar, emit


def train(
    *,
    scenario: str = "measured-50",
    fleet: str | None = None,
    demand: str = "measured",
    out: Path = Path("policy-states"),
    runs: Annotated[
        int, Parameter(help="Training runs, 2 to 900; a quarter is held out. The bandit is the first's.")
    ] = 12,
    intervals: Annotated[int, Parameter(help="Of each run, 2 to 100,000; the paper trains for 200.")] = 200,
    seed: int = 0,
    parts: Annotated[tuple[str, ...], Parameter(help="Deciders and placers, once for each; all that learn.")] = (),
    json: bool = False,
) -> None:
    """Train what learns: the bandit by ε-greedy, the surrogates of DASO and GOBI on the traces, and the others.

    Writes a state (safetensors) for each part, the trace sets (Parquet) and the curves of R, ε, ρ, N and Q
    (TensorBoard). Hand the folder to `splitplace simulate --state`.

    Parameters
    ----------
    scenario
        A shipped scenario, or a TOML file.
    fleet
        A shipped fleet, NAME:N, or a TOML file; the scenario's own if not stated.
    demand
        As in `simulate`.
    out
        Folder for the states.
    seed
        Same seed, same states.
    json
        Print one JSON document.
    """
    import splitplace as sp

    folder = out.absolute()
    with bar() as progress:
        taught = sp.train_policy(
            scenario,
            fleet=fleet,
            demand=demand,
            out=folder,
            runs=runs,
            intervals=intervals,
            seed=seed,
            parts=parts,
            progress=progress,
        )
    name = sp.load_scenario(scenario).name
    document = {"scenario": name, "demand": demand, "out": str(folder), "seed": seed, **taught}
    lines = [str(state) for state in sp.saved_states(folder) if state.name in taught["learned"]]
    lines += [f"{name}: not trained, {why}" for name, why in taught["left_out"].items()]
    emit(document, "\n\n".join([*lines, f"states, traces and curves in {folder}"]), json)


def show(path: Path, /, *, json: bool = False) -> None:
    """Print a saved state readably.

    Parameters
    ----------
    path
        A folder of states, or one state's file (.safetensors).
    json
        Print one JSON document.
    """
    import splitplace as sp

    states = sp.saved_states(path)
    emit({state.name: state.plain() for state in states}, "\n\n".join(map(str, states)), json)
