"""A task: a batch of inputs of one application, with a deadline."""

from splitplace.records.base import Count, Name, NonNegative, Positive, PositiveCount, Record


class Task(Record):
    """What a user asks for. `deadline_s` counts from `arrival_s`, on the environment's monotonic clock."""

    id: Count
    application: Name
    n: PositiveCount
    deadline_s: Positive
    arrival_s: NonNegative
