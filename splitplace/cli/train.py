"""`splitplace train`: a full model, a semantic tree split of one, or a compressed one."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from splitplace.cli.output import step
from splitplace.cli.verb import Shown, verb

if TYPE_CHECKING:
    from splitplace import Run


# Lightning draws a bar of its own. Of a wrong strategy, `train` itself says what there is.
@verb("train", progress=step, strategy=str, full=Path, path=Path, out=Path, plot=Path)
def train(run: "Run", *, plot: Path | None) -> Shown:
    """What was trained."""
    document = _document(run)
    if plot is not None:
        document["plot"] = str(plot.absolute())
    return document, _table(run)


def _edges(run: "Run") -> list[tuple[str, str]]:
    parents = {part.output: part.name for part in run.config.parts}
    return [(parents.get(name, "input"), part.name) for part in run.config.parts for name in part.inputs]


def _table(run: "Run") -> Table:
    config, metrics, edges = run.config, run.metrics, _edges(run)
    table = Table("fragment", "reads", "parameters", "FLOPs an image", "classes")
    for part, size in zip(config.parts, metrics.fragments, strict=True):
        names = ", ".join(config.class_names[c] for c in part.classes) if len(part.classes) <= 10 else ""
        reads = ", ".join(src for src, dst in edges if dst == part.name)
        table.add_row(
            part.name, reads, f"{size.params:,}", f"{size.flops_per_sample:,}", names or str(len(part.classes))
        )
    table.title = config.request.reference
    table.caption = (
        f"held-out accuracy {metrics.accuracy:.4f} on {metrics.n} images · {metrics.epochs} epoch(s) at "
        f"{metrics.images_per_s:.0f} images/s · {run.path}"
    )
    return table


def _document(run: "Run") -> dict[str, Any]:
    from splitplace import Picked

    request = run.config.request
    document = {
        "run": str(run.path),
        "application": request.application,
        "model": request.model,
        "strategy": request.strategy,
        "recipe": request.method if request.strategy == "semantic" else None,
        "tree": list(request.tree),
        "cuts": list(request.cuts),
        "groups": request.groups,
        "overlap": request.overlap,
        "trunk": request.trunk,
        "edges": [{"src": src, "dst": dst} for src, dst in _edges(run)],
        "ratio": request.ratio,
        **run.metrics.model_dump(mode="json"),
    }
    if isinstance(run, Picked):
        document |= {
            "full_validation_accuracy": run.full_validation_accuracy,
            "tried": [
                {
                    "ratio": tried.config.request.ratio,
                    "validation_accuracy": tried.metrics.validation_accuracy,
                    "params": tried.metrics.params,
                    "run": str(tried.path),
                }
                for tried in run.tried
            ],
        }
    return document
