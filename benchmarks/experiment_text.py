"""The TOML of an experiment, with what it leaves to another one and with its sweeps spelled out."""

import re
import tomllib
from pathlib import Path
from typing import Any

from splitplace.benchmarks.grid_scenario import merged
from splitplace.errors import ContractError, IntegrityError, NotFoundError, SplitPlaceError, of_system, unknown

EXPERIMENTS = Path(__file__).parent / "experiments"
PAPERS = re.compile(r"(table|fig)\d+")
"""Names of what the paper has."""
INHERITED = ("rows", "columns", "seeds", "intervals", "states", "details")
"""What an experiment has of the one that it is `like`, where it does not state it."""
SETTING = ("scenario", "fleet", "demand", "changes", "options")
"""Of a point of a sweep: what its policies are trained on where they are to be trained right there."""


def shipped() -> list[str]:
    """The experiments that ship."""
    return sorted(path.stem for path in EXPERIMENTS.glob("*.toml"))


def experiment_of(name: str) -> str:
    """The experiment that is a table or figure of the paper, or of this name; a TOML file as it is.

    Raises:
        NotFoundError: Neither.
    """
    found = {name: name for name in shipped()}
    found |= {shown: name for name in shipped() for shown in document_of(EXPERIMENTS / f"{name}.toml").get("shows", ())}
    if name in found or Path(name).is_file():
        return found.get(name, name)
    there = sorted((one for one in found if PAPERS.fullmatch(one)), key=lambda one: (one[0] != "t", len(one), one))
    raise NotFoundError(f"no experiment {name!r}: expected one of {', '.join(there)}, or a TOML file")


def document_of(path: Path) -> dict[str, Any]:
    """What a file says.

    `like`: an experiment that ships and has what this one leaves out; of its rows those of `rows_named`.
    `[[sweeps]]`: scenarios `NAME-AT`, a series, of what they have in common and of `points`, each with its `at` and
    with what is its own; with `trained_here`, policies are trained on each of them.

    Raises:
        SplitPlaceError: Not TOML, no such experiment or row, or a sweep of another form.
    """
    try:
        found = tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise of_system(error) from error
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{path}: not TOML: {error}") from error
    try:
        return _with_others(path, _spelled_out(found))
    except SplitPlaceError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ContractError(
            f"{path}: expected sweeps that are tables with a name and points, each with its at, and rows with names; "
            f"got something else ({type(error).__name__}: {error})"
        ) from error


def _spelled_out(found: dict[str, Any]) -> dict[str, Any]:
    points = [point for sweep in found.pop("sweeps", []) for point in _points(sweep)]
    return found | {"scenarios": [*found.get("scenarios", []), *points]} if points else found


def _points(sweep: dict[str, Any]) -> list[dict[str, Any]]:
    common = {name: value for name, value in sweep.items() if name not in ("name", "points", "trained_here")}
    found = []
    for own in sweep["points"]:
        point = merged(common, own) | {"series": sweep["name"], "name": f"{sweep['name']}-{own['at']:g}"}
        if sweep.get("trained_here"):
            point["trained"] = {name: point[name] for name in SETTING if name in point}
        found.append(point)
    return found


def _with_others(path: Path, found: dict[str, Any]) -> dict[str, Any]:
    like, named = found.pop("like", None), found.pop("rows_named", None)
    if like is None:
        return found
    if like not in shipped():
        raise NotFoundError(f"{path}: like {like!r}: expected one of {', '.join(shipped())}")
    other = document_of(EXPERIMENTS / f"{like}.toml")
    document = {name: other[name] for name in INHERITED if name in other} | found
    if named is not None:
        there = {row["name"]: row for row in document["rows"]}
        if lost := [name for name in named if name not in there]:
            raise unknown("row", lost[0], there)
        document["rows"] = [there[name] for name in named]
    return document
