"""What `plan` answers: decisions for tasks, placements for their fragments; indices are rows of the view's tables."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Decide:
    """Task `task` (its id) will run as the split `split`, for good."""

    task: int
    split: int
    tag: int = 0
    """The decider's own mark, whatever it means: it comes back when the task finishes."""
    context: int = 0
    """The SLA setting it was decided in (§4.1.2), 0 or 1 for high and low, which O^MAB averages apart (eq. 3, 4); who
    tells none apart leaves it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Run this fragment of this task (its id) on this device."""

    task: int
    fragment: int
    device: int


@dataclass(frozen=True, slots=True)
class Migrate:
    """Move a placed fragment of this task (its id) to another device, progress kept."""

    task: int
    fragment: int
    device: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Nowhere to run this fragment now: it stays in the wait queue until the next plan."""

    task: int
    fragment: int


@dataclass(frozen=True, slots=True)
class Evict:
    """Unload an idle fragment's weights from a device."""

    fragment: int
    device: int


Action = Decide | Place | Migrate | Wait | Evict
