"""What a model was cut into, for people."""

from typing import Any

from rich.table import Table

from splitplace.tables.digits import mebibytes


def cut_shown(document: dict[str, Any]) -> Table:
    """A row a fragment, of what `split --json` prints; how good the plan is below."""
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
            mebibytes(row["weight_bytes"]),
            mebibytes(row["peak_activation_bytes"]),
            "not run" if measured is None else f"{mebibytes(measured)} ({row['memory_error'] or 0:+.0%})",
            f"{row['boundary_bytes'] / 1e6:.2f} MB in {len(row['cut_tensors'])}",
        )
    return table
