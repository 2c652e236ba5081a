"""The file split.json: a split's graph, beside its ONNX files in a SPLIT folder, a model repository or an image."""

from typing import ClassVar, Literal

from splitplace.records import formats
from splitplace.records.base import Record
from splitplace.records.formats import Format
from splitplace.records.split import Split

SPLIT_FILE = "split.json"


class SplitDocument(Record):
    """Its content."""

    file_format: ClassVar[Format | None] = formats.SPLIT
    format: Literal[1] = 1
    split: Split
