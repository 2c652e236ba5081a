"""`splitplace policy`: train what learns, and look at what was learned."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from splitplace.cli.output import bar, emit
from splitplace.errors import UsageError

if TYPE_CHECKING:
    from splitplace.placement.states import LoadedPart


def train(
    *,
    scenario: str = "measured-50",
    fleet: str | None = None,
    demand: str = "measured",
    out: Path = Path("policy-states"),
    runs: Annotated[
        int, Parameter(help="Training runs; a quarter of them is held out. The bandit is the first's.")
    ] = 12,
    intervals: Annotated[int, Parameter(help="Of each run; the paper trains for 200.")] = 200,
    seed: int = 0,
    json: bool = False,
) -> None:
    """Train the bandit by ε-greedy, the surrogates of DASO and GOBI on the traces, daso-tasks, and the baselines.

    Writes a state (JSON and safetensors) for each part, the trace sets (Parquet) and the curves of R, ε, ρ, N and Q
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
    """
    import splitplace as sp

    folder = out.resolve()
    with bar() as progress:
        learned = sp.train_policy(
            scenario,
            fleet=fleet,
            demand=demand,
            out=folder,
            runs=runs,
            intervals=intervals,
            seed=seed,
            progress=progress,
        )
    document = {
        "scenario": sp.load_scenario(scenario).name,
        "demand": demand,
        "out": str(folder),
        "seed": seed,
        **learned,
    }
    emit(document, _learned(document), json)


def show(path: Path, /, *, json: bool = False) -> None:
    """Print a saved state readably.

    Parameters
    ----------
    path
        A folder of states, or one state's .json.
    """
    from splitplace.placement.states import read

    files = sorted(path.glob("*.json")) if path.is_dir() else [path.with_suffix(".json")]
    if not files:
        raise UsageError(f"{path} holds no saved state (NAME.json with NAME.safetensors)")
    states = {file.stem: read(file.parent, file.stem) for file in files}
    document = {name: _plain(loaded) for name, loaded in states.items()}
    emit(document, "\n\n".join(_readable(name, loaded) for name, loaded in states.items()), json)


def _plain(loaded: "LoadedPart") -> dict[str, Any]:
    small = {name: array.tolist() for name, array in loaded.arrays.items() if array.size <= 32}
    shapes = {name: list(array.shape) for name, array in loaded.arrays.items()}
    return loaded.saved.model_dump(mode="json") | {"shapes": shapes, "values": _finite(small)}


def _finite(value: Any) -> Any:
    """JSON has no NaN: what is not known yet is null."""
    if isinstance(value, dict):
        return {name: _finite(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and value != value else value


def _readable(name: str, loaded: "LoadedPart") -> str:
    saved, arrays = loaded.saved, loaded.arrays
    head = [
        f"{name}: state of {saved.part}, for {saved.devices} devices and {', '.join(saved.applications)}",
        "  trained on " + ", ".join(f"{key} {value}" for key, value in saved.about.items()),
        f"  made by {saved.provenance.splitplace} ({saved.provenance.commit[:12]}), {saved.provenance.created}",
    ]
    if saved.part == "mab":
        r = ", ".join(f"{app} {value:.1f} s" for app, value in zip(saved.applications, arrays["r"], strict=True))
        head.append(f"  R (layer response): {r}")
        for c, context in enumerate(("deadline >= R", "deadline < R")):
            for d, arm in enumerate(("layer", "semantic")):
                head.append(f"  {context}, {arm}: Q {arrays['q'][c, d]:.3f}, N {int(arrays['n'][c, d])}")
    elif saved.part == "compressed":
        head.append("  runs " + ", ".join(saved.splits[int(row)] for row in arrays["split"]))
    else:
        size = sum(array.size for array in arrays.values())
        head.append(
            f"  {size} numbers in {len(arrays)} arrays; " + ", ".join(f"{k} {v}" for k, v in saved.facts.items())
        )
    return "\n".join(head)


def _learned(document: dict[str, Any]) -> str:
    lines = []
    bandit = document["bandit"]
    lines.append(f"bandit: ε {bandit['epsilon']:.3f}, ρ {bandit['rho']:.3f}")
    for name, value in bandit["R_s"].items():
        lines.append(f"  R {name}: {value:.1f} s")
    for context, q, n in zip(("high", "low"), bandit["Q"], bandit["N"], strict=True):
        lines.append(f"  {context}: Q layer {q[0]:.3f} semantic {q[1]:.3f}; N layer {n[0]} semantic {n[1]}")
    for name in ("daso", "gobi", "daso-slots"):
        part = document.get(name)
        if part is not None:
            lines.append(
                f"{name}: held-out MSE {part['held_out_mse']:.5f}, against {part['held_out_variance']:.5f} of the mean "
                f"({part['explained']:.0%} explained), {part['pairs']} pairs, epoch {part['epochs']}, η {part['eta']:g}"
            )
    tasks = document["daso-tasks"]
    lines.append(
        f"daso-tasks: held-out MSE of log time {tasks['held_out_mse']:.5f}, against {tasks['held_out_variance']:.5f} "
        f"of the mean ({tasks['explained']:.0%} explained), {tasks['examples']} examples, epoch {tasks['epochs']}, "
        f"η {tasks['eta']:g}"
    )
    if "compressed" in document:
        lines.append("compressed: " + ", ".join(document["compressed"]["splits"]))
    if "gillis" in document:
        lines.append(f"gillis: {document['gillis']['updates']} updates of {document['gillis']['visited']} cells")
    lines.append(f"states, traces and curves in {document['out']}")
    return "\n".join(lines)
