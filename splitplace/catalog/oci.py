"""The documents of an OCI image layout, as far as the catalog uses them: media types, strict forms, bounds.

OCI image-spec 1.1 (descriptors, manifests, indexes, `subject`); CNCF ModelPack v0.0.7 for a fragment's manifest
(its main branch of June 2026 changes nothing of what is used here).
Unknown fields are ignored, as the image spec demands of a reader; every field that is used is held to its form.
"""

import hashlib
import re
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from splitplace.errors import IntegrityError, first_problem
from splitplace.records import formats
from splitplace.records.base import Digest, Record
from splitplace.records.formats import Format
from splitplace.records.fragment import Fragment
from splitplace.records.preprocessing import Preprocessing
from splitplace.records.split import ClassName, Edge, Merge, Split, Strategy

INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
IMAGE_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
"""Of what a container runtime runs; such images have a layout of their own."""
MODEL_ARTIFACT_TYPE = "application/vnd.cncf.model.manifest.v1+json"
MODEL_CONFIG_TYPE = "application/vnd.cncf.model.config.v1+json"
WEIGHT_TYPE = "application/vnd.cncf.model.weight.v1.raw"
CONTRACT_TYPE = "application/vnd.cncf.model.weight.config.v1.raw"
OWN = "application/vnd.splitplace."
"""What artifact types of measurements begin with, of any version."""
PROFILE_TYPE = f"{OWN}profile.v{formats.PROFILE.version}+json"
EVALUATION_TYPE = f"{OWN}evaluation.v{formats.EVALUATION.version}+json"

TITLE = "org.opencontainers.image.title"
REF_NAME = "org.opencontainers.image.ref.name"
FILEPATH = "org.cncf.model.filepath"
SPLIT = "org.splitplace.split"
"""Marks an image index as a split and holds its graph. An `artifactType` would do, but skopeo 1.9 rewrites an index
that carries one, and so gives it another digest."""
REVISION = "org.splitplace.revision"
"""Of an evaluation's manifest: how many others it took the place of; left out of the first. No time of day: the same
evaluations in the same order have the same digests."""

MODEL_FILE = "model.onnx"
CONTRACT_FILE = "fragment.json"

MAX_JSON_BYTES = 4 * 2**20
"""A manifest, config, contract or record; the image spec asks registries for no more than this."""
MAX_MODEL_BYTES = 2**31 - 1
"""What one protobuf message, and so one ONNX file without external data, can hold."""


def check_record_type(artifact_type: str, source: str) -> None:
    """Refuse a measurement of another version; what is no measurement of ours is left to the caller.

    Raises:
        ContractError: Says which side is older, and what to do.
    """
    for kind, format in (("profile", formats.PROFILE), ("evaluation", formats.EVALUATION)):
        found = re.fullmatch(rf"application/vnd\.splitplace\.{kind}\.v([0-9]{{1,9}})\+json", artifact_type)
        if found:
            format.check(int(found[1]), source)


def digest(data: bytes | memoryview) -> str:
    """The OCI digest of these bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Document(BaseModel):
    """An OCI document: frozen, strict in what it states, open to fields it does not know."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", allow_inf_nan=False)

    @classmethod
    def parse(cls, data: bytes, source: str) -> Self:
        """Read the document from JSON.

        Raises:
            IntegrityError: Not JSON, or not of this form; names `source`.
        """
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise IntegrityError(f"{source}: not an OCI {cls.__name__.lower()}: {first_problem(error)}") from error


class Descriptor(Document):
    """What one document says of a blob."""

    mediaType: Annotated[str, StringConstraints(max_length=255)]
    digest: Digest
    size: Annotated[int, Field(ge=0, le=MAX_MODEL_BYTES)]
    annotations: dict[str, str] = Field(default_factory=dict)


class TypedManifest(Document):
    """Any image manifest, as far as it says whose it is: what else is in those of others is their affair."""

    artifactType: str = ""


class Manifest(Document):
    """An image manifest: a fragment, or a record attached to its `subject`."""

    schemaVersion: Literal[2]
    mediaType: Literal["application/vnd.oci.image.manifest.v1+json"]
    artifactType: str = ""
    config: Descriptor
    layers: Annotated[tuple[Descriptor, ...], Field(min_length=1, max_length=64)]
    subject: Descriptor | None = None
    annotations: dict[str, str] = Field(default_factory=dict)

    @property
    def revision(self) -> int:
        """How many evaluations this one took the place of."""
        stated = self.annotations.get(REVISION, "")
        return int(stated) if stated.isascii() and stated.isdecimal() and len(stated) < 10 else 0


class Index(Document):
    """An image index: a split, or the layout's own list of entry points."""

    schemaVersion: Literal[2]
    mediaType: Literal["application/vnd.oci.image.index.v1+json"] = "application/vnd.oci.image.index.v1+json"
    manifests: Annotated[tuple[Descriptor, ...], Field(max_length=20_000)]
    annotations: dict[str, str] = Field(default_factory=dict)


class ImageLayout(Document):
    """The file `oci-layout`."""

    imageLayoutVersion: Literal["1.0.0"]


class SplitAnnotation(Record):
    """What a split's index holds in its annotation: the `Split` without its fragments, which are its manifests."""

    file_format: ClassVar[Format | None] = formats.CATALOG
    format: Literal[2] = 2
    application: str
    model: str
    strategy: Strategy
    variant: str
    edges: tuple[Edge, ...]
    merge: Merge
    class_names: tuple[ClassName, ...]
    preprocessing: Preprocessing | None

    @classmethod
    def of(cls, split: Split) -> Self:
        """All of a split but its fragments."""
        return cls(**{name: getattr(split, name) for name in cls.model_fields if name != "format"})

    def split(self, fragments: tuple[Fragment, ...]) -> Split:
        """The split of this graph with these fragments; raises pydantic's ValidationError where they do not fit."""
        own = {name: getattr(self, name) for name in type(self).model_fields if name != "format"}
        return Split(fragments=fragments, **own)
