"""`split`: a model into fragments, layer by layer, planned for the devices that will run them."""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from splitplace.api.checked import checked
from splitplace.api.examples import read_examples
from splitplace.api.sample_shape import SampleShape, sizes_by_input
from splitplace.errors import ContractError, IntegrityError, UsageError, explained
from splitplace.extras import needs
from splitplace.inference.executor import Array
from splitplace.inference.inputs import image_rule, named_inputs
from splitplace.progress import Progress, silent
from splitplace.records.device import Device, FleetSpec
from splitplace.report.picture import check_picture
from splitplace.splitting.artifact import SplitArtifact
from splitplace.splitting.layerwise.hosts import Host
from splitplace.splitting.layerwise.planner import SLACK as SLACK
from splitplace.splitting.layerwise.planner import Objective

if TYPE_CHECKING:
    from splitplace.api.source import Source
    from splitplace.splitting.layerwise.explain import Stage
    from splitplace.splitting.layerwise.layer_split import LayerSplit
    from splitplace.training.run import Run

_log = logging.getLogger(__name__)

MAX_FRAGMENTS = 10_000
MAX_SIZE = 4096
"""Pixels of a side, as in training: beyond, activations take the memory of a machine."""
MIN_STD = 1e-6
"""Far below a level of 255: what is divided by less is none of an image's deviations."""

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}


@explained()
@checked()
def split(
    source: "str | Path | bytes | Run",
    *,
    fragments: int,
    out: str | Path | None = None,
    exactly: bool = False,
    devices: str | Path | FleetSpec | Sequence[Device] | None = None,
    objective: Objective = "bottleneck",
    costs: Literal["analytic", "measured"] = "analytic",
    memory_limit: str | float | None = None,
    slack: float = SLACK,
    micro_batch: int = 8,
    random_weights: bool = False,
    size: int | None = None,
    shape: SampleShape | None = None,
    images: str | Path | Array | Mapping[str, Array] | None = None,
    application: str | None = None,
    output: str | None = None,
    class_names: str | Path | Sequence[str] | None = None,
    mean: str | float | Sequence[float] | None = None,
    std: str | float | Sequence[float] | None = None,
    seed: int = 0,
    plot: str | Path | None = None,
    progress: Progress = silent,
) -> "LayerSplit":
    """Cut a model into fragments and prove that together they are the model.

    Args:
        source: A RUN folder, CATALOG:REF of a whole model, an .onnx file, or a timm name. Splits of a whole model that
            is not plain full are of MODEL-compressed-50, MODEL-int8, ... From Python, also a run or a model's bytes.
        fragments: At most so many; see `exactly`.
        out: The SPLIT folder to write: split.json and one ONNX file a fragment. Without, nothing is written.
        exactly: So many, no fewer.
        devices: The fleet to cut for (TOML); by default as many equal devices as fragments, with free links. From
            Python, also the fleet itself.
        objective: Smallest bottleneck (throughput), smallest end-to-end latency, or fewest fragments that fit.
        costs: analytic (FLOPs and bytes) or measured (onnxruntime on this machine, one thread).
        memory_limit: What a device gives a fragment, in bytes, as 64MiB; weights and activations at the micro-batch
            count.
        slack: Share of the smallest bottleneck to give up for fewer bytes over the cuts; costs are not known better
            than the default. 0 for the very smallest; `gap` counts what was given up.
        micro_batch: Samples at once.
        random_weights: For a timm name whose weights cannot be reached.
        size: Image height and width in pixels for a timm name; the network's own by default.
        shape: Of an ONNX model that leaves sizes open besides the batch: those of a sample, as 3,224,224, or NAME=128
            for one of several inputs; inputs that call a size alike share it. From Python, also (3, 224, 224), or by
            input.
        images: Real inputs for the check, at least 32: an .npy file (n, ...), an .npz file of several inputs, image
            files, or your own images as `train` takes them; by default those of a RUN's application, else seeded noise.
            From Python, also an array, or several by name.
        application: The application's name in the reference; a run's own, else custom.
        output: The output to answer, of a model that has several; the first by default.
        class_names: What the classes are called, in the order of the logits: a text file of one a line; by default as a
            RUN or timm names them. From Python, also the names.
        mean: Of an .onnx file that takes normalised images: what was taken from values of 0 to 1, a number a channel,
            as 0.485,0.456,0.406, or one of a grey image. With it and `std` the split takes images themselves, and reads
            image files, resized to its input; without, it takes tensors as the model does.
        std: What the rest was divided by, likewise: as 0.229,0.224,0.225; of values to 255, both divided by 255.
        seed: Of random weights and noise.
        plot: Draw cost and bytes along the network with the cuts (.png, .svg or .pdf).
        progress: Told what is being done.

    Returns:
        The split, with its plan and the lower bound that shows how good it is.

    Raises:
        MissingExtraError: The extra `export` is not installed, or `train` for a run or a timm name.
        UsageError: Numbers out of range, more fragments than can be told apart, a place that holds something else.
        InfeasibleError: No plan meets the memory limits; says the smallest that would do.
        ContractError: Another number of class names than of classes, or a model that takes no images to normalise.
        SplitPlaceError: A model that cannot be cut.
        IntegrityError: The fragments together do not answer what the model answers.
    """
    needs("splitting", "export", packages=("onnx", "onnx-ir", "onnxscript"))
    from splitplace.api.source import open_source, read_names
    from splitplace.splitting import split_folder
    from splitplace.splitting.layerwise import costs as costing
    from splitplace.splitting.layerwise import cutting, explain, image_input, open_sizes
    from splitplace.splitting.layerwise.layer_split import LayerSplit, planned

    for name, value in (("fragments", fragments), ("micro-batch", micro_batch), ("size", size or 1)):
        if value < 1:
            raise UsageError(f"--{name} {value}: expected at least 1")
    if size is not None and size > MAX_SIZE:
        raise UsageError(f"--size {size}: expected 1 to {MAX_SIZE} pixels")
    if fragments > MAX_FRAGMENTS:
        raise UsageError(f"--fragments {fragments}: no network has so many blocks, expected at most {MAX_FRAGMENTS}")
    if not 0 <= slack <= 1:
        raise UsageError(f"--slack {slack}: expected a share between 0 and 1")
    if application is not None and not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", application):
        raise UsageError(f"--application {application!r}: expected at most 64 of a-z, 0-9, - and _, for a reference")
    if out is not None:
        split_folder.check_writable(Path(out), Path(source) if isinstance(source, str | Path) else None)
    if plot is not None:
        check_picture(Path(plot))
    hosts = _hosts(devices, fragments, _bytes(memory_limit))
    names = None if class_names is None else read_names(class_names)
    normalisation = _normalisation(mean, std)
    sizes = None if shape is None else sizes_by_input(shape)
    opened = open_source(source, random_weights, size, seed, progress)
    name = str(source) if isinstance(source, str | Path) else opened.model
    if sizes is not None:
        opened = replace(opened, onnx=open_sizes.state_sizes(opened.onnx, sizes, name))
    if normalisation is not None:
        if opened.preprocessing is not None:
            raise UsageError(f"--mean and --std: {name} normalises images itself, leave them out")
        onnx, reading = image_input.of_bytes(opened.onnx, *normalisation, name)
        opened = replace(opened, onnx=onnx, preprocessing=reading)
    progress("reading the graph", 0.2)
    network = cutting.analyse(opened.onnx, name, output)
    names = opened.class_names if names is None else names
    if names and len(names) != (n_classes := cutting.count_classes(network)):
        raise ContractError(f"class names: got {len(names)} names, expected one for each of {n_classes} classes")
    if costs == "measured":
        from splitplace.inference.probe import core_speed
        from splitplace.splitting.layerwise import measure

        progress(f"measuring {len(network.members)} blocks", 0.3)
        speed = core_speed()
        cost_s = measure.measured(network, micro_batch, seed=seed) * speed
        copy = measure.copy_s_per_byte() * speed
        work = costing.work(network, cost_s, micro_batch, copy)
    else:
        work = costing.work(network, costing.analytic(network, micro_batch), micro_batch)
    progress("planning", 0.5)
    proposal = cutting.propose(network, work, hosts, fragments, objective, exactly, slack)
    artifact = cutting.cut(
        network, proposal.places, proposal.plan.places, application or opened.application, opened.model
    ).described(names, opened.preprocessing)
    progress("holding the split against the whole model", 0.7)
    cutting.try_apart(network, artifact)
    try:
        checked = cutting.verify(artifact, opened.onnx, _inputs(images, opened, artifact), output, seed)
    except IntegrityError as error:
        if network.graph.fixed_batch is None:
            raise
        raise IntegrityError(
            f"{name}: the batch is fixed at {network.graph.fixed_batch} in the model, which may depend on it: "
            f"export it with a symbolic batch dimension ({error})"
        ) from error
    stages = explain.stages(proposal)
    if costs == "measured":
        progress("measuring memory, each fragment in a process of its own", 0.8)
    memory = _measured_memory(artifact, stages, micro_batch) if costs == "measured" else {}
    done = LayerSplit(
        artifact.split,
        artifact.models,
        weights=opened.weights,
        objective=objective,
        slack=slack if objective != "latency" else 0.0,
        costs=costs,
        micro_batch=micro_batch,
        fragments=tuple(planned(artifact, stage, memory.get(stage.name, {})) for stage in stages),
        recomposition=checked,
        proposal=proposal,
    )
    if out is not None:
        split_folder.write(done, Path(out))
    if plot is not None:
        done.plot(plot)
    return done


def _bytes(limit: str | float | None) -> float:
    if limit is None:
        return float("inf")
    if isinstance(limit, float) and isfinite(limit):
        limit = int(limit)  # a share of the memory there is, say
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]i?)?B?", str(limit).strip(), re.IGNORECASE)
    if match is None or not float(match[1]):
        raise UsageError(f"--memory-limit {limit}: expected bytes, as 67108864, 64MiB or 64MB")
    return float(match[1]) * _UNITS[(match[2] or "").upper()]


def _normalisation(
    mean: str | float | Sequence[float] | None, std: str | float | Sequence[float] | None
) -> tuple[list[float], list[float]] | None:
    if (mean is None) != (std is None):
        raise UsageError("--mean and --std belong together: give both, or none for a model that takes tensors")
    if mean is None or std is None:
        return None
    return _by_channel("mean", mean), _by_channel("std", std)


def _by_channel(option: str, given: str | float | Sequence[float]) -> list[float]:
    parts = given.split(",") if isinstance(given, str) else given if isinstance(given, Iterable) else [given]
    try:
        found = [float(part) for part in parts]
    except (ValueError, TypeError):
        found = []
    if not found or not all(isfinite(value) for value in found) or (option == "std" and min(found) <= 0):
        above = " above 0" if option == "std" else ""
        raise UsageError(f"--{option} {given}: expected a number{above} a channel, as 0.485,0.456,0.406")
    if max(map(abs, found)) > 1 or (option == "std" and min(found) < MIN_STD):
        raise UsageError(
            f"--{option} {given}: expected numbers of values from 0 to 1, as 0.485,0.456,0.406: divide those of values "
            "from 0 to 255 by 255"
        )
    return found


def _hosts(devices: str | Path | FleetSpec | Sequence[Device] | None, fragments: int, limit: float) -> list[Host]:
    if devices is None:
        return [Host(f"device-{i}", memory_bytes=limit) for i in range(fragments)]
    if isinstance(devices, str | Path):
        devices = FleetSpec.from_toml(Path(devices))
    units = devices.units() if isinstance(devices, FleetSpec) else devices
    hosts = [Host.of(device) for device in units if isinstance(device, Device)]
    if not hosts or len(hosts) < len(units):
        others = sorted({type(device).__name__ for device in units} - {Device.__name__})
        raise UsageError(f"--devices: got {' and '.join(others) or 'none'}, expected a fleet, or one Device at least")
    return [replace(host, memory_bytes=min(host.memory_bytes, limit)) for host in hosts]


def _inputs(
    images: str | Path | Array | Mapping[str, Array] | None, opened: "Source", artifact: SplitArtifact
) -> dict[str, Array] | None:
    """Real inputs for the check: the user's, else the application's."""
    given = read_examples(images, lambda: image_rule(artifact.split), artifact.split.application)
    if given is None and opened.no_images:
        _log.warning("no real images to check with, seeded noise instead: %s", opened.no_images)
    own = opened.images if given is None else given
    return None if own is None else named_inputs(artifact.split.inputs, own, artifact.split.reference)


def _measured_memory(
    artifact: SplitArtifact, stages: "tuple[Stage, ...]", micro_batch: int
) -> dict[str, dict[str, Any]]:
    """What each fragment really adds to a process, and by how much the estimate was off."""
    from splitplace.export.measure.profiler import fingerprint, measure_memory

    found: dict[str, dict[str, Any]] = {}
    for stage in stages:
        fragment = artifact.split.by_name[stage.name]
        where = f"{artifact.split.reference}/{stage.name}"
        model = artifact.models[stage.name]
        increment = measure_memory(fragment, model, micro_batch, fingerprint(), where).fragment_bytes
        estimate = stage.weight_bytes + stage.peak_activation_bytes
        error = estimate / increment - 1 if increment else None
        found[stage.name] = {"memory_measured_bytes": increment, "memory_error": error}
    return found
