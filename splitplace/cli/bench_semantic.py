"""`splitplace bench semantic`: how small, quick and accurate networks split by meaning are."""

from pathlib import Path
from typing import Literal

from rich.console import Group
from rich.table import Table

from splitplace.cli.bench import in_words
from splitplace.cli.output import emit, err
from splitplace.errors import UsageError


def semantic(
    application: Literal["fashionmnist", "tiny100"] = "fashionmnist",
    *,
    model: Literal["mobilenetv2", "resnet50v2", "inceptionv3"] = "mobilenetv2",
    path: Path | None = None,
    results: Path | None = None,
    runs: Path | None = None,
    plot: Path | None = None,
    quick: bool = False,
    seeds: int | None = None,
    samples: int | None = None,
    pairs: int = 30,
    jobs: int | None = None,
    json: bool = False,
) -> None:
    """Train a network in four branches by every recipe; time the critical paths of three families.

    On tiny100 the recipes are `distil` with classes grouped by meaning, by their numbers and at random, and no path is
    timed: it is the same whatever was learned.

    What the folder of RUNs and the results file hold already is used, so an interrupted run goes on where it stopped.

    Args:
        application: What is learned.
        model: The network that is split; the larger two are for a GPU.
        path: The images of tiny100.
        results: The results file; benchmarks/results/semantic[-APPLICATION][-MODEL].json by default, without those
            that are the default themselves.
        runs: Folder of the RUNs; by default runs/ with the name of the results file, and -quick with --quick.
        plot: Draw accuracy and response time to this .png, .svg or .pdf.
        quick: One seed and a part of the images; within half an hour on one core.
        seeds: How many; 3 by default, 1 with --quick.
        samples: Training images a pass; 60,000 by default, 16,000 with --quick.
        pairs: Interleaved pairs of each ratio.
        jobs: How many trainings at once, which share the cores; by default one a core up to four, or one on a GPU.
        json: Print one JSON document.
    """
    for option, value in {"--pairs": pairs, "--seeds": seeds, "--samples": samples, "--jobs": jobs}.items():
        if value is not None and value < 1:
            raise UsageError(f"{option} {value}: expected at least 1")
    from dataclasses import replace

    from splitplace.benchmarks import critical_path
    from splitplace.benchmarks import semantic as bench
    from splitplace.benchmarks.semantic_runs import SemanticSettings, default_jobs
    from splitplace.report.cuts import check_format
    from splitplace.report.splits import draw_splits
    from splitplace.training.data.applications import fetch

    if plot is not None:
        check_format(plot)
    name = bench.file_name(application, model)
    results = results or Path("benchmarks/results") / f"{name}.json"
    runs = runs or Path("runs") / (f"{name}-quick" if quick else name)
    settings = replace(SemanticSettings(), model=model, pairs=pairs, paths=(application, model) == bench.CELLS[0])
    settings = settings.shorter() if quick else settings
    settings = replace(settings, seeds=seeds or settings.seeds, samples=samples or settings.samples)
    with err.status("semantic") as status:
        data = fetch(application, path=path)
        found = bench.run(results, runs, data, settings, status.update, jobs or default_jobs())
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
    verdict, cells = bench.verdict(found), bench.cells(results.parent)
    document = {"results": str(results.absolute()), "verdict": verdict, "cells": cells, **found.model_dump(mode="json")}
    tables = [trained, paths] if found.paths else [trained]
    states = [f"{cell}: {state}" for cell, state in cells.items()]
    emit(document, Group(*tables, *in_words(verdict), *states), json)
