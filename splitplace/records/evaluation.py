"""An evaluation: the measured accuracy of a split on held-out images."""

from typing import Annotated

from pydantic import Field, StringConstraints

from splitplace.records.base import Count, Fraction, PositiveCount, Record
from splitplace.records.by_class import ByClass


class MissingFragments(Record):
    """Accuracy over all classes while these fragments give no answer."""

    missing: Annotated[tuple[str, ...], Field(min_length=1)]
    top1: Fraction


class Evaluation(ByClass):
    """How many of `n` held-out images a split got right, through onnxruntime; class by class, too (`ByClass`)."""

    dataset: str
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    """Of the decoded test images and labels: two evaluations with one hash saw the same data."""
    n: PositiveCount
    top1: Fraction
    top1_missing: tuple[MissingFragments, ...] = ()
    seed: Count
    source: str
    """Where the images came from (the download or package)."""
