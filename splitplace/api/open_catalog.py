"""A catalog to run from, wherever it lies: a folder, or a registry, from which it is pulled into a cache."""

import hashlib
import logging
import os
from pathlib import Path

from splitplace.api.asked import place
from splitplace.api.pull import connected
from splitplace.catalog import Catalog
from splitplace.catalog.layout_writer import LayoutWriter
from splitplace.distribution.pull import look_up_all, pull_split
from splitplace.distribution.reference import RemoteReference, is_remote, parse_remote
from splitplace.errors import NotFoundError, NotReadyError, UsageError
from splitplace.files import at_home

CACHE_VARIABLE = "SPLITPLACE_CATALOGS"

_log = logging.getLogger(__name__)


def open_catalog(catalog: str | Path | Catalog) -> Catalog:
    """The catalog of a folder, or of `oci://HOST/REPOSITORY[:TAG][@DIGEST]`.

    What a tag stands for is asked once, when the catalog is opened: each set of digests has a folder of its own in the
    cache ($SPLITPLACE_CATALOGS, else ~/.cache/splitplace/catalogs), which holds nothing else and stays as it is when
    the tag moves. A digest that was pulled before, with profiles of all its fragments, needs no registry.

    Raises:
        UsageError: No such folder, or no such place.
        SplitPlaceError: As of `pull`.
    """
    if isinstance(catalog, Catalog):
        return catalog
    if not is_remote(str(catalog)):
        return Catalog(place("catalog", catalog))
    asked = parse_remote(str(catalog))
    kept = _pulled_before(asked)
    if kept is not None and _is_profiled(kept):
        return kept
    try:
        return _pulled(asked)
    except NotReadyError as error:
        if kept is None:
            raise
        _log.warning("%s: as it was pulled before, without all profiles: %s", asked, error)
        return kept


def _pulled_before(asked: RemoteReference) -> Catalog | None:
    if asked.tag or not asked.digest:
        return None  # only the registry knows what it stands for
    try:
        kept = Catalog(_folder([asked.digest]))
    except NotFoundError:
        return None
    return kept if kept.references() else None


def _is_profiled(catalog: Catalog) -> bool:
    """Whether there is nothing to hope for from the registry: what was measured may have come there since."""
    for reference in catalog.references():
        profiled = {profile.digest for profile in catalog.profiles(reference)}
        if any(fragment.digest not in profiled for fragment in catalog.split(reference).fragments):
            return False
    return True


def _pulled(asked: RemoteReference) -> Catalog:
    with connected(asked) as places:
        found = look_up_all(places, asked)
        folder = _folder(sorted(split.index.digest for split in found))
        for split in found:
            pull_split(places, split, LayoutWriter(folder))
    return Catalog(folder)


def _folder(digests: list[str]) -> Path:
    named = os.environ.get(CACHE_VARIABLE)
    root = Path(named) if named else at_home(".cache/splitplace/catalogs")
    if root is None:
        raise UsageError(f"nobody's home is known, for a cache of catalogs: say where by ${CACHE_VARIABLE}")
    return root.absolute() / hashlib.sha256(" ".join(digests).encode()).hexdigest()
