"""Writes splits and their measurements into a catalog; how a layout is written stands in `catalog/layout_writer.py`."""

from typing import Any

from splitplace.catalog import oci
from splitplace.catalog.layout_writer import LayoutWriter, canonical
from splitplace.catalog.oci import Descriptor, SplitAnnotation
from splitplace.catalog.onnxfile import check_model
from splitplace.errors import ContractError
from splitplace.records.evaluation import Evaluation
from splitplace.records.fragment import Fragment
from splitplace.records.profile import Profile
from splitplace.records.split import Split
from splitplace.splitting.artifact import SplitArtifact


class CatalogWriter(LayoutWriter):
    """A catalog that splits and measurements can be written to; created if the folder is absent or empty.

    Raises:
        UsageError: The folder holds something else.
        SplitPlaceError: It cannot be created (no permission, disk full).
    """

    def write(self, artifact: SplitArtifact) -> str:
        """Store a split under its reference, in place of whatever was there.

        Returns:
            The digest of the split's image index: the same artifact always gives the same one.

        Raises:
            IntegrityError: A model leans on files or operators outside itself.
            SplitPlaceError: The disk is full or not writable; the catalog is as it was.
        """
        split = artifact.split
        for fragment in split.fragments:
            check_model(artifact.models[fragment.name], f"{split.reference}/{fragment.name}")
        with self._writing():
            manifests = [
                self._put_fragment(split, fragment, artifact.models[fragment.name]) for fragment in split.fragments
            ]
            graph = SplitAnnotation.of(split)
            entry = self._put_json(
                oci.INDEX_TYPE,
                {
                    "schemaVersion": 2,
                    "mediaType": oci.INDEX_TYPE,
                    "manifests": manifests,
                    "annotations": {oci.TITLE: split.reference, oci.SPLIT: canonical(graph.model_dump(mode="json"))},
                },
            )
            entry["annotations"] = {oci.REF_NAME: split.reference}
            self._replace_entry(lambda other: other.annotations.get(oci.REF_NAME) == split.reference, entry)
        return str(entry["digest"])

    def attach(self, reference: str, record: Profile | Evaluation) -> None:
        """Store a measurement beside a split, as a referrer whose `subject` it is; no digest of the split changes.

        A profile belongs to the fragment it names, an evaluation to the split. It takes the place of an earlier one of
        the same fragment on the same kind of device (or of the same split on the same data).

        Raises:
            UsageError: No such split.
            SplitPlaceError: The profile is of another model than the catalog's; or the disk is full or not writable.
        """
        with self._writing():
            subject = self._subject(reference, record)
            artifact_type = oci.PROFILE_TYPE if isinstance(record, Profile) else oci.EVALUATION_TYPE
            revision = self._revision(subject.digest, record)
            entry = self._put_json(
                oci.MANIFEST_TYPE,
                {
                    "schemaVersion": 2,
                    "mediaType": oci.MANIFEST_TYPE,
                    "artifactType": artifact_type,
                    "config": self._put(oci.EMPTY_TYPE, b"{}"),
                    "layers": [self._put(artifact_type, canonical(record.model_dump(mode="json")).encode())],
                    "subject": {"mediaType": subject.mediaType, "digest": subject.digest, "size": subject.size},
                    **({"annotations": {oci.REVISION: str(revision)}} if revision else {}),
                },
            )
            entry["artifactType"] = artifact_type
            self._replace_entry(lambda other: self._same_measurement(other, subject.digest, record), entry)

    def _revision(self, subject: str, record: Profile | Evaluation) -> int:
        """How many evaluations this one takes the place of; a profile says itself when it was taken."""
        if isinstance(record, Profile):
            return 0
        old = [entry for entry in self._layout_index().manifests if self._same_measurement(entry, subject, record)]
        is_new = [self._record(entry)[1] != record for entry in old]
        return max((self._manifest(entry).revision + new for entry, new in zip(old, is_new, strict=True)), default=0)

    def _put_fragment(self, split: Split, fragment: Fragment, model: bytes) -> dict[str, Any]:
        contract = canonical(fragment.model_dump(mode="json")).encode()
        layers = [
            self._put(oci.WEIGHT_TYPE, model) | {"annotations": _file(oci.MODEL_FILE)},
            self._put(oci.CONTRACT_TYPE, contract) | {"annotations": _file(oci.CONTRACT_FILE)},
        ]
        config = {
            "descriptor": {"family": split.model, "name": f"{split.reference}.{fragment.name}"},
            "config": {"architecture": "cnn", "format": "onnx", "paramSize": _param_size(fragment.params)},
            "modelfs": {"type": "layers", "diffIds": [layer["digest"] for layer in layers]},
        }
        entry = self._put_json(
            oci.MANIFEST_TYPE,
            {
                "schemaVersion": 2,
                "mediaType": oci.MANIFEST_TYPE,
                "artifactType": oci.MODEL_ARTIFACT_TYPE,
                "config": self._put_json(oci.MODEL_CONFIG_TYPE, config),
                "layers": layers,
            },
        )
        return entry | {"annotations": {oci.TITLE: fragment.name}}

    def _subject(self, reference: str, record: Profile | Evaluation) -> Descriptor:
        if isinstance(record, Evaluation):
            return self.split_descriptor(reference)
        for item in self.fragments(reference):
            if (item.fragment.name, item.fragment.digest) == (record.fragment, record.digest):
                return item.descriptor
        raise ContractError(f"{reference} holds no fragment {record.fragment} with the model {record.digest}")


def _file(name: str) -> dict[str, str]:
    return {oci.FILEPATH: name, oci.TITLE: name}


def _param_size(params: int) -> str:
    """The spec's `<count><scale-prefix>`: at most one digit after the point, thousands at least."""
    for scale, prefix in ((10**9, "B"), (10**6, "M")):
        if params >= scale:
            return f"{params / scale:.1f}{prefix}"
    return f"{params / 1000:.1f}K"
