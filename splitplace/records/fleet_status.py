"""What a live fleet is doing at one moment: what the broker says of itself, and `fleet status` prints."""

from splitplace.records.base import Count, Fraction, Name, NonNegative, Positive, PositiveCount, Record


class DeviceStatus(Record):
    """One device of a live fleet."""

    name: Name
    up: bool
    suspected: bool
    """It has been silent, or has failed, so often that nothing new is given to it."""
    pid: PositiveCount | None = None
    """Of its process, while it is up and on this machine."""
    cpu_share: Positive
    """Of a core; below 1.0 its speed is emulated."""
    busy_share: Fraction
    """Share of the last moments that it was running something."""
    memory_bytes: Count
    """What fragments may use."""
    memory_used_bytes: Count
    """What fragments on it use, by the broker's account."""
    fragments: tuple[str, ...]
    """Loaded on it, as SPLIT/FRAGMENT."""
    micro_batches_run: Count


class TaskTally(Record):
    """Tasks by where they are. What has ended is counted since the fleet was started."""

    waiting: Count
    """For a decision or a place."""
    running: Count
    """On devices."""
    answered: Count
    failed: Count
    cancelled: Count


class FleetStatus(Record):
    """A live fleet at one moment."""

    policy: str
    interval_s: Positive | None = None
    """It is asked once an interval of so many seconds; at once if none is stated."""
    uptime_s: NonNegative
    accepting: bool
    """Whether new tasks are taken."""
    devices: tuple[DeviceStatus, ...]
    tasks: TaskTally
