"""One part's state on disk: NAME.safetensors holds the arrays and, in its header, what they are and for whom.

One file, so that a kill leaves the former state or the new one, never the word of one with the arrays of the other.
What was learned is kept; what it was being learned from (replay, moments, open intervals) is not. A part that can be
saved has `pack(state) -> Packed` and `unpack(packed, view) -> state`. Needs safetensors (the extra `sim`).
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np

from splitplace import provenance
from splitplace.errors import IntegrityError, NotFoundError, SplitPlaceError, raised
from splitplace.extras import needs
from splitplace.files import replace_file
from splitplace.placement.trained_for import TrainedFor
from splitplace.records import formats
from splitplace.records.base import Name, Record
from splitplace.records.formats import Format
from splitplace.records.provenance import Provenance
from splitplace.records.view import View

MAX_BYTES = 64 * 2**20
UNKNOWN_TYPE = (KeyError,)
"""What safetensors raises for a type of numbers that numpy has not."""
SUFFIX = ".safetensors"
KEY = "splitplace"
"""Of the header's metadata: under it stands the record `Saved`."""


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


def summary(loaded: LoadedPart) -> list[str]:
    """What there is to say of any state, in a line."""
    size = sum(array.size for array in loaded.arrays.values())
    facts = "".join(f", {name} {value}" for name, value in loaded.saved.facts.items())
    return [f"{size} numbers in {len(loaded.arrays)} arrays{facts}"]
