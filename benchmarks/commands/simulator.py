"""`splitplace bench` on the simulator: its speed, what placers are worth, and learning during a run."""

from pathlib import Path

from splitplace.benchmarks.commands.measuring import crew, measuring, show
from splitplace.benchmarks.commands.options import RESULTS, Fresh, Json, OnRay, Pairs, Processes, Results, at_least_one
from splitplace.errors import UsageError


def simulator(
    *, results: Path | None = None, demand: str = "upstream", pairs: Pairs = 30, quick: bool = False, json: Json = False
) -> None:
    """Measure how fast the simulator is, on one thread.

    Args:
        results: The results file; benchmarks/results/simulator-DEMAND.json by default.
        demand: What the splits cost: upstream (constants), measured or a file.
        quick: Leave out the run of 10,000 devices for 100 intervals.
    """
    at_least_one(pairs=pairs)
    file = results or RESULTS / f"simulator-{Path(demand).stem}.json"
    with measuring("simulator", file, "sim", packages=("scipy",)) as say:
        from splitplace.benchmarks import simulator, simulator_tables

        found = simulator.run(file, pairs, not quick, say, demand)
    show(simulator_tables.simulator, file, found, json, verdict=simulator.verdict(found))


def plans(
    *,
    results: Results = RESULTS / "plans.json",
    policy: str = "joint",
    repeats: int = 5,
    quick: bool = False,
    json: Json = False,
) -> None:
    """Measure what a plan takes, from 50 devices to 10,000; on a machine that does nothing else.

    Args:
        policy: As in `simulate --policy`; what it learns starts from nothing.
        repeats: Of each run.
        quick: Leave out the fleets of more than 1,000 devices.
    """
    at_least_one(repeats=repeats)
    with measuring("plans", results, "sim", packages=("scipy",)) as say:
        from splitplace.benchmarks import plans, simulator_tables

        found = plans.run(results, policy, repeats, 1_000 if quick else 10_000, say)
    show(simulator_tables.plans, results, found, json, verdict=plans.verdict(found))


def placement(
    *,
    results: Results = RESULTS / "placement.json",
    scenario: str = "measured-50",
    fleet: str | None = None,
    demand: str = "measured",
    state: Path | None = None,
    seeds: int = 5,
    intervals: int = 50,
    decider: str = "mab",
    rows: tuple[str, ...] = (),
    jobs: Processes = None,
    ray: OnRay = False,
    fresh: Fresh = False,
    json: Json = False,
) -> None:
    """Measure what DASO and daso-tasks are worth: realised O^P beside controls and bounds, on paired workloads.

    Cells already in the results file are kept, so an interrupted run goes on where it stopped. On fleets of up to 10
    devices, the exact placer takes part.

    Args:
        scenario: A shipped scenario, or a TOML file.
        fleet: A shipped fleet, NAME:N, or a TOML file; the scenario's own if not stated.
        demand: As in `simulate`.
        state: Folder of trained states; those that ship if not stated.
        seeds: How many; 0 to N - 1.
        intervals: Of each run.
        decider: Who decides the splits, the same for every placer, as in `simulate --policy`.
        rows: Some of the rows, as the table names them; once for each. All if not stated.
    """
    if not 2 <= seeds <= 100 or intervals < 2:
        raise UsageError(f"--seeds {seeds} --intervals {intervals}: expected 2 to 100 seeds and at least 2 intervals")
    packages = ("scipy", "safetensors")
    with measuring("placement", results, "sim", packages=packages) as say, crew(jobs, ray) as who:
        import splitplace as sp
        from splitplace.api.simulate import resolve
        from splitplace.benchmarks import placement, simulator_tables

        sp.parse_policy(f"{decider}+random")  # a wrong name is told before anything runs
        chosen, devices, costs = resolve(scenario, fleet, demand)
        setting = placement.Setting(
            chosen, devices, costs, demand, state, intervals, tuple(range(seeds)), decider, rows
        )
        if fresh:
            results.unlink(missing_ok=True)
        found = placement.run(results, setting, say, who)
    facts = {"verdict": placement.verdict(found), "verdict_tasks": placement.verdict(found, "daso-tasks")}
    show(simulator_tables.placement, results, found, json, **facts)


def adaptation(
    *,
    results: Results = RESULTS / "adaptation.json",
    state: Path = Path("build/adaptation-states"),
    demand: str = "measured",
    placers: str = "daso,daso-warm",
    seeds: int = 5,
    jobs: Processes = None,
    ray: OnRay = False,
    fresh: bool = False,
    json: Json = False,
) -> None:
    """Measure what learning during a run is worth: rate, mix or network shift half-way; online against frozen copies.

    Cells already in the results file are kept, so an interrupted run goes on where it stopped. A picture over time goes
    beside the results (.svg).

    Args:
        state: Folder of states trained for the time before the shift; made if they are not there (minutes).
        demand: As in `simulate`.
        placers: Of daso and daso-warm, comma-separated.
        seeds: How many; 0 to N - 1.
        fresh: Train and measure everything again.
    """
    if not 2 <= seeds <= 100:
        raise UsageError(f"--seeds {seeds}: expected 2 to 100")
    with measuring("adaptation", results, "train", "sim", state=state) as say, crew(jobs, ray) as who:
        import splitplace as sp
        from splitplace.benchmarks import adaptation, simulator_tables

        if fresh:
            for path in (results, *(state / f"{part}.safetensors" for part in ("mab", "daso"))):
                path.unlink(missing_ok=True)
        found = adaptation.run(results, state, sp.load_demand(demand), demand, placers.split(","), seeds, say, who)
        picture = adaptation.draw(results, found)
    facts = {"picture": str(picture), "verdict": adaptation.verdict(found)}
    show(simulator_tables.adaptation, results, found, json, **facts)
