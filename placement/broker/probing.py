"""How fast the devices of a fleet are: the fixed probe, in rounds, and emulated shares that are trimmed by it."""

import time
from collections.abc import Callable, Sequence

from splitplace.errors import NotReadyError
from splitplace.inference.speed import median_error
from splitplace.placement.broker.member import Member

PROBE_TIMEOUT_S = 120.0
"""Where nothing is known of how long a probe takes."""
LEAST_PATIENCE_S, PATIENCE = 20.0, 20.0
"""Where another device has answered: no less than that, and so many times what it took, by shares of the machine."""
PROBE_ROUNDS = (4, 8)
"""At least and at most. Each round probes every device once, one right after the other: a shared machine's own speed
drifts by a quarter within seconds, and a ratio taken within a round does not feel that."""
RATIO_ERROR = 0.04
"""Rounds go on until the standard error of every speed ratio is below this share of it. An emulated share that is off
by more is trimmed once: a device that pauses finds cold caches, and how much that costs differs between machines."""
MAX_TRIM = 1.25


class SpeedProbe:
    """Asks one device at a time, for they may share a machine.

    Args:
        ask: Orders the probe of a device; its answer goes to `Member.core_speeds`.
        listen: Takes in what devices say, for a moment; returns those that have ended meanwhile, and why.
        stopping: Whether nobody wants to know any more.
    """

    def __init__(
        self, ask: Callable[[Member], None], listen: Callable[[], dict[str, str]], stopping: Callable[[], bool]
    ):
        self._ask, self._listen, self._stopping = ask, listen, stopping
        self._ended: dict[str, str] = {}
        self._work_s: float | None = None
        """Seconds that a probe took at most, on the whole machine."""

    def measure(self, members: Sequence[Member]) -> dict[str, str]:
        """Probe all; trim the emulated shares that came out wrong, and probe again: what is reported is measured.

        Who does not answer is passed over from then on.

        Args:
            members: Those that are up; the first of them that answers is what the others are compared with.

        Returns:
            The devices that ended meanwhile or did not answer, those that are no `members` too, and why.

        Raises:
            NotReadyError: None of them answers, or nobody wants to know any more.
        """
        answer = self._probe(list(members))
        wrong = [member for member in answer if abs(member.off(answer[0]) - 1) > RATIO_ERROR]
        for member in wrong:
            member.trim = min(max(1 / member.off(answer[0]), 1 / MAX_TRIM), MAX_TRIM)
        if wrong:
            for member in answer:
                member.core_speeds.clear()
            self._probe(answer)
        return self._ended

    def _probe(self, members: list[Member]) -> list[Member]:
        """Rounds until the devices' speeds relative to each other are known well enough, or enough is enough.

        Returns:
            Those that are still there.
        """
        at_least, at_most = PROBE_ROUNDS if any(member.cpu_share < 1 for member in members) else (1, 1)
        for done in range(at_most):
            if done >= at_least and all(median_error(member.ratios(members[0])) < RATIO_ERROR for member in members):
                break
            late = []
            for member in members:
                asked_s = time.monotonic()
                self._ask(member)
                if not self._await_answer(member, done + 1, asked_s) and member.name not in self._ended:
                    late.append((member, asked_s))
            for member, asked_s in late:  # none had answered when these were asked: others first, one may hang
                self._await_answer(member, done + 1, asked_s, last=True)
            members = [member for member in members if member.name not in self._ended]
            if not members:
                raise NotReadyError("; ".join(f"device {name}: {reason}" for name, reason in self._ended.items()))
        return members

    def _await_answer(self, member: Member, times: int, asked_s: float, *, last: bool = False) -> bool:
        """Whether it came; who takes too long has ended, but where nobody has answered yet and more are to be asked."""
        while len(member.core_speeds) < times and member.name not in self._ended:
            if self._stopping():
                raise NotReadyError(f"the fleet was stopped while device {member.name} was probed")
            waited_s, patience_s = time.monotonic() - asked_s, self._patience_s(member)
            if waited_s > patience_s:
                self._ended[member.name] = f"it did not answer the probe within {patience_s:.0f} s"
            elif self._work_s is None and waited_s > LEAST_PATIENCE_S and not last:
                return False
            else:
                self._ended |= self._listen()
        if member.name in self._ended:
            return False
        self._work_s = max(self._work_s or 0.0, (time.monotonic() - asked_s) * member.cpu_share)
        return True

    def _patience_s(self, member: Member) -> float:
        if self._work_s is None:
            return PROBE_TIMEOUT_S
        return min(max(LEAST_PATIENCE_S, PATIENCE * self._work_s / member.cpu_share), PROBE_TIMEOUT_S)
