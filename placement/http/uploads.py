"""Image files as browsers and curl send them (multipart/form-data), read as `infer` reads those on disk."""

from dataclasses import dataclass

from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.types import Message

from splitplace.errors import ContractError, IntegrityError, first_problem
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


async def read(request: Request, body: bytes | bytearray, limits: Limits) -> Upload:
    """A form.

    Args:
        request: For its headers.
        body: All of it.
        limits: In force.

    Raises:
        ContractError: No form, without a file, with too many, or with a field that is not by the contract.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise ContractError("expected image files as multipart/form-data, as `curl -F image=@FILE` sends them")

    async def once() -> Message:
        return {"type": "http.request", "body": bytes(body), "more_body": False}

    parsed = Request(dict(request.scope), once).form(
        max_files=limits.images, max_fields=MOST_FIELDS, max_part_size=FIELD_BYTES
    )
    files: list[tuple[str, bytes]] = []
    fields: dict[str, str] = {}
    async with parsed as form:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                files.append((_plain(value.filename or name), await value.read()))
            elif name in OURS:
                fields[name] = value
            else:
                raise ContractError(f"field {name[:100]!r}, expected image files, and of fields {', '.join(OURS)}")
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
