"""`splitplace bench training`: how fast training is, and how good full models are."""

from pathlib import Path

from rich.console import Group
from rich.table import Table

from splitplace.cli.bench import in_words
from splitplace.cli.output import emit, err
from splitplace.errors import UsageError


def training(
    *,
    results: Path = Path("benchmarks/results/training.json"),
    runs: Path = Path("runs"),
    train: str | None = None,
    pairs: int = 30,
    fresh: bool = False,
    json: bool = False,
) -> None:
    """Measure training speed against a bare loop, and report the accuracies of full models.

    Args:
        results: The results file; a speed that it has, of as many pairs, is not measured again, and an accuracy whose
            RUN is not here is kept.
        runs: Where the RUN folders of the accuracies are.
        train: Applications to train on now, comma-separated (hours on a CPU; an interrupted one goes on).
        pairs: Interleaved pairs, at least.
        fresh: Begin a new results file: the speed is measured again, accuracies are of the RUNs that are here.
        json: Print one JSON document.
    """
    if pairs < 1:
        raise UsageError(f"--pairs {pairs}: expected at least 1")
    from splitplace.benchmarks import training as bench
    from splitplace.training.data.applications import check_names

    applications = train.split(",") if train else []
    check_names(applications, own=False)
    if fresh:
        results.unlink(missing_ok=True)
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
    ratio, noise = found.speed.seconds, found.speed.noise
    verdict = bench.verdict(found)
    lines = [
        f"images a second over the bare loop's ({found.speed.bare_images_per_s:.0f}): {1 / ratio.median:.3f} "
        f"[{1 / ratio.high:.3f}, {1 / ratio.low:.3f}], A/A {1 / noise.median:.3f} "
        f"[{1 / noise.high:.3f}, {1 / noise.low:.3f}], {ratio.pairs} pairs",
        *in_words(verdict),
    ]
    document = {"results": str(results.absolute()), "verdict": verdict, **found.model_dump(mode="json")}
    emit(document, Group(table, *lines), json)
