"""What an application's images take on the wire where they travel compressed."""

from splitplace.records.base import Name, NonNegative, PositiveCount, Record


class EncodedInput(Record):
    """How the inputs of an application travel compressed: measured on its own images."""

    codec: Name
    bytes_per_sample: PositiveCount
    """Mean over the images."""
    decode_s: NonNegative
    """Seconds that a core of speed 1 takes to make a sample of it that a fragment reads."""
    source: str = ""
    """What was measured, where."""
