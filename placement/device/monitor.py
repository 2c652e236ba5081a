"""The device's side of the paper's Resource Monitor (§3): what the process and each fragment use, as measured here."""

import time

from splitplace.inference import memory
from splitplace.placement.device.containers import ContainerQueue
from splitplace.placement.device.fragments import LoadedFragments, disk_read_bytes
from splitplace.placement.protocol import messages
from splitplace.placement.protocol.stream import StreamNode


def pong(
    sequence: int, node: StreamNode, fragments: LoadedFragments, containers: ContainerQueue, idle: bool
) -> messages.Pong:
    """The answer to a ping; opens one file of /proc, if it can."""
    return messages.Pong(
        sequence=sequence,
        rss_bytes=memory.rss_bytes(),
        cpu_s=time.process_time(),
        sent_bytes=node.sent_bytes,
        received_bytes=node.received_bytes,
        disk_read_bytes=disk_read_bytes(),
        held_bytes=containers.held_bytes,
        containers=len(containers),
        idle=idle,
        fragments=fragments.usage(),
    )
