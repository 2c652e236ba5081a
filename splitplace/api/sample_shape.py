"""The sizes of a sample, as users state them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from math import prod

from splitplace.errors import UsageError

SampleShape = str | int | Sequence[int] | Sequence[str] | Mapping[str, int | Sequence[int]]
"""3,224,224 or NAME=128, as text or in a list of several; the numbers themselves; or these by input."""

MAX_NUMBERS = 2**26
"""Of one sample: four channels of 4096 x 4096. Beyond, a batch of them takes the memory of a machine."""

_EXPECTED = "expected the sizes of a sample without its batch, as 3,224,224, or NAME=128 for one of several inputs"


def sizes_by_input(given: SampleShape) -> dict[str, tuple[int, ...]]:
    """The sizes by input; those of "" are for every input that leaves some open.

    Raises:
        UsageError: Something else than sizes from 1 on, an input twice, or more numbers than a machine takes.
    """
    pairs: list[tuple[str, list[str]]]
    if isinstance(given, Mapping):
        pairs = [(str(name), _listed(sizes)) for name, sizes in given.items()]
    elif isinstance(given, str):
        pairs = [_named(given)]
    elif isinstance(given, Iterable) and (texts := list(given)) and all(map(_is_text, texts)):
        pairs = [_named(str(text)) for text in texts]
    else:
        pairs = [("", _listed(given))]
    found: dict[str, tuple[int, ...]] = {}
    for name, parts in pairs:
        told = f"--shape {name}{'=' if name else ''}{','.join(parts)}"
        if not parts or name in found or not all(re.fullmatch(r"[0-9]{1,9}", part) and int(part) for part in parts):
            raise UsageError(f"{told}: {_EXPECTED}")
        found[name] = tuple(map(int, parts))
        if prod(found[name]) > MAX_NUMBERS:
            raise UsageError(f"{told}: {prod(found[name])} numbers a sample, expected at most {MAX_NUMBERS}")
    return found


def _listed(sizes: object) -> list[str]:
    """Each size as a text; of something else than sizes that text, which is refused."""
    several = sizes.split(",") if isinstance(sizes, str) else sizes if isinstance(sizes, Iterable) else [sizes]
    return [str(size).strip() for size in several]


def _is_text(part: object) -> bool:
    """Whether it is more than one size."""
    return isinstance(part, str) and not part.isdecimal()


def _named(text: str) -> tuple[str, list[str]]:
    """NAME=3,224,224: names may hold an equals sign, sizes do not."""
    name, _, sizes = text.rpartition("=")
    return name.strip(), _listed(sizes)
