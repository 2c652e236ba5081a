"""What the devices say, as events: held against what they were asked, on the run's clock."""

import logging
from collections.abc import Mapping

import numpy as np

from splitplace.errors import ContractError, SplitPlaceError
from splitplace.inference.encoded_images import EncodedImages
from splitplace.inference.executor import check_tensor
from splitplace.placement.broker import events as ev
from splitplace.placement.broker.attempt import edge_bytes, samples
from splitplace.placement.broker.feed import Feed
from splitplace.placement.broker.fleet import LiveFleet
from splitplace.placement.broker.member import Change, Member
from splitplace.placement.broker.setup import Setup
from splitplace.placement.broker.state import Attempt, FleetState
from splitplace.placement.protocol import fields, messages
from splitplace.placement.protocol.outflow import Values
from splitplace.placement.protocol.stream import Received

log = logging.getLogger(__name__)


class Hearing:
    """Reads the state, and never writes it."""

    def __init__(self, setup: Setup, state: FleetState, fleet: LiveFleet):
        self.setup, self.state, self.fleet = setup, state, fleet

    def change(self, change: Change) -> ev.Event:
        """What became of a device."""
        now_s, member = self.fleet.now_s(), change.member
        match change.kind:
            case "joined":
                assert member.hello is not None
                return ev.DeviceJoined(
                    at_s=now_s,
                    device=member.row,
                    pid=member.hello.pid,
                    cpu_share=member.hello.cpu_share,
                    cpu_share_method=member.hello.cpu_share_method,
                    core_speed=member.core_speed,
                )
            case "gone":
                return ev.DeviceGone(at_s=now_s, device=member.row, reason=fields.text(change.reason))
            case "doubted":
                return ev.DeviceDoubted(at_s=now_s, device=member.row, reason=change.reason)
            case _:
                return ev.DeviceTrusted(at_s=now_s, device=member.row)

    def event(self, member: Member, received: Received, feeds: Mapping[int, Feed]) -> ev.Event | None:
        """What a device said, if it is of something that it was asked and that is not over."""
        now_s, row = self.fleet.now_s(), member.row
        match received.message:
            case messages.Loaded(digest=digest, start_s=start_s, end_s=end_s) as message:
                member.had(message)
                took_s = max(end_s - start_s, 0.0)  # durations travel, not instants, but on one machine
                end_s = min(self.fleet.on_clock(end_s), now_s) if self.fleet.engine.same_machine else now_s
                start_s = max(end_s - took_s, 0.0)
                return ev.DeviceLoaded(at_s=now_s, device=row, digest=digest, start_s=start_s, end_s=end_s)
            case messages.LoadFailed(digest=digest, error=error, of_file=of_file):
                return ev.DeviceLoadFailed(at_s=now_s, device=row, digest=digest, error=error, of_file=of_file)
            case messages.Unreachable(peer=peer) | messages.Reachable(peer=peer) if peer in self.fleet.members:
                to, cut_off = self.fleet.members[peer].row, isinstance(received.message, messages.Unreachable)
                if to == row or not self.state.devices[to].up or cut_off == ((row, to) in self.state.unreached):
                    return None  # no news
                kind = ev.DeviceCutOff if cut_off else ev.DeviceReached
                return kind(at_s=now_s, device=to, by=row)
            case messages.Refused(peer=peer, error=error):
                log.warning("%s refused a message of %s: %s", member.name, peer, error)
                return None
            case message:
                attempt = self.state.jobs.get(getattr(message, "job", -1))
                return None if attempt is None else self._of_job(member, attempt, message, received.values, feeds)

    def _of_job(
        self, member: Member, attempt: Attempt, message: messages.Message, values: Values, feeds: Mapping[int, Feed]
    ) -> ev.Event | None:
        now_s = self.fleet.now_s()
        match message:
            case messages.Assigned(fragment=fragment) if attempt.devices.get(fragment) == member.row:
                return ev.DeviceAssigned(at_s=now_s, job=attempt.id, fragment=fragment)
            case messages.Credit(dst=dst, count=count) if attempt.id in feeds and feeds[attempt.id].takes(
                dst, member.name
            ):
                try:
                    feeds[attempt.id].grant(dst, count)
                except ContractError as error:
                    log.warning("%s: %s", member.name, error)
            case messages.Ran() if attempt.devices.get(message.fragment) == member.row:
                return self._ran(member, attempt, message, feeds.get(attempt.id))
            case messages.Tensors(src=src) if attempt.devices.get(src) == member.row:
                return self._answered(member, attempt, message, values)
            case messages.Failed(fragment=fragment, error=error) if attempt.devices.get(fragment) == member.row:
                return ev.FragmentFailed(at_s=now_s, job=attempt.id, fragment=fragment, error=error)
            case _:
                log.warning("%s sent a %s of job %d that nobody asked for", member.name, message.type, attempt.id)
        return None

    def _ran(self, member: Member, attempt: Attempt, message: messages.Ran, feed: Feed | None) -> ev.Event | None:
        """A run, with its times: durations by the device's own clock, which may be another than the broker's.

        Where what it says cannot be of the broker's clock, its run ended just now. No time is before the attempt.
        """
        now_s, row = self.fleet.now_s(), message.micro_batch
        if not attempt.runs(row):
            log.warning("%s ran micro-batch %d of job %d, which it was not given", member.name, row, attempt.id)
            return None
        stated = (message.ready_s, message.start_s, message.end_s)
        shift_s = self.fleet.origin_s
        if not attempt.placed_s <= message.ready_s - shift_s <= message.end_s - shift_s <= now_s:
            shift_s = message.end_s - now_s
        since_s, times_s = attempt.placed_s, list[float]()
        for stated_s in stated:
            since_s = min(max(stated_s - shift_s, since_s), now_s)
            times_s.append(since_s)
        ready_s, start_s, end_s = times_s
        sent_s = message.sent_s - self.fleet.origin_s
        sent_s = sent_s if attempt.placed_s <= sent_s <= ready_s else ready_s
        ran, input_bytes = attempt.ran[message.fragment], self._input_bytes(attempt, message, feed)
        if row not in ran:
            member.meter.ran(start_s, end_s)
            member.meter.fragments_run += len(ran) + 1 == attempt.total
            self._count_bytes(attempt, message.fragment, row, ready_s, input_bytes)
        return ev.DeviceRan(
            at_s=now_s,
            job=attempt.id,
            fragment=message.fragment,
            micro_batch=row,
            sent_s=sent_s,
            ready_s=ready_s,
            start_s=start_s,
            end_s=end_s,
            input_bytes=input_bytes,
        )

    def _input_bytes(self, attempt: Attempt, message: messages.Ran, feed: Feed | None) -> int | None:
        """What came of the task's images for a run, where that is not their pixels."""
        if feed is None or not self.state.tasks[attempt.task].encoded:
            return None
        takes = message.fragment in self.setup.entry(attempt.split).split.roots
        return feed.input_bytes(message.micro_batch) if takes else None

    def _count_bytes(self, attempt: Attempt, fragment: str, row: int, at_s: float, input_bytes: int | None) -> None:
        entry = self.setup.entry(attempt.split)
        count = samples(self.state.tasks[attempt.task].task.n, entry.micro_batch, row)
        for edge in entry.split.edges:
            source = attempt.sender(edge.src, edge.dst) if edge.dst == fragment else None
            if source is not None and source != attempt.devices[fragment]:
                name = self.setup.names[source]
                self.fleet.members[name].meter.sent(at_s, edge_bytes(edge, count, input_bytes))

    def _answered(self, member: Member, attempt: Attempt, message: messages.Tensors, values: Values) -> ev.Event:
        now_s = self.fleet.now_s()
        try:
            logits, row = self._logits(member.name, attempt, message, values)
        except SplitPlaceError as error:
            return ev.FragmentFailed(at_s=now_s, job=attempt.id, fragment=message.src, error=fields.text(error))
        self.fleet.send(member.name, messages.Credit(job=attempt.id, src=message.src, dst=message.dst, count=1))
        member.meter.sent(now_s, logits.nbytes)
        sent_s = min(max(self.fleet.on_clock(message.sent_s), attempt.placed_s), now_s)
        return ev.SinkAnswered(
            at_s=now_s,
            job=attempt.id,
            sink=message.src,
            micro_batch=row,
            logits=np.ascontiguousarray(logits).tobytes(),
            sent_s=sent_s,
        )

    def _logits(
        self, device: str, attempt: Attempt, message: messages.Tensors, values: Values
    ) -> tuple[fields.Array, int]:
        """A sink's logits for one micro-batch, and which of the task's it is.

        Raises:
            SplitPlaceError: Not by the sink's contract.
        """
        entry, sink = self.setup.entry(attempt.split), message.src
        if sink not in entry.split.sinks or not attempt.runs(message.micro_batch):
            raise ContractError(f"{device} sent {sorted(values)} of {sink} micro-batch {message.micro_batch}")
        row, spec = message.micro_batch, entry.split.by_name[sink].outputs[0]
        if values.keys() != {spec.name}:
            raise ContractError(f"{device} sent {sorted(values)} of {sink}, expected {spec.name}")
        logits = values[spec.name]
        if isinstance(logits, EncodedImages):
            raise ContractError(f"{device} sent {spec.name} of {sink} as PNG, expected a tensor")
        check_tensor(spec, logits, f"{sink} on {device}")
        count = samples(self.state.tasks[attempt.task].task.n, entry.micro_batch, row)
        if len(logits) != count:
            raise ContractError(f"{sink} on {device}: {len(logits)} samples, expected {count}")
        if not np.isfinite(logits.reshape(count, -1).max(axis=1)).all():
            # The first class would be the largest of what cannot be compared: an answer that nobody gave. That some are
            # -inf is one: what a model rules out.
            raise ContractError(
                f"{sink} on {device}: logits of micro-batch {row} are NaN or infinite, expected numbers"
            )
        return logits, row
