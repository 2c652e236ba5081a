"""`splitplace bench` on live fleets: hops, faults, long runs, their simulation; and what is promised in seconds."""

from pathlib import Path
from typing import Literal

from splitplace.benchmarks.commands.measuring import measuring, show
from splitplace.benchmarks.commands.options import (
    RESULTS,
    CatalogFolder,
    FleetFolder,
    HistoryFolder,
    Json,
    Results,
    at_least_one,
    check_seed,
    numbers,
)
from splitplace.errors import UsageError


def timings(
    *, results: Results = RESULTS / "timings.json", repeats: int = 10, demo: bool = False, json: Json = False
) -> None:
    """Measure what the project promises in seconds; on a machine that does nothing else.

    Args:
        repeats: Of each figure.
        demo: Run the demo as well, once from nothing and three times again.
    """
    at_least_one(repeats=repeats)
    with measuring("timings", results, "demo", "train", "export") as say:
        from splitplace.benchmarks import fleets_tables, timings

        found = timings.run(results, repeats, demo, say)
    show(fleets_tables.timings, results, found, json, verdict=timings.verdict(found))


def pipeline(
    *,
    results: Results = RESULTS / "pipeline.json",
    work: CatalogFolder = Path("runs/bench-pipeline"),
    repeats: int = 10,
    batches: int = 12,
    json: Json = False,
) -> None:
    """Measure a hop beside TCP and bare ZeroMQ, and a chain's CPU and throughput; on a machine that does nothing else.

    Args:
        repeats: Of each figure.
        batches: Micro-batches of a repeat.
    """
    at_least_one(repeats=repeats)
    if batches < 2:
        raise UsageError(f"--batches {batches}: expected at least 2, for there is a first and a last")
    with measuring("pipeline", results, "train", "export", work=work) as say:
        from splitplace.benchmarks import fleets_tables, pipeline

        found = pipeline.run(results, work, repeats, batches, say)
    show(fleets_tables.pipeline, results, found, json, verdict=pipeline.verdict(found))


def chaos(
    *,
    faults: int = 1000,
    seed: int = 1,
    inputs: Literal["broadcast", "ring"] = "broadcast",
    only: str = "",
    every: float | None = None,
    results: Results = RESULTS / "chaos.json",
    work: HistoryFolder = Path("runs/bench-chaos"),
    json: Json = False,
) -> None:
    """Kill, pause and slow devices, kill the broker and fill its disk under a stream of tasks; then check every answer.

    Args:
        faults: How many; each takes some seconds.
        seed: Of faults, tasks and weights.
        inputs: As of `fleet start`; with ring a split of which three fragments take the images is served as well.
        only: Kinds of faults, comma-separated, such as device_killed; all if not stated.
        every: Seconds between two faults; if not stated they come so fast that they overlap. At 6, with
            --only device_killed, every kill is told apart from the one before.
    """
    at_least_one(faults=faults)
    check_seed(seed)
    if every is not None and not 0 <= every <= 600:
        raise UsageError(f"--every {every:g}: expected 0 to 600 s")
    with measuring("chaos", results, "export", work=work) as say:
        from splitplace.benchmarks import chaos, fleets_tables

        found = chaos.run(results, work, faults, seed, say, inputs, chaos.kinds(only), every)
    show(fleets_tables.chaos, results, found, json, verdict=chaos.verdict(found))


def ray(
    *,
    nodes: int = 3,
    rounds: int = 2,
    overhead: bool = False,
    pairs: int = 30,
    seed: int = 1,
    results: Path | None = None,
    work: HistoryFolder = Path("runs/bench-ray"),
    json: Json = False,
) -> None:
    """Kill parts of a Ray cluster on this machine, and cut its links where root may, under a stream of tasks; check.

    Args:
        nodes: `ray start` processes beside the head, a device each; some 500 MB each.
        rounds: Of one fault of each kind; each takes a minute or two.
        overhead: Kill nothing, and measure what tasks take there beside a fleet of this machine's own; on a machine
            that does nothing else.
        pairs: Rounds of its longest case; the shorter ones have up to ten times as many.
        seed: Of tasks and weights.
        results: The results file; benchmarks/results/ray.json if not stated, of --overhead ray_overhead.json.
    """
    at_least_one(nodes=nodes, rounds=rounds, pairs=pairs)
    if nodes > 16:
        raise UsageError(f"--nodes {nodes}: expected at most 16, each is a Ray node on this machine")
    check_seed(seed)
    file = results or RESULTS / ("ray_overhead.json" if overhead else "ray.json")
    with measuring("ray", file, "export", "ray", "sim", packages=("onnx", "ray", "scipy"), work=work) as say:
        from splitplace.benchmarks import fleets_tables, ray_faults, ray_overhead

        if overhead:
            taken = ray_overhead.run(file, work, nodes, pairs, seed, say)
        else:
            found = ray_faults.run(file, work, nodes, rounds, seed, say)
    if overhead:
        show(ray_overhead.section, file, taken, json, verdict=ray_overhead.verdict(taken))
    else:
        show(fleets_tables.ray_faults, file, found, json, verdict=ray_faults.verdict(found))


def soak(
    *,
    minutes: float = 20.0,
    utilisation: float = 0.8,
    share: float = 0.4,
    seed: int = 1,
    results: Results = RESULTS / "soak.json",
    work: FleetFolder = Path("runs/bench-soak"),
    json: Json = False,
) -> None:
    """Keep a fleet under load for a long time, with stalls of two seconds; then look at what each process holds.

    Args:
        minutes: Under load.
        utilisation: Of the fleet's capacity, which is measured first.
        share: Of a core, each of the three devices.
        seed: Of tasks, times and weights.
    """
    if not 0 < minutes < float("inf"):
        raise UsageError(f"--minutes {minutes}: expected more than 0")
    for name, value in {"utilisation": utilisation, "share": share}.items():
        if not 0 < value <= 1:
            raise UsageError(f"--{name} {value}: expected a share above 0, up to 1")
    check_seed(seed)
    with measuring("soak", results, "export", "sim", packages=("onnx", "scipy"), work=work) as say:
        from splitplace.benchmarks import fleets_tables, soak

        found = soak.run(results, work, minutes, utilisation, share, seed, say)
    show(fleets_tables.soak, results, found, json, verdict=soak.verdict(found))


def demo(
    *,
    streams: int = 10,
    tasks: int = 50,
    results: Results = RESULTS / "demo.json",
    work: Path = Path("runs/bench-demo"),
    json: Json = False,
) -> None:
    """Send the demo's stream, of several seeds, under `joint` and under the bandit; on an idle machine.

    Args:
        streams: How many; each takes a minute or so, and the first run trains for a few.
        tasks: Of a stream.
        work: Folder for the networks, the catalog and the fleets; what is trained and measured there stays.
    """
    at_least_one(streams=streams, tasks=tasks)
    with measuring("demo", results, "demo", "train", "export", work=work) as say:
        from splitplace.benchmarks import demo, fleets_tables

        found = demo.run(results, work.absolute(), range(1, streams + 1), tasks, say)
    show(fleets_tables.demo, results, found, json, verdict=demo.verdict(found))


def testbed(
    *,
    results: Results = RESULTS / "testbed.json",
    work: CatalogFolder = Path("runs/bench-testbed"),
    shares: str = "0.8,0.5",
    repeats: int = 10,
    json: Json = False,
) -> None:
    """Hold a fleet of device processes against the simulator, one task at a time; on a machine that does nothing else.

    Args:
        shares: Of a core, a device each, comma-separated; below 1 by a CPU quota.
        repeats: Tasks of each size and policy.
    """
    at_least_one(repeats=repeats)
    try:
        parts = tuple(float(part) for part in shares.split(","))
    except ValueError as error:
        raise UsageError(f"--shares {shares}: expected numbers, comma-separated") from error
    if not all(0 < part <= 1 for part in parts):
        raise UsageError(f"--shares {shares}: expected shares above 0, up to 1")
    with measuring("testbed", results, "train", "export", "sim", work=work) as say:
        from splitplace.benchmarks import fleets_tables, testbed

        found = testbed.run(results, work, parts, repeats, say)
    show(fleets_tables.testbed, results, found, json, verdict=testbed.verdict(found))


def testbed_loaded(
    *,
    results: Results = RESULTS / "testbed-loaded.json",
    work: CatalogFolder = Path("runs/bench-testbed"),
    tasks: int = 40,
    splits: str = "full,layer,semantic,compressed",
    cores: str = "1,2",
    only: str = "plain,shaped,faulty",
    fresh: bool = False,
    simulate_again: bool = False,
    json: Json = False,
) -> None:
    """Hold fleets under load against the simulator; on a machine of two cores that does nothing else.

    What the results file has is not measured again: an interrupted bench goes on from there. A picture, a point a task,
    goes beside the results (.svg).

    Args:
        tasks: Of each stream.
        splits: Of the four, comma-separated.
        cores: Of a device, comma-separated: which fleets.
        only: Parts, comma-separated: plain; shaped, behind links of 100 Mb/s, for which this user has to be root; and
            faulty, while a device is killed, paused or slowed.
        fresh: Measure anew what is there, of what is asked for.
        simulate_again: Measure nothing; simulate what the file has measured once more, as the simulator is now.
    """
    at_least_one(tasks=tasks)
    wanted, counts, parts = tuple(splits.split(",")), numbers("cores", cores), tuple(only.split(","))
    with measuring("testbed-loaded", results, "train", "export", "sim", work=work) as say:
        from splitplace.benchmarks import loaded_testbed, loaded_testbed_page, loaded_testbed_run

        if simulate_again:
            found = loaded_testbed_run.simulated_again(results, say)
        else:
            found = loaded_testbed_run.run(results, work, tasks, say, wanted, counts, fresh, parts=parts)
        loaded_testbed.draw(results, found)
    show(loaded_testbed_page.section, results, found, json, verdict=loaded_testbed.verdict(found))
