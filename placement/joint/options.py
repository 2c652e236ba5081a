"""What a plan of `joint` consists of: for each task an option that is carried out, or a split to wait with."""

from dataclasses import dataclass, field

from splitplace.placement.joint.jobs import DeviceJobs, Job
from splitplace.placement.joint.residual import Expected
from splitplace.placement.joint.shapes import Shape
from splitplace.placement.room import Room
from splitplace.records.action import Action


@dataclass
class JointPlan:
    """A plan for every task of a view of which nothing is placed yet, by row of its tasks."""

    room: Room
    jobs: DeviceJobs
    split: dict[int, int] = field(default_factory=dict)
    actions: dict[int, list[Action]] = field(default_factory=dict)
    waits: set[int] = field(default_factory=set)
    expected: dict[int, Expected] = field(default_factory=dict)
    """By task id, of those that are placed."""


@dataclass(frozen=True)
class Option:
    """A split on devices."""

    value: float
    took_s: float
    """As profiles and links have it."""
    shape: Shape
    device: dict[int, int]
    """Of each fragment."""
    jobs: tuple[tuple[int, Job], ...]
    """By device."""


@dataclass(frozen=True)
class Later:
    """A split to wait with for the next plan."""

    value: float
    split: int
    use_s: float
    """Of the scarcest there is."""
