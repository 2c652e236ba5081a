"""A catalog to run from, wherever it lies: a folder, or a registry, from which it is pulled into a cache."""

import hashlib
import logging
import os
from pathlib import Path

from splitplace.api.pull import connected
from splitplace.catalog import Catalog
from splitplace.catalog.layout_writer import LayoutWriter
from splitplace.distribution.pull import look_up_all, pull_split
from splitplace.distribution.reference import is_remote, parse_remote
from splitplace.errors import NotFoundError

CACHE_VARIABLE = "SPLITPLACE_CATALOGS"

_log = logging.getLogger(__name__)


def open_catalog(catalog: str | Path | Catalog) -> Catalog:
    """The catalog of a folder, or of `oci://HOST/REPOSITORY[:TAG][@DIGEST]`.

    What a tag stands for is asked once, when the catalog is opened: each set of digests has a folder of its own in the
    cache ($SPLITPLACE_CATALOGS, else ~/.cache/splitplace/catalogs), which holds nothing else and stays as it is when
    the tag moves. A digest that was pulled before needs no registry.

    Raises:
        UsageError: No such folder, or no such place.
        SplitPlaceError: As of `pull`.
    """
    if isinstance(catalog, Catalog):
        return catalog
    if not is_remote(str(catalog)):
        return Catalog(Path(catalog))
    asked = parse_remote(str(catalog))
    if asked.digest and not asked.tag:
        try:
            kept = Catalog(_folder([asked.digest]))
            if kept.references():
                return kept
        except NotFoundError:
            _log.debug("%s was not pulled before", asked)
    with connected(asked) as places:
        found = look_up_all(places, asked)
        folder = _folder(sorted(split.index.digest for split in found))
        for split in found:
            pull_split(places, split, LayoutWriter(folder))
    return Catalog(folder)


def _folder(digests: list[str]) -> Path:
    root = Path(os.environ.get(CACHE_VARIABLE) or Path("~/.cache/splitplace/catalogs").expanduser())
    return root.absolute() / hashlib.sha256(" ".join(digests).encode()).hexdigest()
