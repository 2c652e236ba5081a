"""`splitplace catalog push` and `pull`: a catalog's splits into a registry, and out of it."""

from pathlib import Path

from rich.table import Table

from splitplace.cli.output import bar, emit


def push(
    location: str,
    remote: str,
    *,
    ca: Path | None = None,
    plain_http: bool = False,
    mount_from: str = "",
    json: bool = False,
) -> None:
    """Push splits into a registry, with their profiles and evaluations; what is there already is not sent again.

    Who asks is taken from where `docker login` or `podman login` leave it. A push that was cut off goes on where it
    stood when the same command runs again.

    Args:
        location: CATALOG (all splits, each under its reference as the tag) or CATALOG:REF.
        remote: oci://HOST[:PORT]/REPOSITORY[:TAG].
        ca: PEM file of who vouches for the registry's certificate.
        plain_http: Without TLS; to this machine that is so anyway.
        mount_from: A repository of the same registry that may have the same bytes already.
        json: Print one JSON document.
    """
    import splitplace as sp

    with bar() as progress:
        pushed = sp.push(location, remote, ca=ca, plain_http=plain_http, mount_from=mount_from, progress=progress)
    table = Table("split", "pushed to", "measurements", "sent", "there already")
    for split in pushed:
        table.add_row(
            split.reference, str(split.remote), str(split.records), *map(_size, (split.sent_bytes, split.kept_bytes))
        )
    rows = [
        {
            "reference": split.reference,
            "remote": str(split.remote),
            "digest": split.remote.digest,
            "records": split.records,
            "sent_bytes": split.sent_bytes,
            "kept_bytes": split.kept_bytes,
        }
        for split in pushed
    ]
    emit({"pushed": rows}, table, json)


def pull(
    remote: str,
    *,
    catalog: Path,
    ca: Path | None = None,
    plain_http: bool = False,
    json: bool = False,
) -> None:
    """Pull splits out of a registry, with their profiles and evaluations; every byte is held against its digest.

    Who asks is taken from where `docker login` or `podman login` leave it, and mirrors from `registries.conf`. A pull
    that was cut off goes on where it stood when the same command runs again.

    Args:
        remote: oci://HOST[:PORT]/REPOSITORY (all its splits), with :TAG or @DIGEST one of them.
        catalog: The catalog's folder; created if need be. An earlier split of the same reference is replaced.
        ca: PEM file of who vouches for the registry's certificate.
        plain_http: Without TLS; from this machine that is so anyway.
        json: Print one JSON document.
    """
    import splitplace as sp

    with bar() as progress:
        pulled = sp.pull(remote, catalog, ca=ca, plain_http=plain_http, progress=progress)
    table = Table("split", "pulled from", "measurements", "came")
    for split in pulled:
        table.add_row(split.reference, str(split.remote), str(split.records), _size(split.came_bytes))
    rows = [
        {
            "reference": split.reference,
            "remote": str(split.remote),
            "digest": split.remote.digest,
            "records": split.records,
            "came_bytes": split.came_bytes,
        }
        for split in pulled
    ]
    emit({"catalog": str(catalog.absolute()), "pulled": rows}, table, json)


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:.2f} MiB"
