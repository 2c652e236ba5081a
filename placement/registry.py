"""Policies by name: `DECIDER+PLACER`, a whole policy, or a class of the user's own as `module:Class`.

A part is one that ships (the tables below), one that an installed package offers by an entry point of the kind's group,
or, with a colon, a class that is imported (the current folder is on the path). Each is called without arguments.
"""

import importlib
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, cast

from splitplace.errors import NotFoundError, UsageError, raised, unknown
from splitplace.placement.policy import Composed, Policy, clairvoyant

LONGEST_NAME = 256
"""Letters: results, logs and the status of a fleet show it."""


@dataclass(frozen=True)
class Registry:
    """What there is of one kind, by name; each imported when it is asked for: some need libraries that others do not.

    Args:
        kind: In the field's word.
        group: Of the entry points by which packages offer more; a name that ships means what ships.
        methods: What one must have.
        shipped: `module:Class` by name.
    """

    kind: str
    group: str
    methods: tuple[str, ...]
    shipped: Mapping[str, str]

    def names(self) -> tuple[str, ...]:
        """Those that ship and those that packages offer, none of them imported."""
        return (*self.shipped, *sorted({entry.name for entry in entry_points(group=self.group)} - set(self.shipped)))

    def make(self, name: str) -> Any:
        """The part of this name, or `module:Class`.

        Raises:
            NotFoundError: An unknown name; the valid ones are listed.
            UsageError: It cannot be imported or made, or lacks a method.
        """
        return self.hold(self._load(name), name)

    def hold(self, loaded: Any, name: str) -> Any:
        """One that is there already, if it has what it must have.

        Raises:
            UsageError: It lacks a method, has a name that is none, or raises where it is looked at.
        """
        if isinstance(loaded, type):
            raise UsageError(f"{name!r} is a class: give what it makes, {loaded.__name__}()")
        try:
            return self._held(loaded, name)
        except UsageError:
            raise
        except Exception as error:  # a property, or `__getattr__`: somebody's code
            raise UsageError(f"{name!r} is no {self.kind}: it raises {raised(error)} when it is looked at") from error

    def _held(self, loaded: Any, name: str) -> Any:
        missing = [method for method in self.methods if not callable(getattr(loaded, method, None))]
        if missing:
            half = ", which the other half of a DECIDER+PLACER has" if missing in (["decide"], ["place"]) else ""
            raise UsageError(
                f"{name!r} is no {self.kind}: it lacks {', '.join(missing)}{half if self.kind == POLICIES.kind else ''}"
            )
        called = getattr(_named(loaded, name), "name", None)
        if not isinstance(called, str):
            raise UsageError(f"{name!r} is no {self.kind}: it lacks a name that is text")
        if not (called.isprintable() and 0 < len(called) <= LONGEST_NAME):
            raise UsageError(
                f"{name!r} has the name {called[:LONGEST_NAME]!r}: expected 1 to {LONGEST_NAME} letters on one line"
            )
        clairvoyant(loaded)  # says yes or no
        return loaded

    def _load(self, name: str) -> Any:
        target = self.shipped.get(name, name)
        if ":" in target:
            return _made(f"{self.kind} {name!r}", _imported(self.kind, target))
        offers = [entry for entry in entry_points(group=self.group) if entry.name == name]
        if not offers:
            raise unknown(self.kind, name, self.names())
        packages = sorted({entry.dist.name for entry in offers if entry.dist})
        if len(packages) > 1:
            raise UsageError(f"{self.kind} {name!r} is offered by {' and '.join(packages)}: uninstall all but one")
        what = f"{self.kind} {name!r} of the package {', '.join(packages)}"
        return _made(what, _offered(what, offers[0]))


DECIDERS = Registry(
    "decider",
    "splitplace.deciders",
    ("init", "decide", "update"),
    {
        "compressed": "splitplace.placement.deciders.compressed:Compressed",
        "epsilon-greedy": "splitplace.placement.deciders.epsilon_greedy:EpsilonGreedy",
        "full": "splitplace.placement.deciders.fixed:Full",
        "gillis": "splitplace.placement.deciders.gillis:Gillis",
        "layer": "splitplace.placement.deciders.fixed:Layer",
        "linucb": "splitplace.placement.deciders.linucb:LinUcb",
        "mab": "splitplace.placement.deciders.mab:Mab",
        "mab-n": "splitplace.placement.deciders.mab_n:MabN",
        "mab-tuned": "splitplace.placement.deciders.mab_tuned:MabTuned",
        "mab-v": "splitplace.placement.deciders.mab_v:MabV",
        "mulinucb": "splitplace.placement.deciders.mulinucb:MuLinUcb",
        "oracle": "splitplace.placement.deciders.oracle:Oracle",
        "random": "splitplace.placement.deciders.random:RandomDecider",
        "semantic": "splitplace.placement.deciders.fixed:Semantic",
    },
)
PLACERS = Registry(
    "placer",
    "splitplace.placers",
    ("init", "place", "update"),
    {
        "best-fit": "splitplace.placement.placers.best_fit:BestFit",
        "daso": "splitplace.placement.placers.daso:Daso",
        "daso-slots": "splitplace.placement.placers.daso_slots:DasoSlots",
        "daso-tasks": "splitplace.placement.placers.daso_tasks:DasoTasks",
        "daso-warm": "splitplace.placement.placers.daso_warm:DasoWarm",
        "earliest-finish": "splitplace.placement.placers.earliest_finish:EarliestFinish",
        "exact": "splitplace.placement.placers.exact:Exact",
        "gathered": "splitplace.placement.placers.least_loaded:Gathered",
        "gobi": "splitplace.placement.placers.gobi:Gobi",
        "least-loaded": "splitplace.placement.placers.least_loaded:LeastLoaded",
        "random": "splitplace.placement.placers.random:RandomPlacer",
    },
)
POLICIES = Registry(
    "policy",
    "splitplace.policies",
    ("init", "decide", "place", "update"),
    {"joint": "splitplace.placement.joint.joint:Joint"},
)
"""Whole policies, which decide and place together; those of a decider and a placer need no name of their own."""


def parse_policy(text: str) -> Policy:
    """The policy called `DECIDER+PLACER`, the whole policy of a name, or `module:Class`.

    A `module:Class` on its own is a whole policy, or a function that answers a `Composed`.

    Args:
        text: As mab+daso; the current folder is on the path of a `module:Class`.

    Returns:
        What `simulate`, `Broker` and `plan` take.

    Raises:
        UsageError: Not of that form, an unknown name (the valid ones are listed), or a class that is no policy.
    """
    parts = text.split("+")
    if len(parts) == 2 and (both := [name for name in parts if name in POLICIES.shipped]):
        raise UsageError(f"{text!r}: {both[0]} decides and places, name it alone")
    if len(parts) == 2 and all(parts):
        return Composed(DECIDERS.make(parts[0]), PLACERS.make(parts[1]))
    known = ":" in text or text in POLICIES.shipped  # else packages are asked, which takes longer than most plans
    if len(parts) == 1 and (known or text in POLICIES.names()):
        return cast(Policy, POLICIES.make(text))
    whole = POLICIES.names()
    raise NotFoundError(
        f"{text!r} is no policy: expected DECIDER+PLACER with a decider of {', '.join(DECIDERS.names())} and a placer "
        f"of {', '.join(PLACERS.names())}{', or one of ' if whole else ''}{', '.join(whole)}, or module:Class"
    )


def as_policy(policy: "str | Policy") -> Policy:
    """The policy of this name, or this one, if it is one.

    Raises:
        UsageError: As `parse_policy`; or something that has not all that a policy has.
    """
    if isinstance(policy, str):
        return parse_policy(policy)
    if isinstance(policy, Composed):
        DECIDERS.hold(policy.decider, _class(policy.decider))
        PLACERS.hold(policy.placer, _class(policy.placer))
    return cast(Policy, POLICIES.hold(policy, _class(policy)))


def _class(made: object) -> str:
    return made.__name__ if isinstance(made, type) else type(made).__name__


def part(name: str) -> Any:
    """The decider, placer or whole policy of this name, the first of them; or `module:Class`.

    Raises:
        UsageError: As `Registry.make`.
    """
    for registry in (DECIDERS, PLACERS, POLICIES):
        if name in registry.names():
            return registry.make(name)
    if ":" in name:
        return _named(_made(name, _imported("part", name)), name)
    raise unknown("decider, placer or policy", name, names())


def installed(target: str, methods: Sequence[str]) -> Any:
    """The part of a class that a file names as `module:Class`.

    A file is not trusted as a user's own word is: the current folder is not searched, and what is no class, or lacks
    one of the methods, is not called.

    Raises:
        UsageError: It is not here, or is something else.
    """
    module, _, name = target.partition(":")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # somebody's code: it may raise anything
        raise NotFoundError(f"cannot import {module!r}: {raised(error)}") from error
    if not isinstance(found, type) or not all(callable(getattr(found, method, None)) for method in methods):
        raise NotFoundError(f"{target!r} is no class with {', '.join(methods)}")
    return _made(target, found)


def names() -> tuple[str, ...]:
    """All names that `part` knows."""
    return tuple(dict.fromkeys(name for registry in (DECIDERS, PLACERS, POLICIES) for name in registry.names()))


def _imported(kind: str, target: str) -> Any:
    """What `module:Class` names."""
    module_name, _, class_name = target.partition(":")
    is_file = module_name.endswith(".py")  # an identifier behind a dot, too
    if is_file or not class_name or not all(part.isidentifier() for part in module_name.split(".")):
        raise UsageError(
            f"{kind} {target!r}: expected module:Class, as my_policy:Patient for the class Patient of my_policy.py in "
            "the current folder or on the path"
        )
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # somebody's code: it may raise anything
        raise UsageError(f"cannot import {module_name!r} for {kind} {target!r}: {raised(error)}") from error
    finally:
        sys.path.remove(here)
    factory = getattr(module, class_name, None)
    if not callable(factory):
        raise NotFoundError(f"{kind} {target!r}: module {module_name} has no class {class_name!r}")
    return factory


def _named(made: Any, name: str) -> Any:
    """The same, called so if it has no name of its own: results and files need something to call it by."""
    if not hasattr(made, "name"):
        with suppress(AttributeError):  # of what is frozen
            made.name = name
    return made


def _offered(what: str, entry: EntryPoint) -> Any:
    """What an entry point names."""
    try:
        return entry.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # somebody's code
        raise UsageError(f"{what} cannot be loaded from {entry.value}: {raised(error)}") from error


def _made(what: str, factory: Any) -> Any:
    try:
        return factory()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # somebody's code
        raise UsageError(f"cannot make {what}: {raised(error)}") from error
