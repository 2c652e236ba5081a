"""A form (multipart/form-data, RFC 7578) that is in memory as a whole: its parts, cut where its boundary stands.

The parser that Starlette brings takes a body as it comes, piece by piece, and calls back with every line that could
be a boundary and is none: a body made of such lines took half a second for each MiB. Here a part is found by one search
for its end, and the first line that begins as the boundary does and goes on otherwise is refused: what is spent is one
pass over the bytes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from python_multipart.multipart import parse_options_header

from splitplace.errors import ContractError

KIND = "multipart/form-data"
HEAD_BYTES = 2**12
"""Of one part's headers; and of the request's own that says what the boundary is."""
BOUNDARY_BYTES = 70
"""RFC 2046."""


@dataclass(frozen=True)
class FormPart:
    """A file, or a field."""

    name: str
    file: str | None
    """What a file is called; None: it is a field."""
    content: bytes


def boundary_of(content_type: str) -> bytes:
    """What a form's parts are told apart by, from the header `Content-Type`.

    Raises:
        ContractError: It is no form's, or states none.
    """
    if not content_type.lower().startswith(KIND) or len(content_type) > HEAD_BYTES:
        raise ContractError(f"expected image files as {KIND}, as `curl -F image=@FILE` sends them")
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    if not 0 < len(boundary) <= BOUNDARY_BYTES or not boundary.decode("latin-1").isprintable():
        raise ContractError(f"{KIND} with the boundary {boundary[:100]!r}, expected 1 to {BOUNDARY_BYTES} letters")
    return boundary


def parts(body: bytes | bytearray, boundary: bytes) -> Iterator[FormPart]:
    """The parts of a form, one after another: whoever has had enough of them looks no further.

    Args:
        body: All of it.
        boundary: Of `boundary_of`.

    Raises:
        ContractError: It is no form of this boundary, or is cut off.
    """
    line = b"\r\n--" + boundary
    start = -2 if body.startswith(line[2:]) else body.find(line)
    if start == -1:
        raise ContractError(f"a form without its boundary {boundary!r}, which its Content-Type states")
    at = start + len(line)
    while body[at : at + 2] != b"--":
        head_end = body.find(b"\r\n\r\n", at, at + HEAD_BYTES)
        if body[at : at + 2] != b"\r\n" or head_end < 0:
            raise ContractError(
                f"a form with {bytes(body[at : at + 20])!r} behind its boundary, expected a line's end and headers of "
                f"at most {HEAD_BYTES} bytes"
            )
        end = body.find(line, head_end + 4)
        if end < 0:
            raise ContractError("a form that is cut off: no boundary behind its last part")
        yield _part(bytes(body[at + 2 : head_end]), bytes(memoryview(body)[head_end + 4 : end]))
        at = end + len(line)


def _part(head: bytes, content: bytes) -> FormPart:
    for header in head.split(b"\r\n"):
        kind, _, value = header.partition(b":")
        if kind.strip().lower() == b"content-disposition":
            stated = parse_options_header(value)[1]
            if b"name" in stated:
                file = stated.get(b"filename")
                return FormPart(_text(stated[b"name"]), None if file is None else _text(file), content)
    raise ContractError("a part of a form without a name, expected Content-Disposition: form-data; name=...")


def _text(value: bytes) -> str:
    return value.decode(errors="replace")
