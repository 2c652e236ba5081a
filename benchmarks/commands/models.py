"""`splitplace bench` on models: how they are cut, trained, split by meaning, and how well fragments know their cost."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from splitplace.benchmarks.commands.measuring import measuring, show
from splitplace.benchmarks.commands.options import RESULTS, Fresh, Json, Pairs, Results, at_least_one, numbers
from splitplace.errors import UsageError
from splitplace.files import check_file, check_folder
from splitplace.report.picture import check_picture


def layer_split(
    *,
    results: Results = RESULTS / "layer_split.json",
    models: str | None = None,
    fragments: str = "2,3,4,5,6,7,8",
    batches: str = "8,32",
    pairs: Pairs = 30,
    fresh: Fresh = False,
    json: Json = False,
) -> None:
    """Measure how good layer-wise plans are and what cutting costs at run time, on one thread.

    Cells already in the results file are kept, so an interrupted run goes on where it stopped.

    Args:
        models: Names, comma-separated; the three families and three foreign models by default.
        fragments: Values of K for the plans.
        batches: Batch sizes for the ratios; foreign models take the first.
    """
    at_least_one(pairs=pairs)
    counts, sizes = numbers("fragments", fragments), numbers("batches", batches)
    with measuring("layer-split", results, "train", "export") as say:
        from splitplace.benchmarks import layer_split, models_tables

        settings = layer_split.LayerSplitSettings(fragments=counts, batches=sizes, pairs=pairs)
        if models:
            settings = replace(settings, models=tuple(models.split(",")))
        if fresh:
            results.unlink(missing_ok=True)
        found = layer_split.run(results, settings, say)
    show(models_tables.layer_split, results, found, json, verdict=layer_split.verdict(found))


def training(
    *,
    results: Path = RESULTS / "training.json",
    runs: Path = Path("runs"),
    train: str | None = None,
    pairs: int = 30,
    fresh: bool = False,
    json: Json = False,
) -> None:
    """Measure training speed against a bare loop, and report the accuracies of full models.

    Args:
        results: The results file; a speed that it has, of as many pairs, is not measured again, and an accuracy whose
            RUN is not here is kept.
        runs: Where the RUN folders of the accuracies are.
        train: Applications to train on now, comma-separated (hours on a CPU; an interrupted one goes on).
        pairs: Interleaved pairs, at least.
        fresh: Begin a new results file: the speed is measured again, accuracies are of the RUNs that are here.
    """
    at_least_one(pairs=pairs)
    with measuring("training", results, "train", runs=runs) as say:
        from splitplace.api.fetch import check_applications
        from splitplace.benchmarks import models_tables, training

        applications = train.split(",") if train else []
        check_applications(applications, own=False)
        if fresh:
            results.unlink(missing_ok=True)
        found = training.run(results, runs, applications, pairs, say=say)
    show(models_tables.training, results, found, json, verdict=training.verdict(found))


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
    json: Json = False,
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
    """
    at_least_one(pairs=pairs, seeds=seeds, samples=samples, jobs=jobs)
    if plot is not None:
        check_picture(plot)
    with measuring("semantic", results, "train", "export") as say:
        import splitplace as sp
        from splitplace.benchmarks import models_tables, semantic
        from splitplace.benchmarks.semantic_runs import SemanticSettings, default_jobs

        name = semantic.file_name(application, model)
        file = results or RESULTS / f"{name}.json"
        folder = runs or Path("runs") / (f"{name}-quick" if quick else name)
        check_file(file, "--results")
        check_folder(folder, "--runs")
        settings = replace(
            SemanticSettings(), model=model, pairs=pairs, paths=(application, model) == semantic.CELLS[0]
        )
        settings = settings.shorter() if quick else settings
        settings = replace(settings, seeds=seeds or settings.seeds, samples=samples or settings.samples)
        found = semantic.run(file, folder, sp.fetch(application, path=path), settings, say, jobs or default_jobs())
    if plot is not None:
        semantic.draw(plot, found)
    facts = {"verdict": semantic.verdict(found), "cells": semantic.cells(file.parent)}
    show(models_tables.semantic, file, found, json, **facts)


def foreign(
    *,
    results: Results = RESULTS / "foreign.json",
    work: Path = Path("runs/bench-foreign"),
    only: str | None = None,
    jobs: int = 2,
    fresh: bool = False,
    json: Json = False,
) -> None:
    """Cut models that nobody here wrote: each is split and is the whole, or is refused for a reason that is true.

    Graphs already in the results file are not tried again, so an interrupted run goes on where it stopped.

    Args:
        work: Folder for models and fragments; what went well is removed from it.
        only: Names or families, or parts of them, comma-separated; all by default.
        jobs: How many graphs at once.
        fresh: Try those too that the file has.
    """
    at_least_one(jobs=jobs)
    with measuring("foreign", results, "train", "export", work=work) as say:
        from splitplace.benchmarks import foreign, models_tables

        chosen = foreign.select(only.split(",") if only else ())
        found = foreign.run(results, work.absolute(), chosen, jobs, fresh, say)
    show(models_tables.foreign, results, found, json, verdict=foreign.verdict(found))


def artifacts(
    *,
    results: Path = RESULTS / "artifacts.json",
    work: Path = Path("runs/bench-artifacts"),
    models: str | None = None,
    fresh: Fresh = False,
    json: Json = False,
) -> None:
    """Measure what fragments weigh and cost, and how well their profiles tell the cost of other batch sizes.

    The catalogs under --work keep what is measured, so an interrupted run goes on where it stopped.

    Args:
        results: The results file, written at the end.
        work: Folder for the catalogs.
        models: Names, comma-separated; the three families by default.
    """
    with measuring("artifacts", results, "train", "export", work=work) as say:
        from splitplace.benchmarks import artifacts, models_tables

        families = tuple(models.split(",")) if models else artifacts.FAMILIES
        found = artifacts.run(results, work, families, again=fresh, say=say)
    show(models_tables.artifacts, results, found, json)


def images(
    *,
    results: Path = RESULTS / "images.json",
    work: Path = Path("runs/bench-images"),
    models: str | None = None,
    repeats: int = 5,
    json: Json = False,
) -> None:
    """Measure what images weigh by layer, how long they build, and what they take from their start to an answer.

    Containers are podman's: where it is not installed, nothing is measured.

    Args:
        results: The results file, written at the end.
        work: Folder for the catalog and the images.
        models: Names, comma-separated; the three families by default.
        repeats: Starts of each image.
    """
    at_least_one(repeats=repeats)
    with measuring("images", results, "train", "export", "serve", work=work) as say:
        from splitplace.benchmarks import artifacts, images, models_tables

        families = tuple(models.split(",")) if models else artifacts.FAMILIES
        found = images.run(results, work, families, repeats, say)
    show(models_tables.images, results, found, json, verdict=images.verdict(found))


def fig2(*, demand: str = "measured", results: Path = RESULTS / "fig2.json", json: Json = False) -> None:
    """Hold splits by layer and by meaning, compressed and whole models against one another, and the paper's figure 2.

    Args:
        demand: What the splits cost and how right they are: measured, a demand file, or a catalog's folder.
        results: The results file; a picture (.svg) is written beside it.
    """
    with measuring("fig2", results, "sim") as say:
        from splitplace.api.demand import load_demand
        from splitplace.benchmarks import frontier, frontier_page
        from splitplace.records.demand import Demand

        value = load_demand(demand)
        if not isinstance(value, Demand):
            got = "got constants: they have no fragments' memory"
            raise UsageError(f"--demand {demand}: expected measured splits, {got}")
        found = frontier.run(results, value, say)
        picture = results.with_suffix(".svg").absolute()
        frontier_page.draw(found, picture)
    show(frontier_page.section, results, found, json, verdict=frontier.verdict(found), picture=str(picture))
