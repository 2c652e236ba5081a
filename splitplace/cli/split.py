"""`splitplace split`: a model into fragments, layer by layer."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table

from splitplace.cli.verb import Shown, verb

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
    return document, Group(_table(document), *reasons)


def _longest(done: "LayerSplit") -> str:
    """Which fragment's stage is the longest, and whether it is by its work or by what goes over its device's link."""
    longest = max(done.fragments, key=lambda part: part.stage_s)
    return f"{longest.name}'s {'work' if longest.cost_s >= longest.stage_s else 'transfers'}"


def _table(document: dict[str, Any]) -> Table:
    how = "optimal among" if document["exact"] else "best of"
    if document["slack"]:
        how = f"the fewest bytes within {document['slack']:.1%} of the smallest bottleneck, {how}"
    errors = [row["memory_error"] for row in document["fragments"] if row["memory_error"] is not None]
    memory = (
        f"estimated memory is {min(errors):+.0%} to {max(errors):+.0%} off what a process grows by"
        if errors
        else "memory estimate against a process: not run (--costs measured)"
    )
    table = Table(
        "fragment",
        "device",
        "ms",
        "MFLOP a sample",
        "weights",
        "activations",
        "memory measured",
        "hands on",
        title=document["reference"],
        caption=(
            f"bottleneck {document['bottleneck_s'] * 1e3:.2f} ms ({document['bottleneck_in']}), "
            f"latency {document['latency_s'] * 1e3:.2f} ms a "
            f"micro-batch of {document['micro_batch']} ({document['costs']} costs); {how} {document['search']}, at "
            f"most {document['gap']:.2%} above the lower bound; recomposed on {document['recomposition']['source']}: "
            f"error {document['recomposition']['max_error']:.1e} of the output range; {memory}\n"
            f"{document['out'] or 'nothing written: no --out'}"
        ),
    )
    for row in document["fragments"]:
        measured = row["memory_measured_bytes"]
        table.add_row(
            row["name"],
            row["device"],
            f"{row['cost_s'] * 1e3:.2f}",
            f"{row['flops'] / 1e6:.1f}",
            f"{row['weight_bytes'] / 2**20:.2f} MiB",
            f"{row['peak_activation_bytes'] / 2**20:.2f} MiB",
            "not run" if measured is None else f"{measured / 2**20:.2f} MiB ({row['memory_error'] or 0:+.0%})",
            f"{row['boundary_bytes'] / 1e6:.2f} MB in {len(row['cut_tensors'])}",
        )
    return table
