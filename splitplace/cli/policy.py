"""`splitplace policy`: train what learns, and look at what was learned."""

from pathlib import Path
from typing import Any

from splitplace.cli.output import emit
from splitplace.cli.verb import Shown, verb


@verb("train_policy", positional=0, out=Path)
def train(taught: dict[str, Any], *, scenario: str, demand: str, out: Path, seed: int) -> Shown:
    """What was learned."""
    import splitplace as sp

    folder = out.absolute()
    name = sp.load_scenario(scenario).name
    document = {"scenario": name, "demand": demand, "out": str(folder), "seed": seed, **taught}
    lines = [str(state) for state in sp.saved_states(folder) if state.name in taught["learned"]]
    lines += [f"{name}: not trained, {why}" for name, why in taught["left_out"].items()]
    return document, "\n\n".join([*lines, f"states, traces and curves in {folder}"])


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
