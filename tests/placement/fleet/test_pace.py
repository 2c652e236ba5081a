"""Once an interval, or at once: the broker's own loop on a fake clock, with devices of a few lines."""

import time
from contextlib import nullcontext

import numpy as np
import pytest

from splitplace.placement.broker import events as ev
from splitplace.placement.broker import loop, pace
from splitplace.placement.broker.answers import BrokerFuture
from splitplace.placement.broker.awaited import HandedIn
from splitplace.placement.broker.history import History
from splitplace.placement.broker.loop import Loop
from splitplace.placement.broker.member import Change, Member
from splitplace.placement.broker.pace import Immediate, Intervals
from splitplace.placement.broker.setup import Setup
from splitplace.placement.broker.store import Store
from splitplace.placement.callbacks import Callbacks
from splitplace.placement.engines.local import LocalEngine
from splitplace.placement.policy import Leaving
from splitplace.placement.protocol import codec, fields, messages
from splitplace.placement.protocol.stream import Received
from splitplace.records.action import Decide, Migrate, Place
from tests.placement.fleet.conftest import CLASSES, WIDTH, demand_of, make_device, make_graph
from tests.placement.simulator.conftest import constants, device, scenario

GRAPH = make_graph("toy", "full", "1", [("f0", "input", CLASSES, tuple(range(CLASSES)))])
INTERVAL_S = 10.0


class FakeFleet:
    """Two devices without processes, which answer what they hear at once, unless they are held."""

    engine = LocalEngine()

    def __init__(self, names):
        self.members = {name: Member(make_device(name), row, 1.0) for row, name in enumerate(names)}
        for member in self.members.values():
            member.hello = messages.Hello(
                protocol=messages.PROTOCOL, endpoint="tcp://127.0.0.1:1", pid=1, cpu_share=1.0,
                cpu_share_method="none", rss_bytes=1,
            )  # fmt: skip
        self.changes = [Change(member, "joined") for member in self.members.values()]
        self.clock_s, self.origin_s = 0.0, 0.0
        self.said, self.held = [], False

    def now_s(self):
        """The fake clock."""
        return self.clock_s

    def on_clock(self, monotonic_s):
        """Devices have no other."""
        return self.clock_s

    def hear(self, timeout_s):
        """What they answered."""
        said, self.said = self.said, []
        return said

    def check(self):
        """That they joined."""
        changes, self.changes = self.changes, []
        return changes

    def send(self, name, message, values=()):
        """Loaded, assigned, run and answered at once."""
        answers = []
        match message:
            case messages.Load(fragment=fragment):
                answers = [(messages.Loaded(digest=fragment.digest, start_s=0.0, end_s=0.0, rss_bytes=1), {})]
            case messages.Assign(job=job, fragment=fragment):
                answers = [(messages.Assigned(job=job, fragment=fragment), {})]
            case messages.Tensors(job=job, dst=dst, micro_batch=row) if not self.held:
                times = dict.fromkeys(("sent_s", "ready_s", "start_s", "end_s"), self.clock_s)
                ran = messages.Ran(job=job, fragment=dst, micro_batch=row, samples=len(values[0]), **times)
                logits = {f"{dst}.out": np.zeros((len(values[0]), CLASSES), np.float32)}
                answer = codec.tensors(job, dst, fields.ANSWER, row, self.clock_s, logits)
                answers = [(ran, {}), (answer, logits)]
        self.said += [(self.members[name], Received(name, answer, values)) for answer, values in answers]


class Watcher:
    """Decides and places all it sees on the first device, and writes down when it was asked what; one that learns."""

    name = "watcher"

    def __init__(self, move_to=None):
        self.move_to, self.asked, self.left, self.fails = move_to, [], [], 0
        self.slow = False

    def init(self, view):
        """Remembers nothing."""
        return

    def update(self, state, feedback):
        """Writes down who left."""
        if isinstance(feedback, Leaving):
            self.left += [(feedback.view.now_s, feedback.finished.id_E.tolist())]
        return state

    def decide(self, state, view, rng):
        """The one split for all."""
        undecided = view.tasks.id_T[view.tasks.undecided].tolist()
        self.asked.append((view.now_s, undecided))
        self.interval_s = view.interval_s
        while self.slow:
            time.sleep(0.001)
        if self.fails:
            self.fails -= 1
            raise RuntimeError("no idea")
        return [Decide(id_, 0) for id_ in undecided]

    def place(self, state, view, requests, rng):
        """All on the first device; what runs moves, if it is to."""
        ids, containers = view.tasks.id_T.tolist(), view.containers
        actions = [Place(ids[request.task], request.fragments[0], 0) for request in requests]
        if self.move_to is not None:
            rows = np.flatnonzero(containers.device_C >= 0)
            actions += [Migrate(ids[containers.task_C[c]], int(containers.fragment_C[c]), self.move_to) for c in rows]
        return actions


class World:
    """A loop, its devices, and time that passes when it is told to."""

    def __init__(self, interval_s=None, policy=None, folder=None, retain_s=None):
        self.told = []
        """What each sender was told of its task's being taken on: why it was not, or none."""
        self.fleet, self.policy = FakeFleet("ab"), policy or Watcher()
        devices = tuple(member.device for member in self.fleet.members.values())
        setup = Setup(demand_of(GRAPH), devices, "pipelined", 4, 1e6)
        self.loop = Loop(
            self.fleet, setup, self.policy, pace.pace(setup, interval_s), 0, History(None),
            store=None if folder is None else Store(folder, setup, retain_s=retain_s),
            states=None, wake=lambda: None, leaving=lambda task: nullcontext(),
        )  # fmt: skip
        self.until(0.0)

    def until(self, at_s, step_s=0.25, waits=True):
        """Step through the time until then; a plan's own time does not count, unless nobody `waits` for it."""
        while True:
            self.loop.step([])
            while waits and (self.loop.consulting.planner.busy or self.fleet.said):
                self.loop.step([])
            if self.fleet.clock_s >= at_s:
                return
            self.fleet.clock_s = min(self.fleet.clock_s + step_s, at_s)

    def submit(self, at_s, deadline_s=1e5, waits=True, key=None, volatile=False):
        """A task of three images comes then; its number."""
        self.until(at_s, waits=waits)
        return self.hand_in(at_s, deadline_s, key, volatile)

    def hand_in(self, at_s, deadline_s=1e5, key=None, volatile=False):
        """The same in the very next step."""
        task = self.loop.state.next_task
        event = ev.TaskAccepted(at_s=at_s, task=task, application="toy", n=3, deadline_s=deadline_s, inputs="", key=key)
        answer = BrokerFuture(task, Callbacks(), lambda task: None)
        self.loop.step([HandedIn(event, np.zeros((3, WIDTH), np.float32), answer, self.told.append, volatile)])
        return answer

    @property
    def decided(self):
        """When which tasks were decided together."""
        return [(at_s, tasks) for at_s, tasks in self.policy.asked if tasks]


@pytest.fixture
def world():
    """Makes worlds, and ends them."""
    made = []

    def make(*args, **kwargs):
        made.append(World(*args, **kwargs))
        return made[-1]

    yield make
    for one in made:
        one.policy.slow = False
        one.loop.consulting.planner.close()


ARRIVALS_S = (1.0, 3.0, 9.0, 12.0, 25.0)


def test_tasks_of_an_interval_are_planned_together_at_its_end(world):
    """Whoever came in the same interval; each in the one after its arrival."""
    one = world(INTERVAL_S)
    answers = [one.submit(at_s) for at_s in ARRIVALS_S]
    one.until(40.0)
    assert one.decided == [(10.0, [0, 1, 2]), (20.0, [3]), (30.0, [4])]
    assert [answer.result(0).outcome.response_s for answer in answers] == [9.0, 7.0, 1.0, 8.0, 5.0]


def test_a_simulator_decides_the_same_tasks_at_the_same_times(world, tmp_path):
    """The same arrivals, in a scenario of the same intervals."""
    from splitplace.placement.registry import parse_policy
    from splitplace.placement.simulator.run import simulate
    from splitplace.placement.simulator.scenario import Workload
    from splitplace.records.device import FleetSpec

    lines = "arrival_s,application,n,deadline_s\n" + "".join(f"{at_s},a,3,100\n" for at_s in ARRIVALS_S)
    (tmp_path / "trace.csv").write_text(lines)
    chosen = scenario(
        workload=Workload(trace=str(tmp_path / "trace.csv")), interval_s=INTERVAL_S, tick="interval", retry="interval"
    )
    seen = []
    simulate(
        chosen, FleetSpec(name="one", devices=(device(),)), constants({"core_s": (0.1,)}), parse_policy("layer+random"),
        5, watch=lambda view, _: seen.append((view.now_s, view.tasks.id_T[view.tasks.undecided].tolist())),
    )  # fmt: skip
    one = world(INTERVAL_S)
    for at_s in ARRIVALS_S:
        one.submit(at_s)
    one.until(40.0)
    assert one.policy.asked == [(at_s, tasks) for at_s, tasks in seen if at_s > 0]


@pytest.mark.parametrize("row", ["cores_D", "servers_D", "core_speed_D", "power_w_D11"])
def test_what_all_views_of_a_run_have_in_common_is_not_the_policys_to_write(world, row):
    """Else one plan would change the devices of all later ones; it fails instead."""
    shown = getattr(world().loop.consulting.view([]).devices, row)
    with pytest.raises(ValueError, match="read-only"):
        shown[0] = 9


def test_at_once_is_at_once(world):
    """Without an interval every task is decided when it comes."""
    one = world()
    answers = [one.submit(at_s) for at_s in ARRIVALS_S]
    one.until(26.0)
    assert one.decided == [(at_s, [task]) for task, at_s in enumerate(ARRIVALS_S)]
    assert [answer.result(0).outcome.response_s for answer in answers] == [0.0] * 5


def test_the_policy_hears_once_an_interval_of_those_that_left(world):
    """At its end, together; an interval in which nothing happened is one as well, and is told as such."""
    one = world(INTERVAL_S)
    one.submit(1.0)
    one.submit(2.0)
    one.until(40.0)
    assert one.policy.left == [(10.0, []), (20.0, [0, 1]), (30.0, []), (40.0, [])]
    assert one.policy.interval_s == INTERVAL_S


def test_containers_migrate_when_an_interval_ends(world, monkeypatch):
    """A task that runs for long moves then, and is answered where it came to be."""
    monkeypatch.setattr(loop, "STUCK_S", 1e9)
    one = world(INTERVAL_S, Watcher(move_to=1))
    one.fleet.held = True
    answer = one.submit(1.0)
    one.until(19.75)
    (attempt,) = one.loop.state.jobs.values()
    assert attempt.devices == {"f0": 0}
    one.fleet.held = False
    one.until(20.0)
    moved = [event for event in one.loop.history.events if event.event == "migrate"]
    assert [(event.at_s, event.source, event.device) for event in moved] == [(20.0, "a", "b")]
    assert answer.result(0).outcome.error is None


def test_a_plan_that_fails_waits_for_the_next_interval(world):
    """Its tasks wait with it."""
    one = world(INTERVAL_S)
    one.policy.fails = 1
    answer = one.submit(1.0)
    one.until(30.0)
    assert one.decided == [(10.0, [0]), (20.0, [0])]
    assert answer.result(0).outcome.wait_s == 19.0


def test_a_policy_that_thinks_past_an_interval_is_asked_at_the_end_of_the_next(world):
    """Not in the middle of one: what it is told of is a whole interval, or two."""
    one = world(INTERVAL_S)
    one.submit(1.0)
    one.until(9.75)
    one.policy.slow = True
    one.submit(12.0, waits=False)
    one.until(23.0, waits=False)
    one.policy.slow = False
    one.until(40.0)
    assert one.decided == [(10.0, [0]), (30.0, [1])]


def test_a_plan_of_an_interval_has_its_limit(world, monkeypatch):
    """First come, first served; the rest is decided when those are done."""
    monkeypatch.setattr(pace, "TOGETHER", 3)
    one = world(INTERVAL_S)
    for at_s in (1.0, 2.0, 3.0, 4.0):
        one.submit(at_s)
    one.until(20.0)
    assert one.decided == [(10.0, [0, 1, 2]), (20.0, [3])]


def test_who_finds_no_place_hides_nobody_for_ever(world, monkeypatch):
    """Of a hundred that wait and find none each is shown within as many intervals as turns take, the oldest always."""
    monkeypatch.setattr(pace, "TOGETHER", 10)
    one = world(INTERVAL_S)
    one.policy.place = lambda state, view, requests, rng: []
    for task in range(100):
        one.submit(1.0 + task / 100)
    seen, first, decide = set(), [], one.policy.decide

    def noting(state, view, rng):
        seen.update(view.tasks.id_T.tolist())
        first.append(view.tasks.id_T.tolist()[:5])
        return decide(state, view, rng)

    one.policy.decide = noting
    one.until(INTERVAL_S * (2 + 95 / 5))
    assert seen == set(range(100))
    assert first == [[0, 1, 2, 3, 4]] * len(first)


@pytest.mark.parametrize("interval_s", [0.3, 1.0, 10.0])
def test_the_loop_never_sleeps_over_the_end_of_an_interval(interval_s):
    """And never for longer than it does without."""
    once = Intervals(interval_s)
    for now_s in np.linspace(0.0, 30.0, 1000).tolist():
        assert 0 < once.wait_s(now_s) <= pace.TICK_S
        assert once.wait_s(now_s) <= interval_s - now_s % interval_s + 1e-9


def test_who_waits_is_planned_again_a_tick_later():
    """At once: when something changed, and while somebody waits every tick; not while a plan is under way."""
    at_once = Immediate(Setup(demand_of(GRAPH), (make_device("a"),), "pipelined", 4, 60.0))
    assert not at_once.due(1.0, changed=False, waiting=False, busy=False, many=False)
    assert at_once.due(1.0, changed=True, waiting=True, busy=False, many=False)
    assert not at_once.due(1.01, changed=False, waiting=True, busy=False, many=False)
    assert at_once.due(1.06, changed=False, waiting=True, busy=False, many=False)
    assert not at_once.due(1.2, changed=True, waiting=True, busy=True, many=False)
    assert at_once.due(1.2, changed=True, waiting=True, busy=False, many=False)
    at_once.failed(1.2)
    assert not at_once.due(1.9, changed=True, waiting=True, busy=False, many=False)
    assert at_once.due(2.2, changed=True, waiting=True, busy=False, many=False)


def test_a_plan_that_many_wait_for_is_shared():
    """The next one is as long in coming as the last one took, a tick at most, and the loop looks up for it in time."""
    at_once = Immediate(Setup(demand_of(GRAPH), (make_device("a"),), "pipelined", 4, 60.0))
    assert at_once.due(1.0, changed=True, waiting=True, busy=False, many=True)
    at_once.planned(1.01, 0.01)
    assert not at_once.due(1.015, changed=True, waiting=True, busy=False, many=True)
    assert at_once.wait_s(1.015) == pytest.approx(0.005)
    assert at_once.due(1.021, changed=True, waiting=True, busy=False, many=True)
    assert at_once.wait_s(1.021) == pace.TICK_S
    at_once.planned(2.0, 1.0)
    assert not at_once.due(2.04, changed=True, waiting=True, busy=False, many=True)
    assert at_once.due(2.06, changed=True, waiting=True, busy=False, many=True)


def test_a_plan_that_few_wait_for_comes_at_once():
    """There may be a device for each of them."""
    at_once = Immediate(Setup(demand_of(GRAPH), (make_device("a"),), "pipelined", 4, 60.0))
    assert at_once.due(1.0, changed=True, waiting=True, busy=False, many=False)
    at_once.planned(1.01, 0.01)
    assert at_once.due(1.011, changed=True, waiting=True, busy=False, many=False)


def test_what_nobody_waits_for_is_planned_a_tick_later():
    """Nobody is served any sooner by a plan of its own; who comes meanwhile is not made to wait for it."""
    at_once = Immediate(Setup(demand_of(GRAPH), (make_device("a"),), "pipelined", 4, 60.0))
    assert at_once.due(1.0, changed=True, waiting=True, busy=False, many=False)
    assert not at_once.due(1.01, changed=True, waiting=False, busy=False, many=False)
    assert at_once.due(1.02, changed=True, waiting=True, busy=False, many=False)
    assert at_once.due(1.08, changed=True, waiting=False, busy=False, many=False)


def test_one_plan_a_task_where_one_comes_after_the_other(world):
    """The policy hears of the last one's end with the next, or a tick later where none comes."""
    one = world()
    one.submit(1.0)
    one.until(1.0)
    before = len(one.policy.asked)
    for task in range(1, 4):
        one.fleet.clock_s = 1.0 + task / 1000
        one.hand_in(one.fleet.clock_s)
        one.until(one.fleet.clock_s)
    assert one.policy.left[before:] == [(1.0 + task / 1000, [task - 1]) for task in range(1, 4)]
    one.until(2.0)
    assert one.policy.left[before + 3 :] == [(1.253, [3])]
