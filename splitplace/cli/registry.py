"""`splitplace catalog push` and `pull`: a catalog's splits into a registry, and out of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Group
from rich.table import Table

from splitplace.cli.output import bar, emit

if TYPE_CHECKING:
    from splitplace.catalog.variants import Variant


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
    for_: Annotated[Path | None, Parameter(name="--for")] = None,
    deadline: float | None = None,
    micro_batch: int = 1,
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
        for_: DEVICE.toml: of each application, only the split that suits the device by what was measured; all that it
            was chosen from is printed.
        deadline: Seconds that a micro-batch may take on that device.
        micro_batch: Samples that it runs at once.
        ca: PEM file of who vouches for the registry's certificate.
        plain_http: Without TLS; from this machine that is so anyway.
        json: Print one JSON document.
    """
    import splitplace as sp

    with bar() as progress:
        pulled = sp.pull(
            remote,
            catalog,
            device=for_,
            deadline_s=deadline,
            micro_batch=micro_batch,
            ca=ca,
            plain_http=plain_http,
            progress=progress,
        )
    table = Table("split", "pulled from", "measurements", "came")
    for split in pulled.splits:
        table.add_row(split.reference, str(split.remote), str(split.records), _size(split.came_bytes))
    rows = [
        {
            "reference": split.reference,
            "remote": str(split.remote),
            "digest": split.remote.digest,
            "records": split.records,
            "came_bytes": split.came_bytes,
        }
        for split in pulled.splits
    ]
    variants = [_variant(found) for found in pulled.variants]
    document = {"catalog": str(pulled.catalog), "pulled": rows, "variants": variants}
    emit(document, Group(_choice(pulled.variants), table) if variants else table, json)


def _variant(found: "Variant") -> dict[str, Any]:
    return {
        "reference": found.split.reference,
        "fragments": len(found.split.fragments),
        "fits": found.fits,
        "seconds": found.seconds,
        "memory_bytes": found.memory_bytes,
        "largest_fragment_bytes": found.largest_bytes,
        "weight_bytes": found.weight_bytes,
        "top1": found.top1,
        "chosen": found.chosen,
    }


def _choice(variants: "tuple[Variant, ...]") -> Table:
    table = Table("", "split", "fragments", "fits", "time", "memory", "largest fragment", "weights", "top-1")
    for found in variants:
        table.add_row(
            "→" if found.chosen else "",
            found.split.reference,
            str(len(found.split.fragments)),
            found.fits,
            "not run" if found.seconds is None else f"{1e3 * found.seconds:.2f} ms",
            "not run" if found.memory_bytes is None else _size(found.memory_bytes),
            "not run" if found.largest_bytes is None else _size(found.largest_bytes),
            _size(found.weight_bytes),
            "not run" if found.top1 is None else f"{found.top1:.4f}",
        )
    return table


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:.2f} MiB"
