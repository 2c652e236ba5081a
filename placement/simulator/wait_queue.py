"""The wait queue: containers without a device that may have one."""

from collections import Counter

from splitplace.placement.simulator.state import State


class WaitQueue:
    """Of one run."""

    def __init__(self, state: State):
        self._state = state
        self.count = Counter[int]()
        """How many of each fragment wait."""
        self.freed = False
        """Room came free for something that waits since the caller last looked."""

    def add(self, c: int) -> None:
        """Let a container without a device have one, if the scenario places ahead or its inputs exist."""
        state, queued = self._state, self._state.containers.queued
        if not queued[c] and (state.world.scenario.place == "task" or state.ready(c)):
            queued[c] = True
            self.count[state.containers.fragment[c]] += 1
            self.freed = True

    def remove(self, c: int) -> None:
        """It has one, or must wait for its inputs again."""
        containers = self._state.containers
        if containers.queued[c]:
            containers.queued[c] = False
            fragment = containers.fragment[c]
            self.count[fragment] -= 1
            if not self.count[fragment]:
                del self.count[fragment]
