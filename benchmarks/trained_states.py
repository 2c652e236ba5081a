"""States that policies start from where none ship for a scenario of an experiment: `policy train`, once."""

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from splitplace.benchmarks.grid_row import GridRow
from splitplace.benchmarks.grid_scenario import TrainedOn
from splitplace.files import replace_file
from splitplace.placement import states as store
from splitplace.placement.policy import Policy
from splitplace.placement.registry import parse_policy
from splitplace.placement.state_files import SUFFIX, stem_of
from splitplace.records.view import View

FOLDER = Path("build/bench-states")
NOTE = "trained.json"
"""What a folder's states have learned from, and which there are; written when all of them are there."""


def states_of(trained: TrainedOn) -> Path:
    """The folder of the states; absolute, for other processes read it."""
    return (FOLDER / f"{Path(trained.scenario).stem}-{trained.digest}").absolute()


def train_states(trained: TrainedOn, rows: Iterable[GridRow], say: Callable[[str], None]) -> None:
    """Train what these rows' policies learn, at the load that the scenario states itself, unless it is there.

    Raises:
        MissingExtraError: The extra `train` is not installed.
        SplitPlaceError: As `policy train`.
    """
    folder, policies = states_of(trained), [parse_policy(text) for row in rows for text in row.policies]
    wanted = {stem_of(part) for policy in policies for part in store.storable(policy)}
    there = set(json.loads((folder / NOTE).read_bytes())["parts"]) if (folder / NOTE).is_file() else set()
    if missing := tuple(sorted(wanted - there)):
        _train(folder, trained, missing, say)
        note = {"on": json.loads(trained.model_dump_json()), "parts": sorted(wanted | there)}
        replace_file(folder / NOTE, json.dumps(note) + "\n")


def _train(folder: Path, trained: TrainedOn, parts: tuple[str, ...], say: Callable[[str], None]) -> None:
    from splitplace.placement.learning.traces import LearningSettings
    from splitplace.placement.learning.train import train

    scenario, fleet, demand = trained.load()
    settings = LearningSettings(scenario, fleet, demand, trained.demand, parts=parts, options=trained.options)
    if trained.intervals is not None:
        settings = replace(settings, intervals=trained.intervals)
    train(settings, folder, lambda what, share: say(f"states for {folder.name}: {what} {share:.0%}"))


def trained_state(policy: Policy, folder: Path, view: View, trained: list[str]) -> Any:
    """A policy's state from such a folder, anew where it has none; `trained` is told the parts that have one there."""
    if not any((folder / f"{stem_of(part)}{SUFFIX}").is_file() for part in store.storable(policy)):
        return policy.init(view)
    state, found = store.from_folder(policy, folder, view)
    trained.extend(found)
    return state
