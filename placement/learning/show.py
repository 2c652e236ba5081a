"""What was learned, for people and for programs: saved states, each told by the part that learned it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from splitplace.errors import NotFoundError, SplitPlaceError, UsageError
from splitplace.placement import registry
from splitplace.placement.state_files import SUFFIX, LoadedPart, class_of, read, summary, understood

SMALL = 32
"""Arrays of up to so many numbers are shown."""


@dataclass(frozen=True, eq=False)
class SavedState:
    """One part's state on disk; as text, a few lines for people.

    Args:
        name: Of its files.
        loaded: What is in them.
    """

    name: str
    loaded: LoadedPart

    def plain(self) -> dict[str, Any]:
        """As a JSON object: what it is and how it was trained, the shapes of its arrays, the values of small ones."""
        arrays = self.loaded.arrays
        small = {name: array.tolist() for name, array in arrays.items() if array.size <= SMALL}
        shapes = {name: list(array.shape) for name, array in arrays.items()}
        document: dict[str, Any] = self.loaded.saved.model_dump(mode="json")
        return document | {"shapes": shapes, "values": _finite(small)}

    def __str__(self) -> str:
        it, whom = self.loaded.saved, self.loaded.saved.trained_for
        lines = [
            f"{self.name}: state of {it.part}, for {whom.devices} devices and {', '.join(whom.applications)}",
            "  trained on " + ", ".join(f"{key} {_short(value)}" for key, value in it.about.items()),
            f"  made by {it.provenance.splitplace} ({it.provenance.commit[:12]}), {it.provenance.created}",
        ]
        return "\n".join([*lines, *(f"  {line}" for line in self._described())])

    def _described(self) -> list[str]:
        """By the part that learned it: the registry's, else a class of somebody's own where Python finds that."""
        saved = self.loaded.saved
        try:
            part = registry.part(saved.part) if saved.part in registry.names() else None
            if part is None or class_of(part) != saved.learner:
                part = registry.installed(saved.learner, ("init", "train", "describe", "pack", "unpack"))
        except SplitPlaceError:
            hint = f"learned by {saved.learner}, which is not here: install it, or set PYTHONPATH to its folder"
            return [*summary(self.loaded), hint]
        with understood(saved):
            return list(part.describe(self.loaded))


def saved_states(path: str | Path) -> tuple[SavedState, ...]:
    """The states that a folder holds, or the one of a file, as `policy train` writes them.

    Args:
        path: The folder, or one state's file (.safetensors).

    Returns:
        In order of their names.

    Raises:
        UsageError: There is none.
        SplitPlaceError: A file that is no state, or one of another version.
    """
    path = Path(path)
    files = sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path]
    if not files:
        raise NotFoundError(f"{path} holds no saved state (NAME{SUFFIX})")
    if files[0].suffix != SUFFIX:
        raise UsageError(f"{path}: expected a folder of saved states, or one's file (NAME{SUFFIX})")
    return tuple(SavedState(file.stem, read(file.parent, file.stem)) for file in files)


def _short(value: object) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _finite(value: Any) -> Any:
    """JSON has no NaN: what is not known yet is null."""
    if isinstance(value, dict):
        return {name: _finite(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and value != value else value
