"""Gathers what a catalog knows of its splits' cost and accuracy into one document for schedulers."""

import json
from collections.abc import Sequence
from pathlib import Path

from splitplace import provenance
from splitplace.catalog import Catalog
from splitplace.errors import NotReadyError, SplitPlaceError
from splitplace.files import replace_file
from splitplace.records.demand import Demand, EncodedInput, SplitDemand
from splitplace.records.evaluation import Evaluation

_NOT_FOR_SCHEDULERS = {"class_names": (), "preprocessing": None}
"""What a demand leaves out of a split: who reads images or answers names has the catalog."""
_BY_CLASS = {"accuracy_by_class": (), "confusion": ()}
"""And out of an evaluation: a scheduler reads the accuracy over all classes."""
MAX_BYTES = 600_000
"""A demand travels in packages and reports; what is larger holds more than the simulator reads."""


def demand(catalog: Catalog, references: Sequence[str] = (), micro_batch: int = 64) -> Demand:
    """The demand of these splits (all by default), from the profiles and evaluations stored beside them.

    What an application's images take as PNG is as the first profile says that says it.

    Raises:
        UsageError: No such split.
        SplitPlaceError: The catalog is empty, or a fragment has no profile.
    """
    references = tuple(references) or catalog.references()
    if not references:
        raise NotReadyError(f"the catalog {catalog.path} holds no split: export one first")
    splits, encoded = list[SplitDemand](), dict[str, EncodedInput]()
    for reference in references:
        split, profiles = catalog.split(reference), catalog.profiles(reference)
        evaluation = catalog.evaluation(reference)
        profiled = {profile.digest for profile in profiles}
        missing = [fragment.name for fragment in split.fragments if fragment.digest not in profiled]
        if missing:
            command = f"splitplace profile {catalog.path}:{reference}"
            raise NotReadyError(f"{reference} has no profile of {', '.join(missing)}: run `{command}`")
        for measured in (profile.encoded for profile in profiles if profile.encoded is not None):
            encoded.setdefault(split.application, measured)
        splits.append(
            SplitDemand(
                split=split.model_copy(update=_NOT_FOR_SCHEDULERS),
                micro_batch=micro_batch,
                profiles=tuple(profile.model_copy(update={"encoded": None}) for profile in profiles),
                evaluation=without_classes(evaluation),
            )
        )
    return Demand(splits=tuple(splits), encoded=encoded, provenance=provenance.collect())


def without_classes(evaluation: Evaluation | None) -> Evaluation | None:
    """An evaluation as a demand has it: over all classes."""
    return evaluation and evaluation.model_copy(update=_BY_CLASS)


def write_demand(value: Demand, path: Path) -> int:
    """Write a demand file; returns its bytes.

    Raises:
        SplitPlaceError: It would be larger than `MAX_BYTES`, or cannot be written.
    """
    document = {"format": value.format} | value.model_dump(mode="json", exclude_defaults=True)
    data = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    if len(data) > MAX_BYTES:
        raise SplitPlaceError(
            f"the demand of {len(value.splits)} splits takes {len(data)} bytes, expected at most {MAX_BYTES}: "
            "name fewer splits, or profile fewer kinds of device"
        )
    try:
        replace_file(path, data)
    except OSError as error:
        raise SplitPlaceError(f"cannot write {path}: {error.strerror}") from error
    return len(data)
