"""What passes between broker and devices: a strict JSON header, then one raw frame a tensor. Nothing is unpickled.

What they are made of is in `fields.py`; `codec.py` makes bytes of them and back.
"""

from typing import Annotated, Literal

from pydantic import Field

from splitplace.placement.protocol.fields import (
    MAX_FRAGMENTS,
    MAX_STREAMS,
    MAX_TENSORS,
    Endpoint,
    FragmentUsage,
    Frame,
    Index,
    Inlet,
    Outlet,
    Peer,
    PeerName,
    PositiveIndex,
    PositiveWhole,
    Precedence,
    Seconds,
    Spans,
    Target,
    Text,
    Whole,
)
from splitplace.records.base import Digest, Name, Positive, Record
from splitplace.records.fragment import Fragment, FragmentSource
from splitplace.records.profile import CpuShareMethod

PROTOCOL = 14
"""The version of these messages, raised with every change of them. A hello that states none is older than all."""


class Hello(Record):
    """Device to broker, first: I am up."""

    type: Literal["hello"] = "hello"
    protocol: Annotated[int, Field(ge=PROTOCOL, le=PROTOCOL)]
    """Required, so that no hello passes for this version by leaving it out."""
    endpoint: Endpoint
    pid: PositiveWhole
    cpu_share: Positive
    cpu_share_method: CpuShareMethod
    rss_bytes: Whole


class ProbeOrder(Record):
    """Broker to device: how fast are you? Asked of one device at a time, for they may share a machine."""

    type: Literal["probe"] = "probe"
    trim: Positive = 1.0
    """What the device multiplies its emulated share with, from now on."""


class Probed(Record):
    """Device to broker: the fixed probe's answer; 1.0 is the reference core."""

    type: Literal["probed"] = "probed"
    core_speed: Annotated[float, Field(gt=0, lt=1e6)]


class Peers(Record):
    """Broker to device: the other devices of the fleet."""

    type: Literal["peers"] = "peers"
    peers: Annotated[tuple[Peer, ...], Field(max_length=4096)]


class Gone(Record):
    """Broker to device: this peer is lost. What waits for it is dropped, until `Peers` names it again.

    A key that a device was told with `Peers` opens nothing from then on.
    """

    type: Literal["gone"] = "gone"
    peer: Name


class Reach(Record):
    """Broker to device: say something to this peer. If it does not arrive, `Unreachable` is the answer."""

    type: Literal["reach"] = "reach"
    peer: Name


class Nudge(Record):
    """Device to device: nothing, but that it arrives."""

    type: Literal["nudge"] = "nudge"


class Ping(Record):
    """Broker to device: are you there?"""

    type: Literal["ping"] = "ping"
    sequence: Whole


class Pong(Record):
    """Device to broker: yes, and this is what I hold and have used. All is measured; sums since the process started."""

    type: Literal["pong"] = "pong"
    sequence: Whole
    """Of the ping that it answers."""
    rss_bytes: Whole
    """Resident memory of the process, now."""
    cpu_s: Seconds
    """CPU seconds of the process, user and system."""
    sent_bytes: Whole
    """Of messages that were handed to the network, those that were sent again counted again."""
    received_bytes: Whole
    """Of messages that came in, duplicates included."""
    disk_read_bytes: Whole | None = None
    """Fetched from storage: what the page cache had is not among it. None where the system does not tell."""
    held_bytes: Whole
    """Of inputs that wait to be run, now."""
    containers: Whole
    """Fragments of attempts that it has not finished, now."""
    idle: bool = False
    """Whether it has nothing to compute, now: what it is to run has not come yet, or is done."""
    fragments: Annotated[tuple[FragmentUsage, ...], Field(max_length=MAX_FRAGMENTS)]

    @property
    def decode_s(self) -> float:
        """Of all of them."""
        return sum(fragment.decode_s for fragment in self.fragments)


class Stop(Record):
    """Broker to device: end."""

    type: Literal["stop"] = "stop"


class Load(Record):
    """Broker to device: open this fragment's ONNX file, found by its digest."""

    type: Literal["load"] = "load"
    fragment: Fragment


class Loaded(Record):
    """Device to broker: the fragment is resident."""

    type: Literal["loaded"] = "loaded"
    digest: Digest
    start_s: Seconds
    end_s: Seconds
    rss_bytes: Whole
    source: FragmentSource = "here"
    """Where its file was had from."""
    problem: Text = ""
    """Why not from the registry, where there is one that was to be asked first."""


class LoadFailed(Record):
    """Device to broker: the fragment's bytes are missing, damaged, or no model."""

    type: Literal["load_failed"] = "load_failed"
    digest: Digest
    error: Text
    of_file: bool = False
    """Whether its file is at fault, wherever that is read: then the device is not."""


class Unload(Record):
    """Broker to device: forget this fragment."""

    type: Literal["unload"] = "unload"
    digest: Digest


class Assign(Record):
    """Broker to device: you will run this fragment of this job; what comes in, and where to send what comes out."""

    type: Literal["assign"] = "assign"
    job: Whole
    fragment: Name
    digest: Digest
    n: PositiveIndex
    micro_batch: PositiveIndex
    precedence: Precedence
    window: PositiveIndex
    """Micro-batches a sender may have under way to one fragment before it has to wait for credits."""
    inlets: Annotated[tuple[Inlet, ...], Field(min_length=1, max_length=MAX_STREAMS)]
    senders: Annotated[dict[Name, PeerName], Field(max_length=MAX_STREAMS)]
    """The device of each source, for the credits that go back."""
    outlets: Annotated[tuple[Outlet, ...], Field(min_length=1, max_length=MAX_STREAMS)]
    micro_batches: Spans | None = None
    """Those of the task's micro-batches to run, in order; all where none is given. Indices, samples and credits stay
    those of the whole task: what was answered before is left out, nothing is numbered anew."""
    onward: Outlet | None = None
    """Who has the task's input from this fragment's device, as it comes in (paper §3.1: in a ring)."""


class Assigned(Record):
    """Device to broker: ready for what other devices send to this fragment of the job.

    What the broker sends comes behind its order: of a fragment to which no other device sends, nothing is said.
    """

    type: Literal["assigned"] = "assigned"
    job: Whole
    fragment: Name


class Cancel(Record):
    """Broker to device: drop everything of this job."""

    type: Literal["cancel"] = "cancel"
    job: Whole


class Tensors(Record):
    """What one source gives to one fragment for one micro-batch; a tensor frame follows for each entry."""

    type: Literal["tensors"] = "tensors"
    job: Whole
    src: Name
    dst: Target
    micro_batch: Index
    sent_s: Seconds
    frames: Annotated[tuple[Frame, ...], Field(min_length=1, max_length=MAX_TENSORS)]


class Credit(Record):
    """Receiver to sender: `count` more micro-batches of this stream may come."""

    type: Literal["credit"] = "credit"
    job: Whole
    src: Name
    dst: Target
    count: PositiveIndex


class Ran(Record):
    """Device to broker: one micro-batch of one fragment is done. Times are the machine's monotonic clock."""

    type: Literal["ran"] = "ran"
    job: Whole
    fragment: Name
    micro_batch: Index
    samples: PositiveIndex
    sent_s: Seconds
    """When the first of its inputs was sent."""
    ready_s: Seconds
    """When the last of its inputs had arrived."""
    start_s: Seconds
    end_s: Seconds


class Failed(Record):
    """Device to broker: this job cannot go on here."""

    type: Literal["failed"] = "failed"
    job: Whole
    fragment: Target
    error: Text


class Unreachable(Record):
    """Device to broker: what I sent to this peer stays unacknowledged, through the broker as well as directly."""

    type: Literal["unreachable"] = "unreachable"
    peer: PeerName


class Reachable(Record):
    """Device to broker: this peer acknowledges again, or is another process now."""

    type: Literal["reachable"] = "reachable"
    peer: PeerName


class Rerouted(Record):
    """Device to broker: what I send to this peer goes through the broker from now on, or directly again."""

    type: Literal["rerouted"] = "rerouted"
    peer: PeerName
    relayed: bool


class Refused(Record):
    """Device to broker: a message came that is none of ours; it was dropped."""

    type: Literal["refused"] = "refused"
    peer: PeerName
    error: Text


Message = (
    Hello | ProbeOrder | Probed | Peers | Gone | Reach | Nudge | Ping | Pong | Stop | Load | Loaded | LoadFailed
    | Unload | Assign | Assigned | Cancel | Tensors | Credit | Ran | Failed | Unreachable | Reachable | Rerouted
    | Refused
)  # fmt: skip
