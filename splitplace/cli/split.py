"""`splitplace split`: a model into fragments, layer by layer."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group

from splitplace.cli.verb import Shown, verb
from splitplace.tables.cut import cut_shown

if TYPE_CHECKING:
    from splitplace import LayerSplit


@verb("split", source=str, shape=tuple[str, ...], out=Path, devices=Path, class_names=Path, plot=Path)
def split(  # noqa: D417 - the others are the verb's
    done: "LayerSplit",
    *,
    out: Path | None,
    objective: str,
    costs: str,
    micro_batch: int,
    plot: Path | None,
    explain: bool = False,
) -> Shown:
    """What it was cut into.

    Args:
        explain: Say why each cut was chosen.
    """
    reasons = done.explain() if explain else ()
    files = [{"file": None if out is None else str((out / f"{row.name}.onnx").absolute())} for row in done.fragments]
    document: dict[str, Any] = {
        "reference": done.split.reference,
        "out": str(out.absolute()) if out is not None else None,
        "weights": done.weights,
        "objective": objective,
        "slack": done.slack,
        "costs": costs,
        "micro_batch": micro_batch,
        "fragments": [row.model_dump(mode="json") | file for row, file in zip(done.fragments, files, strict=True)],
        "bottleneck_s": done.bottleneck_s,
        "bottleneck_in": _longest(done),
        "latency_s": done.latency_s,
        "lower_bound_s": done.lower_bound_s,
        "gap": done.gap,
        "exact": done.exact,
        "search": done.proposal.search,
        "recomposition": asdict(done.recomposition),
    }
    if explain:
        document["explanation"] = list(reasons)
    if plot is not None:
        document["plot"] = str(plot.absolute())
    return document, Group(cut_shown(document), *reasons)


def _longest(done: "LayerSplit") -> str:
    """Which fragment's stage is the longest, and whether it is by its work or by what goes over its device's link."""
    longest = max(done.fragments, key=lambda part: part.stage_s)
    return f"{longest.name}'s {'work' if longest.cost_s >= longest.stage_s else 'transfers'}"
