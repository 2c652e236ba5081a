"""`pull`: splits out of a registry into a catalog, with what was measured of them."""

from pathlib import Path

from splitplace.catalog.layout_writer import LayoutWriter, check_catalog
from splitplace.distribution.mirrors import open_places
from splitplace.distribution.pull import PulledSplit, look_up, names, pull_split
from splitplace.distribution.reference import parse_remote
from splitplace.distribution.transport import Transport
from splitplace.errors import explained
from splitplace.progress import Progress, silent


@explained()
def pull(
    remote: str,
    catalog: str | Path,
    *,
    ca: str | Path | None = None,
    plain_http: bool = False,
    progress: Progress = silent,
) -> tuple[PulledSplit, ...]:
    """Pull splits out of a registry, with their profiles and evaluations; every digest is held against the bytes.

    Args:
        remote: oci://HOST[:PORT]/REPOSITORY, all of whose splits come; or one, by :TAG or @DIGEST.
        catalog: The catalog's folder; created if need be. An earlier split of the same reference is replaced.
        ca: PEM file of who vouches for the registry's certificate; else those that the system trusts.
        plain_http: Without TLS; from a registry on this machine that is so anyway, unless `ca` is given.
        progress: Told what is being done.

    Returns:
        What was pulled, each with the digest that pins it.

    Raises:
        UsageError: No such place, or the folder holds something else.
        UnknownCallerError: The registry wants somebody who is logged in (`docker login`, `podman login`).
        IntegrityError: What the registry has is not what its digests say, or no split; the catalog holds what it held.
        SplitPlaceError: The registry refuses, or cannot be reached; the same call goes on where this one stood.
    """
    asked, folder = parse_remote(remote), Path(catalog)
    check_catalog(folder)
    trusted = None if ca is None else Path(ca)
    places = open_places(asked, lambda host, plain: Transport(host, plain_http=plain_http or plain or None, ca=trusted))
    try:
        progress(f"looking into {asked}", 0.0)
        found = [look_up(places, name) for name in names(places, asked)]
        return tuple(pull_split(places, split, LayoutWriter(folder), progress) for split in found)
    finally:
        places.close()
