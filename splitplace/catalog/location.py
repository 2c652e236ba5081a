"""`CATALOG` and `CATALOG:REF`, as the command line takes them."""

from pathlib import Path

from splitplace.catalog.reader import Catalog
from splitplace.errors import UsageError


def parse_location(place: str | Path) -> tuple[Path, str]:
    """The catalog's folder and the reference after the last colon, empty if there is none.

    A text that is itself a folder is a catalog, colons and all.
    """
    text = str(place)
    if Path(text).is_dir() or ":" not in text:
        return Path(text), ""
    folder, _, reference = text.rpartition(":")
    return Path(folder), reference


def open_split(place: str | Path) -> tuple[Catalog, str]:
    """The catalog and the split of `CATALOG:REF`; the reference may be left out where there is only one.

    Raises:
        UsageError: No catalog, no such split, or several to choose from.
    """
    folder, reference = parse_location(place)
    catalog = Catalog(folder)
    if not reference:
        references = catalog.references()
        if not references:
            raise UsageError(f"{place} holds no split: `splitplace export RUN|SPLIT --catalog {folder}` puts one there")
        if len(references) != 1:
            raise UsageError(f"{place}: which split? expected {folder}:REF with one of {', '.join(references)}")
        (reference,) = references
    catalog.split_descriptor(reference)
    return catalog, reference
