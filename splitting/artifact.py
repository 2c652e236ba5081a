"""What splitting and export hand on: a split's graph with the ONNX file of every fragment."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from splitplace.errors import IntegrityError
from splitplace.records.preprocessing import Preprocessing
from splitplace.records.split import Split


def digest(data: bytes) -> str:
    """The OCI digest of these bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class SplitArtifact:
    """A split and its ONNX files; `models` by fragment name. Refuses bytes that are not the fragment's digest."""

    split: Split
    models: Mapping[str, bytes]

    def __post_init__(self) -> None:
        for fragment in self.split.fragments:
            if fragment.name not in self.models:
                raise IntegrityError(f"{self.split.reference}: no ONNX file for fragment {fragment.name}")
            actual = digest(self.models[fragment.name])
            if actual != fragment.digest:
                raise IntegrityError(
                    f"{self.split.reference}/{fragment.name}: got {actual}, expected {fragment.digest}"
                )

    def described(self, class_names: Sequence[str], preprocessing: Preprocessing | None) -> "SplitArtifact":
        """The same files, with what a cut of an ONNX file alone cannot know: names, and how images are read."""
        fields = {name: getattr(self.split, name) for name in Split.model_fields}
        changed = fields | {"class_names": tuple(class_names), "preprocessing": preprocessing}
        return SplitArtifact(Split(**changed), self.models)
