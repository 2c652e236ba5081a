"""Policies by name: `DECIDER+PLACER`, or a class of the user's own as `module:Class`.

A part with a colon is imported (the current folder is on the path) and called without arguments; it must have the
methods of `Decider` or `Placer`. A `module:Class` on its own must have both, or have the fields of a `Policy`.
"""

import importlib
import sys
from pathlib import Path
from typing import Any, cast

from splitplace.errors import UsageError, unknown
from splitplace.placement.policy import Decider, Placer, Policy

# Each imported when it is asked for: some need libraries that others do not.
DECIDERS = {
    "compressed": "splitplace.placement.deciders.compressed:Compressed",
    "epsilon-greedy": "splitplace.placement.deciders.epsilon_greedy:EpsilonGreedy",
    "full": "splitplace.placement.deciders.fixed:Full",
    "gillis": "splitplace.placement.deciders.gillis:Gillis",
    "layer": "splitplace.placement.deciders.fixed:Layer",
    "mab": "splitplace.placement.deciders.mab:Mab",
    "oracle": "splitplace.placement.deciders.oracle:Oracle",
    "random": "splitplace.placement.deciders.random:RandomDecider",
    "semantic": "splitplace.placement.deciders.fixed:Semantic",
}
PLACERS = {
    "best-fit": "splitplace.placement.placers.best_fit:BestFit",
    "daso": "splitplace.placement.placers.daso:Daso",
    "daso-slots": "splitplace.placement.placers.daso:DasoSlots",
    "daso-tasks": "splitplace.placement.placers.daso_tasks:DasoTasks",
    "daso-warm": "splitplace.placement.placers.daso:DasoWarm",
    "earliest-finish": "splitplace.placement.placers.earliest_finish:EarliestFinish",
    "exact": "splitplace.placement.placers.exact:Exact",
    "gobi": "splitplace.placement.placers.gobi:Gobi",
    "least-loaded": "splitplace.placement.placers.least_loaded:LeastLoaded",
    "random": "splitplace.placement.placers.random:RandomPlacer",
}


def parse_policy(text: str) -> Policy:
    """The policy called `DECIDER+PLACER` or `module:Class`.

    Raises:
        UsageError: Not of that form, an unknown name (the valid ones are listed), or a class that is no policy.
    """
    parts = text.split("+")
    if len(parts) == 1 and ":" in text:
        return _whole(text)
    if len(parts) != 2 or not all(parts):
        raise UsageError(
            f"{text!r} is no policy: expected DECIDER+PLACER with a decider of {', '.join(DECIDERS)} and a placer of "
            f"{', '.join(PLACERS)}, or module:Class"
        )
    decider, placer = parts
    return Policy(
        cast(Decider, _part("decider", decider, DECIDERS, "decide")),
        cast(Placer, _part("placer", placer, PLACERS, "place")),
    )


def _part(what: str, name: str, table: dict[str, str], method: str) -> object:
    if ":" not in name and name not in table:
        raise unknown(what, name, table)
    return _require(_load(table.get(name, name)), name, ("init", method, "update"))


def _whole(text: str) -> Policy:
    loaded = _load(text)
    if hasattr(loaded, "decider") and hasattr(loaded, "placer"):
        return Policy(loaded.decider, loaded.placer)
    _require(loaded, text, ("init", "decide", "place", "update"))
    return Policy(loaded, loaded)


def _require(loaded: object, name: str, methods: tuple[str, ...]) -> object:
    missing = [method for method in methods if not callable(getattr(loaded, method, None))]
    if missing or not isinstance(getattr(loaded, "name", "policy"), str):
        raise UsageError(f"{name!r} is no policy: it lacks {', '.join(missing) or 'a name that is text'}")
    return loaded


def _load(target: str) -> Any:
    module_name, _, class_name = target.partition(":")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # somebody's code: it may raise anything
        raise UsageError(f"cannot import {module_name!r} for policy {target!r}: {_said(error)}") from error
    finally:
        sys.path.remove(here)
    factory = getattr(module, class_name, None)
    if not callable(factory):
        raise UsageError(f"policy {target!r}: module {module_name} has no class {class_name!r}")
    try:
        loaded = factory()
    except Exception as error:
        raise UsageError(f"cannot make policy {target!r}: {_said(error)}") from error
    if not hasattr(loaded, "name") and not hasattr(loaded, "decider"):
        # The results need something to call it by.
        loaded.name = target
    return loaded


def _said(error: Exception) -> str:
    """In one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
