"""A policy's states on disk: NAME.json says what they are and for whom, NAME.safetensors holds the arrays.

What was learned is kept; what it was being learned from (replay, moments, open intervals) is not. A part that can be
saved has `pack(state) -> Packed` and `unpack(packed, view) -> state`. Needs safetensors (the extra `sim`).
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np

from splitplace import provenance
from splitplace.errors import ContractError, IntegrityError, NotFoundError
from splitplace.extras import needs
from splitplace.files import replace_file
from splitplace.placement.policy import Composed, Decider, Placer, Policy, States
from splitplace.records import formats
from splitplace.records.base import Count, Name, Record
from splitplace.records.formats import Format
from splitplace.records.provenance import Provenance
from splitplace.records.view import View

MAX_BYTES = 64 * 2**20
SHIPPED = files("splitplace.placement") / "data"
"""Trained states that ship with the package, as `state.SCENARIO.PART.json` and `.safetensors`."""


@dataclass(frozen=True, eq=False)
class Packed:
    """A state as plain arrays and facts."""

    arrays: dict[str, np.ndarray[Any, Any]]
    facts: dict[str, float | int | str | bool]


@runtime_checkable
class Storable(Protocol):
    """A decider or placer whose state can be saved."""

    name: ClassVar[str]

    def pack(self, state: Any) -> Packed:
        """What is worth keeping."""
        ...

    def unpack(self, packed: Packed, view: View) -> Any:
        """The state again."""
        ...


class Saved(Record):
    """The JSON beside the arrays."""

    file_format: ClassVar[Format | None] = formats.STATE
    version: Literal[1] = 1
    part: Name
    """The decider or placer."""
    fleet: str
    """Digest of the devices it was trained for."""
    devices: Count
    tables: str
    """Digest of the applications and splits it was trained for."""
    applications: tuple[str, ...]
    splits: tuple[str, ...]
    facts: dict[str, float | int | str | bool]
    arrays_sha256: str
    about: dict[str, str | int | float]
    """How it was trained."""
    provenance: Provenance


def fleet_digest(view: View) -> str:
    """Of the devices' names, cores, speeds and memory."""
    d = view.devices
    rows = [*d.names, *d.cores_D.tolist(), *np.round(d.core_speed_D, 6).tolist(), *np.round(d.memory_bytes_D).tolist()]
    return _digest(rows)


def tables_digest(view: View) -> str:
    """Of the applications and the splits on offer."""
    return _digest([*view.applications, *view.splits.references])


def stem_of(part: Storable) -> str:
    """What the files of a part's state are called."""
    return str(getattr(part, "stored_as", part.name))


def save(folder: Path, part: Storable, state: Any, view: View, about: Mapping[str, str | int | float]) -> list[Path]:
    """Write one part's state; the two paths."""
    from safetensors.numpy import save as to_bytes

    packed = part.pack(state)
    data = to_bytes({name: np.ascontiguousarray(array) for name, array in packed.arrays.items()})
    saved = Saved(
        part=stem_of(part),
        fleet=fleet_digest(view),
        devices=len(view.devices.names),
        tables=tables_digest(view),
        applications=view.applications,
        splits=view.splits.references,
        facts=packed.facts,
        arrays_sha256=hashlib.sha256(data).hexdigest(),
        about=dict(about),
        provenance=provenance.collect(),
    )
    paths = [folder / f"{stem_of(part)}.json", folder / f"{stem_of(part)}.safetensors"]
    replace_file(paths[1], data)
    replace_file(paths[0], saved.model_dump_json(indent=2) + "\n")
    return paths


@dataclass(frozen=True, eq=False)
class LoadedPart:
    """One part's files, read and held against each other."""

    saved: Saved
    arrays: dict[str, np.ndarray[Any, Any]]


def read(source: Any, stem: str) -> LoadedPart:
    """The files STEM.json and STEM.safetensors in a folder (a path or a package resource).

    Raises:
        UsageError: They are not there.
        SplitPlaceError: Not a saved state, of another version, or arrays that are not those the JSON speaks of.
    """
    about, data = source / f"{stem}.json", source / f"{stem}.safetensors"
    if not about.is_file() or not data.is_file():
        raise NotFoundError(f"no saved state {about}")
    saved = Saved.parse(about.read_bytes(), str(about))
    content = data.read_bytes()
    if len(content) > MAX_BYTES or hashlib.sha256(content).hexdigest() != saved.arrays_sha256:
        raise IntegrityError(f"{data}: not the arrays that {stem}.json was written with: train it again (policy train)")
    return LoadedPart(saved, _arrays(content, str(data)))


def _arrays(content: bytes, name: str) -> dict[str, np.ndarray[Any, Any]]:
    needs("a trained state (or start --untrained)", "sim", packages=("safetensors",))
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return dict(load(content))
    except SafetensorError as error:
        raise IntegrityError(f"{name}: not safetensors: {error}") from error


def restore(part: Storable, loaded: LoadedPart, view: View) -> Any:
    """A part's state for this environment.

    Raises:
        SplitPlaceError: It was trained for another part, fleet or set of splits.
    """
    saved = loaded.saved
    if saved.part != stem_of(part):
        raise ContractError(f"the state is of {saved.part}, expected {stem_of(part)}")
    if saved.tables != tables_digest(view):
        theirs, ours = set(saved.splits), set(view.splits.references)
        differ = sorted(theirs ^ ours)
        raise ContractError(
            f"the state of {part.name} was trained for other splits ({', '.join(differ[:2]) or 'in another order'}): "
            "train one for this demand (policy train)"
        )
    for_fleet = getattr(part, "of_one_fleet", False)
    if for_fleet and saved.fleet != fleet_digest(view):
        raise ContractError(
            f"the state of {part.name} was trained for another fleet (of {saved.devices} devices, this one has "
            f"{len(view.devices.names)}): train one for this fleet (policy train)"
        )
    return part.unpack(Packed(loaded.arrays, saved.facts), view)


def from_folder(policy: Policy, folder: Path, view: View) -> tuple[Any, list[str]]:
    """The state of a policy from what a folder holds for its parts, and which those are; the others start anew.

    Raises:
        UsageError: No such folder, or it holds nothing for any part.
        SplitPlaceError: As `read` and `restore`.
    """
    if not folder.is_dir():
        raise NotFoundError(f"no folder {folder} with saved states")

    def load(part: Storable) -> LoadedPart | None:
        return read(folder, stem_of(part)) if (folder / f"{stem_of(part)}.json").is_file() else None

    state, found = _assembled(policy, load, view)
    if not found:
        raise NotFoundError(f"{folder} holds no state of {' or '.join(part.name for part in parts(policy))}")
    return state, found


def shipped(policy: Policy, scenario: str, view: View) -> tuple[Any, list[str]]:
    """The state that ships for a scenario, where it is for this very fleet and these splits; else a new one."""

    def load(part: Storable) -> LoadedPart | None:
        stem = f"state.{scenario}.{stem_of(part)}"
        if not (SHIPPED / f"{stem}.json").is_file():
            return None
        loaded = read(SHIPPED, stem)
        same = loaded.saved.tables == tables_digest(view) and loaded.saved.fleet == fleet_digest(view)
        return loaded if same else None

    return _assembled(policy, load, view)


def trainable(policy: Policy) -> list[str]:
    """Parts of a policy that `policy train` would teach something."""
    return [part.name for part in parts(policy) if isinstance(part, Storable)]


def parts(policy: Policy) -> tuple[Policy | Decider | Placer, ...]:
    """What has a state of its own: decider and placer, or a whole policy."""
    return (policy.decider, policy.placer) if isinstance(policy, Composed) else (policy,)


def _assembled(policy: Policy, load: Callable[[Storable], LoadedPart | None], view: View) -> tuple[Any, list[str]]:
    """The state of what `load` finds and of fresh parts, and the names of those found."""
    states, found = list[Any](), list[str]()
    for part in parts(policy):
        if isinstance(part, Storable) and (loaded := load(part)) is not None:
            states.append(restore(part, loaded, view))
            found.append(part.name)
        else:
            states.append(part.init(view))
    return States(*states) if isinstance(policy, Composed) else states[0], found


def summary(loaded: LoadedPart) -> list[str]:
    """What there is to say of any state, in a line."""
    size = sum(array.size for array in loaded.arrays.values())
    facts = "".join(f", {name} {value}" for name, value in loaded.saved.facts.items())
    return [f"{size} numbers in {len(loaded.arrays)} arrays{facts}"]


def _digest(rows: list[Any]) -> str:
    return "sha256:" + hashlib.sha256(json.dumps(rows).encode()).hexdigest()
