"""`pull`: splits out of a registry into a catalog, with what was measured of them."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from splitplace.api.checked import checked
from splitplace.catalog.layout_writer import LayoutWriter, check_catalog
from splitplace.catalog.variants import Variant, chosen_from, variant
from splitplace.distribution.mirrors import Places, open_places
from splitplace.distribution.pull import PulledSplit, look_up_all, pull_split, read_split
from splitplace.distribution.reference import RemoteReference, parse_remote
from splitplace.distribution.transport import Transport
from splitplace.errors import UsageError, explained
from splitplace.progress import Progress, silent
from splitplace.records.device import Device


@dataclass(frozen=True)
class Pulled:
    """What came of a pull.

    Args:
        catalog: Absolute path of the catalog.
        splits: What was pulled.
        variants: What it was chosen from, for a device.
    """

    catalog: Path
    splits: tuple[PulledSplit, ...]
    variants: tuple[Variant, ...] = ()


@explained()
@checked()
def pull(
    remote: str,
    catalog: str | Path,
    *,
    device: str | Path | Device | None = None,
    deadline_s: float | None = None,
    micro_batch: int = 1,
    ca: str | Path | None = None,
    plain_http: bool = False,
    progress: Progress = silent,
) -> Pulled:
    """Pull splits out of a registry, with their profiles and evaluations; every digest is held against the bytes.

    Args:
        remote: oci://HOST[:PORT]/REPOSITORY (all its splits), with :TAG or @DIGEST one of them.
        catalog: The catalog's folder; created if need be. An earlier split of the same reference is replaced.
        device: DEVICE.toml: of each application, pull the split that suits this device alone: the most accurate that it
            holds whole and that runs in time, by what was measured. From Python, also a device itself.
        deadline_s: Seconds that a micro-batch may take on that device; as long as it likes if not stated.
        micro_batch: Samples that it runs at once.
        ca: PEM file of who vouches for the registry's certificate; else those that the system trusts.
        plain_http: Without TLS; from a registry on this machine that is so anyway, without `ca`.
        progress: Told what is being done.

    Returns:
        What was pulled, each with the digest that pins it; with `device`, all that it was chosen from.

    Raises:
        UsageError: No such place, or the folder holds something else.
        UnknownCallerError: The registry wants somebody who is logged in (`docker login`, `podman login`).
        InfeasibleError: No split of an application suits the device; nothing is pulled.
        NotReadyError: None of them was profiled.
        IntegrityError: What the registry has is not what its digests say, or no split; the catalog holds what it held.
        SplitPlaceError: The registry refuses, or cannot be reached; the same call goes on where this one stood.
    """
    asked, folder = parse_remote(remote), Path(catalog)
    check_catalog(folder)
    if device is None and (deadline_s is not None or micro_batch != 1):
        raise UsageError("--deadline and --micro-batch are about a device: give one by --for DEVICE.toml")
    if micro_batch < 1:
        raise UsageError(f"--micro-batch {micro_batch}: expected at least 1")
    if deadline_s is not None and not 0 < deadline_s < math.inf:
        raise UsageError(f"--deadline {deadline_s}: expected seconds, more than 0")
    unit = device if device is None or isinstance(device, Device) else Device.from_toml(Path(device))
    with connected(asked, ca, plain_http) as places:
        progress(f"looking into {asked}", 0.0)
        found = look_up_all(places, asked)
        variants: tuple[Variant, ...] = ()
        if unit is not None:
            read = [variant(*read_split(places, split), unit, micro_batch) for split in found]
            variants = chosen_from(read, unit, deadline_s)
            found = tuple(split for split, one in zip(found, variants, strict=True) if one.chosen)
        pulled = tuple(pull_split(places, split, LayoutWriter(folder), progress) for split in found)
        return Pulled(folder.absolute(), pulled, variants)


@contextmanager
def connected(asked: RemoteReference, ca: str | Path | None = None, plain_http: bool = False) -> Iterator[Places]:
    """A repository and its mirrors, until the block ends.

    Raises:
        UsageError: `ca` is no PEM file of certificates.
    """
    trusted = None if ca is None else Path(ca)
    places = open_places(asked, lambda host, plain: Transport(host, plain_http=plain_http or plain or None, ca=trusted))
    try:
        yield places
    finally:
        places.close()
