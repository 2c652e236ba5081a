"""What an image costs: bytes by layer, the time to build it, from its start to its first answer, and its memory.

Of the three families, the whole model as one image beside the fragments of its chain of four, each as an image; random
weights, since none of it depends on what they are. Containers are podman's, with one core and 512 MB, asked over its
bridge, as a user would ask them. Processor time is told beside the clock's, which a busy machine stretches.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from itertools import islice
from pathlib import Path
from statistics import median

import numpy as np

from splitplace import provenance
from splitplace.api.build_images import BuiltImages, build_images
from splitplace.benchmarks.artifacts import splits
from splitplace.benchmarks.results_file import Measured, save
from splitplace.errors import NotReadyError, SplitPlaceError
from splitplace.export.catalog_writer import CatalogWriter
from splitplace.inference.executor import Array
from splitplace.placement.engines.podman import ask_podman, podman
from splitplace.placement.http.models import ServedModel, served, sides
from splitplace.placement.http.tensors import NAMES
from splitplace.records.base import Count, NonNegative, Positive, PositiveCount, Record
from splitplace.records.provenance import Provenance
from splitplace.records.split import Split

START_S = 120.0
"""How long a container may take to its first answer."""
LIMITS = ("--memory", "512m", "--cpus", "1", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
MODEL_SHARE = 1.01
"""A model's layers may be so much larger than its files."""


class ImageCell(Measured):
    """One image."""

    family: str
    tag: str
    whole: bool
    """Whether it is the whole model in one fragment."""
    file_bytes: PositiveCount
    """Of the ONNX files in it."""
    shared_bytes: PositiveCount
    """Of the layers that every image has, as they are stored and sent."""
    model_bytes: PositiveCount
    """Of its own layers."""
    first_answer_s: tuple[Positive, ...]
    """From `podman run` to the first answer, one a repeat."""
    first_answer_cpu_s: tuple[NonNegative, ...]
    """Of the process in the container until then."""
    peak_rss_bytes: tuple[Count, ...]
    """What it had at most until then."""


class BuildCell(Record):
    """One split's images, built into a layout that holds none."""

    reference: str
    images: PositiveCount
    wall_s: Positive
    cpu_s: Positive


class ImageResults(Record):
    """Everything measured."""

    layers: dict[str, PositiveCount]
    """Bytes of each layer that every image has."""
    cells: tuple[ImageCell, ...]
    builds: tuple[BuildCell, ...]
    load: NonNegative
    provenance: Provenance


def model_of(split: Split, fragment: str) -> ServedModel:
    """What an image answers: the split, or a fragment if one is named."""
    if not fragment:
        return served(split, labelled=False)
    found = split.by_name[fragment]
    return ServedModel(f"{split.reference}.{fragment}", found.inputs, found.outputs)


def question(model: ServedModel, seed: int) -> tuple[bytes, int]:
    """A request of one sample, and how much of it is JSON."""
    rng = np.random.default_rng(seed)
    values: list[Array] = [
        rng.integers(0, 256, (1, *sides(spec))).astype(spec.dtype)
        if spec.dtype == "uint8"
        else rng.standard_normal((1, *sides(spec))).astype(spec.dtype)
        for spec in model.inputs
    ]
    inputs = [
        {
            "name": spec.name,
            "datatype": NAMES[spec.dtype],
            "shape": list(value.shape),
            "parameters": {"binary_data_size": value.nbytes},
        }
        for spec, value in zip(model.inputs, values, strict=True)
    ]
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    return b"".join((head, *(value.tobytes() for value in values))), len(head)


@contextmanager
def loaded(layout: Path, tag: str) -> Iterator[str]:
    """An image in podman's store, by its number; gone afterwards."""
    number = _asked("pull", "--quiet", f"oci:{layout}:{tag}").strip()
    try:
        yield number
    finally:
        ask_podman("rmi", "--force", number)


def start(image: str, model: ServedModel, seed: int) -> tuple[float, float, int]:
    """Run a container until its first answer: wall seconds, processor seconds and peak bytes of its process."""
    body, head = question(model, seed)
    began = time.perf_counter()
    container = _asked("run", "--detach", "--read-only", *LIMITS, "--publish", "127.0.0.1::8000", image).strip()
    try:
        port = int(_asked("port", container, "8000/tcp").rpartition(":")[2])
        while not _answers(port, model.name, body, head):
            if time.perf_counter() - began > START_S:
                said = " ".join(ask_podman("logs", container).stderr.split())[-300:]
                raise NotReadyError(f"{model.name}: no answer within {START_S:.0f} s; it says: {said or 'nothing'}")
            time.sleep(0.005)
        took_s = time.perf_counter() - began
        pid = int(_asked("inspect", "--format", "{{.State.Pid}}", container))
        cpu_s, peak = _used(pid)
    finally:
        ask_podman("rm", "--force", "--time", "0", container)
    return took_s, cpu_s, peak


def _answers(port: int, name: str, body: bytes, head: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=START_S)
    with suppress(OSError):  # nobody listens yet, or the bridge does and nobody behind it
        connection.request("POST", f"/v2/models/{name}/infer", body, {"Inference-Header-Content-Length": str(head)})
        answer = connection.getresponse()
        said = answer.read()
        if answer.status != 200:
            raise SplitPlaceError(f"{name}: {answer.status} {said[:200]!r}, expected an answer")
        return True
    return False


def _used(pid: int) -> tuple[float, int]:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return ticks / os.sysconf("SC_CLK_TCK"), int(peak.split()[1]) * 1024


def _asked(*arguments: str) -> str:
    done = ask_podman(*arguments)
    if done.returncode:
        raise SplitPlaceError(f"podman {arguments[0]}: {' '.join(done.stderr.split())[-300:]}")
    return done.stdout


def build(catalog: Path, split: Split, layout: Path) -> tuple[BuiltImages, BuildCell]:
    """Build a split's images, timed."""
    before, began = os.times(), time.perf_counter()
    built = build_images(f"{catalog}:{split.reference}", layout)
    wall_s, after = time.perf_counter() - began, os.times()
    cpu_s = sum(after[:4]) - sum(before[:4])
    return built, BuildCell(reference=split.reference, images=len(built.images), wall_s=wall_s, cpu_s=cpu_s)


def run(
    results: Path, work: Path, families: tuple[str, ...], repeats: int, say: Callable[[str], None], seed: int = 0
) -> ImageResults:
    """Measure, and write the results file.

    Args:
        results: The file to write.
        work: Folder of the catalog and the layouts.
        families: Models, by name.
        repeats: Starts of each image.
        say: Told what is going on.
        seed: Of weights and inputs.

    Raises:
        NotReadyError: There is no podman.
    """
    podman()
    load = os.getloadavg()[0]
    catalog = CatalogWriter(work / "catalog")
    cells: list[ImageCell] = []
    builds: list[BuildCell] = []
    layers: dict[str, int] = {}
    commit = provenance.collect(seed).commit
    for family in families:
        for artifact in islice(splits(family, seed), 2):  # the whole, and its chain
            split = artifact.split
            say(f"building {split.reference}")
            catalog.write(artifact)
            layout = work / f"images-{split.reference}"
            built, took = build(catalog.path, split, layout)
            builds.append(took)
            layers = {layer.what: layer.size_bytes for layer in built.shared}
            for image in built.images[: 1 if split.strategy == "full" else None]:
                fragment = image.tag.removeprefix(split.reference).removeprefix(".")
                names = [fragment] if fragment else list(split.by_name)
                say(f"starting {image.tag}")
                with loaded(layout, image.tag) as number:
                    starts = [start(number, model_of(split, fragment), seed + i) for i in range(repeats)]
                cells.append(
                    ImageCell(
                        family=family,
                        tag=image.tag,
                        whole=split.strategy == "full",
                        file_bytes=sum(len(artifact.models[name]) for name in names),
                        shared_bytes=sum(layers.values()),
                        model_bytes=sum(layer.size_bytes for layer in image.layers if layer.is_model),
                        first_answer_s=tuple(one[0] for one in starts),
                        first_answer_cpu_s=tuple(one[1] for one in starts),
                        peak_rss_bytes=tuple(one[2] for one in starts),
                        commit=commit,
                    )
                )
    found = ImageResults(
        layers=layers, cells=tuple(cells), builds=tuple(builds), load=load, provenance=provenance.collect(seed)
    )
    save(results, found)
    return found


def verdict(results: ImageResults) -> dict[str, bool]:
    """Each claim, and whether it held."""
    wholes = {cell.family: median(cell.peak_rss_bytes) for cell in results.cells if cell.whole}
    parts = [cell for cell in results.cells if not cell.whole and cell.tag.count(".") > 2]
    return {
        "an image's own layers are at most 1 % larger than its ONNX files": all(
            cell.model_bytes <= MODEL_SHARE * cell.file_bytes for cell in results.cells
        ),
        "every fragment of a chain takes less memory than the whole model": all(
            median(cell.peak_rss_bytes) < wholes[cell.family] for cell in parts
        ),
    }
