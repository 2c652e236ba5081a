"""Which tasks the policy is shown: against a queue of one device on a fake clock."""

import random

import pytest

from splitplace.placement.broker import dispatch
from splitplace.placement.broker.dispatch import Dispatch
from splitplace.placement.broker.setup import Setup
from splitplace.placement.broker.state import Attempt, TaskState
from splitplace.records.action import Decide
from splitplace.records.task import Task
from tests.placement.fleet.conftest import chain, demand_of, make_device

LATENCY_S = 0.1
"""Of a micro-batch of each fragment, as the profile has it."""


class Queue:
    """A fleet of one device that shares its processor, and runs at `slower` times the profile's latency."""

    def __init__(self, slower=1.0, applications=("toy",)):
        demand = demand_of(*map(chain, applications), latency_s=LATENCY_S)
        self.setup = Setup(demand, (make_device("d0"),), "pipelined", 4, 60.0)
        self.state, self.dispatch, self.slower = self.setup.first(), Dispatch(self.setup), slower
        self.state.devices[0].up = True
        self.now_s, self.left_s, self.in_time = 0.0, {}, {}
        self.names = tuple(self.setup.entry(0).split.by_name)

    def submit(self, deadline_s, *, n=1, late=False, application="toy"):
        """A task of `n` images."""
        id_ = self.state.next_task
        self.state.next_task += 1
        task = Task(id=id_, application=application, n=n, deadline_s=deadline_s, arrival_s=self.now_s)
        self.state.tasks[id_] = TaskState(task, "", late=late)
        self.state.waiting[id_] = None
        return id_

    def shown(self):
        """The tasks without devices that the policy is shown."""
        return [task.task.id for task in self.dispatch.shown(self.state, self.now_s) if task.job is None]

    def place(self, id_):
        """What the policy answers for it."""
        task = self.state.tasks[id_]
        task.decision, task.job = Decide(id_, 0, 0, 0), id_
        del self.state.waiting[id_]
        runs = {name: set() for name in self.names}
        self.state.jobs[id_] = Attempt(
            id_, id_, 0, dict.fromkeys(self.names, 0), (0,), self.now_s, set(), ran=runs, started_s=self.now_s
        )
        self.left_s[id_] = len(self.names) * LATENCY_S * self.slower

    def leave(self, id_, in_time):
        """It is answered, or its deadline has passed."""
        self.in_time[id_] = in_time
        if self.state.tasks.pop(id_).job is not None:
            if in_time:
                self.state.jobs[id_].ran = {name: {0: 0.0} for name in self.names}
            del self.state.jobs[id_], self.left_s[id_]
        self.state.waiting.pop(id_, None)

    def advance(self, step_s):
        """Time passes: who is on the device shares it, who is past the deadline leaves."""
        self.now_s += step_s
        for id_ in list(self.left_s):
            self.left_s[id_] -= step_s / len(self.left_s)
            if self.left_s[id_] <= 0:
                self.leave(id_, True)
        for id_, task in list(self.state.tasks.items()):
            if self.now_s - task.task.arrival_s > task.task.deadline_s:
                self.leave(id_, False)


def share_in_time(queue, load, deadline_s=4.0, steps=4_000, step_s=0.01):
    """Of tasks that come at `load` times what the device can do."""
    rng = random.Random(0)
    each_s = len(queue.names) * LATENCY_S * queue.slower
    next_s = 0.0
    for _ in range(steps):
        while next_s <= queue.now_s:
            queue.submit(deadline_s)
            next_s += rng.expovariate(load / each_s)
        for id_ in queue.shown():
            queue.place(id_)
        queue.advance(step_s)
    return sum(queue.in_time.values()) / len(queue.in_time)


@pytest.mark.parametrize("slower", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("slack", [2.5, 4.0, 12.0])
def test_an_overloaded_fleet_answers_as_many_in_time_as_it_can(slower, slack):
    """At three times the load a third is what there is; at most a fifth of that is lost, whatever the profile says.

    `slack` is the deadline over what a task takes on an idle device.
    """
    queue = Queue(slower)
    takes_s = len(queue.names) * LATENCY_S * slower
    assert share_in_time(queue, load=3.0, deadline_s=slack * takes_s) >= 0.8 / 3


def test_below_its_capacity_all_are_in_time():
    """Nothing is held back."""
    assert share_in_time(Queue(), load=0.5) == 1.0


def test_a_task_that_a_profile_gives_no_chance_is_shown_when_nothing_else_is():
    """The profile may be wrong: one taken on a busy machine must not close a fleet."""
    queue = Queue()
    task = queue.submit(0.001)
    assert queue.shown() == [task]


def test_who_has_time_goes_before_who_has_none():
    """And among those with time, first come is first."""
    queue = Queue()
    hopeless, first, second = queue.submit(0.001), queue.submit(50.0), queue.submit(50.0)
    assert queue.shown() == [first, second]
    queue.place(first)
    queue.place(second)
    queue.leave(first, True)
    assert queue.shown() == []  # it would only make the second late, too
    queue.leave(second, True)
    assert queue.shown() == [hopeless]


def test_a_late_answer_that_is_wanted_waits_for_those_in_time_but_not_for_ever():
    """It cannot be in time any more; before it is given up it comes first."""
    queue = Queue()
    late = queue.submit(1.0, late=True)
    queue.now_s = 5.0
    others = [queue.submit(50.0) for _ in range(3)]
    assert queue.shown() == others[:2]
    queue.now_s = queue.setup.task_timeout_s / 2 + 1
    assert queue.shown() == [late, others[0]]


def test_nothing_is_decided_while_no_device_is_up():
    """It would be decided for a fleet that nobody knows."""
    queue = Queue()
    queue.submit(50.0)
    queue.state.devices[0].up = False
    assert queue.shown() == []


def test_those_with_time_are_seen_behind_a_thousand_without():
    """However long the queue of those is that came before."""
    queue = Queue()
    for _ in range(1000):
        queue.submit(0.001)
    last = queue.submit(50.0)
    assert queue.shown()[0] == last


def test_tasks_of_about_one_size_are_reckoned_once():
    """Sizes are rounded up, by an eighth at most."""
    sizes = {dispatch._size(n) for n in range(1, 5001)}
    assert len(sizes) < 100
    assert all(n <= dispatch._size(n) <= n * 1.125 for n in range(1, 5001))


def test_short_tasks_are_given_together_long_ones_two_at_a_time(monkeypatch):
    """As many as are `AHEAD_S` of work, within the bounds."""
    monkeypatch.setattr(dispatch, "AHEAD_S", 4.5 * 3 * LATENCY_S)
    queue = Queue()
    for _ in range(20):
        queue.submit(100.0)
    assert len(queue.shown()) == 5
    monkeypatch.setattr(dispatch, "AHEAD_S", 0.0)
    assert len(queue.shown()) == dispatch.ENOUGH_A_DEVICE
    monkeypatch.setattr(dispatch, "AHEAD_S", 1e9)
    assert len(queue.shown()) == dispatch.MOST_A_DEVICE


def test_a_small_task_does_not_wait_for_the_end_of_a_large_one():
    """They share the device: it takes twice as long as alone, and not as long as the large one."""
    queue = Queue()
    for id_ in [queue.submit(1e4, n=100_000) for _ in range(2)]:
        queue.place(id_)
        queue.state.jobs[id_].micro_batches = tuple(range(100_000 // 4))
    small = queue.submit(10 * len(queue.names) * LATENCY_S)
    assert queue.shown() == [small]
    queue.submit(1e5, n=100_000)
    assert queue.shown() == [small]  # of the large ones there are enough


def test_a_task_that_waits_for_memory_takes_no_turn():
    """Others, which may find a place, are shown beside it."""
    queue = Queue()
    held = queue.submit(100.0)
    queue.state.tasks[held].decision = Decide(held, 0, 0, 0)
    others = [queue.submit(100.0) for _ in range(2)]
    assert queue.shown() == [held, *others]


def test_an_application_that_waits_for_memory_hides_no_other():
    """Of it no more are decided, and those that are do not count."""
    queue = Queue(applications=("toy", "other"))
    held = [queue.submit(100.0) for _ in range(30)]
    for id_ in held[:20]:
        queue.state.tasks[id_].decision = Decide(id_, 0, 0, 0)
    other = queue.submit(100.0, application="other")
    assert queue.shown() == [*held[: dispatch.MOST_A_DEVICE], other]


def test_what_came_to_nothing_is_no_sign_of_speed():
    """Tasks that were cancelled at once do not make the fleet look quick."""
    queue = Queue()
    for _ in range(100):
        queue.place(queue.submit(50.0))
        (id_,) = queue.left_s
        queue.shown()
        queue.leave(id_, False)
    queue.shown()
    assert queue.dispatch.slowdown == 1.0


@pytest.mark.parametrize(
    ("deadline_s", "least", "most"),
    [(100.0, 1, 2 * dispatch.MOST_A_DEVICE + 1), (0.001, dispatch.LOOKED_AT, 2 * dispatch.LOOKED_AT)],
)
def test_a_plan_looks_at_so_many_of_those_that_wait(deadline_s, least, most):
    """However many there are: where they have time at as many as may be started, where they have none at the first."""
    queue = Queue()
    for _ in range(3000):
        queue.submit(deadline_s)
    looked = []
    has_time = queue.dispatch._has_time
    queue.dispatch._has_time = lambda *given: looked.append(1) or has_time(*given)
    queue.shown()
    assert least <= len(looked) <= most


class RanksAll(Dispatch):
    """Looks at everybody before it shows anybody."""

    def _best_first(self, queue, now_s, before, full):
        return sorted(queue, key=lambda task: -self._rank(task, now_s, before))


@pytest.mark.parametrize("seed", range(8))
def test_whoever_is_not_looked_at_would_not_have_been_shown(seed):
    """The same tasks in the same order as by one that looks at all, in queues of all kinds."""
    rng = random.Random(seed)
    queue = Queue(rng.choice((0.3, 1.0, 3.0)))
    thorough = RanksAll(queue.setup)
    for _ in range(200):
        for _ in range(rng.randrange(5)):
            deadline_s = rng.choice((0.001, 0.3, 1.0, 3.0, 50.0))
            queue.submit(deadline_s, n=rng.choice((1, 5, 40)), late=rng.random() < 0.2)
        shown = [task.task.id for task in thorough.shown(queue.state, queue.now_s) if task.job is None]
        assert queue.shown() == shown
        for id_ in shown[: rng.randrange(5)]:
            queue.place(id_)
        queue.advance(rng.random() / 3)


def test_nothing_is_remembered_of_tasks_that_left():
    """A broker runs for months."""
    queue = Queue()
    share_in_time(queue, load=3.0, steps=2000)
    for id_ in list(queue.state.tasks):
        queue.leave(id_, False)
    queue.shown()
    assert not queue.dispatch._expected_s and not queue.dispatch._under_way
