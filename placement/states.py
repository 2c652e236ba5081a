"""A policy's states, part by part: from a folder, or as they ship, each held against the devices and splits it is for.

A part is a decider, a placer or a whole policy; what is kept of one is a file (`state_files.py`).
"""

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from splitplace.errors import ContractError, NotFoundError
from splitplace.placement.policy import Composed, Decider, Placer, Policy, States
from splitplace.placement.state_files import SUFFIX, LoadedPart, Storable, read, stem_of, understood
from splitplace.placement.state_files import Packed as Packed  # where a part of one's own finds it
from splitplace.placement.trained_for import TrainedFor
from splitplace.records.view import View

SHIPPED = files("splitplace.placement") / "data"
"""Trained states that ship with the package, as `state.SCENARIO.PART.safetensors`."""


Misfit = Callable[[Path, ContractError], None]
"""Is told of the file of a state that was trained for something else, and of what."""


def restore(part: Storable, loaded: LoadedPart, view: View) -> Any:
    """A part's state for this environment.

    Raises:
        SplitPlaceError: It was trained for another part, other splits, costs, accuracies or links, or another fleet.
    """
    saved, here = loaded.saved, TrainedFor.of(view)
    if saved.part != stem_of(part):
        raise ContractError(f"the state is of {saved.part}, expected {stem_of(part)}")
    if (other := saved.trained_for.differs(here)) is not None:
        raise ContractError(
            f"the state of {part.name} was trained for other {other}: "
            "train one for this demand and fleet (policy train)"
        )
    if getattr(part, "of_one_fleet", False) and saved.trained_for.fleet != here.fleet:
        raise ContractError(
            f"the state of {part.name} was trained for another fleet (of {saved.trained_for.devices} devices, this one "
            f"has {here.devices}): train one for this fleet (policy train)"
        )
    with understood(saved):
        return part.unpack(Packed(loaded.arrays, saved.facts), view)


def from_folder(
    policy: Policy, folder: Path, view: View, others: Any | None = None, misfit: Misfit | None = None
) -> tuple[Any, list[str]]:
    """The state of a policy from what a folder holds for its parts, and which those are.

    Args:
        policy: Whose.
        folder: As `policy train` or a broker fills it.
        view: Of the devices and splits that it must be for.
        others: A state of the policy, of which the parts come that the folder does not hold; if none, they start anew.
        misfit: Is told of a part's file that is for other splits or another fleet, which is then as if it were not
            there; if none, that is an error.

    Raises:
        UsageError: No such folder, or it holds nothing for any part.
        SplitPlaceError: As `read` and `restore`.
    """
    if folder.is_file():
        raise NotFoundError(f"{folder} is a file: give the folder that it is in, as `policy train` leaves it")
    if not folder.is_dir():
        raise NotFoundError(f"no folder {folder} with saved states")
    if not any(isinstance(part, Storable) for part in parts(policy)):
        raise NotFoundError(f"{policy.name} learns nothing: leave out {folder}, or name a policy that learns")

    def load(part: Storable) -> LoadedPart | None:
        return read(folder, stem_of(part)) if (folder / f"{stem_of(part)}{SUFFIX}").is_file() else None

    def told(part: Storable, error: ContractError) -> None:
        if misfit is None:
            raise error
        misfit(folder / f"{stem_of(part)}{SUFFIX}", error)

    state, found = _assembled(policy, load, view, told, others)
    if not found:
        there = sorted(file.stem for file in folder.glob(f"*{SUFFIX}") if file.is_file())
        raise NotFoundError(
            f"{folder} holds no state of {' or '.join(part.name for part in parts(policy))}"
            + (f", but of {', '.join(there)}: name a policy of these" if there else "")
        )
    return state, found


def shipped(policy: Policy, scenario: str, view: View) -> tuple[Any, list[str]]:
    """The state that ships for a scenario, part by part where it is for these splits and this fleet; else a new one.

    A part that says `of_any_fleet` has it for other devices, too.
    """
    here = TrainedFor.of(view)

    def load(part: Storable) -> LoadedPart | None:
        stem = f"state.{scenario}.{stem_of(part)}"
        if not (SHIPPED / f"{stem}{SUFFIX}").is_file():
            return None
        loaded = read(SHIPPED, stem)
        its = loaded.saved.trained_for
        same = its.fleet == here.fleet or getattr(part, "of_any_fleet", False)
        return loaded if same and its.differs(here) is None else None

    def told(part: Storable, error: ContractError) -> None:
        raise error

    return _assembled(policy, load, view, told)


def storable(policy: Policy) -> list[Storable]:
    """Parts of a policy that `policy train` would teach something, and whose state can be saved."""
    return [part for part in parts(policy) if isinstance(part, Storable) and hasattr(part, "train")]


def trainable(policy: Policy) -> list[str]:
    """The names of those."""
    return [part.name for part in storable(policy)]


def parts(policy: Policy) -> tuple[Policy | Decider | Placer, ...]:
    """What has a state of its own: decider and placer, or a whole policy."""
    return (policy.decider, policy.placer) if isinstance(policy, Composed) else (policy,)


def of_parts(policy: Policy, state: Any) -> tuple[Any, ...]:
    """A policy's state as that of its `parts`."""
    return (state.decider, state.placer) if isinstance(policy, Composed) else (state,)


def _assembled(
    policy: Policy,
    load: Callable[[Storable], LoadedPart | None],
    view: View,
    misfit: Callable[[Storable, ContractError], None],
    others: Any | None = None,
) -> tuple[Any, list[str]]:
    """The state of what `load` finds and of other or fresh parts, and the names of those found."""
    states, found = list[Any](), list[str]()
    for row, part in enumerate(parts(policy)):
        if isinstance(part, Storable):
            try:
                if (loaded := load(part)) is not None:
                    states.append(restore(part, loaded, view))
                    found.append(part.name)
                    continue
            except ContractError as error:
                misfit(part, error)
        states.append(part.init(view) if others is None else of_parts(policy, others)[row])
    return States(*states) if isinstance(policy, Composed) else states[0], found
