"""What all records share: frozen, strict, closed to unknown fields, finite, and bounded in size on the way in."""

import json
import tomllib
from codecs import BOM_UTF8
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from splitplace.errors import IntegrityError, NotFoundError, first_problem, of_system
from splitplace.records.formats import Format

MAX_DOCUMENT_BYTES = 16 * 2**20
"""No record of ours comes near this; larger input is refused before it is parsed."""

MARK = "\ufeff"
"""The byte order mark that some editors begin a file in UTF-8 with."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
"""Safe in file names, OCI tags and catalog references."""

Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]
PositiveCount = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]

MIN_AMOUNT, MAX_AMOUNT = 1e-15, 1e30
"""Of what a user states of devices and workloads: all that exists is between, and products and ratios are finite."""


def _not_tiny(value: float) -> float:
    if value < MIN_AMOUNT:
        raise ValueError(f"expected at least {MIN_AMOUNT:g}")
    return value


Amount = Annotated[float, Field(gt=0, le=MAX_AMOUNT), AfterValidator(_not_tiny)]
AmountOrZero = Annotated[float, Field(ge=0, le=MAX_AMOUNT)]
Quantity = Annotated[int, Field(gt=0, le=10**18)]
"""A count or bytes that a user states: a whole number that 64 bits hold, and a sum of some as well."""


def _table(annotation: Any) -> Any:
    """The record that a field holds, itself or in a list or table; None where it holds none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _table(part)) is not None), None)


class Record(BaseModel):
    """A frozen value that passes between rooms, and through JSON, unchanged."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    file_format: ClassVar[Format | None] = None
    """Of a record that is a file: another version of it is refused before its fields are looked at."""
    noun: ClassVar[str | None] = None
    """What messages call it; the class's name in small letters if none is stated."""

    @classmethod
    def parse(cls, text: str | bytes, source: str) -> Self:
        """Read a record from JSON.

        Args:
            text: The JSON document.
            source: Where it came from, for the error message.

        Raises:
            IntegrityError: The document is too large, is not JSON, or does not have the record's form.
            ContractError: It is of another version.
        """
        if len(text) > MAX_DOCUMENT_BYTES:
            raise IntegrityError(f"{source}: {len(text)} bytes, expected at most {MAX_DOCUMENT_BYTES}")
        text = text.removeprefix(BOM_UTF8) if isinstance(text, bytes) else text.removeprefix(MARK)
        if cls.file_format is not None:
            cls.file_format.check_document(text, source)
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            noun = cls.noun or cls.__name__.lower()
            raise IntegrityError(f"{source}: not a {noun}: {first_problem(error, keys=cls.keys_at)}") from error

    @classmethod
    def keys_at(cls, place: Sequence[str | int]) -> tuple[str, ...]:
        """The keys that a table of the record's document may have; none where that is open.

        Args:
            place: Of the table: the keys and numbers that lead to it from the document.
        """
        found: Any = cls
        for step in place:
            fields = found.model_fields if isinstance(found, type) and issubclass(found, BaseModel) else {}
            found = _table(fields[step].annotation if step in fields else found)
        return tuple(found.model_fields) if isinstance(found, type) and issubclass(found, BaseModel) else ()

    @classmethod
    def parse_toml(cls, text: str | bytes, source: str) -> Self:
        """Read a record from TOML; arguments and errors as `parse`'s."""
        try:
            document = tomllib.loads((text.decode() if isinstance(text, bytes) else text).removeprefix(MARK))
        except (ValueError, RecursionError) as error:  # no UTF-8, no TOML, or nested without end
            raise IntegrityError(f"{source}: not TOML: {error}") from error
        # Through JSON, because strict parsing takes JSON arrays, but no Python lists, as tuples.
        return cls.parse(json.dumps(document, default=str), source)

    @classmethod
    def from_toml(cls, path: Path) -> Self:
        """Read a record from a TOML file.

        Raises:
            NotFoundError: No such file.
            SplitPlaceError: Not TOML, or not of the record's form; or it cannot be read.
        """
        try:
            text = path.read_bytes()
        except FileNotFoundError as error:
            raise NotFoundError(f"no {cls.noun or cls.__name__.lower()} file {path}") from error
        except OSError as error:
            raise of_system(error) from error
        return cls.parse_toml(text, str(path))
