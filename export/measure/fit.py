"""How well a profile tells the cost of batch sizes it did not measure.

Downstream, cost over batch size is the piecewise-linear curve through the measured sizes (`Profile.latency_s`,
`Profile.fragment_bytes`). Its error is taken where it can be: leave one measured size out, predict it from the others.
"""

from dataclasses import dataclass

from splitplace.records.profile import Profile


@dataclass(frozen=True)
class HeldOut:
    """One batch size, predicted without it: relative errors, signed, of the measured value."""

    batch_size: int
    latency_error: float
    memory_error: float


def held_out(profile: Profile) -> tuple[HeldOut, ...]:
    """The error at each inner measured size; none at the ends, where leaving one out would mean extrapolating.

    Args:
        profile: Of a fragment.

    Returns:
        By batch size, the relative errors of latency (seconds) and memory (bytes).
    """
    found = []
    for row, memory in list(zip(profile.latency, profile.memory, strict=True))[1:-1]:
        without = profile.model_copy(
            update={
                "latency": tuple(other for other in profile.latency if other is not row),
                "memory": tuple(other for other in profile.memory if other is not memory),
            }
        )
        found.append(
            HeldOut(
                row.batch_size,
                without.latency_s(row.batch_size) / row.median_s - 1,
                without.fragment_bytes(row.batch_size) / max(memory.fragment_bytes, 1) - 1,
            )
        )
    return tuple(found)
