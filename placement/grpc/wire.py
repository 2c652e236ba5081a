"""The raw tensors of a request where they lie in its bytes: protobuf would copy each of them twice to hand it over.

A message is its fields one behind the other: a tag (number and kind), and of the kinds that the request's own fields
have, a length and so many bytes. Only that is read here. From the first thing on that is anything else, all is left to
protobuf, which knows what it is, or refuses it.
"""

from splitplace.placement.grpc.protocol import Message, message

REQUEST = message("ModelInferRequest")
_DELIMITED = 2
_RAW = REQUEST.DESCRIPTOR.fields_by_name["raw_input_contents"].number << 3 | _DELIMITED
_TAGS = frozenset(field.number << 3 | _DELIMITED for field in REQUEST.DESCRIPTOR.fields)
"""Of the request's fields, each of one byte: strings, messages and bytes are all of this kind."""
MOST_FIELDS = 1024
"""That are looked at one by one: more are no inputs that anybody would be let ask with."""


def infer_request(data: bytes) -> tuple[Message, tuple[memoryview, ...]]:
    """A `ModelInferRequest` and its raw tensors, of which those that are views of `data` are not in the message.

    Raises:
        google.protobuf.message.DecodeError: The bytes are no such message.
    """
    view, raw, rest = memoryview(data), list[memoryview](), list[memoryview]()
    at = kept = 0
    for _ in range(MOST_FIELDS):
        if at == len(data) or data[at] not in _TAGS:
            break
        start, size = _length(data, at + 1)
        if size is None or start + size > len(data):
            break
        if data[at] == _RAW:
            rest.append(view[kept:at])
            raw.append(view[start : start + size])
            kept = start + size
        at = start + size
    asked = REQUEST.FromString(b"".join((*rest, view[kept:])) if raw else data)
    return asked, (*raw, *(memoryview(tensor) for tensor in asked.raw_input_contents))


def _length(data: bytes, at: int) -> tuple[int, int | None]:
    """Where what a length stands before begins, and that length; none where there is no such number."""
    found = 0
    for shift, byte in zip(range(0, 35, 7), data[at : at + 5], strict=False):
        found |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return at, found
    return at, None
