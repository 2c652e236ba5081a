"""Claim: fragments know their own cost. Three families x (full, layer-4, semantic-2), random weights.

Profiles are taken at powers of two; then each fragment is measured afresh, in new processes, at sizes in between, and
held against what its profile says of them: at least 90 % of those cells within 10 % (latency) and 5 % (memory
increment). A chain's summed profile is held against the chain run as a whole: within 10 %. Cost does not depend on what
the weights are, so nothing is trained here, and no accuracy is stated.

    python -m splitplace.benchmarks.artifacts --out results/artifacts

needs an otherwise idle machine: a neighbour on the other core is measured with the fragment.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from splitplace import provenance
from splitplace.executor import Array, Executor
from splitplace.export.catalog import CatalogWriter
from splitplace.export.onnx_export import to_onnx
from splitplace.export.profiler import FULL, Effort, fingerprint, profile_split
from splitplace.records.fragment import TensorSpec
from splitplace.records.profile import Profile
from splitplace.records.split import Merge
from splitplace.splitting import layerwise
from splitplace.splitting.artifact import SplitArtifact
from splitplace.splitting.branches import Batch, assemble, grow_fragments
from splitplace.splitting.modules import ModuleFragment, ModuleSplit
from splitplace.splitting.tree import consecutive_tree
from splitplace.training.models import build

FAMILIES = ("mobilenetv2", "resnet50v2", "inceptionv3")
CLASSES = 100
IMAGE = TensorSpec(name="image", dtype="uint8", shape=("batch", 3, 32, 32))
FRAGMENTS = 4
MICRO_BATCH = 16
MEASURED = Effort((1, 2, 4, 8, 16, 32, 64), FULL.rounds, FULL.budget_s)
HELD_OUT = replace(MEASURED, batch_sizes=(3, 6, 12, 24, 48))
LATENCY_BOUND, MEMORY_BOUND, CHAIN_BOUND, SHARE = 0.10, 0.05, 0.10, 0.90


def splits(family: str, seed: int) -> list[SplitArtifact]:
    """The family's full, layer-4 and semantic-2 splits, weights random by seed."""
    torch.manual_seed(seed)
    network = build(family, CLASSES, (3, 32, 32), ((0.5,) * 3, (0.25,) * 3)).eval()
    classes = tuple(range(CLASSES))
    one = ModuleFragment("full", network, (IMAGE.name,), "logits", classes)
    full = to_onnx(
        ModuleSplit("random", family, "full", "", IMAGE, (one,), Merge(kind="identity", class_order=classes))
    )
    layer = layerwise.split(
        full.models["full"], FRAGMENTS, application="random", model_name=family, micro_batch=MICRO_BATCH
    )
    stages = [name for name, _ in network.named_children()]
    rng = np.random.default_rng(seed)
    batches = [Batch(torch.from_numpy(images(2, rng)), torch.full((2,), c, dtype=torch.int64)) for c in range(CLASSES)]
    tree = consecutive_tree(CLASSES, (2,))
    fragments = grow_fragments(network, [stages[len(stages) // 2]], tree, batches, IMAGE.name)
    return [full, layer, to_onnx(assemble("random", family, "2", IMAGE, fragments))]


def images(n: int, rng: np.random.Generator) -> Array:
    """Random bytes of the input's shape."""
    return rng.integers(0, 256, (n, 3, 32, 32)).astype(np.uint8)


def errors(profile: Profile, fresh: Profile) -> list[dict[str, Any]]:
    """What the profile says of the sizes that were measured afresh, relative to what was measured."""
    return [
        {
            "fragment": profile.fragment,
            "batch_size": latency.batch_size,
            "latency_error": profile.latency_s(latency.batch_size) / latency.median_s - 1,
            "memory_error": profile.fragment_bytes(memory.micro_batch) / max(memory.fragment_bytes, 1) - 1,
        }
        for latency, memory in zip(fresh.latency, fresh.memory, strict=True)
    ]


def chain(artifact: SplitArtifact, profiles: tuple[Profile, ...], seed: int, runs: int = 20) -> dict[str, float]:
    """The summed profile of a chain against the chain run on one device, micro-batch by micro-batch."""
    executor = Executor(artifact.split, artifact.models.__getitem__)
    inputs = {IMAGE.name: images(MICRO_BATCH, np.random.default_rng(seed))}
    times = []
    for _ in range(3 + runs):
        start = time.perf_counter()
        executor.run(inputs, MICRO_BATCH)
        times.append(time.perf_counter() - start)
    measured_s = float(np.median(times[3:]))
    summed_s = sum(profile.latency_s(MICRO_BATCH) for profile in profiles)
    return {"measured_s": measured_s, "summed_s": summed_s, "error": summed_s / measured_s - 1}


def run(
    out: Path,
    families: tuple[str, ...] = FAMILIES,
    measured: Effort = MEASURED,
    fresh: Effort = HELD_OUT,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure everything into `out`; its catalogs keep the profiles, so that an interrupted run goes on."""
    out.mkdir(parents=True, exist_ok=True)
    catalog, again = CatalogWriter(out / "catalog"), CatalogWriter(out / "catalog-fresh")
    rows: dict[str, Any] = {}
    cells: list[dict[str, Any]] = []
    chains: dict[str, dict[str, float]] = {}
    for family in families:
        for artifact in splits(family, seed):
            reference = artifact.split.reference
            digest = catalog.write(artifact)
            again.write(artifact)
            profiles = profile_split(catalog, reference, measured, fingerprint())
            afresh = profile_split(again, reference, fresh, fingerprint())
            rows[reference] = {
                "digest": digest,
                "fragments": [fragment.model_dump(mode="json") for fragment in artifact.split.fragments],
                "profiles": [profile.model_dump(mode="json") for profile in profiles],
            }
            pairs = zip(profiles, afresh, strict=True)
            cells += [{"reference": reference} | cell for pair in pairs for cell in errors(*pair)]
            if artifact.split.strategy == "layer":
                chains[reference] = chain(artifact, profiles, seed)
        rows[f"random.{family}.compressed"] = "not run"
    result = {
        "claims": claims(cells, chains),
        "chains": chains,
        "held_out": cells,
        "splits": rows,
        "weights": "random",
        "provenance": provenance.collect(seed).model_dump(mode="json"),
    }
    (out / "artifacts.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    return result


def claims(cells: list[dict[str, Any]], chains: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Each bound with what was found."""
    latency = float(np.mean([abs(cell["latency_error"]) <= LATENCY_BOUND for cell in cells]))
    memory = float(np.mean([abs(cell["memory_error"]) <= MEMORY_BOUND for cell in cells]))
    worst = max(abs(found["error"]) for found in chains.values())
    return {
        "latency_cells_within_bound": {"share": latency, "expected": SHARE, "holds": latency >= SHARE},
        "memory_cells_within_bound": {"share": memory, "expected": SHARE, "holds": memory >= SHARE},
        "chain_sum_error": {"worst": worst, "expected": CHAIN_BOUND, "holds": worst <= CHAIN_BOUND},
        "cells": len(cells),
    }


def table(result: dict[str, Any]) -> Table:
    """One row a fragment."""
    shown = Table("split", "fragment", "weights", "load", "batch 1", f"batch {MICRO_BATCH}", f"memory at {MICRO_BATCH}")
    for reference, row in result["splits"].items():
        if row == "not run":
            shown.add_row(reference, *["not run"] * 6)
            continue
        for fragment, document in zip(row["fragments"], row["profiles"], strict=True):
            profile = Profile.parse(json.dumps(document), reference)
            shown.add_row(
                reference,
                fragment["name"],
                f"{fragment['weight_bytes'] / 2**20:.2f} MiB",
                f"{1e3 * profile.load_s:.0f} ms",
                f"{1e3 * profile.latency_s(1):.2f} ms",
                f"{1e3 * profile.latency_s(MICRO_BATCH):.2f} ms",
                f"{profile.fragment_bytes(MICRO_BATCH) / 2**20:.1f} MiB",
            )
    return shown


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Sizes and costs of fragments, and how well profiles predict them.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--families", nargs="+", default=FAMILIES)
    arguments = parser.parse_args()
    found = run(arguments.out, tuple(arguments.families))
    Console().print(table(found))
    Console().print_json(data=found["claims"])
