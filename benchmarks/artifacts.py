"""Claim: fragments know their own cost. Three families x (full, layer-4, semantic-2, compressed-50), random weights.

Profiles are taken at powers of two; then each fragment is measured afresh, in new processes, at sizes in between, and
held against what its profile says of them: at least 90 % of those cells within 10 % (latency) and 5 % (memory
increment). A chain's summed profile is held against the chain run as a whole: within 10 % at micro-batches of 16 and
64 and, stated apart, of one image. Cost does not depend on what the weights are, so nothing is trained here, and no
accuracy is stated; the compressed network is pruned by the norms of its random channels, which makes it as small as a
trained one.
"""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from splitplace import provenance
from splitplace.children import child_env, python_child
from splitplace.errors import SplitPlaceError
from splitplace.export.catalog_writer import CatalogWriter
from splitplace.export.convert.onnx_export import to_onnx
from splitplace.export.measure.profiler import Effort, fingerprint, profile_split
from splitplace.files import replace_file
from splitplace.inference.executor import Array
from splitplace.records.fragment import TensorSpec
from splitplace.records.profile import Latency, Profile
from splitplace.records.split import Merge
from splitplace.splitting.artifact import SplitArtifact
from splitplace.splitting.layerwise import cutting
from splitplace.splitting.modules import ModuleFragment, ModuleSplit
from splitplace.splitting.semantic.branches import Batch, assemble, grow_fragments
from splitplace.splitting.semantic.pruning import compress, compressed_split
from splitplace.splitting.semantic.tree import consecutive_tree
from splitplace.training.families.build import build

FAMILIES = ("mobilenetv2", "resnet50v2", "inceptionv3")
VARIANTS = ("full", "layer-4", "semantic-2", "compressed-50")
APPLICATION = "random"
CLASSES = 100
IMAGE = TensorSpec(name="image", dtype="uint8", shape=("batch", 3, 32, 32))
FRAGMENTS = 4
RATIO = 0.5
CHAIN_BATCHES = (1, 16, 64)
MEASURED = Effort((1, 2, 4, 8, 16, 32, 64), rounds=10, budget_s=0.5)
HELD_OUT = Effort((3, 6, 12, 24, 48), rounds=10, budget_s=0.5)
LATENCY_BOUND, MEMORY_BOUND, CHAIN_BOUND, SHARE = 0.10, 0.05, 0.10, 0.90


def splits(family: str, seed: int) -> Iterator[SplitArtifact]:
    """The family's full, layer-4, semantic-2 and compressed-50 splits, weights random by seed."""
    torch.manual_seed(seed)
    network = build(family, CLASSES, (3, 32, 32), ((0.5,) * 3, (0.25,) * 3)).eval()
    assert isinstance(network, nn.Sequential)
    rng = np.random.default_rng(seed)
    classes = tuple(range(CLASSES))
    one = ModuleFragment("full", network, (IMAGE.name,), "logits", classes)
    merge = Merge(kind="identity", class_order=classes)
    full = to_onnx(ModuleSplit(APPLICATION, family, "full", "", IMAGE, (one,), merge))
    yield full
    yield cutting.split(
        full.models["full"], FRAGMENTS, application=APPLICATION, model_name=family, micro_batch=16, slack=0.0
    )
    stages = [name for name, _ in network.named_children()]
    batches = [Batch(torch.from_numpy(images(2, rng)), torch.full((2,), c, dtype=torch.int64)) for c in range(CLASSES)]
    tree = consecutive_tree(CLASSES, (2,))
    fragments = grow_fragments(network, [stages[len(stages) // 2]], tree, batches, IMAGE.name)
    yield to_onnx(assemble(APPLICATION, family, "2", IMAGE, fragments))
    smaller = compress(network, torch.from_numpy(images(2, rng)), RATIO)
    yield to_onnx(compressed_split(APPLICATION, family, RATIO, IMAGE, smaller, CLASSES))


def images(n: int, rng: np.random.Generator) -> Array:
    """Random bytes of the input's shape."""
    return rng.integers(0, 256, (n, 3, 32, 32)).astype(np.uint8)


def errors(profile: Profile, fresh: Profile) -> list[dict[str, Any]]:
    """What the profile says of the sizes that were measured afresh, relative to what was measured.

    `latency_error` is at equal core speed, as DESIGN's service_s = profile_s x profile core_speed / device core_speed
    has it; `latency_error_as_measured` is without.
    """
    faster = profile.core_speed / fresh.core_speed
    return [
        {
            "fragment": profile.fragment,
            "batch_size": latency.batch_size,
            "latency_error": profile.latency_s(latency.batch_size) * faster / latency.median_s - 1,
            "latency_error_as_measured": profile.latency_s(latency.batch_size) / latency.median_s - 1,
            "memory_error": profile.fragment_bytes(memory.micro_batch) / max(memory.fragment_bytes, 1) - 1,
        }
        for latency, memory in zip(fresh.latency, fresh.memory, strict=True)
    ]


def chain(catalog: Path, reference: str, profiles: tuple[Profile, ...]) -> list[dict[str, Any]]:
    """The summed profile of a chain against the chain run on one device, both at the chain's core speed."""
    sizes = [str(size) for size in CHAIN_BATCHES]
    command = python_child("splitplace.benchmarks.chain", str(catalog), reference, *sizes)
    environment = child_env(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        raise SplitPlaceError(f"running {reference} failed: {' '.join(done.stderr.strip().splitlines()[-1:])}")
    found = json.loads(done.stdout)
    rows = []
    for latency in (Latency(**row) for row in found["latency"]):
        each = [profile.latency_s(latency.batch_size) * profile.core_speed for profile in profiles]
        summed_s = sum(each) / found["core_speed"]
        rows.append(
            {
                "reference": reference,
                "batch_size": latency.batch_size,
                "measured_s": latency.median_s,
                "summed_s": summed_s,
                "error": summed_s / latency.median_s - 1,
            }
        )
    return rows


def run(
    results: Path,
    work: Path,
    families: tuple[str, ...] = FAMILIES,
    measured: Effort = MEASURED,
    fresh: Effort = HELD_OUT,
    again: bool = False,
    seed: int = 0,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Measure everything; the catalogs in `work` keep splits and profiles, so that an interrupted run goes on.

    Args:
        results: The file to write.
        work: Folder of the two catalogs: with the profiles, and with what was measured afresh.
        families: Models, by name.
        measured: How profiles are taken.
        fresh: How they are held out: other sizes.
        again: Measure what is measured already, too.
        seed: Of the weights.
        say: Told what is going on.
    """
    catalog, held_out = CatalogWriter(work / "profiled"), CatalogWriter(work / "afresh")
    rows: dict[str, Any] = {}
    cells: list[dict[str, Any]] = []
    chains: list[dict[str, Any]] = []
    for family in families:
        references = [f"{APPLICATION}.{family}.{variant}" for variant in VARIANTS]
        if not set(references) <= set(held_out.references()):
            say(f"exporting {family}")
            for artifact in splits(family, seed):
                catalog.write(artifact)
                held_out.write(artifact)
        for reference in references:
            split = catalog.split(reference)
            say(f"measuring {reference}")
            profiles = profile_split(catalog, reference, measured, fingerprint(), again)
            afresh = profile_split(held_out, reference, fresh, fingerprint(), again)
            rows[reference] = {
                "digest": catalog.split_descriptor(reference).digest,
                "fragments": [fragment.model_dump(mode="json") for fragment in split.fragments],
                "profiles": [profile.model_dump(mode="json") for profile in profiles],
            }
            pairs = zip(profiles, afresh, strict=True)
            cells += [{"reference": reference} | cell for pair in pairs for cell in errors(*pair)]
            if split.strategy == "layer":
                chains += chain(catalog.path, reference, profiles)
    result = {
        "claims": claims(cells, chains),
        "chains": chains,
        "held_out": cells,
        "splits": rows,
        "weights": "random",
        "provenance": provenance.collect(seed).model_dump(mode="json"),
    }
    try:
        replace_file(results, json.dumps(result, indent=1) + "\n")
    except OSError as error:
        raise SplitPlaceError(f"cannot write {results}: {error.strerror}") from error
    return result


def claims(cells: list[dict[str, Any]], chains: list[dict[str, Any]]) -> dict[str, Any]:
    """Each bound with what was found."""
    latency = float(np.mean([abs(cell["latency_error"]) <= LATENCY_BOUND for cell in cells]))
    memory = float(np.mean([abs(cell["memory_error"]) <= MEMORY_BOUND for cell in cells]))
    worst = max(abs(found["error"]) for found in chains if found["batch_size"] > 1)
    image = max(abs(found["error"]) for found in chains if found["batch_size"] == 1)
    return {
        "latency_cells_within_bound": {"share": latency, "expected": SHARE, "holds": latency >= SHARE},
        "memory_cells_within_bound": {"share": memory, "expected": SHARE, "holds": memory >= SHARE},
        "chain_sum_error": {"worst": worst, "expected": CHAIN_BOUND, "holds": worst <= CHAIN_BOUND},
        "chain_sum_error_of_one_image": {"worst": image, "expected": CHAIN_BOUND, "holds": image <= CHAIN_BOUND},
        "cells": len(cells),
    }
