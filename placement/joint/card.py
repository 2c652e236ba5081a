"""The broker's card: all inputs leave over it, and every transfer under way has an equal share of it.

A transfer of b bytes is done when the card has sent Σ min(b, b_i) over all that are under way (egalitarian processor
sharing, as in `estimate.py`, where all begin together), if the devices' own links do not hold it up longer.
"""

import math

import numpy as np

from splitplace.records.view import Floats

TOO_FEW = 64
"""One in so many changes nothing: what was worked out of others stands until there are more than that."""


class BrokerCard:
    """What the broker still has to send, transfer by transfer."""

    def __init__(self, bytes_per_s: float):
        self._bytes_per_s = bytes_per_s
        self._size: list[float] = []
        self._sorted_J, self._below_J = np.zeros(0), np.zeros(1)
        self._sorted = 0
        """Of how many transfers these two are."""
        self.left_bytes = 0.0

    @property
    def limits(self) -> bool:
        """Whether anybody has stated how fast it is."""
        return math.isfinite(self._bytes_per_s)

    @property
    def busy_s(self) -> float:
        """How long it has to send."""
        return self.left_bytes / self._bytes_per_s

    def copy(self) -> "BrokerCard":
        """The same transfers, to add more without touching these."""
        other = BrokerCard(self._bytes_per_s)
        other._size, other.left_bytes = list(self._size), self.left_bytes
        return other

    def add(self, sizes: tuple[float, ...]) -> None:
        """More to send."""
        if self.limits and sizes:
            self._size += sizes
            self.left_bytes += sum(sizes)

    def sent_s(self, size_J: Floats) -> Floats:
        """When transfers of these sizes, that are under way, are done."""
        if (len(self._size) - self._sorted) * TOO_FEW > len(self._size):
            self._sorted_J = np.sort(np.array(self._size))
            self._below_J = np.concatenate([[0.0], np.cumsum(self._sorted_J)])
            self._sorted = len(self._size)
        at = np.searchsorted(self._sorted_J, size_J, side="right")
        result: Floats = (self._below_J[at] + size_J * (self._sorted - at)) / self._bytes_per_s
        return result

    def full_s(self, left_bytes_D: Floats, bytes_per_s_D: Floats) -> float:
        """How long what devices have to receive from it, each over its own link, keeps it sending all it can.

        The largest t with Σ min(b, r t) >= C t over the devices' bytes b and links r: they can take no more until then.
        """
        if not self.limits:
            return 0.0
        taken = np.flatnonzero(left_bytes_D)
        left, rate = left_bytes_D[taken], bytes_per_s_D[taken]
        order = np.argsort(left / rate)
        left, rate = left[order], rate[order]
        ends_s, all_rate = left / rate, float(rate.sum())
        sent = np.cumsum(left) + (all_rate - np.cumsum(rate)) * ends_s
        full = np.flatnonzero(sent >= self._bytes_per_s * ends_s)
        if not len(full):
            return 0.0
        at = int(full[-1])
        # After that one is through, the rest of the links take less than the card could send.
        behind = self._bytes_per_s - (all_rate - float(np.cumsum(rate)[at]))
        surplus = float(sent[at]) - self._bytes_per_s * float(ends_s[at])
        return float(ends_s[at]) + (surplus / behind if behind > 0 else 0.0)

    def with_more_s(self, sizes_SX: Floats) -> Floats:
        """When the last of these is done, if they came now: of several sets of transfers, shape S; 0 of none."""
        if not self.limits:
            return np.zeros(len(sizes_SX))
        result: Floats = self.sent_s(sizes_SX.max(axis=1)) + sizes_SX.sum(axis=1) / self._bytes_per_s
        return result

    def later_s(self, size_SJ: Floats, sizes_SX: Floats) -> Floats:
        """How much later transfers of size J are done if these came now, set by set, shape (S, J)."""
        if not self.limits:
            return np.zeros(np.broadcast_shapes(size_SJ.shape, (len(sizes_SX), 1)))
        later_SJ: Floats = np.minimum(size_SJ[:, :, None], sizes_SX[:, None, :]).sum(axis=2) / self._bytes_per_s
        return later_SJ
