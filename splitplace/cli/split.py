"""`splitplace split`: a model into fragments, layer by layer."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Group
from rich.table import Table

from splitplace.cli.output import emit, err
from splitplace.errors import UsageError

if TYPE_CHECKING:
    from splitplace.splitting.artifact import SplitArtifact
    from splitplace.splitting.layerwise.cutting import Proposal
    from splitplace.splitting.layerwise.explain import Stage
    from splitplace.splitting.layerwise.hosts import Host

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}

NOT_MEASURED = {"memory_measured_bytes": None, "memory_error": None}


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
    slack: float = 0.03,
    micro_batch: int = 8,
    random_weights: bool = False,
    size: int | None = None,
    images: Path | None = None,
    application: str | None = None,
    seed: int = 0,
    plot: Path | None = None,
    explain: bool = False,
    json: bool = False,
) -> None:
    """Cut a model into fragments and prove that together they are the model.

    Args:
        source: A RUN folder, an .onnx file, or a timm name.
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
        images: Real inputs (.npy, at least 32) for the check; by default those of a RUN's application, else noise.
        application: The application's name in the reference; a RUN's own, else custom.
        seed: Of random weights and noise.
        plot: Draw cost and bytes along the network with the cuts (.png, .svg or .pdf).
        explain: Say why each cut was chosen.
        json: Print one JSON document.
    """
    for name, value in (("fragments", fragments), ("micro-batch", micro_batch), ("size", size or 1)):
        if value < 1:
            raise UsageError(f"--{name} {value}: expected at least 1")
    if not 0 <= slack <= 1:
        raise UsageError(f"--slack {slack}: expected a share between 0 and 1")
    limit = _bytes(memory_limit) if memory_limit is not None else float("inf")
    from splitplace.cli.source import open_source
    from splitplace.splitting import split_folder
    from splitplace.splitting.layerwise import costs as costing
    from splitplace.splitting.layerwise import cutting
    from splitplace.splitting.layerwise import explain as explaining

    if out is not None:
        split_folder.check_writable(out)
    if plot is not None:
        from splitplace.report.cuts import check_format

        check_format(plot)
    hosts = _hosts(devices, fragments, limit)
    opened = open_source(source, random_weights, size, seed)
    if random_weights:
        err.print(f"{opened.model}: weights are {opened.weights}; costs and cuts are real, answers are not")
    with err.status("reading the graph"):
        network = cutting.analyse(opened.onnx, source)
    if costs == "measured":
        from splitplace.inference.probe import core_speed
        from splitplace.splitting.layerwise import measure

        with err.status(f"measuring {len(network.members)} blocks"):
            speed = core_speed()
            cost_s = measure.measured(network, micro_batch, seed=seed) * speed
            copy = measure.copy_s_per_byte() * speed
        work = costing.work(network, cost_s, micro_batch, copy)
    else:
        work = costing.work(network, costing.analytic(network, micro_batch), micro_batch)
    with err.status("planning"):
        proposal = cutting.propose(network, work, hosts, fragments, objective, exactly, slack)
        artifact = cutting.cut(
            network, proposal.places, proposal.plan.places, application or opened.application, opened.model
        )
    with err.status("holding the split against the whole model"):
        checked = cutting.verify(artifact, opened.onnx, _inputs(images, opened.images, artifact))
    stages = explaining.stages(proposal)
    memory = _measured_memory(artifact, stages, micro_batch) if costs == "measured" else {}
    if out is not None:
        split_folder.write(artifact, out)
    if plot is not None:
        _draw(plot, proposal, artifact.split.reference)
    reasons = explaining.explain(proposal) if explain else ()
    document: dict[str, Any] = {
        "reference": artifact.split.reference,
        "out": str(out.absolute()) if out is not None else None,
        "weights": opened.weights,
        "objective": objective,
        "slack": slack if objective != "latency" else 0.0,
        "costs": costs,
        "micro_batch": micro_batch,
        "fragments": [_row(artifact, stage, out) | memory.get(stage.name, NOT_MEASURED) for stage in stages],
        "bottleneck_s": proposal.plan.bottleneck_s,
        "latency_s": proposal.plan.latency_s,
        "lower_bound_s": proposal.lower_bound_s,
        "gap": proposal.gap,
        "exact": proposal.places.complete,
        "search": proposal.search,
        "recomposition": {
            "max_error": checked.max_error,
            "batches": list(checked.batches),
            "source": checked.source,
        },
    }
    if explain:
        document["explanation"] = list(reasons)
    if plot is not None:
        document["plot"] = str(plot.absolute())
    emit(document, Group(_table(document), *reasons), json)


def _bytes(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]i?)?B?", text.strip(), re.IGNORECASE)
    if match is None or not float(match[1]):
        raise UsageError(f"--memory-limit {text}: expected bytes, as 67108864, 64MiB or 64MB")
    return float(match[1]) * _UNITS[(match[2] or "").upper()]


def _hosts(devices: Path | None, fragments: int, limit: float) -> list["Host"]:
    from dataclasses import replace

    from splitplace.records.device import Fleet
    from splitplace.splitting.layerwise.hosts import Host

    if devices is None:
        return [Host(f"device-{i}", memory_bytes=limit) for i in range(fragments)]
    units = [Host.of(device) for device in Fleet.from_toml(devices).units()]
    return [replace(host, memory_bytes=min(host.memory_bytes, limit)) for host in units]


def _inputs(images: Path | None, own: Any, artifact: "SplitArtifact") -> dict[str, Any] | None:
    """Real inputs for the check: the user's, else the application's."""
    from splitplace.splitting.layerwise.recompose import BATCHES

    specs = artifact.split.inputs
    if images is not None:
        from splitplace.inference.inputs import read_array

        own = read_array(images)
    if own is None:
        return None
    if len(specs) != 1 or len(own) < max(BATCHES):
        raise UsageError(f"--images: {len(own)} rows for {len(specs)} inputs, expected {max(BATCHES)} or more for one")
    return {specs[0].name: own}


def _measured_memory(
    artifact: "SplitArtifact", stages: "tuple[Stage, ...]", micro_batch: int
) -> dict[str, dict[str, Any]]:
    """What each fragment really adds to a process, and by how much the estimate was off."""
    from splitplace.export.measure.profiler import fingerprint, measure_memory

    found: dict[str, dict[str, Any]] = {}
    with err.status("measuring memory, each fragment in a process of its own"):
        for stage in stages:
            fragment = artifact.split.by_name[stage.name]
            where = f"{artifact.split.reference}/{stage.name}"
            model = artifact.models[stage.name]
            increment = measure_memory(fragment, model, micro_batch, fingerprint(), where).fragment_bytes
            estimate = stage.weight_bytes + stage.peak_activation_bytes
            found[stage.name] = {
                "memory_measured_bytes": increment,
                "memory_error": estimate / increment - 1 if increment else None,
            }
    return found


def _row(artifact: "SplitArtifact", stage: "Stage", out: Path | None) -> dict[str, Any]:
    fragment = artifact.split.by_name[stage.name]
    return {
        "name": stage.name,
        "device": stage.device,
        "cost_s": stage.cost_s,
        "stage_s": stage.stage_s,
        "cut_tensors": list(stage.cut_tensors),
        "boundary_bytes": stage.boundary_bytes,
        "params": fragment.params,
        "flops": fragment.flops_per_sample,
        "weight_bytes": fragment.weight_bytes,
        "peak_activation_bytes": stage.peak_activation_bytes,
        "memory_bytes": stage.weight_bytes + stage.peak_activation_bytes,
        "digest": fragment.digest,
        "file": str((out / f"{stage.name}.onnx").absolute()) if out is not None else None,
    }


def _draw(path: Path, proposal: "Proposal", title: str) -> None:
    """Blocks in an order that runs through every cut of the plan."""
    import numpy as np

    from splitplace.report.cuts import draw_cuts
    from splitplace.splitting.layerwise.lattice import Lattice

    inside = proposal.places.inside_Nn[list(proposal.plan.places)]
    order = np.argsort(-inside.sum(axis=0), kind="stable")
    prefixes = np.zeros((len(order) + 1, len(order)), bool)
    for i, block in enumerate(order):
        prefixes[i + 1] = prefixes[i]
        prefixes[i + 1, block] = True
    walk = Lattice(proposal.places.work, prefixes, complete=False)
    draw_cuts(
        path,
        proposal.places.work.cost_s[order].tolist(),
        walk.boundary_bytes_N[1:].tolist(),
        inside.sum(axis=1)[1:-1].tolist(),
        f"{title}: {len(proposal.plan.hosts)} fragments, gap {proposal.gap:.2%}",
    )


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
            f"bottleneck {document['bottleneck_s'] * 1e3:.2f} ms, latency {document['latency_s'] * 1e3:.2f} ms a "
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
