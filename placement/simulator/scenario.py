"""A scenario: everything a run depends on but the policy and the seed, as one TOML file."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from splitplace.records.base import MAX_AMOUNT, Amount, AmountOrZero, Fraction, Name, Quantity, Record
from splitplace.records.demand import EncodedInput
from splitplace.records.device import Device

MAX_IMAGES = 10**12
"""Of a task: their bytes, and sums of them, stay whole numbers that 64 bits hold."""

Range = tuple[Amount, Amount]
Images = Annotated[int, Field(gt=0, le=MAX_IMAGES)]


class Phase(Record):
    """From this interval on, another rate and mix: how a workload is made non-stationary."""

    start: Annotated[int, Field(ge=0, le=10**18)]
    rate_factor: Amount = 1.0
    mix: dict[Name, AmountOrZero] = Field(default_factory=dict)
    """Weights of the applications; empty for the workload's own."""


class Workload(Record):
    """Who asks for what, when. The load is stated as `load`, `rate` or `utilisation`, or by a recorded `trace`."""

    arrivals: Literal["poisson", "gauss"] = "poisson"
    """Tasks an interval: Poisson(rate), or the published code's int(gauss(rate, 0.5))."""
    spread: bool = False
    """Uniform over the interval (a Poisson process); else all at its start, as in the paper."""
    rate: Amount | None = None
    """λ, mean tasks an interval."""
    load: Amount | None = None
    """Share of what the best policy could sustain on this fleet (`capacity.py`); λ is solved from it."""
    utilisation: Amount | None = None
    """ρ of chains kept apart: load offered, were every task run as its layer split with each fragment on a device of
    its own, over capacity, of cores or links, whichever is scarcer; λ is solved from it. A policy that gathers chains
    keeps the fleet far less busy."""
    trace: str | None = None
    """A CSV or Parquet file with the columns arrival_s, application, n, deadline_s."""
    mix: dict[Name, AmountOrZero] = Field(default_factory=dict)
    """Weights of the applications; those the demand lacks are left out, and empty means uniform over the demand's."""
    batch: tuple[Images, Images] = (16_000, 64_000)
    """Images a task, uniform, ends included."""
    deadline_intervals: dict[Name, tuple[Quantity, Quantity]] = Field(default_factory=dict)
    """Deadlines as whole intervals, uniform, ends included, by application."""
    deadline_relative: Range | None = None
    """Deadlines as U(low, high) x the application's unloaded layer response for the batch on the median device."""
    deadline_straddle: Range | None = None
    """Deadlines as U(low x fastest, high x slowest): the times that the application's fastest and slowest split take
    alone for the batch, gathered on the median device where that is quicker and they fit, else apart."""
    phases: tuple[Phase, ...] = ()

    @model_validator(mode="after")
    def _one_load_one_deadline(self) -> Self:
        if sum(value is not None for value in (self.rate, self.load, self.utilisation, self.trace)) != 1:
            raise ValueError("state exactly one of rate, load, utilisation and trace")
        relative = [value for value in (self.deadline_relative, self.deadline_straddle) if value is not None]
        if self.trace is None and len(relative) + bool(self.deadline_intervals) != 1:
            raise ValueError("state exactly one of deadline_intervals, deadline_relative and deadline_straddle")
        ranges = [self.batch, *relative, *self.deadline_intervals.values()]
        if any(low > high for low, high in ranges):
            raise ValueError("every range must be [low, high] with low <= high")
        starts = [phase.start for phase in self.phases]
        if starts != sorted(set(starts)):
            raise ValueError(f"phases must start one after another, got {starts}")
        return self


class DeviceEvent(Record):
    """What befalls a device.

    `leave`: takes no more work, finishes what it has. `fail`: loses what it has. `join`: is (back) there. `slow`:
    computes at `speed` from now on, and keeps what it has; that it goes and comes back makes it no quicker.
    """

    time_s: AmountOrZero
    device: Name
    kind: Literal["join", "leave", "fail", "slow"]
    speed: AmountOrZero = 1.0
    """Of its own, which is 1; 0: it stands still. Of `slow` alone."""

    @model_validator(mode="after")
    def _speed_of_slow(self) -> Self:
        if self.kind != "slow" and self.speed != 1.0:
            raise ValueError(f"speed {self.speed:g} beside {self.kind}: state it in an event of its own, of kind slow")
        return self


class NetworkShift(Record):
    """From this moment on, every device's link is these multiples of its own; transfers under way follow."""

    time_s: AmountOrZero
    bandwidth_factor: Amount = 1.0
    rtt_factor: Amount = 1.0


class Failures(Record):
    """Every device fails and is repaired at random, with exponential times."""

    mtbf_s: Amount
    mttr_s: Amount


class Swap(Record):
    """Memory beyond the device's own, on its disk (off unless stated: the limit is hard)."""

    fraction: Amount
    """Swap space over memory."""
    slowdown: Annotated[float, Field(ge=1, le=MAX_AMOUNT)]
    """How many times slower swapped memory is: a device that uses u of m bytes runs at 1 / (1 + (s-1) (u-m)/u)."""


class Constrain(Record):
    """Paper A.3: half the cores, the network or the memory of every device."""

    cores: Amount = 1.0
    network: Amount = 1.0
    memory: Amount = 1.0


class CpuLimit(Record):
    """A CPU quota, as a container's limit is kept by the kernel (CFS bandwidth control)."""

    share: Annotated[float, Field(gt=0, lt=1)]
    """Of the device's cores, in the long run: what its core_speed and profiles have been measured at."""
    period_s: Amount
    """The quota is renewed so often; the kernel's default is 0.1."""

    @property
    def gain_s(self) -> float:
        """Seconds that work is done sooner after a rest, in the mean over where in a period it begins."""
        return (1 - self.share) * self.period_s

    @property
    def spare(self) -> float:
        """Of any work's seconds, those that are gained at most."""
        return 1 - self.share


class Mistakes(Record):
    """What policies are told that is not so (`hearsay.py`); links, memory and the fleet they are told as they are."""

    profiles: Annotated[float, Field(ge=1, le=MAX_AMOUNT)] = 1.0
    """So many times too long or too short are all service times on some devices, each by the toss of a coin."""
    devices: Fraction = 1.0
    """Share of the devices of which that is so, drawn."""
    evaluations: Fraction = 0.0
    """So much too good or too bad is each split's accuracy, by the toss of a coin; between 0 and 1 it stays."""


class Scenario(Record):
    """See the fields; a file states what differs from these defaults."""

    name: Name
    about: str = ""
    fleet: str = "azure50"
    """A shipped fleet, `NAME:N` for N devices in its proportions, or a file."""
    intervals: Annotated[int, Field(gt=0, le=1_000_000)] = 100
    interval_s: Amount = 300.0
    tick: Literal["event", "interval"] = "event"
    """`event`: planned and seen as it happens. `interval`: only at interval starts, as in the published code."""
    precedence: Literal["strict", "pipelined"] = "strict"
    """`strict`: a fragment starts when those before it have finished the task. `pipelined`: by micro-batch."""
    pipeline_grain: Quantity = 1
    """Micro-batches handed on together, if pipelined."""
    place: Literal["task", "ready"] = "task"
    """Devices, and their memory, for all fragments of a task at once, or for each when its inputs exist."""
    retry: Literal["freed", "interval"] = "freed"
    """When what waits for a device is asked for again: as soon as memory it may fit comes free, or (the paper) at the
    next interval."""
    inputs: Literal["broadcast", "ring"] = "broadcast"
    """§3.1: the broker sends every root its own copy, or each root hands the input to the next."""
    wire: Literal["raw", "encoded"] = "raw"
    """How inputs travel: as fragments read them, or compressed, and then decoded by every fragment that reads them."""
    encoded: dict[Name, EncodedInput] = Field(default_factory=dict)
    """By application, what `wire = "encoded"` means; in place of what the demand has."""
    discipline: Literal["sharing", "fifo"] = "sharing"
    """How a device serves its fragments: all at equal shares, or in order of arrival, one after another."""
    weights: Literal["container", "shared", "warm"] = "container"
    """Each container loads and claims its own copy (the paper); containers of a fragment share one on a device; or it
    stays loaded until evicted."""
    startup_s: AmountOrZero = 0.0
    """Image distribution before the first placement (the paper: 30 s). A device that fails or leaves meanwhile is not
    there when it ends, unless it joins."""
    parallelism: Literal["intra", "inter"] = "intra"
    """How a device computes. `intra`: one micro-batch at a time on all its cores, fragments in turns, as a live device
    does (onnxruntime's intra-op threads). `inter`: a fragment a core, as many at once as there are cores."""
    cpu_limits: dict[Name, CpuLimit] = Field(default_factory=dict)
    """By kind of device: those that are no slower machines, but have a quota of the time of a faster one."""
    handover_s: AmountOrZero = 0.0
    """Core-seconds, on a core of speed 1, that a device takes to receive a micro-batch, account for it and send it on,
    beside running it: profiles have the run alone."""
    handover_s_per_byte: AmountOrZero = 0.0
    """The same a byte that it receives from another device or the broker, or sends there."""
    scheduling_delay_s: AmountOrZero = 0.0
    """Between a plan and its effect. Measured decision time is a timing, and never enters simulated time."""
    memory_claim_bytes: Quantity | None = None
    """What every container claims, in place of its demand (the published code: 5000 MB)."""
    swap: Swap | None = None
    reference_mips: Amount | None = None
    """Recomputes the core_speed of devices labelled with `mips`."""
    broker_bytes_per_s: Amount | None = 125e6
    """The broker's card, 1 Gb/s: inputs leave over it, results come in over it. None (of no TOML file): unlimited."""
    constrain: Constrain = Constrain()
    workload: Workload
    events: tuple[DeviceEvent, ...] = ()
    failures: Failures | None = None
    mobility: str | None = None
    """A trace of rtt and bandwidth per device and second: a shipped name or a Parquet file."""
    mistakes: Mistakes = Mistakes()
    network: tuple[NetworkShift, ...] = ()
    """Changes of all links at once; each counts from the fleet's own links, not from the one before."""

    def servers(self, device: Device) -> int:
        """How many fragments a device computes at once."""
        return 1 if self.parallelism == "intra" else device.cores

    def threads(self, device: Device) -> int:
        """How many of its cores compute one of them."""
        return device.cores // self.servers(device)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.tick == "interval" and self.precedence == "pipelined":
            raise ValueError("tick = 'interval' sees whole fragments only: it needs precedence = 'strict'")
        if self.place == "ready" and self.precedence == "pipelined":
            raise ValueError("place = 'ready' starts a fragment after those before it: it needs precedence = 'strict'")
        if self.network and self.mobility:
            raise ValueError("state mobility or network: both set the links")
        return self
