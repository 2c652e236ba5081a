"""A policy's states on disk: NAME.safetensors holds the arrays and, in its header, what they are and for whom.

One file, so that a kill leaves the former state or the new one, never the word of one with the arrays of the other.
What was learned is kept; what it was being learned from (replay, moments, open intervals) is not. A part that can be
saved has `pack(state) -> Packed` and `unpack(packed, view) -> state`. Needs safetensors (the extra `sim`).
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np

from splitplace import provenance
from splitplace.errors import ContractError, IntegrityError, NotFoundError, SplitPlaceError, raised
from splitplace.extras import needs
from splitplace.files import replace_file
from splitplace.placement.policy import Composed, Decider, Placer, Policy, States
from splitplace.placement.trained_for import TrainedFor
from splitplace.records import formats
from splitplace.records.base import Name, Record
from splitplace.records.formats import Format
from splitplace.records.provenance import Provenance
from splitplace.records.view import View

MAX_BYTES = 64 * 2**20
UNKNOWN_TYPE = (KeyError,)
"""What safetensors raises for a type of numbers that numpy has not."""
SHIPPED = files("splitplace.placement") / "data"
"""Trained states that ship with the package, as `state.SCENARIO.PART.safetensors`."""
SUFFIX = ".safetensors"
KEY = "splitplace"
"""Of the header's metadata: under it stands the record `Saved`."""


Misfit = Callable[[Path, ContractError], None]
"""Is told of the file of a state that was trained for something else, and of what."""


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
    """What stands in the header, as JSON."""

    file_format: ClassVar[Format | None] = formats.STATE
    version: Literal[3] = 3
    part: Name
    """The decider or placer."""
    learner: str
    """Its class, as `module:Class`: whose `describe` tells what was learned, where the registry does not know it."""
    trained_for: TrainedFor
    facts: dict[str, float | int | str | bool]
    arrays_sha256: str
    about: dict[str, str | int | float]
    """How it was trained."""
    provenance: Provenance


def stem_of(part: Storable) -> str:
    """What the files of a part's state are called: its name, with what no file has in its name as a hyphen."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", learned_by(part)).lstrip("._-")[:128] or "unnamed"


def learned_by(part: Storable) -> str:
    """The part whose state it uses: itself, or another one."""
    return str(getattr(part, "stored_as", part.name))


def class_of(part: object) -> str:
    """`module:Class` of a decider or placer."""
    return f"{type(part).__module__}:{type(part).__qualname__}"


def save(folder: Path, part: Storable, state: Any, view: View, about: Mapping[str, str | int | float]) -> Path:
    """Write one part's state; its path."""
    packed = part.pack(state)
    arrays = {name: np.ascontiguousarray(array) for name, array in packed.arrays.items()}
    saved = Saved(
        part=stem_of(part),
        learner=class_of(part),
        trained_for=TrainedFor.of(view),
        facts=packed.facts,
        arrays_sha256=_sha256(arrays),
        about=dict(about),
        provenance=provenance.collect(),
    )
    path = folder / f"{stem_of(part)}{SUFFIX}"
    replace_file(path, to_bytes(saved, arrays))
    return path


def to_bytes(saved: Saved, arrays: Mapping[str, np.ndarray[Any, Any]]) -> bytes:
    """What a state's file holds."""
    from safetensors.numpy import save as encode

    return encode(dict(arrays), {KEY: saved.model_dump_json()})


def _sha256(arrays: Mapping[str, np.ndarray[Any, Any]]) -> str:
    """Of the arrays, as a file that held nothing else would have it."""
    needs("a state on disk", "sim", packages=("safetensors",))
    from safetensors.numpy import save as encode

    return hashlib.sha256(encode(dict(arrays))).hexdigest()


@dataclass(frozen=True, eq=False)
class LoadedPart:
    """One part's file, what it says held against its arrays."""

    saved: Saved
    arrays: dict[str, np.ndarray[Any, Any]]


def read(source: Any, stem: str) -> LoadedPart:
    """The file STEM.safetensors in a folder (a path or a package resource).

    Raises:
        UsageError: It is not there.
        SplitPlaceError: Not a saved state, of another version, or arrays that are not those it speaks of.
    """
    needs("a trained state (or simulate --untrained)", "sim", packages=("safetensors",))
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = source / f"{stem}{SUFFIX}"
    if not path.is_file():
        raise NotFoundError(f"no saved state {path}")
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise IntegrityError(f"{path}: expected at most {MAX_BYTES} bytes of a state")
    try:
        arrays = dict(load(content))
    except (SafetensorError, *UNKNOWN_TYPE) as error:
        raise IntegrityError(f"{path}: not safetensors: {error}") from error
    said = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")]).get("__metadata__", {})
    if KEY not in said:
        raise IntegrityError(f"{path}: safetensors, but no saved state: expected what `splitplace policy train` writes")
    saved = Saved.parse(said[KEY], str(path))
    if _sha256(arrays) != saved.arrays_sha256:
        raise IntegrityError(f"{path}: not the arrays that it was written with: train it again (policy train)")
    return LoadedPart(saved, arrays)


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


@contextmanager
def understood(saved: Saved) -> Iterator[None]:
    """Within, a part reads what a file holds of its state: arrays or facts that it does not find as it wrote them.

    Raises:
        IntegrityError: They are others.
    """
    try:
        yield
    except SplitPlaceError:
        raise
    except Exception as error:  # of arrays that somebody's own code did not expect, it may raise anything
        raise IntegrityError(
            f"the state of {saved.part} does not hold what {saved.learner} reads ({raised(error)}): "
            "train it again (policy train)"
        ) from error


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


def summary(loaded: LoadedPart) -> list[str]:
    """What there is to say of any state, in a line."""
    size = sum(array.size for array in loaded.arrays.values())
    facts = "".join(f", {name} {value}" for name, value in loaded.saved.facts.items())
    return [f"{size} numbers in {len(loaded.arrays)} arrays{facts}"]
