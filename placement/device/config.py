"""What a device runtime is told when it is launched."""

from typing import Annotated

from pydantic import Field, StringConstraints

from splitplace.inference.cpu_share import ShareMethod
from splitplace.placement.device.joining import GateAddress
from splitplace.placement.protocol.fields import MAX_FRAME_BYTES, Endpoint, Incarnation, Wire
from splitplace.placement.protocol.keys import Access
from splitplace.records.base import Name, PositiveCount, Record


class DeviceConfig(Record):
    """Everything a device runtime needs to start; holds a secret, so it travels on standard input alone."""

    name: Name
    catalog: str
    """Folder of the OCI image layout it reads fragments from."""
    gate: GateAddress | None = None
    """Who has the fragments that are not there; None where all are."""
    registry: Annotated[str, StringConstraints(pattern=r"^oci://[^\s@]{1,520}$")] | None = None
    """Repository that has them, too, `oci://HOST/REPOSITORY`: asked before the gate is."""
    kept: str | None = None
    """Folder where those are kept; the catalog's if none is stated."""
    threads: PositiveCount
    cpu_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    cpu_share_method: ShareMethod = "auto"
    memory_bytes: PositiveCount | None = None
    """What a container of it is limited to; a process is not."""
    access: Access
    """How it proves itself to the broker and to every other device of the fleet, and they to it."""
    incarnation: Incarnation
    """Drawn for this launch: what another process says in its name, the fleet does not take."""
    broker_endpoint: Endpoint
    broker_incarnation: Incarnation
    relay: Endpoint | None = None
    """Where the broker takes what another device is not reached with directly; None, and it is not reached."""
    wire: Wire = "raw"
    """How images come; a device that cannot decode them ends at once, and says so."""
    max_frame_bytes: PositiveCount = MAX_FRAME_BYTES
    max_held_bytes: PositiveCount = 2**31
    """Of input tensors that wait to be run; what goes beyond fails its job, by name."""
