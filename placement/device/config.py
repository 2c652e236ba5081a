"""What a device runtime is told when it is launched."""

from typing import Annotated

from pydantic import Field

from splitplace.inference.cpu_share import ShareMethod
from splitplace.placement.protocol.messages import MAX_FRAME_BYTES, Endpoint, Key
from splitplace.records.base import Name, PositiveCount, Record


class DeviceConfig(Record):
    """Everything a device runtime needs to start; holds a secret, so it travels on standard input alone."""

    name: Name
    catalog: str
    """Folder of the OCI image layout it reads fragments from."""
    threads: PositiveCount
    cpu_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    cpu_share_method: ShareMethod = "auto"
    public_key: Key
    secret_key: Annotated[Key, Field(repr=False)]
    broker_endpoint: Endpoint
    broker_key: Key
    peers: dict[Name, Key]
    """Public key of every other device of the fleet."""
    max_frame_bytes: PositiveCount = MAX_FRAME_BYTES
