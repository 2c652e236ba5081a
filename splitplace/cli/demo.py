"""`splitplace demo`: every room once, on real images: train, split, export, profile, evaluate, decide, place, run."""

from pathlib import Path

from splitplace.cli.output import bar, emit, err

FOLDER = Path("splitplace-demo")


def demo(*, out: Path = FOLDER, seed: int = 0, tasks: int = 50, json: bool = False) -> None:
    """Train, split, export, profile, evaluate and run MobileNetV2 on Fashion-MNIST, on three emulated devices.

    The first run trains (a few minutes); later runs reuse what is trained and measured. Interrupted anywhere, it can
    be run again.

    Args:
        out: Folder for runs, catalog, journal and report.
        seed: Of the training and of the stream of tasks.
        tasks: How many tasks to send, 4 to 10,000.
        json: Print one JSON document instead of tables.
    """
    from splitplace.demo import story

    with bar() as progress:
        found = story.run(out, seed=seed, tasks=tasks, chapter=err.rule, progress=progress)
    from splitplace.demo.report import tables

    emit(found.told, tables(found.told, found.page), json)
