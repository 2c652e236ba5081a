"""Formats of what outlives a process: one number each, said on one page; others are refused before anything else."""

import json
import re
from pathlib import Path

import pytest

from splitplace.catalog import Catalog, oci
from splitplace.catalog.oci import SplitAnnotation
from splitplace.errors import ContractError, SplitPlaceError
from splitplace.export.catalog_writer import CatalogWriter
from splitplace.placement.broker.history import read_history
from splitplace.placement.engines.membership import Membership
from splitplace.placement.engines.roster import RosterFile
from splitplace.placement.history import Start
from splitplace.placement.state_files import Saved
from splitplace.records.base import Record
from splitplace.records.demand import Demand
from splitplace.records.evaluation import Evaluation
from splitplace.records.formats import BROKER_JOURNAL, CATALOG, EVALUATION, FORMATS, JOURNAL, PROFILE, Format
from splitplace.records.split_document import SplitDocument
from splitplace.splitting.split_folder import read_split, write
from splitplace.training.config import Config
from splitplace.training.data.dataset import Card
from splitplace.training.loop.checkpoint import _Header
from splitplace.training.recipes.stages import _Done

PAGE = Path(__file__).resolve().parents[2] / "docs" / "formats.md"
RECORDS: tuple[type[Record], ...] = (
    Config, _Header, _Done, SplitDocument, SplitAnnotation, Demand, Card, RosterFile, Membership, Saved,
)  # fmt: skip


def test_the_page_and_the_code_have_the_same_numbers():
    """Every format that the page names has a constant, with that number and field, and the other way round."""
    rows = re.findall(r"^\| ([^|]+) \| (\d+) \| `(\w+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == [(format.name, str(format.version), format.key) for format in FORMATS]


@pytest.mark.parametrize("record", [*RECORDS, Start], ids=lambda record: record.__name__)
def test_what_is_written_bears_the_number_that_is_read(record):
    """The field's only value is the constant's."""
    format = JOURNAL if record is Start else record.file_format
    field = record.model_fields[format.key]
    assert field.annotation.__args__ == (format.version,)
    assert field.default == format.version


def test_every_format_has_a_record():
    """None is listed that nothing checks."""
    assert {record.file_format for record in RECORDS} | {JOURNAL, BROKER_JOURNAL, PROFILE, EVALUATION} == set(FORMATS)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_another_version_is_refused_before_its_fields_are_looked_at(record):
    """A newer one says that we are older, an older one what to do; neither stumbles over the other version's fields."""
    format = record.file_format
    newer = json.dumps({format.key: format.version + 1, "field": "of the future"})
    older = f"x: a {format.name} of format {format.version + 1}, and this splitplace, which is older, reads"
    with pytest.raises(ContractError, match=rf"^{older} {format.version}: update splitplace$"):
        record.parse(newer, "x")
    with pytest.raises(
        ContractError, match=rf"of format 0, older than {format.version}, .*: {re.escape(format.remedy)}$"
    ):
        record.parse(json.dumps({format.key: 0}), "x")


@pytest.mark.parametrize("number", ["1", 1.0, True, None, [1]])
def test_what_is_no_whole_number_is_no_version(number):
    """Not even where Python takes it for 1."""
    with pytest.raises(ContractError, match="without a whole number as its `format`"):
        Format("thing", 1, "make it again").check(number, "x")


def test_a_newer_split_folder_is_refused_through_its_reader(artifact, tmp_path):
    """Before its models are read."""
    write(artifact, tmp_path / "split")
    assert read_split(tmp_path / "split").split == artifact.split
    file = tmp_path / "split" / "split.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 7, "new": []}))
    with pytest.raises(ContractError, match="a SPLIT folder of format 7, and this splitplace, which is older, reads 1"):
        read_split(tmp_path / "split")


def test_a_catalog_of_before_the_number_is_refused_with_what_to_do(artifact, tmp_path):
    """An image index as it was written until 2."""
    writer = CatalogWriter(tmp_path / "catalog")
    annotation = SplitAnnotation.of(artifact.split).model_dump(mode="json")
    for name in ("format", "class_names", "preprocessing"):
        del annotation[name]
    with pytest.raises(ContractError, match=r"of format 1, older than 2, .*: export it again \(splitplace export\)"):
        SplitAnnotation.parse(json.dumps(annotation), "blob")
    assert CATALOG.absent == 1
    writer.write(artifact)
    assert Catalog(tmp_path / "catalog").split(artifact.split.reference) == artifact.split


@pytest.mark.parametrize(
    ("version", "said"), [(1, "older than 2, .*catalog gc.* and measure again"), (3, "update splitplace")]
)
def test_an_evaluation_of_another_version_is_refused_by_name_until_gc_removes_it(
    artifact, tmp_path, monkeypatch, version, said
):
    """The media type holds its number; then it can be measured again."""
    reference, writer = artifact.split.reference, CatalogWriter(tmp_path / "catalog")
    writer.write(artifact)
    evaluation = Evaluation(dataset="toy", sha256="0" * 64, n=10, top1=0.5, seed=0, source="test")
    with monkeypatch.context() as other:
        other.setattr(oci, "EVALUATION_TYPE", f"application/vnd.splitplace.evaluation.v{version}+json")
        writer.attach(reference, evaluation)
    for use in (lambda: writer.evaluation(reference), lambda: writer.attach(reference, evaluation)):
        with pytest.raises(
            SplitPlaceError, match=rf"^blob sha256:\w+: a stored evaluation of format {version},.* {said}"
        ):
            use()
    writer.gc()
    writer.attach(reference, evaluation)
    assert writer.evaluation(reference) == evaluation


def test_a_newer_journal_is_refused_by_its_first_line(tmp_path):
    """Whatever its other lines are."""
    start = {"event": "start", "version": JOURNAL.version + 1, "clock": "new"}
    (tmp_path / "run.jsonl").write_text(json.dumps(start) + '\n{"event":"unheard of"}\n')
    said = f"a journal of format {JOURNAL.version + 1}, and this splitplace, which is older, reads {JOURNAL.version}"
    with pytest.raises(ContractError, match=said):
        read_history(tmp_path / "run.jsonl")


def test_a_demand_without_a_number_is_the_first(artifact):
    """As those that ship are; what is wrong with it is said of its fields."""
    with pytest.raises(SplitPlaceError, match="not a demand: splits: Field required"):
        Demand.parse("{}", "x")
