"""`splitplace split`: a model into fragments, layer by layer."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Group
from rich.table import Table

from splitplace.api.split import SLACK
from splitplace.cli.output import bar, emit

if TYPE_CHECKING:
    from splitplace import LayerSplit


def split(
    source: str,
    *,
    fragments: int,
    out: Path | None = None,
    exactly: bool = False,
    devices: Path | None = None,
    objective: Literal["bottleneck", "latency", "fewest"] = "bottleneck",
    costs: Literal["analytic", "measured"] = "analytic",
    memory_limit: str | None = None,
    slack: float = SLACK,
    micro_batch: int = 8,
    random_weights: bool = False,
    size: int | None = None,
    shape: tuple[str, ...] | None = None,
    images: str | None = None,
    application: str | None = None,
    output: str | None = None,
    class_names: Path | None = None,
    mean: str | None = None,
    std: str | None = None,
    seed: int = 0,
    plot: Path | None = None,
    explain: bool = False,
    json: bool = False,
) -> None:
    """Cut a model into fragments and prove that together they are the model.

    Args:
        source: A RUN folder, CATALOG:REF of a whole model, an .onnx file, or a timm name.
        fragments: At most so many; see --exactly.
        out: The SPLIT folder to write: split.json and one ONNX file a fragment. Without, nothing is written.
        exactly: So many, no fewer.
        devices: The fleet to cut for (TOML); by default as many equal devices as fragments, with free links.
        objective: Smallest bottleneck (throughput), smallest end-to-end latency, or fewest fragments that fit.
        costs: analytic (FLOPs and bytes) or measured (onnxruntime on this machine, one thread).
        memory_limit: Bytes a device gives a fragment, as 64MiB; weights and activations at the micro-batch count.
        slack: Share of the smallest bottleneck to give up for fewer bytes over the cuts; costs are not known better
            than the default. 0 for the very smallest; `gap` counts what was given up.
        micro_batch: Samples at once.
        random_weights: For a timm name whose weights cannot be reached.
        size: Image height and width for a timm name; the network's own by default.
        shape: Of an .onnx file that leaves sizes open: those of a sample, as 3,224,224, or NAME=128 for one of several
            inputs; inputs that call a size alike share it.
        images: Real inputs for the check (.npy, .npz for several, image files, or your own as `train` takes them; at
            least 32); by default those of a RUN's application, else noise.
        application: The application's name in the reference; a RUN's own, else custom.
        output: The output to answer, of a model that has several; the first by default.
        class_names: What the classes are called, a text file of one a line; by default as a RUN or timm names them.
        mean: Of an .onnx file that takes normalised images: what was taken from values of 0 to 1, a number a channel,
            as 0.485,0.456,0.406. With --std the split reads image files, resized to its input.
        std: What the rest was divided by, likewise: as 0.229,0.224,0.225; of values to 255, both divided by 255.
        seed: Of random weights and noise.
        plot: Draw cost and bytes along the network with the cuts (.png, .svg or .pdf).
        explain: Say why each cut was chosen.
        json: Print one JSON document.
    """
    import splitplace as sp

    with bar() as progress:
        done = sp.split(
            source,
            fragments=fragments,
            out=out,
            exactly=exactly,
            devices=devices,
            objective=objective,
            costs=costs,
            memory_limit=memory_limit,
            slack=slack,
            micro_batch=micro_batch,
            random_weights=random_weights,
            size=size,
            shape=shape,
            images=images,
            application=application,
            output=output,
            class_names=class_names,
            mean=mean,
            std=std,
            seed=seed,
            plot=plot,
            progress=progress,
        )
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
    emit(document, Group(_table(document), *reasons), json)


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
