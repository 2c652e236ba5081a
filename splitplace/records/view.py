"""What a policy sees at one moment: devices, links, splits, fragments, tasks and containers as arrays.

Shape letters: D devices, S splits, F fragments (of all splits, one after another), T tasks that are not finished,
C containers (a fragment of a decided task), E tasks that finished since the last look.
Indices point into the tables of the same view; -1 stands for none.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from splitplace.records.split import Strategy
from splitplace.records.task import micro_batches

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

NONE = -1


@dataclass(frozen=True, eq=False)
class Devices:
    """The devices as they are now."""

    names: tuple[str, ...]
    up_D: Bools
    """Whether the device answers; nothing may be placed on one that does not."""
    cores_D: Ints
    servers_D: Ints
    """How many fragments the device computes at once, each as quick as if it were alone: one on all cores (a live
    device), or one a core. These are what work is shared between; the cores behind one are in a fragment's latency."""
    core_speed_D: Floats
    memory_bytes_D: Floats
    """What fragments may use: the device's memory less the runtime's base."""
    memory_used_bytes_D: Floats
    cpu_D: Floats
    """Share of the cores busy since the last look, 0..1."""
    net_D: Floats
    """Share of the link busy since the last look, 0..1."""
    disk_D: Floats
    """Share of the disk's bytes used, 0..1."""
    backlog_s_D: Floats
    """Seconds of work placed and not yet done, as one server of this device would take them."""
    power_w_D11: Floats
    energy_j_D: Floats
    """Joules drawn since the environment started; never falls. A live fleet estimates them from its power curves."""
    resident_FD: Bools
    """Whether the fragment's weights are loaded already, and so cost no memory again."""
    idle_FD: Bools
    """Which of them nobody needs now: they may be unloaded."""
    shares_fragments: bool = False
    """Whether tasks share a loaded fragment (the live fleet), or each brings a container of its own (the paper)."""

    @property
    def memory_free_bytes_D(self) -> Floats:  # noqa: N802 - shape suffix
        """Memory a new fragment may take."""
        return self.memory_bytes_D - self.memory_used_bytes_D


@dataclass(frozen=True, eq=False)
class Utilisation:
    """What the Resource Monitor measured: the paper's S_t, of workers and of the containers on them.

    Shares of what a device has: of its cores, of its memory with the runtime's own, of its link in the busier
    direction, of its disk's speed. All from 0 to 1, but memory, which may be more than stated. A live fleet measures
    over the last two seconds; a simulator knows the moment. The rows U are pairs of a fragment and a device, each with
    all containers of the fragment there together: they share a session.
    """

    cpu_D: Floats
    memory_D: Floats
    net_D: Floats
    disk_D: Floats
    fragment_U: Ints
    """Row of `Fragments`; of several that are one file, the first."""
    device_U: Ints
    cpu_U: Floats
    memory_U: Floats
    net_U: Floats
    disk_U: Floats

    @staticmethod
    def none(devices: int) -> "Utilisation":
        """Nothing is used."""
        zeros, ints, floats = np.zeros(devices), np.zeros(0, np.int64), np.zeros(0)
        return Utilisation(zeros, zeros, zeros, zeros, ints, ints, floats, floats, floats, floats)


@dataclass(frozen=True, eq=False)
class Links:
    """Each device's own link; a transfer between two is bounded by the slower side."""

    up_bytes_per_s_D: Floats
    down_bytes_per_s_D: Floats
    rtt_s_D: Floats
    broker_bytes_per_s: float = math.inf
    """Of the broker's card, each way: all inputs leave over it, and share it. Infinite where nobody has stated it."""
    relayed_DD: Bools | None = None
    """Whether what a device (first) sends to another one does not get there directly: it goes through the broker, over
    its card. None where all do."""


@dataclass(frozen=True, eq=False)
class Splits:
    """The splits on offer; row s owns the fragments first_S[s] .. first_S[s] + count_S[s] - 1."""

    references: tuple[str, ...]
    application_S: Ints
    strategies: tuple[Strategy, ...]
    first_S: Ints
    count_S: Ints
    top1_S: Floats
    """Evaluated accuracy; NaN where there is no evaluation."""

    def fragments(self, split: int) -> range:
        """The fragment rows of a split."""
        first = int(self.first_S[split])
        return range(first, first + int(self.count_S[split]))


@dataclass(frozen=True, eq=False)
class Fragments:
    """Static facts of the fragments of all splits."""

    split_F: Ints
    micro_batch_F: Ints
    latency_s_FD: Floats
    """Seconds of one micro-batch of fragment f on one server of device d."""
    memory_bytes_FD: Floats
    """What fragment f adds to device d at its micro-batch."""
    weight_bytes_F: Ints
    edge_src_X: Ints
    """Edges of all splits, one after another (X of them): the fragment row that sends, or -1 for the task's input."""
    edge_dst_X: Ints
    edge_bytes_X: Ints
    """Bytes a sample."""

    def service_s(self, fragment: int, n: int) -> Floats:
        """Seconds fragment f takes for n samples on each device: ceil(n / micro_batch) micro-batches, shape D."""
        batches = micro_batches(n, int(self.micro_batch_F[fragment]))
        result: Floats = batches * self.latency_s_FD[fragment]
        return result


@dataclass(frozen=True, eq=False)
class Tasks:
    """Tasks that have arrived and are not finished."""

    id_T: Ints
    application_T: Ints
    n_T: Ints
    deadline_s_T: Floats
    """Relative to arrival."""
    age_s_T: Floats
    """Since arrival."""
    split_T: Ints
    """The decision, a row of `Splits`; -1 while undecided."""

    @property
    def undecided(self) -> Ints:
        """The rows that wait for a decision."""
        rows: Ints = np.flatnonzero(self.split_T == NONE)
        return rows


@dataclass(frozen=True, eq=False)
class Containers:
    """The fragments of decided tasks: which run where, and which wait for a place."""

    task_C: Ints
    """Row of `Tasks`."""
    fragment_C: Ints
    """Row of `Fragments`."""
    device_C: Ints
    """-1 while in the wait queue."""
    remaining_C: Floats
    """Share of the fragment's work still to do, 1..0."""
    coming_bytes_C: Floats
    """What its device has still to receive of its inputs; 0 while it has no device. A live broker hears of
    micro-batches when they have run, so there it is up to a window of them more."""
    ready_C: Bools
    """Whether everything it needs has been computed."""


@dataclass(frozen=True, eq=False)
class Finished:
    """The tasks that left since the last look (the paper's E_t), whatever their outcome."""

    id_E: Ints
    application_E: Ints
    split_E: Ints
    deadline_s_E: Floats
    response_s_E: Floats
    """Arrival to result, wait included."""
    accuracy_E: Floats
    """p_i: the share of the task's images answered right, measured or by the split's evaluation."""
    tag_E: Ints
    """The decider's own mark, as its `Decide` gave it."""
    context_E: Ints
    """0 or 1, as its `Decide` gave it."""

    @staticmethod
    def none() -> "Finished":
        """Nothing finished."""
        ints, floats = np.zeros(0, np.int64), np.zeros(0)
        return Finished(ints, ints, ints, floats, floats, floats, ints, ints)

    def __len__(self) -> int:
        return len(self.id_E)


@dataclass(frozen=True, eq=False)
class Foresight:
    """The luck of the tasks in view, drawn before the run: what no real policy may see (a bound, not a rival)."""

    accuracy_TS: Floats
    """p_i that the task would get from each split; NaN for other applications' splits."""


@dataclass(frozen=True, eq=False)
class View:
    """One moment of an environment, simulated or live."""

    now_s: float
    interval_s: float
    """Length of a scheduling interval I_t, over which the objectives of eq. 10 are averaged."""
    longest_s: float
    """The largest deadline a task may have: what response times are normalised by (eq. 10)."""
    applications: tuple[str, ...]
    devices: Devices
    links: Links
    splits: Splits
    fragments: Fragments
    tasks: Tasks
    containers: Containers
    finished: Finished
    measure: Callable[[], Utilisation]
    """What `utilisation` asks, once. Of a simulator's view only while it is the latest one: what it tells of has no
    copy."""
    grain: float = math.inf
    """Micro-batches that a fragment hands on together; infinite if it hands on the whole task (strict precedence)."""
    foresight: Foresight | None = None
    """What only a simulator can know, and only for a policy that says it is clairvoyant."""

    def turns(self, fragment: int, n: Ints) -> Floats:
        """How often a fragment hands something on of tasks of n samples each: the next starts after the first time."""
        batches = micro_batches(n, int(self.fragments.micro_batch_F[fragment]))
        result: Floats = np.maximum(np.ceil(batches / self.grain), 1.0)
        return result

    @cached_property
    def utilisation(self) -> Utilisation:
        """What the Resource Monitor measured; looked up when it is first asked for."""
        return self.measure()

    @cached_property
    def offers(self) -> dict[tuple[int, Strategy], int]:
        """The split row of each (application, strategy) on offer; the first where there are several variants."""
        rows: dict[tuple[int, Strategy], int] = {}
        for row, strategy in enumerate(self.splits.strategies):
            rows.setdefault((int(self.splits.application_S[row]), strategy), row)
        return rows
