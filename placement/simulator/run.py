"""A run: the scenario's clock around engine and policy, and what came of it."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from splitplace.errors import ContractError, OverloadedError, PolicyError, SplitPlaceError
from splitplace.placement import plan as planning
from splitplace.placement.policy import Policy, clairvoyant
from splitplace.placement.simulator import disruptions
from splitplace.placement.simulator.carry_out import carry_out
from splitplace.placement.simulator.demands import DemandLike, references
from splitplace.placement.simulator.engine import SimulationEngine
from splitplace.placement.simulator.hearsay import hearsay
from splitplace.placement.simulator.mobility import Mobility, load_mobility
from splitplace.placement.simulator.results import IntervalMeter, PlanLog, SimulationRun, collect
from splitplace.placement.simulator.scenario import Scenario
from splitplace.placement.simulator.setting import prepare
from splitplace.placement.simulator.state import World
from splitplace.placement.simulator.views import Viewer
from splitplace.placement.simulator.workload import Arrivals, check_chunks, check_load, draw
from splitplace.records.action import Action
from splitplace.records.device import FleetSpec
from splitplace.records.view import View
from splitplace.seeds import generator

GIVE_UP = 10
"""Plans that fail from the first one on: after so many the run ends, for it would only show an idle fleet."""

MAX_FAILURES = 1_000_000
"""Of devices, expected in a run: they are drawn before it starts."""

MAX_STEPS = 10_000_000
"""Of a mobility trace, in a run: each sets all links anew."""

Watch = Callable[[View, Sequence[Action]], None]


def simulate(
    scenario: Scenario,
    fleet: FleetSpec,
    demand: DemandLike,
    policy: Policy,
    intervals: int | None = None,
    seed: int = 0,
    states: Any | Callable[[View], Any] | None = None,
    watch: Watch | None = None,
    progress: Callable[[int], None] | None = None,
    strict: bool = False,
    loaded: bool = False,
) -> SimulationRun:
    """Run a policy through a scenario; the same arguments give the same result, `metrics.timings` apart.

    A plan that fails (the policy raised, or answered what breaks a rule) changes nothing: its tasks wait for the next,
    as on a live fleet, and it is counted in `metrics.failed_plans`. A policy that fails all its plans is an error.

    Args:
        scenario: Everything but the policy and the seed.
        fleet: The devices.
        demand: What the splits cost.
        policy: What decides and places.
        intervals: How many; the scenario's own number if not stated.
        seed: Of the workload, the accuracies, the failures and the policy, each with a generator of its own.
        states: What the policy remembers from an earlier run, or a maker of it from the first view; none to start anew.
        watch: Called with each view and the plan made of it.
        progress: Called with the number of each interval that starts.
        strict: The first plan that fails ends the run: for whoever measures or learns from it.
        loaded: Begin with as many fragments loaded as each device has room for; where weights stay loaded ("warm").

    Raises:
        SplitPlaceError: The scenario cannot be run (no room, no such application, ...), or the policy failed at once,
            at every plan, or at one of a strict run.
    """
    started = time.perf_counter()
    run = _Simulation(scenario, fleet, demand, policy, intervals or scenario.intervals, seed, states)
    run.watch, run.progress, run.strict = watch, progress, strict
    if loaded:
        run.engine.memory.fill()
    run.play()
    wall_s = time.perf_counter() - started
    return collect(run.engine, run.arrivals, run.arrived, run.meter, run.plans, wall_s, run.dropped, run.states)


class _Simulation:
    """The moving parts of one run."""

    def __init__(
        self,
        scenario: Scenario,
        fleet: FleetSpec,
        demand: DemandLike,
        policy: Policy,
        intervals: int,
        seed: int,
        states: Any | Callable[[View], Any] | None,
    ):
        devices, costs = prepare(scenario, fleet, demand)
        self.arrivals: Arrivals = draw(scenario, devices, costs, intervals, seed)
        check_load(scenario, devices, costs, self.arrivals, intervals)
        check_chunks(scenario, costs, self.arrivals)
        self.world = World(scenario, devices, costs, self.arrivals.n_N, self.arrivals.application_N)
        self.engine = SimulationEngine(self.world)
        self.viewer = Viewer(self.engine, self.arrivals, hearsay(costs, scenario.mistakes, seed), clairvoyant(policy))
        self.policy, self.scenario = policy, scenario
        self.intervals, self.end_s = intervals, intervals * scenario.interval_s
        self.rng = generator(seed, "policy")
        self.mobility: Mobility | None = load_mobility(scenario.mobility) if scenario.mobility else None
        offered = costs.splits.references
        self.dropped = tuple(name for name in references(demand) if name not in offered)
        self.watch: Watch | None = None
        self.progress: Callable[[int], None] | None = None
        self.strict = False
        self.plans = PlanLog()
        self.meter = IntervalMeter()
        self.interval = -1
        self.arrived = 0
        self._boundary = self._new_tasks = self._planning = False
        self._events = sorted(scenario.events, key=lambda event: event.time_s)
        self._starting: set[int] = set()
        """Devices that are there when the start-up ends, unless they go before."""
        self._schedule(seed)
        self.states = self._init(states) if states is None or callable(states) else states

    def _init(self, make: Callable[[View], Any] | None) -> Any:
        try:
            return planning.first_state(self.policy, self.viewer.look(), make)
        except PolicyError as error:
            raise self._blame(error.reason) from error

    def _schedule(self, seed: int) -> None:
        """What is known to come: intervals, arrivals, devices that come and go, the radio."""
        engine, scenario = self.engine, self.scenario
        engine.schedule(0.0, self._on_interval)
        if len(self.arrivals.arrival_s_N):
            engine.schedule(float(self.arrivals.arrival_s_N[0]), self._on_arrival)
        index = {device.name: row for row, device in enumerate(self.world.devices)}
        seen: set[int] = set()
        for at, event in enumerate(self._events):
            if event.device not in index:
                raise ContractError(
                    f"scenario {scenario.name}: event {at + 1} names no device of the fleet: {event.device!r}"
                )
            device = index[event.device]
            if device not in seen and event.kind == "join":
                disruptions.fail(engine, device)  # whoever joins first was not there before
            seen.add(device)
            engine.schedule(event.time_s, getattr(self, f"_on_{event.kind}"), device, at)
        if scenario.failures is not None:
            expected = len(engine.up) * self.end_s / (scenario.failures.mtbf_s + scenario.failures.mttr_s)
            if expected > MAX_FAILURES:
                raise OverloadedError(
                    f"scenario {scenario.name}: {expected:.3g} failures asked for in {self.end_s:g} s, at most "
                    f"{MAX_FAILURES}: raise failures.mtbf_s or shorten the run"
                )
            for device in range(len(engine.up)):
                rng, now = generator(seed, "failures", device), 0.0
                while now < self.end_s:
                    now += rng.exponential(scenario.failures.mtbf_s)
                    engine.schedule(now, self._on_fail, device)
                    now += rng.exponential(scenario.failures.mttr_s)
                    engine.schedule(now, self._on_join, device)
        if scenario.startup_s:
            self._starting = {device for device, up in enumerate(engine.up) if up}
            engine.up = [False] * len(engine.up)
            engine.schedule(scenario.startup_s, self._on_started)
        if self.mobility is not None:
            if self.end_s / self.mobility.step_s > MAX_STEPS:
                raise OverloadedError(
                    f"scenario {scenario.name}: the mobility trace has {self.end_s / self.mobility.step_s:.3g} steps "
                    f"of {self.mobility.step_s:g} s in {self.end_s:g} s, at most {MAX_STEPS}: give one of longer "
                    "steps, or shorten the run"
                )
            engine.schedule(0.0, self._on_mobility)
        for row, shift in enumerate(scenario.network):
            engine.schedule(shift.time_s, self._on_network, row)

    # ---- events

    def _on_interval(self, a: int, b: int) -> None:
        self.interval += 1
        self._boundary = True
        if self.interval < self.intervals:
            self.engine.schedule((self.interval + 1) * self.scenario.interval_s, self._on_interval)

    def _on_arrival(self, a: int, b: int) -> None:
        times = self.arrivals.arrival_s_N
        while self.arrived < len(times) and times[self.arrived] <= self.engine.now:
            self.engine.arrive()
            self.arrived += 1
        self._new_tasks = True
        if self.arrived < len(times):
            self.engine.schedule(float(times[self.arrived]), self._on_arrival)

    def _on_started(self, a: int, b: int) -> None:
        for device in sorted(self._starting):
            disruptions.join(self.engine, device)
        self._starting.clear()

    def _on_join(self, device: int, b: int) -> None:
        self._starting.discard(device)
        disruptions.join(self.engine, device)

    def _on_leave(self, device: int, b: int) -> None:
        if device in self._starting:
            self._on_fail(device, b)  # it has nothing to finish, and is gone at once
        else:
            disruptions.leave(self.engine, device)

    def _on_fail(self, device: int, b: int) -> None:
        self._starting.discard(device)
        disruptions.fail(self.engine, device)

    def _on_slow(self, device: int, at: int) -> None:
        disruptions.slow(self.engine, device, self._events[at].speed)

    def _on_mobility(self, a: int, b: int) -> None:
        assert self.mobility is not None
        self.mobility.apply(self.engine)
        self.engine.schedule(self.engine.now + self.mobility.step_s, self._on_mobility)

    def _on_network(self, shift: int, b: int) -> None:
        disruptions.shift_network(self.engine, self.scenario.network[shift])

    # ---- the clock

    def play(self) -> None:
        """From the first event to the end of the last interval; nothing is drained."""
        engine = self.engine
        while engine.step(self.end_s):
            if self._boundary:
                if self.scenario.tick == "interval":
                    engine.see()
                before = int(np.searchsorted(self.arrivals.arrival_s_N, engine.now))
                self.meter.note(engine, self.arrived, self.arrived - before)
                if self.progress is not None:
                    self.progress(self.interval)
            if self.interval < self.intervals and not self._planning and self._due():
                self._plan()
            self._boundary = False
        if self.plans.failed and not self.plans.done:
            raise self._all_failed()

    def _due(self) -> bool:
        """Whether it is time to plan: at interval starts; if tick = event, also on arrivals and when room came free."""
        if self._boundary or self.scenario.tick == "interval":
            return self._boundary
        freed = self.engine.waiting.freed and bool(self.engine.waiting.count) and self.scenario.retry == "freed"
        return self._new_tasks or freed or (self.engine.waiting.freed and self.scenario.place == "ready")

    def _plan(self) -> None:
        view = self.viewer.look()
        ahead = self.scenario.place == "task"
        began = time.perf_counter()
        try:
            actions, self.states = planning.plan(self.policy, view, self.states, self.rng, ahead)
        except PolicyError as error:
            self._fail_plan(error)
            return
        finally:
            self.plans.decision_s.append(time.perf_counter() - began)
            self._new_tasks = False
        self.plans.done += bool(actions)
        if self.watch is not None:
            self.watch(view, actions)
        if self.scenario.scheduling_delay_s:
            self._planning, self._planned = True, actions
            self.engine.schedule(self.engine.now + self.scenario.scheduling_delay_s, self._on_planned)
        else:
            self._carry_out(actions)

    def _fail_plan(self, error: PolicyError) -> None:
        """Whoever waits goes on to wait, as if the plan had said so."""
        plans = self.plans
        plans.failed += 1
        self.engine.waiting.freed = False
        plans.first_failure = plans.first_failure or f"in interval {self.interval}: {error.reason}"
        if self.strict:
            raise self._blame(error.reason) from error
        if not plans.done and plans.failed == GIVE_UP:
            raise self._all_failed() from error

    def _on_planned(self, a: int, b: int) -> None:
        self._planning = False
        self._carry_out(self._planned)

    def _carry_out(self, actions: Sequence[Action]) -> None:
        carry_out(self.engine, actions)
        self.engine.waiting.freed = False
        self.engine.settle()

    def _blame(self, reason: str) -> SplitPlaceError:
        when = f"in interval {self.interval}" if self.interval >= 0 else "before the first interval"
        return SplitPlaceError(f"policy {self.policy.name} failed {when}: {reason}")

    def _all_failed(self) -> SplitPlaceError:
        said = f"every plan ({self.plans.failed} of them), the first {self.plans.first_failure}"
        return SplitPlaceError(f"policy {self.policy.name} failed {said}")
