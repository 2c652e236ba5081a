"""`splitplace bench layer-split`: how good layer-wise plans are, and what cutting costs at run time."""

from pathlib import Path

from rich.console import Group
from rich.table import Table

from splitplace.cli.bench import in_words, numbers
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

    settings = bench.LayerSplitSettings(
        models=tuple(models.split(",")) if models else bench.LayerSplitSettings.models,
        fragments=numbers("fragments", fragments),
        batches=numbers("batches", batches),
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
    document = {"results": str(results.absolute()), "verdict": verdict, **found.model_dump(mode="json")}
    emit(document, Group(plans, ratios, *in_words(verdict)), json)
