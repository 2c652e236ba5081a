"""`splitplace bench`: one claim or one table of the paper each, from scripts in benchmarks/."""

from pathlib import Path

from rich.console import Group
from rich.table import Table

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
    results: Path = Path("benchmarks/results/simulator.json"),
    pairs: int = 30,
    large: bool = True,
    json: bool = False,
) -> None:
    """Measure how fast the simulator is, on one thread.

    Args:
        results: The results file.
        pairs: Interleaved pairs a ratio.
        large: Also run 10,000 devices for 100 intervals, once.
        json: Print one JSON document.
    """
    if pairs < 1:
        raise UsageError(f"--pairs {pairs}: expected at least 1")
    from splitplace.benchmarks import simulator as bench

    with err.status("simulator") as status:
        found = bench.run(results, pairs, large, status.update)
    table = Table("what", "figure", title="Simulator")
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


def _numbers(name: str, text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"--{name} {text}: expected whole numbers, comma-separated") from error
    if min(numbers) < 1:
        raise UsageError(f"--{name} {text}: expected numbers of at least 1")
    return numbers
