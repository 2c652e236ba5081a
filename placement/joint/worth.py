"""What splits are worth to a task, by how long they take there and what they do to the others; see `joint.py`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from splitplace.placement.joint.jobs import DeviceJobs
from splitplace.placement.joint.offers import Offer, PlanOffers
from splitplace.placement.joint.residual import Residuals
from splitplace.placement.joint.times import SplitTimes, kinds, split_times
from splitplace.records.view import Bools, Floats, Ints, View

SERVERS, LINKS, CARD = range(3)


@dataclass(frozen=True)
class JointWorth:
    """What is maximised, and how far one looks; see `Joint`."""

    sla_weight: float
    alpha: float
    beta: float
    look: int


@dataclass(frozen=True, eq=False)
class OfferWorth:
    """Of splits on offer, what no single task changes; shape letters as in `SplitTimes`, the splits those on offer."""

    split_S: Ints
    sizes_SX: Floats
    """Bytes a sample."""
    off_S: Floats
    """How much longer than expected each takes."""
    right_S: Floats
    """What its accuracy is worth."""
    use_s_S3: Floats
    alone_s_ST: Floats
    computed_s_ST: Floats
    turn_ST: Floats


class Worths:
    """Of the splits on offer to the tasks of one view."""

    def __init__(
        self, weights: JointWorth, view: View, state: Residuals, jobs: DeviceJobs, devices: Bools, offers: PlanOffers
    ):
        self.weights, self.view, self.state, self.jobs, self.devices_D = weights, view, state, jobs, devices
        self.offers = offers
        self.behind = 0
        """Tasks that whatever is placed next holds up."""
        self._accuracy_S = state.accuracy_S(view.splits.top1_S)
        self._off_S = np.exp(state.split_S)
        self.off_D = np.exp(state.device_D)
        """How much longer than expected something takes."""
        self.least_off = float(self.off_D[devices].min())
        self._patience_s = float(view.tasks.deadline_s_T.mean()) if len(view.tasks.id_T) else view.longest_s
        servers = view.devices.servers_D[devices]
        down_bytes_per_s = np.maximum(view.links.down_bytes_per_s_D[devices], 1.0)
        self._fleet = np.array([servers.sum(), down_bytes_per_s.sum(), view.links.broker_bytes_per_s])
        """Cores, bytes a second of all downlinks, bytes a second of the broker's card."""
        self.quickest_link = float(down_bytes_per_s.max())
        self._by_interval = state.by_interval
        self._times: dict[int, SplitTimes] = {}
        """By application."""
        self._offers: dict[tuple[int, ...], OfferWorth] = {}
        power_w_D11 = view.devices.power_w_D11
        swing_w_D = np.maximum(power_w_D11[:, -1] - power_w_D11[:, 0], 0.0)
        unit_j = max(float(swing_w_D.mean()), 1e-9) * view.longest_s
        self.price_D = weights.alpha / unit_j * swing_w_D / view.devices.servers_D
        """What a second of one server is worth of energy."""
        self.scarce = SERVERS
        """Of which there is least."""

    def busy_s(self) -> Floats:
        """For how long the fleet has to do already: its servers, its downlinks, the broker's card."""
        jobs = self.jobs
        busy_s: Floats = np.array([jobs.work_s_D.sum(), jobs.down_bytes_D.sum(), jobs.card.left_bytes]) / self._fleet
        return busy_s

    def to(self, row: int, splits: tuple[int, ...]) -> "TaskWorth":
        """Of these splits to this task.

        All that are behind are held up by what it uses of the scarcest there is, and a second costs each of them
        1 / (the mean deadline) of being in time.
        """
        view, offer = self.view, self._offer(splits)
        n = int(view.tasks.n_T[row])
        use_S = n * offer.use_s_S3[:, self.scarce]
        besides_S = offer.right_S - self.weights.sla_weight * self.behind / self._patience_s * use_S
        slack_s = seen_slack_s = float(view.tasks.deadline_s_T[row] - view.tasks.age_s_T[row])
        if self._by_interval:  # it is seen to be done at the next start of one
            interval_s = view.interval_s
            seen_slack_s = math.floor((view.now_s + slack_s) / interval_s + 1e-9) * interval_s - view.now_s
        return TaskWorth(
            self, n, offer.split_S, n * offer.sizes_SX, slack_s, seen_slack_s, offer.off_S, besides_S, use_S,
            offer.alone_s_ST[:, row], offer.computed_s_ST[:, row], offer.turn_ST[:, row],
        )  # fmt: skip

    def _offer(self, splits: tuple[int, ...]) -> OfferWorth:
        """What is alike for all tasks that these are on offer to."""
        if splits not in self._offers:
            offer = self.offers.every(splits)
            rows, times = offer.split_S, self.times(offer)
            self._offers[splits] = OfferWorth(
                rows, offer.sizes_SX, self._off_S[rows], (1 - self.weights.sla_weight) * self._accuracy_S[rows],
                times.use_s_S3[rows], times.alone_s_ST[rows], times.computed_s_ST[rows], times.turn_ST[rows],
            )  # fmt: skip
        return self._offers[splits]

    def sum(self, in_time: Floats, took_s: Floats, besides: Floats) -> Floats:
        """What is maximised; see `joint.py`."""
        return self.weights.sla_weight * in_time - self.weights.beta / self.view.longest_s * took_s + besides

    def quickest(self, rows: Sequence[int], splits: Sequence[tuple[int, ...]]) -> tuple[Floats, Floats]:
        """Of the split that takes least where nobody is: how long that is, and what it uses of the fleet (T, 3)."""
        alone_s_T, uses_T3 = np.zeros(len(rows)), np.zeros((len(rows), 3))
        n_T, rows_T = self.view.tasks.n_T[list(rows)], np.array(rows, np.int64)
        alike: dict[tuple[int, ...], list[int]] = {}
        for at, mine in enumerate(splits):
            alike.setdefault(mine, []).append(at)
        for mine, at_T in alike.items():
            times, split_S = self.times(self.offers.every(mine)), np.array(mine)
            alone_s_ST = times.alone_s_ST[split_S[:, None], rows_T[at_T]]
            alone_s_T[at_T] = alone_s_ST.min(axis=0)
            uses_T3[at_T] = n_T[at_T, None] * times.use_s_S3[split_S[alone_s_ST.argmin(axis=0)]]
        return alone_s_T, uses_T3

    @cached_property
    def _kinds(self) -> Ints:
        return kinds(self.view, np.flatnonzero(self.devices_D), self.off_D)

    def times(self, offer: Offer) -> SplitTimes:
        """Of all splits of the application."""
        application = offer.application
        if application not in self._times:
            every = self.offers.every(tuple(np.flatnonzero(self.view.splits.application_S == application).tolist()))
            self._times[application] = split_times(self.view, every, self._kinds, self.off_D, self._fleet)
        return self._times[application]


@dataclass(frozen=True, eq=False)
class TaskWorth:
    """What splits are worth to one task, shape S, as things stand for those behind it."""

    worths: Worths
    n: int
    split_S: Ints
    sizes_SX: Floats
    """Bytes that the broker sends of each, transfer by transfer; 0 is none."""
    slack_s: float
    """Until the task's deadline."""
    seen_slack_s: float
    """Until the last moment at which it is seen to be in time."""
    off_S: Floats
    besides_S: Floats
    """What each is worth however long it takes."""
    use_S: Floats
    """Seconds of the scarcest there is."""
    alone_s_S: Floats
    """How long each takes where nobody else is, gathered on the device that suits it best."""
    computed_s_S: Floats
    """The least that each computes."""
    turn_S: Floats
    """The least share of the task that a fragment of each hands on at once."""

    def later(self, ahead_s: float) -> Floats:
        """If each had to itself what suits it best, but after so long."""
        took_S = ahead_s + self.alone_s_S * self.off_S
        in_time_S = self.worths.jobs.p_anywhere(self.seen_slack_s, took_S)
        return self.worths.sum(in_time_S, took_S, self.besides_S)

    def most(self, lost_S: Floats) -> Floats:
        """No more than each is worth, however it is placed.

        Each fragment where it is quickest, nobody in its way but for the transfers that the broker's card has to send
        already. Not foreseen is what others gain where one that holds up the input of a second helps a third by it:
        that is rare and small (1e-4 in the case that `tests/placement/joint/test_jobs.py` has).

        Args:
            lost_S: What others lose at least.
        """
        card, sizes_SX = self.worths.jobs.card, self.sizes_SX
        received_S = np.maximum(card.with_more_s(sizes_SX), sizes_SX.max(axis=1) / self.worths.quickest_link)
        least_s_S = np.maximum(received_S, self.turn_S * received_S + self.computed_s_S)
        return self.no_sooner(least_s_S, lost_S, np.arange(len(self.split_S)))

    def no_sooner(self, least_s_K: Floats, lost_K: Floats, at_K: Ints) -> Floats:
        """No more than some of them are worth that take no less than this, and of which others lose no less."""
        took_K = least_s_K * self.worths.least_off * self.off_S[at_K]
        in_time_K = self.worths.jobs.most_p(self.seen_slack_s, took_K)
        return self.worths.sum(in_time_K + lost_K, took_K, self.besides_S[at_K])

    def on(self, took_SK: Floats, lost_SK: Floats, devices_SK: Ints, at_S: Ints) -> Floats:
        """Of some of them, on devices, shape (S, K).

        Args:
            took_SK: Seconds, before what splits were seen to take longer.
            lost_SK: What others lose of their Σ P(in time): a change, but for that gain at most 0.
            devices_SK: Rows, for how unsure that is.
            at_S: Which of the splits.
        """
        took_SK = took_SK * self.off_S[at_S, None]
        in_time_SK = self.worths.jobs.p(self.seen_slack_s, took_SK, devices_SK)
        return self.worths.sum(in_time_SK + lost_SK, took_SK, self.besides_S[at_S, None])
