"""`splitplace train`: a full model, a semantic tree split of one, or a compressed one."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from splitplace.cli.output import step
from splitplace.cli.verb import Shown, verb
from splitplace.tables.run import edges_of, run_shown

if TYPE_CHECKING:
    from splitplace import Run


# Lightning draws a bar of its own. Of a wrong strategy, `train` itself says what there is.
@verb("train", progress=step, strategy=str, full=Path, path=Path, out=Path, plot=Path)
def train(run: "Run", *, plot: Path | None) -> Shown:
    """What was trained."""
    document = _document(run)
    if plot is not None:
        document["plot"] = str(plot.absolute())
    return document, run_shown(run)


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
        "edges": [{"src": src, "dst": dst} for src, dst in edges_of(run)],
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
