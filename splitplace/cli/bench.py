"""`splitplace bench`: one claim or one table of the paper each, from scripts in benchmarks/."""

from json import dumps
from pathlib import Path

from rich.console import Group
from rich.table import Column, Table

from splitplace.cli.output import emit, err
from splitplace.errors import UsageError


def layer_split(
    *,
    results: Path = Path("benchmarks/results/layer_split.json"),
    models: str | None = None,
    fragments: str = "2,3,4,5,6,7,8",
    batches: str = "8,32",
    pairs: int = 30,
    fresh: bool = False,
    json: bool = False,
) -> None:
    """Measure how good layer-wise plans are and what cutting costs at run time, on one thread.

    Cells already in the results file are kept, so an interrupted run goes on where it stopped.

    Args:
        results: The results file.
        models: Names, comma-separated; the three families and three foreign models by default.
        fragments: Values of K for the plans.
        batches: Batch sizes for the ratios; foreign models take the first.
        pairs: Interleaved pairs a ratio.
        fresh: Measure everything again.
        json: Print one JSON document.
    """
    if pairs < 1:
        raise UsageError(f"--pairs {pairs}: expected at least 1")
    from splitplace.benchmarks import layer_split as bench

    settings = bench.Settings(
        models=tuple(models.split(",")) if models else bench.Settings.models,
        fragments=_numbers("fragments", fragments),
        batches=_numbers("batches", batches),
        pairs=pairs,
    )
    if fresh:
        results.unlink(missing_ok=True)
    with err.status("layer-split") as status:
        found = bench.run(results, settings, status.update)
    plans = Table(
        "model", "K", "bottleneck ms", "bound ms", "gap", "nodes", "params", "FLOPs", "pipelining", title="Plans"
    )
    for plan in found.plans:
        others = (plan.equal_nodes_s, plan.equal_params_s, plan.equal_flops_s)
        plans.add_row(
            plan.model,
            str(plan.fragments),
            f"{plan.bottleneck_s * 1e3:.2f}",
            f"{plan.lower_bound_s * 1e3:.2f}",
            f"{plan.gap:.2%}" + ("" if plan.exact else " (one order)"),
            *(f"{seconds / plan.bottleneck_s - 1:+.0%}" for seconds in others),
            "not run",
        )
    plans.caption = "torch.distributed.pipelining has a hook for automatic splits and none of its own (METHODOLOGY.md)"
    ratios = Table("model", "px", "batch", "whole ms", "ours", "naive", "A/A", title="Chain / whole, K = 4, one thread")
    for cell in found.ratios:
        three = [f"{r.median:.3f} [{r.low:.3f}, {r.high:.3f}]" for r in (cell.ours, cell.naive, cell.same)]
        ratios.add_row(cell.model, str(cell.px), str(cell.batch), f"{cell.whole_s * 1e3:.1f}", *three)
    verdict = bench.verdict(found)
    lines = [f"{claim}: {'holds' if holds else 'does not hold'}" for claim, holds in verdict.items()]
    document = {"results": str(results.absolute()), "verdict": verdict, **found.model_dump(mode="json")}
    emit(document, Group(plans, ratios, *lines), json)


def simulator(
    *,
    results: Path | None = None,
    demand: str = "upstream",
    pairs: int = 30,
    quick: bool = False,
    json: bool = False,
) -> None:
    """Measure how fast the simulator is, on one thread.

    Args:
        results: The results file; benchmarks/results/simulator-DEMAND.json by default.
        demand: What the splits cost: upstream (constants), measured or a file.
        pairs: Interleaved pairs a ratio.
        quick: Leave out the run of 10,000 devices for 100 intervals.
        json: Print one JSON document.
    """
    if pairs < 1:
        raise UsageError(f"--pairs {pairs}: expected at least 1")
    from splitplace.benchmarks import simulator as bench

    results = results or Path(f"benchmarks/results/simulator-{Path(demand).stem}.json")
    with err.status("simulator") as status:
        found = bench.run(results, pairs, not quick, status.update, demand)
    table = Table("what", "figure", title=f"Simulator, demand {demand}")
    table.add_row("azure50, 100 intervals", f"{found.small_s:.2f} s")
    ratios = {"over the numpy loop": found.small, "a task at 10,000 over one at 50": found.task_large}
    for name, ratio in (ratios | {"A/A": found.noise}).items():
        table.add_row(name, f"{ratio.median:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]")
    if found.large is not None:
        size = f"{found.large.wall_s:.0f} s, {found.large.peak_bytes / 1e9:.2f} GB"
        table.add_row(f"{found.large.devices} devices, {found.large.tasks} tasks", size)
    verdict = bench.verdict(found)
    lines = [f"{claim}: {'holds' if holds else 'does not hold'}" for claim, holds in verdict.items()]
    document = {"results": str(results.absolute()), "verdict": verdict, **found.model_dump(mode="json")}
    emit(document, Group(table, *lines), json)


def training(
    *,
    results: Path = Path("benchmarks/results/training.json"),
    runs: Path = Path("runs"),
    train: str | None = None,
    pairs: int = 30,
    json: bool = False,
) -> None:
    """Measure training speed against a bare loop, and report the accuracies of full models.

    Args:
        results: The results file.
        runs: Where the RUN folders of the accuracies are.
        train: Applications to train on now, comma-separated (hours on a CPU; an interrupted one goes on).
        pairs: Interleaved pairs.
        json: Print one JSON document.
    """
    if pairs < 1:
        raise UsageError(f"--pairs {pairs}: expected at least 1")
    from splitplace.benchmarks import training as bench
    from splitplace.training.applications import check_names

    applications = train.split(",") if train else []
    check_names(applications, own=False)
    with err.status("training") as status:
        found = bench.run(results, runs, applications, pairs, say=status.update)
    table = Table("application", "model", "goal", "accuracy", "epochs", "images/s", title="Full models, held out")
    for cell in found.cells:
        goal = "" if cell.goal is None else f"{cell.goal:.1%}"
        if cell.accuracy is None:
            table.add_row(cell.application, cell.model, goal, "not run", "", "")
        else:
            speed = f"{cell.images_per_s:.0f}"
            table.add_row(cell.application, cell.model, goal, f"{cell.accuracy:.2%}", str(cell.epochs), speed)
    ratio, noise = found.seconds, found.noise
    verdict = bench.verdict(found)
    lines = [
        f"images a second over the bare loop's ({found.bare_images_per_s:.0f}): {1 / ratio.median:.3f} "
        f"[{1 / ratio.high:.3f}, {1 / ratio.low:.3f}], A/A {1 / noise.median:.3f} "
        f"[{1 / noise.high:.3f}, {1 / noise.low:.3f}], {ratio.pairs} pairs",
        *(f"{claim}: {_word(holds)}" for claim, holds in verdict.items()),
    ]
    document = {"results": str(results.absolute()), "verdict": verdict, **found.model_dump(mode="json")}
    emit(document, Group(table, *lines), json)


def _word(holds: bool | str) -> str:
    if isinstance(holds, str):
        return holds
    return "holds" if holds else "does not hold"


def artifacts(
    *,
    results: Path = Path("benchmarks/results/artifacts.json"),
    work: Path = Path("runs/bench-artifacts"),
    models: str | None = None,
    fresh: bool = False,
    json: bool = False,
) -> None:
    """Measure what fragments weigh and cost, and how well their profiles tell the cost of other batch sizes.

    The catalogs under --work keep what is measured, so an interrupted run goes on where it stopped.

    Args:
        results: The results file, written at the end.
        work: Folder for the catalogs.
        models: Names, comma-separated; the three families by default.
        fresh: Measure everything again.
        json: Print one JSON document.
    """
    from splitplace.benchmarks import artifacts as bench
    from splitplace.records.profile import Profile

    families = tuple(models.split(",")) if models else bench.FAMILIES
    found = bench.run(results, work, families, again=fresh, say=err.print)
    size = 16
    table = Table(
        Column("split", overflow="fold", min_width=14),
        *("digest", "fragment", "weights", "load", "batch 1", f"batch {size}", f"memory at {size}"),
        title="Fragments, weights random",
    )
    for reference, row in found["splits"].items():
        for fragment, document in zip(row["fragments"], row["profiles"], strict=True):
            profile = Profile.parse(dumps(document), reference)
            table.add_row(
                reference.partition(".")[2],
                fragment["digest"][7:19],
                fragment["name"],
                f"{fragment['weight_bytes'] / 2**20:.2f} MiB",
                f"{1e3 * profile.load_s:.0f} ms",
                f"{1e3 * profile.latency_s(1):.2f} ms",
                f"{1e3 * profile.latency_s(size):.2f} ms",
                f"{profile.fragment_bytes(size) / 2**20:.1f} MiB",
            )
    chains = Table("chain", "batch", "measured", "summed profile", "error", title="Chains")
    for chain in found["chains"]:
        seconds = [f"{1e3 * chain[name]:.2f} ms" for name in ("measured_s", "summed_s")]
        chains.add_row(chain["reference"], str(chain["batch_size"]), *seconds, f"{chain['error']:+.1%}")
    claims = dict(found["claims"])
    lines = [f"{claims.pop('cells')} held-out cells, of sizes that no profile measured"]
    for name, claim in claims.items():
        figure, sign = (claim["worst"], "<=") if "worst" in claim else (claim["share"], ">=")
        holds = "holds" if claim["holds"] else "does not hold"
        lines.append(f"{name}: {figure:.1%}, expected {sign} {claim['expected']:.0%}: {holds}")
    emit({"results": str(results.absolute()), **found}, Group(table, chains, *lines), json)


def published_code(
    *, results: Path = Path("benchmarks/results/published_code.json"), seeds: int = 5, json: bool = False
) -> None:
    """Hold the simulator against what the paper's published code gave with the same constants.

    Args:
        results: The results file.
        seeds: Runs of 100 intervals a cell.
        json: Print one JSON document.
    """
    if seeds < 1:
        raise UsageError(f"--seeds {seeds}: expected at least 1")
    from splitplace.benchmarks import published_code as bench

    with err.status("published-code"):
        found = bench.run(results, seeds)
    table = Table("every task as", "tick", "response", "published", "wait", "transfer", "SLA", title="Intervals")
    for cell in found.cells:
        times = (f"{cell.response:.2f} ± {cell.response_std:.2f}", f"{cell.published:.2f}", f"{cell.wait:.2f}")
        table.add_row(cell.decider, cell.tick, *times, f"{cell.transfer:.2f}", f"{cell.sla_violation:.3f}")
    verdict = bench.verdict(found)
    lines = [f"{claim}: {'holds' if holds else 'does not hold'}" for claim, holds in verdict.items()]
    document = {"results": str(results.absolute()), "verdict": verdict, **found.model_dump(mode="json")}
    emit(document, Group(table, *lines), json)


def demand(
    *,
    work: Path = Path("runs/demand"),
    out: Path = Path("placement/data/demand.measured.json"),
    applications: str | None = None,
    tiny100: Path | None = None,
    again: bool = False,
    quick: bool = False,
    json: bool = False,
) -> None:
    """Make the demand that ships with the simulator: train, split, export, evaluate and profile, on one thread.

    What the work folder holds already is used, so an interrupted run goes on where it stopped.

    Args:
        work: Folder of the RUNs and the catalog.
        out: The demand file.
        applications: Names, comma-separated; mnist, fashionmnist and tiny100 by default.
        tiny100: Folder of tiny100's train.parquet and test.parquet, the first time.
        again: Measure the profiles anew, on a quiet machine; the rest stays.
        quick: Profile in a quarter of the time.
        json: Print one JSON document.
    """
    from dataclasses import replace

    from rich.progress import Progress

    from splitplace.benchmarks import demand as bench
    from splitplace.export.profiler import QUICK
    from splitplace.training.applications import fetch

    settings = bench.Settings()
    if applications:
        settings = settings.only(tuple(applications.split(",")))
    if quick:
        settings = replace(settings, effort=QUICK)
    with Progress(console=err, transient=True, disable=not err.is_terminal) as progress:
        found, size_bytes = bench.run(
            work,
            out,
            lambda name: fetch(name, path=tiny100 if name == "tiny100" else None),
            settings,
            progress,
            profile_again=again,
        )
    rows = bench.table(found)
    table = Table("split", "top-1", "fragments", "weights", "ms an image", "memory", "bytes between", title="Demand")
    for row in rows:
        table.add_row(
            row.reference,
            f"{row.top1:.4f}",
            str(row.fragments),
            f"{row.weight_bytes / 1e6:.2f} MB",
            f"{1e3 * row.seconds_a_sample:.3f}",
            f"{row.memory_bytes / 1e6:.0f} MB",
            f"{row.bytes_between / 1e3:.1f} kB",
        )
    document = {
        "demand": str(out.absolute()),
        "size_bytes": size_bytes,
        "splits": [row.model_dump(mode="json") for row in rows],
    }
    emit(document, Group(table, f"{out}: {len(rows)} splits, {size_bytes} bytes"), json)


def _numbers(name: str, text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"--{name} {text}: expected whole numbers, comma-separated") from error
    if min(numbers) < 1:
        raise UsageError(f"--{name} {text}: expected numbers of at least 1")
    return numbers


def placement(
    *,
    results: Path = Path("benchmarks/results/placement.json"),
    scenario: str = "measured-50",
    fleet: str | None = None,
    demand: str = "measured",
    state: Path | None = None,
    seeds: int = 5,
    intervals: int = 50,
    fresh: bool = False,
    json: bool = False,
) -> None:
    """Measure what DASO is worth: predicted and realised O^P beside controls and bounds, on paired workloads.

    Cells already in the results file are kept, so an interrupted run goes on where it stopped. On fleets of up to 10
    devices, the exact placer takes part.

    Args:
        results: The results file.
        scenario: A shipped scenario, or a TOML file.
        fleet: A shipped fleet, NAME:N, or a TOML file; the scenario's own if not stated.
        demand: As in `simulate`.
        state: Folder of trained states; those that ship if not stated.
        seeds: How many; 0 to N - 1.
        intervals: Of each run.
        fresh: Measure everything again.
        json: Print one JSON document.
    """
    if not 2 <= seeds <= 100 or intervals < 2:
        raise UsageError(f"--seeds {seeds} --intervals {intervals}: expected 2 to 100 seeds and at least 2 intervals")
    from splitplace.benchmarks import placement as bench
    from splitplace.cli.simulate import load_costs
    from splitplace.placement.simulator.scenario import load_fleet, load_scenario

    chosen = load_scenario(scenario)
    setting = bench.Setting(
        chosen, load_fleet(fleet or chosen.fleet), load_costs(demand), demand, state, intervals, tuple(range(seeds))
    )
    if fresh:
        results.unlink(missing_ok=True)
    with err.status("placement") as status:
        found = bench.run(results, setting, status.update)
    columns = ("placer", "realised O^P", "predicted O^P", "reward", "response s", "energy kWh", "plan ms p50", "p95")
    table = Table(*columns, title=f"Placers, {found.scenario}, {found.fleet}, {seeds} seeds")
    for row in setting.rows:
        cells = {field: bench.column(found, row, field) for field in bench.Cell.model_fields if field not in ("row",)}
        realised = bench.interval(cells["realised"])
        table.add_row(
            row,
            f"{realised.mean:.4f} [{realised.low:.4f}, {realised.high:.4f}]",
            *(f"{bench.interval(cells[field]).mean:.4f}" for field in ("predicted", "reward")),
            *(f"{bench.interval(cells[field]).mean:.1f}" for field in ("response_s", "energy_kwh")),
            *(f"{1e3 * bench.interval(cells[field]).mean:.1f}" for field in ("decision_p50_s", "decision_p95_s")),
        )
    verdict = bench.verdict(found)
    document = {"results": str(results.absolute()), "verdict": verdict, **found.model_dump(mode="json")}
    emit(document, Group(table, *verdict.values()), json)
