"""What the broker tells a device runtime when it has it launched, and how that proves itself to the others."""

from pathlib import Path

from splitplace.inference.cpu_share import ShareMethod
from splitplace.placement.broker.member import Member
from splitplace.placement.device.config import DeviceConfig
from splitplace.placement.protocol.fields import BROKER, Wire
from splitplace.placement.protocol.keys import Access, Accesses, CurveAccess
from splitplace.placement.protocol.stream import StreamNode


def launch_config(
    member: Member,
    catalog: Path,
    method: ShareMethod,
    accesses: Accesses,
    node: StreamNode,
    relay: str,
    max_frame_bytes: int,
    wire: Wire,
) -> DeviceConfig:
    """Of a device, as it is launched now.

    Args:
        member: The device.
        catalog: Folder of the OCI image layout that it reads fragments from.
        method: How its emulated share is kept.
        accesses: The broker's, and those of devices whose keys are not made on machines of their own.
        node: The broker's.
        relay: Where the broker takes what devices cannot say to each other.
        max_frame_bytes: Of the largest tensor that may pass.
        wire: How images travel.
    """
    return DeviceConfig(
        name=member.name,
        catalog=str(catalog.resolve()),
        threads=member.device.cores,
        cpu_share=member.cpu_share,
        cpu_share_method=method,
        memory_bytes=member.device.memory_bytes,
        access=_access(member, accesses),
        incarnation=member.incarnation,
        broker_endpoint=node.endpoint,
        broker_incarnation=node.incarnation,
        relay=relay,
        max_frame_bytes=max_frame_bytes,
        wire=wire,
    )


def _access(member: Member, accesses: Accesses) -> Access:
    """How it proves itself; the secret of one that made its own is not in it, and others' keys come with `Peers`."""
    if member.key is None:
        return accesses.by_name[member.name]
    broker = accesses.by_name[BROKER]
    assert isinstance(broker, CurveAccess)
    return CurveAccess(public_key=member.key, peers={BROKER: broker.public_key})
