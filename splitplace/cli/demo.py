"""`splitplace demo`: every room once, on real images: train, split, export, profile, evaluate, decide, place, run."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from splitplace.cli.output import emit, err

FOLDER = Path("splitplace-demo")


def demo(
    *,
    out: Path = FOLDER,
    seed: Annotated[int, Parameter(validator=Number(gte=0))] = 0,
    tasks: Annotated[int, Parameter(validator=Number(gte=4, lte=10_000))] = 50,
    json: bool = False,
) -> None:
    """Train, split, export, profile, evaluate and run MobileNetV2 on Fashion-MNIST, on three emulated devices.

    The first run trains (a few minutes); later runs reuse what is trained and measured. Interrupted anywhere, it can
    be run again.

    Args:
        out: Folder for runs, catalog, journal and report.
        seed: Of the training and of the stream of tasks.
        tasks: How many tasks to send.
        json: Print one JSON document instead of tables.
    """
    from rich.progress import Progress

    from splitplace.demo import pipeline, report
    from splitplace.export.catalog_writer import CatalogWriter

    timings: dict[str, float] = {}

    @contextmanager
    def chapter(title: str) -> Iterator[None]:
        err.rule(f"{len(timings) + 1}. {title}")
        start = time.monotonic()
        yield
        timings[title] = round(time.monotonic() - start, 3)

    out = out.absolute()
    with chapter("data"):
        data = pipeline.images()
    with chapter("train"):
        full, semantic = pipeline.train(data, out / "runs", seed)
    with Progress(console=err) as progress:
        with chapter("split and export"):
            catalog = CatalogWriter(out / "catalog")
            shipped = pipeline.ship(catalog, full, semantic, data)
        with chapter("profile"):
            pipeline.profile(catalog, shipped.all, progress)
        with chapter("evaluate"):
            evaluations = pipeline.judge(catalog, shipped, data, progress)
        with chapter("run"):
            played = pipeline.play(catalog, shipped, data, out / "journal.jsonl", seed, tasks, progress)
    told = report.tell(catalog, shipped, evaluations, played, timings, seed)
    page = out / "report.html"
    page.write_text(report.page(told, played), encoding="utf-8")
    emit(told | {"report": str(page)}, report.tables(told, page), json)
