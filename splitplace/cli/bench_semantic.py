"""`splitplace bench semantic`: how small, quick and accurate networks split by meaning are."""

from pathlib import Path

from rich.console import Group
from rich.table import Table

from splitplace.cli.bench import in_words
from splitplace.cli.output import emit, err
from splitplace.errors import UsageError


def semantic(
    *,
    results: Path = Path("benchmarks/results/semantic.json"),
    runs: Path = Path("runs/semantic"),
    plot: Path | None = None,
    quick: bool = False,
    seeds: int | None = None,
    pairs: int = 30,
    json: bool = False,
) -> None:
    """Train MobileNetV2 on Fashion-MNIST in four branches by every recipe; time the critical paths of three families.

    What the folder of RUNs and the results file hold already is used, so an interrupted run goes on where it stopped.

    Args:
        results: The results file.
        runs: Folder of the RUNs.
        plot: Draw accuracy and response time to this .png, .svg or .pdf.
        quick: One seed and a part of the images; within half an hour on one core.
        seeds: How many; 3 by default, 1 with --quick.
        pairs: Interleaved pairs of each ratio.
        json: Print one JSON document.
    """
    if pairs < 1 or (seeds is not None and seeds < 1):
        raise UsageError(f"--pairs {pairs} --seeds {seeds}: expected at least 1")
    from dataclasses import replace

    from splitplace.benchmarks import critical_path
    from splitplace.benchmarks import semantic as bench
    from splitplace.report.cuts import check_format
    from splitplace.report.splits import draw_splits
    from splitplace.training.applications import fetch

    if plot is not None:
        check_format(plot)
    settings = replace(bench.Settings(), pairs=pairs)
    settings = settings.shorter() if quick else settings
    settings = replace(settings, seeds=seeds or settings.seeds)
    with err.status("semantic") as status:
        found = bench.run(results, runs, fetch(bench.APPLICATION), settings, status.update)
    if plot is not None:
        title = f"{found.model} on {found.application}, {found.branches} branches"
        draw_splits(plot, bench.bars(found), title, critical_path.BATCH)
    trained = Table(
        "recipe",
        "seed",
        "accuracy",
        "without 1, 2, 3",
        "params",
        "branch",
        "MFLOPs",
        "branch",
        "cost",
        "between groups",
    )
    for row in found.trained:
        trained.add_row(
            row.method,
            str(row.seed),
            f"{row.accuracy:.4f}",
            ", ".join(f"{accuracy:.3f}" for accuracy in row.accuracy_missing),
            f"{row.params:,}",
            f"{row.branch_params:,}",
            f"{row.flops_per_sample / 1e6:.1f}",
            f"{row.branch_flops_per_sample / 1e6:.1f}",
            f"{row.cost:.2f}",
            "" if row.off_group_energy is None else f"{row.off_group_energy:.3f}, then {row.sliced_accuracy:.3f}",
        )
    trained.title = f"{found.model} on {found.application}, {found.branches} branches"
    trained.caption = "cost: training seconds over the full model's, which all but it and scratch need as well"
    paths = Table(
        "model", "cut", "whole ms", "path", f"layer-{critical_path.LAYERS}", "A/A", "estimate", "params", "overlap"
    )
    for cell in found.paths:
        three = [f"{r.median:.3f} [{r.low:.3f}, {r.high:.3f}]" for r in (cell.path, cell.layer, cell.same)]
        sizes = [f"{share:.2f}" for share in (cell.analytic, cell.params, cell.params_overlap)]
        paths.add_row(cell.model, ", ".join(cell.cuts), f"{1e3 * cell.whole_s:.1f}", *three, *sizes)
    paths.title = f"Trunk + slowest branch over the whole, batch {critical_path.BATCH}, one thread"
    verdict = bench.verdict(found)
    document = {"results": str(results.absolute()), "verdict": verdict, **found.model_dump(mode="json")}
    emit(document, Group(trained, paths, *in_words(verdict)), json)
