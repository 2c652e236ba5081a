"""What a live fleet is doing at one moment: what the broker says of itself, and `fleet status` prints."""

from typing import Annotated, Literal

from pydantic import Field

from splitplace.records.base import Count, Fraction, Name, NonNegative, Positive, PositiveCount, Record
from splitplace.records.fragment import FragmentSource


class ResourceUse(Record):
    """What a device, or a fragment on it, has used over the last two seconds, as the device measured it."""

    cpu: Fraction
    """Share of the device's cores; where its speed is emulated, of its share of this machine's."""
    memory_bytes: Count
    """Resident, of a device its runtime's own included; of a fragment, what its loading added."""
    sent_bytes_per_s: NonNegative
    """Of a device all messages, those that were sent again included; of a fragment its tensors to other machines."""
    received_bytes_per_s: NonNegative
    disk_read_bytes_per_s: NonNegative | None
    """From storage, what was cached left out; none where the system does not tell."""
    decoding: Fraction = 0.0
    """Share of the time that its runs spent on making pixels of images that came as PNG."""


class DeviceStatus(Record):
    """One device of a live fleet."""

    name: Name
    up: bool
    suspected: bool
    """It does not answer pings, the third by now, or (after five) nothing new is given to it: it is silent, has failed
    too often, or gets through to others by no way."""
    machine: Literal["here", "silent", "absent"] = "here"
    """Whether what it runs on is there; of an engine whose machines join, silent since three seconds or never seen."""
    labels: dict[str, str] = Field(default_factory=dict)
    core_speed: Positive = 1.0
    """As the probe found it, when it came up; as stated, until then."""
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
    through_broker: tuple[Name, ...] = ()
    """Devices that what it sends does not reach directly: it goes through the broker, over the broker's card."""
    loaded_from: dict[FragmentSource, Count] = Field(default_factory=dict)
    """How many fragments it has loaded since the broker began, by where it had their files from."""
    registry_problem: str = ""
    """Why it had one from the broker, and not from the registry; nothing once it has had one from there."""
    measured: ResourceUse | None = None
    """None until it has answered, and when it has not lately."""
    power_w: NonNegative | None = None
    """An estimate: its power curve at the CPU that was measured; none without a measurement."""
    energy_j: NonNegative = 0.0
    """The same, summed since the broker began."""
    measured_fragments: Annotated[dict[str, ResourceUse], Field(default_factory=dict)]
    """By the names in `fragments`; of several that are one file, under the first."""


class PolicyEstimate(Record):
    """A number that the fleet's policy has learned."""

    name: str
    """Of what, in the policy's words; the same from moment to moment."""
    unit: str
    """As `reward` or `s`; what is of one unit may be drawn in one picture."""
    value: float | None
    """None while nothing was seen of it."""
    count: Count | None = None
    """Of how many decisions, where the policy counts them."""


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
    engine: str = "local"
    """What launches its devices: `local`, `joined` or `ray`."""
    interval_s: Positive | None = None
    """It is asked once an interval of so many seconds; at once if none is stated."""
    inputs: Literal["broadcast", "ring"] = "broadcast"
    """A task's input goes from the broker to each fragment that takes it, or to the first, which passes it on."""
    wire: Literal["raw", "encoded"] = "raw"
    """A task's images travel as their pixels, or each as a PNG where that can be."""
    uptime_s: NonNegative
    accepting: bool
    """Whether new tasks are taken."""
    devices: tuple[DeviceStatus, ...]
    tasks: TaskTally
    estimates: tuple[PolicyEstimate, ...] = ()
    """What the policy has learned, if it tells: the bandit its rewards and the response of layer splits."""
