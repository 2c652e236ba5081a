"""In which sense a plan of `joint` is the best: each decision given those before it, by enumeration.

What is maximised is worked out here anew, job by job. Of all ways to spread fragments only those by earliest finish are
looked at, so that nothing is said of the others; nor of the order in which tasks are decided.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from splitplace.placement.joint.jobs import DeviceJobs, Job
from splitplace.placement.joint.joint import Joint
from splitplace.placement.joint.search import CLOSE, PlanSearch
from splitplace.placement.plan import plan
from splitplace.placement.room import Room
from splitplace.records.action import Place
from splitplace.records.view import View

pytestmark = pytest.mark.base

DEVICES, SAMPLES = 3, 4
SHARED = {"max_examples": 40, "suppress_health_check": [HealthCheck.function_scoped_fixture], "deadline": None}


def pairs(sizes: list[float], row: int) -> float:
    """What all of these are served until one of them is through, each having an equal share."""
    return sum(min(sizes[row], other) for other in sizes)


@dataclass
class Fleet:
    """Jobs as they were booked, and what the devices are."""

    view: View
    policy: Joint
    booked: list[tuple[int, Job]] = field(default_factory=list)

    def ends_s(self, jobs: list[tuple[int, Job]]) -> list[float]:
        """When each is done, nobody being told what tasks were seen to take."""
        links, servers_D = self.view.links, self.view.devices.servers_D
        ends = []
        for device, job in jobs:
            here = [other for where, other in jobs if where == device]
            mine = next(row for row, other in enumerate(here) if other is job)
            down = [other.down_bytes for other in here]
            received = [pairs(down, row) / links.down_bytes_per_s_D[device] for row in range(len(here))]
            rate = min(servers_D[device] / len(here), 1.0)
            starts = [when * rate for when in received]
            spans = [(start, start + other.work_s) for start, other in zip(starts, here, strict=True)]
            begin, end = spans[mine]
            shared = sum(max(min(end, other[1]) - max(begin, other[0]), 0.0) for other in spans)
            ends.append(received[mine] + max(shared / servers_D[device], job.least_s))
        return ends

    def in_time(self, jobs: list[tuple[int, Job]], ends_s: list[float]) -> list[float]:
        """P of each: a logistic, whose width is a share of the estimate and of the interval."""
        doubt = self.policy.doubt(self.view, self.policy.init(self.view))
        widths = [
            doubt.relative_D[device] * end_s + doubt.fixed_s for (device, _), end_s in zip(jobs, ends_s, strict=True)
        ]
        slacks = [job.slack_s for _, job in jobs]
        return [1 / (1 + np.exp(-(s - e) / w)) for s, e, w in zip(slacks, ends_s, widths, strict=True)]

    def gathered(self, split: int, device: int, slack_s: float, besides: float) -> float:
        """What a split on one device is worth, with what the others lose."""
        f = self.view.fragments
        mine = list(self.view.splits.fragments(split))
        service_s = [-(-SAMPLES // int(f.micro_batch_F[row])) * float(f.latency_s_FD[row, device]) for row in mine]
        inputs = [float(f.edge_bytes_X[x]) * SAMPLES for x in range(len(f.edge_dst_X))
                  if f.edge_src_X[x] < 0 and f.edge_dst_X[x] in mine]  # fmt: skip
        longest = sum(service_s) if split == 0 else max(service_s)  # a chain; two branches
        job = Job(sum(inputs), tuple(inputs), sum(service_s), longest, slack_s, 1.0)
        before, after = self.booked, [*self.booked, (device, job)]
        ends_before, ends_after = self.ends_s(before), self.ends_s(after)
        took_s = ends_after[-1] + float(self.view.links.rtt_s_D[device])
        was, now = self.in_time(before, ends_before), self.in_time(after, [*ends_after[:-1], took_s])
        shares = [other.share for _, other in before]
        lost = sum(share * (b - a) for share, a, b in zip(shares, was, now[:-1], strict=True))
        w, beta = self.policy.sla_weight, self.policy.beta
        return w * (now[-1] + lost) - beta * took_s / self.view.longest_s + besides

    def holds(self, search: PlanSearch, split: int, device: int) -> bool:
        """Whether there is memory for all of it."""
        return bool(search.room.left_bytes(*self.view.splits.fragments(split))[device] >= 0)


class Checked(PlanSearch):
    """Every decision of a plan is held against all splits gathered on all devices."""

    def watch(self, fleet: Fleet) -> None:
        """To be told before the plan."""
        self.fleet, self.held = fleet, 0

    def _best(self, row, splits, task, least):
        worth = {
            (split, device): self.fleet.gathered(split, device, task.slack_s, float(task.besides_S[at]))
            for at, split in enumerate(splits)
            for device in range(DEVICES)
            if self.fleet.holds(self, split, device)
        }
        found = super()._best(row, splits, task, least)
        best = max(worth.values(), default=-np.inf)
        if found is None:
            assert best <= least + 2 * CLOSE
        else:
            assert found.value >= best - CLOSE
            devices = set(found.device.values())
            if len(devices) == 1 and (found.shape.split, *devices) in worth and len(found.jobs) == 1:
                assert found.value == pytest.approx(worth[found.shape.split, *devices], abs=1e-9)
        self.held += 1
        return found

    def _book(self, row, option):
        self.fleet.booked += option.jobs
        return super()._book(row, option)


def drawn(data, view, tasks: int) -> View:
    """Three devices of any speed, link and memory; tasks of any deadline."""
    floats = lambda low, high: [data.draw(st.floats(low, high)) for _ in range(DEVICES)]  # noqa: E731 - three of a kind
    memory = tuple(data.draw(st.sampled_from((30.0, 60.0, 100.0, 250.0))) for _ in range(DEVICES))
    now = view(
        memory_bytes=memory, deadlines_s=tuple(data.draw(st.floats(3.0, 90.0)) for _ in range(tasks)),
        shares_fragments=data.draw(st.booleans()),
    )  # fmt: skip
    servers = np.array([data.draw(st.integers(1, 2)) for _ in range(DEVICES)])
    return replace(
        now, interval_s=data.draw(st.sampled_from((1.0, 20.0))), devices=replace(now.devices, servers_D=servers),
        fragments=replace(now.fragments, latency_s_FD=now.fragments.latency_s_FD * np.array(floats(0.3, 3.0))),
        links=replace(now.links, down_bytes_per_s_D=np.array(floats(20.0, 400.0))),
    )  # fmt: skip


@settings(**SHARED)
@given(data=st.data())
def test_each_decision_is_the_best_given_those_before(data, view):
    """Three tasks on three devices: no split gathered on any device is worth more than what is chosen."""
    now, policy = drawn(data, view, 3), Joint()
    state = policy.init(now)
    search = Checked(policy.worth, now, state, Room(now), DeviceJobs(now, policy.doubt(now, state)))
    search.watch(Fleet(now, policy))
    solution = search.all()
    assert search.held == len(solution.split) == 3


@settings(**SHARED)
@given(data=st.data(), device=st.integers(0, DEVICES - 1), factor=st.floats(0.2, 1.0))
def test_a_faster_device_lowers_nothing(data, view, device, factor):
    """What a task is worth, gathered where that is most on an idle fleet, is no less if a device computes faster."""
    now, policy = drawn(data, view, 1), Joint()
    speed_D = np.ones(DEVICES)
    speed_D[device] = factor
    faster = replace(now, fragments=replace(now.fragments, latency_s_FD=now.fragments.latency_s_FD * speed_D))
    assert gathered(faster, policy) >= gathered(now, policy) - 1e-9


def gathered(now: View, policy: Joint) -> float:
    """The most of all splits and devices; less than all if nothing fits."""
    state = policy.init(now)
    search = PlanSearch(policy.worth, now, state, Room(now), DeviceJobs(now, policy.doubt(now, state)))
    task = search.worth.to(0, (0, 1))
    offer = search.offers.every((0, 1))
    left_A, cost_FA = search.room.account(offer.fragments_F, offer.devices_A)
    fits_SA = np.add.reduceat(cost_FA, offer.first_S, axis=0) <= left_A
    held_S = np.flatnonzero(fits_SA.any(axis=1))
    if not len(held_S):
        return -np.inf
    return search._gathered(task, offer, held_S, fits_SA[held_S], search.jobs.lost_by_sending(task.sizes_SX)).value


@settings(**SHARED)
@given(data=st.data(), factor=st.floats(0.2, 1.0))
def test_nobody_on_a_faster_device_is_later(data, view, factor):
    """A newcomer is done no later where all work takes less, whatever else stands there."""
    now, policy = drawn(data, view, 1), Joint()
    state = policy.init(now)
    jobs = [
        data.draw(st.tuples(st.floats(0.0, 400.0), st.floats(0.1, 30.0))) for _ in range(data.draw(st.integers(1, 15)))
    ]
    ends_s = []
    for speed in (1.0, factor):
        found = DeviceJobs(now, policy.doubt(now, state))
        for down, work_s in jobs[:-1]:
            found.book(0, Job(down, (down,), work_s * speed, work_s * speed, 50.0, 1.0))
        down_K, work_K = np.array(jobs[-1:]).T
        took_s, _ = found.with_newcomer(np.zeros(1, int), down_K, work_K * speed, work_K * speed, down_K[:, None])
        ends_s.append(took_s[0])
    assert ends_s[1] <= ends_s[0] + 1e-9


@settings(**SHARED)
@given(data=st.data())
def test_no_plan_breaks_a_rule(data, view):
    """Whatever is loaded, placed, down or short of memory: `plan` holds it against all rules and finds none broken."""
    tasks = data.draw(st.integers(1, 5))
    split = tuple(data.draw(st.sampled_from((-1, 0, 1))) for _ in range(tasks))
    fragments = [(task, 2 * mine + part) for task, mine in enumerate(split) if mine >= 0 for part in (0, 1)]
    containers = tuple((*one, data.draw(st.integers(-1, DEVICES - 1))) for one in fragments)
    resident = {(fragment, device) for _, fragment, device in containers if device >= 0}
    resident |= data.draw(st.sets(st.tuples(st.integers(0, 3), st.integers(0, DEVICES - 1)), max_size=4))
    sizes = (60.0, 30.0, 20.0, 20.0)
    used = [sum(sizes[f] for f, d in resident if d == device) for device in range(DEVICES)]
    now = view(
        memory_bytes=tuple(each + data.draw(st.sampled_from((0.0, 25.0, 60.0, 100.0))) for each in used),
        used_bytes=tuple(used), up=tuple(data.draw(st.booleans()) for _ in range(DEVICES)), split=split,
        containers=containers, resident=tuple(sorted(resident)), deadlines_s=(40.0,) * tasks,
    )  # fmt: skip
    ahead = data.draw(st.booleans())
    actions, _ = plan(Joint(), now, Joint().init(now), np.random.default_rng(0), ahead=ahead)
    assert all(now.devices.up_D[action.device] for action in actions if isinstance(action, Place))
