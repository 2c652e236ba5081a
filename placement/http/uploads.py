"""Image files as browsers and curl send them (multipart/form-data), read as `infer` reads those on disk."""

from dataclasses import dataclass

from pydantic import ValidationError

from splitplace.errors import ContractError, IntegrityError, first_problem
from splitplace.placement.http.forms import boundary_of, parts
from splitplace.placement.http.limits import Limits
from splitplace.placement.http.requests import OURS, Wish
from splitplace.placement.http.tensors import Array
from splitplace.records.split import Split

MOST_FIELDS = 16
"""Beside the files."""
FIELD_BYTES = 2**12


@dataclass(frozen=True)
class Upload:
    """What a form brought."""

    files: tuple[tuple[str, bytes], ...]
    """Name and content, in the form's order."""
    wish: Wish


def read(content_type: str, body: bytes | bytearray, limits: Limits) -> Upload:
    """A form; it takes as long as its bytes do.

    Args:
        content_type: The request's header, empty without.
        body: All of it.
        limits: In force.

    Raises:
        ContractError: No form, without a file, with too many, or with a field that is not by the contract.
    """
    files: list[tuple[str, bytes]] = []
    fields: dict[str, str] = {}
    for count, part in enumerate(parts(body, boundary_of(content_type))):
        if part.file is not None:
            if len(files) == limits.images:
                raise ContractError(f"more than {limits.images} files in the form, expected at most so many")
            files.append((_plain(part.file or part.name), part.content))
            continue
        if count - len(files) == MOST_FIELDS or len(part.content) > FIELD_BYTES:
            raise ContractError(
                f"field {part.name[:100]!r}, expected at most {MOST_FIELDS} fields of {FIELD_BYTES} bytes and the files"
            )
        if part.name not in OURS:
            raise ContractError(f"field {part.name[:100]!r}, expected image files, and of fields {', '.join(OURS)}")
        fields[part.name] = part.content.decode(errors="replace")
    if not files:
        raise ContractError("no file in the form, expected one image or several: curl -F image=@FILE")
    try:
        wish = Wish.model_validate_strings(fields, strict=False)
    except ValidationError as error:
        raise ContractError(f"field {first_problem(error)}") from error
    return Upload(tuple(files), wish)


def _plain(name: str) -> str:
    """A file's name as it is told again: what no terminal and no JSON reader minds."""
    return "".join(letter if letter.isprintable() else "?" for letter in name)[:200]


def images(upload: Upload, split: Split) -> Array:
    """The files as the split takes them, (n, channels, height, width).

    Raises:
        ContractError: No image, a damaged one, or one that is too large.
        UsageError: The split does not say how it takes images.
    """
    from splitplace.inference.inputs import read_images

    try:
        return read_images([(content, name) for name, content in upload.files], split)
    except IntegrityError as error:  # of a file on disk; here it is what the request brought
        raise ContractError(str(error)) from error
