"""Whether devices are well: asked by pings, doubted where no word comes, trusted again for a word or for a run."""

from collections.abc import Callable, Sequence

from splitplace.placement.broker.member import Change, Member
from splitplace.placement.protocol import messages

PING_EVERY_S = 0.5
DOUBT_AFTER = 4
"""Pings in a row without a word: what such a device has to run goes elsewhere, and if it stays silent it is given up.
Counted in what was asked, so that a pause of the broker's own is no silence of theirs; it answers while it computes."""


class DeviceHealth:
    """What pings and their answers say of a fleet's devices.

    Args:
        send: Says something to a device.
    """

    def __init__(self, send: Callable[[str, messages.Message], None]):
        self._send = send
        self._pinged_s = 0.0
        self._sequence = 0

    def ping(self, members: Sequence[Member], at_s: float) -> None:
        """Ask these devices whether they are there, if it is time to.

        Args:
            members: Those that are up.
            at_s: On a monotonic clock.
        """
        if at_s - self._pinged_s > PING_EVERY_S:
            self._pinged_s = at_s
            self._sequence += 1
            for member in members:
                member.unanswered += 1
                self._send(member.name, messages.Ping(sequence=self._sequence))

    def doubts(self, members: Sequence[Member]) -> list[Change]:
        """Who of these has become doubtful by its silence, or has broken it."""
        found = []
        for member in members:
            if (member.unanswered > DOUBT_AFTER) != member.doubted:
                member.doubted = not member.doubted
                said = f"no word in answer to {DOUBT_AFTER} pings" if member.doubted else ""
                found.append(Change(member, "doubted" if member.doubted else "trusted", said))
        return found

    def answered(self, member: Member, pong: messages.Pong, now_s: float) -> list[Change]:
        """A device says what it holds and has used; one that was stuck and has run something since is trusted.

        Args:
            member: The device.
            pong: What it says; passed over where nobody asked, for it is kept for seconds, and it may say much.
            now_s: On the run's clock.
        """
        if not member.answered < pong.sequence <= self._sequence:
            return []
        member.answered = pong.sequence
        if pong.idle:
            member.idle_s = now_s
        member.meter.rss_bytes = max(member.meter.rss_bytes, pong.rss_bytes)
        member.monitor.heard(now_s, pong)
        before, member.runs = member.runs, sum(fragment.micro_batches for fragment in pong.fragments)
        return self._trusted(member) if member.stuck and member.runs > before else []

    def probed(self, member: Member, core_speed: float) -> list[Change]:
        """A device has answered the probe; that is a word for one that is stuck, once between two runs."""
        if not member.core_speeds:
            member.core_speeds.append(core_speed)
        if not member.stuck or member.cleared_at == member.runs:
            return []
        member.cleared_at = member.runs
        return self._trusted(member)

    def _trusted(self, member: Member) -> list[Change]:
        member.stuck = False
        return [Change(member, "trusted")]
