"""`push`: splits of a catalog into a registry, with what was measured of them."""

from pathlib import Path

from splitplace.api.checked import checked
from splitplace.catalog import Catalog
from splitplace.catalog.location import parse_location
from splitplace.distribution.push import PushedSplit, push_split
from splitplace.distribution.reference import is_tag, parse_remote
from splitplace.distribution.repository import Repository
from splitplace.distribution.transport import Transport
from splitplace.errors import NotReadyError, UsageError, explained
from splitplace.progress import Progress, silent


@explained()
@checked()
def push(
    catalog: str | Path,
    remote: str,
    *,
    ca: str | Path | None = None,
    plain_http: bool = False,
    mount_from: str = "",
    progress: Progress = silent,
) -> tuple[PushedSplit, ...]:
    """Push splits into a registry, with their profiles and evaluations as referrers; nothing is sent twice.

    Args:
        catalog: CATALOG (all its splits, each under its reference as the tag) or CATALOG:REF.
        remote: oci://HOST[:PORT]/REPOSITORY, with :TAG where one split goes and is to be called otherwise.
        ca: PEM file of who vouches for the registry's certificate; else those that the system trusts.
        plain_http: Without TLS; to a registry on this machine that is so anyway, without `ca`.
        mount_from: A repository of the same registry whose blobs are taken over where it has them.
        progress: Told what is being done.

    Returns:
        What was pushed, in the order of references, each with the digest that pins it.

    Raises:
        UsageError: No such catalog or split, or no such place.
        UnknownCallerError: The registry wants somebody who is logged in (`docker login`, `podman login`).
        IntegrityError: What lies in the catalog is not what its digests say.
        SplitPlaceError: The registry refuses, or cannot be reached; the same call goes on where this one stood.
    """
    place = parse_remote(remote)
    if place.digest:
        raise UsageError(f"{remote}: a digest is what comes of a push: leave it out")
    if mount_from:
        parse_remote(f"oci://{place.host}/{mount_from}")
    folder, reference = parse_location(str(catalog))
    source = Catalog(folder)
    references = (reference,) if reference else source.references()
    if not references:
        raise NotReadyError(f"the catalog {source.path} holds no split: export one first")
    if place.tag and len(references) > 1:
        raise UsageError(f"{remote}: one tag for {len(references)} splits: leave it out, or give CATALOG:REF")
    for name in references:
        source.split_descriptor(name)
        if not is_tag(place.tag or name):
            raise UsageError(f"{name:.200} is no tag that a registry takes: give one as {place.at()}:TAG")
    transport = Transport(place.host, plain_http=plain_http or None, ca=None if ca is None else Path(ca))
    into = Repository(transport, place)
    try:
        return tuple(
            push_split(source, name, into, place.tag or name, mount_from=mount_from, progress=progress)
            for name in references
        )
    finally:
        transport.close()
