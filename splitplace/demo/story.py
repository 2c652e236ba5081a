"""The demo from beginning to end: every room once, on real images; what is trained and measured is reused."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from splitplace.errors import UsageError
from splitplace.extras import needs
from splitplace.files import check_folder, replace_file
from splitplace.progress import Progress, silent

MIN_TASKS, MAX_TASKS = 4, 10_000


@dataclass(frozen=True, eq=False)
class Story:
    """What the demo has to tell.

    Args:
        told: The whole result as one JSON document.
        page: Absolute path of the HTML report.
    """

    told: dict[str, Any]
    page: Path


def run(
    out: str | Path = "splitplace-demo",
    *,
    seed: int = 0,
    tasks: int = 50,
    chapter: Callable[[str], None] = lambda title: None,
    progress: Progress = silent,
) -> Story:
    """Train, split, export, profile, evaluate and run MobileNetV2 on Fashion-MNIST, on three emulated devices.

    The first run trains (a few minutes); later runs reuse what is trained and measured. Interrupted anywhere, it can
    be run again.

    Args:
        out: Folder for runs, catalog, what the fleet keeps, and report.
        seed: Of the training and of the stream of tasks.
        tasks: How many tasks to send, 4 to 10,000.
        chapter: Told the title of each chapter that begins.
        progress: Told how far a chapter is.

    Raises:
        MissingExtraError: The extra `demo` is not installed.
        UsageError: Numbers out of range.
        SplitPlaceError: The images cannot be had, or a device or a task failed.
    """
    needs("the demo", "demo", "train", "export")
    if seed < 0 or not MIN_TASKS <= tasks <= MAX_TASKS:
        raise UsageError(f"--seed {seed} --tasks {tasks}: expected 0 or more, and {MIN_TASKS} to {MAX_TASKS}")
    from splitplace.demo import pipeline, report
    from splitplace.demo.requests import RIVALS
    from splitplace.export.catalog_writer import CatalogWriter

    folder = Path(out).absolute()
    check_folder(folder, "--out")
    timings: dict[str, float] = {}

    @contextmanager
    def timed(title: str) -> Iterator[None]:
        chapter(f"{len(timings) + 1}. {title}")
        start = time.monotonic()
        yield
        timings[title] = round(time.monotonic() - start, 3)

    with timed("data"):
        data = pipeline.images()
    with timed("train"):
        full, semantic = pipeline.train(data, folder / "runs", seed)
    with timed("split and export"):
        shipped = pipeline.ship(folder / "catalog", full, semantic, data)
        catalog = CatalogWriter(folder / "catalog")
    with timed("profile"):
        pipeline.profile(catalog.path, shipped.all, progress)
    with timed("evaluate"):
        evaluations = pipeline.judge(catalog, shipped, data, progress)
    with timed("run"):
        played: list[pipeline.Played] = []
        for policy, kept in zip(RIVALS, ("fleet", "fleet-bandit"), strict=True):
            layer_s = played[0].layer_s if played else None
            sent = catalog, shipped, data, folder / kept, seed, tasks, progress, layer_s
            played.append(pipeline.play(policy, *sent))
    told = report.tell(catalog, shipped, evaluations, played, timings, seed)
    page = folder / "report.html"
    replace_file(page, report.page(told, played[0]))
    return Story(told | {"report": str(page)}, page)
