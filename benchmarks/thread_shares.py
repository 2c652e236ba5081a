"""What the fragments of the demand that ships gain by threads: `python -m splitplace.benchmarks.thread_shares`.

Their profiles are of one thread. The networks are built anew with random weights, since cost does not depend on what
the weights are, and each fragment of the demand must have one of the same inputs, outputs and FLOPs. Each runs at the
demand's micro-batch on one thread, on one again (A/A) and on two, in turns; of each series the minimum is taken,
which a neighbour on the machine moves least. `parallel_share` of the demand is then Amdahl's
(`splitplace/records/threads.py`).
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import torch

import splitplace as sp
from splitplace import provenance
from splitplace.benchmarks.demand_cells import TREES
from splitplace.benchmarks.demand_make import equal_devices
from splitplace.catalog.demand import write_demand
from splitplace.errors import ContractError
from splitplace.export.convert.onnx_export import to_onnx
from splitplace.inference.executor import FragmentSession
from splitplace.inference.noise import draw
from splitplace.records.demand import Demand, SplitDemand
from splitplace.records.fragment import Fragment, TensorSpec
from splitplace.records.split import Merge
from splitplace.records.threads import parallel_share
from splitplace.splitting.artifact import SplitArtifact
from splitplace.splitting.modules import ModuleFragment, ModuleSplit
from splitplace.splitting.semantic.branches import Batch, assemble, grow_fragments, replicate_trunk
from splitplace.splitting.semantic.pruning import compress, compressed_split
from splitplace.splitting.semantic.tree import consecutive_tree
from splitplace.training.families.build import build
from splitplace.training.preset import load_preset

DEMAND = Path(__file__).parent.parent / "placement" / "data" / "demand.measured.json"
THREADS = 2
"""Beside one: as many cores as the machine has."""
ROUNDS, BUDGET_S = 150, 3.0
"""Turns of a fragment, at most so many and so long."""
WARM = 5
PRESET = "quick"
"""Whose strides the networks of that demand have."""
Key = tuple[object, ...]


def splits(application: str, model: str, image: TensorSpec, classes: int, micro_batch: int) -> Iterator[SplitArtifact]:
    """What the demand has of a network on a data set, weights random: chains, trees, compressed and whole."""
    channels, height, width = (int(size) for size in image.shape[1:])
    shape = (channels, height, width)
    numbers = load_preset(PRESET).settle(model, application)
    torch.manual_seed(0)
    network = build(model, classes, shape, ((0.5,) * shape[0], (0.25,) * shape[0]), numbers.strides).eval()
    order = tuple(range(classes))
    one = ModuleFragment("full", network, (image.name,), "logits", order)
    full = to_onnx(
        ModuleSplit(application, model, "full", "", image, (one,), Merge(kind="identity", class_order=order))
    )
    yield full
    for count in (2, 3, 4):
        yield sp.split(
            full.models["full"], fragments=count, exactly=True, devices=equal_devices(count), micro_batch=micro_batch,
            slack=0.0, application=application,
        )  # fmt: skip
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (classes, *shape)).astype(np.uint8))
    batches = [Batch(images, torch.arange(classes))]
    tree = consecutive_tree(classes, TREES["semantic-4"])
    grown = assemble(
        application, model, "4", image, grow_fragments(network, numbers.cuts[:1], tree, batches, image.name)
    )
    yield to_onnx(grown)
    yield to_onnx(replicate_trunk(grown))
    for ratio in (0.5, 0.75):
        smaller = compress(network, images[:2], ratio)
        yield to_onnx(compressed_split(application, model, ratio, image, smaller, classes))


def key(fragment: Fragment) -> Key:
    """What its cost depends on."""
    tensors = [(spec.dtype, spec.shape) for spec in (*fragment.inputs, *fragment.outputs)]
    return (*tensors, fragment.flops_per_sample)


def models(demand: Demand) -> dict[Key, tuple[Fragment, bytes]]:
    """An ONNX file for every form of fragment in the demand.

    Raises:
        ContractError: One is not to be had: the recipe has changed since.
    """
    found: dict[Key, tuple[Fragment, bytes]] = {}
    wholes = {key(entry.split.fragments[0]): entry for entry in demand.splits if entry.split.strategy == "full"}
    for entry in wholes.values():
        (whole,) = entry.split.fragments
        built = splits(
            entry.split.application, entry.split.model, whole.inputs[0], entry.split.n_classes, entry.micro_batch
        )
        for artifact in built:
            for fragment in artifact.split.fragments:
                found.setdefault(key(fragment), (fragment, artifact.models[fragment.name]))
    for entry in demand.splits:
        for fragment in entry.split.fragments:
            if key(fragment) not in found:
                raise ContractError(
                    f"{entry.split.reference}/{fragment.name}: no network of today has a fragment like it"
                )
    return found


def seconds(fragment: Fragment, model: bytes, micro_batch: int, series: Sequence[int]) -> list[list[float]]:
    """Of each series, a thread count, what the runs took; they take turns, each round beginning with another."""
    inputs = {spec.name: draw(spec, micro_batch, np.random.default_rng(0)) for spec in fragment.inputs}
    sessions = [FragmentSession(fragment, model, threads) for threads in series]
    for session in sessions * WARM:
        session.run(inputs)
    taken: list[list[float]] = [[] for _ in series]
    began, number = time.perf_counter(), 0
    while number < ROUNDS and time.perf_counter() - began < BUDGET_S:
        for at in range(len(series)):
            which = (at + number) % len(series)
            start = time.perf_counter()
            sessions[which].run(inputs)
            taken[which].append(time.perf_counter() - start)
        number += 1
    return taken


def shared(demand: Demand, share: dict[Key, float], source: str) -> Demand:
    """The demand with these shares."""

    def of(entry: SplitDemand) -> SplitDemand:
        shares = {fragment.name: share[key(fragment)] for fragment in entry.split.fragments}
        return entry.model_copy(update={"parallel_share": shares})

    return demand.model_copy(update={"splits": tuple(map(of, demand.splits)), "parallel_source": source})


def run(path: Path, say: Callable[[str], None] = print) -> Demand:
    """Measure, and write the shares into the demand file."""
    demand = Demand.parse(path.read_text(encoding="utf-8"), str(path))
    (micro_batch,) = {entry.micro_batch for entry in demand.splits}
    share, again = dict[Key, float](), list[float]()
    for form, (fragment, model) in models(demand).items():
        one, same, two = seconds(fragment, model, micro_batch, (1, 1, THREADS))
        found = parallel_share({1: min(*one, *same), THREADS: min(two)})
        by_median = parallel_share({1: median(one + same), THREADS: median(two)})
        again.append(min(one) / min(same))
        share[form] = round(found, 4)
        say(
            f"{fragment.flops_per_sample / 1e6:6.2f} MFLOPs: {1e3 * min(one):7.3f} {1e3 * min(same):7.3f} "
            f"{1e3 * min(two):7.3f} ms, {len(two)} runs; p {found:.3f}, by medians {by_median:.3f}; A/A {again[-1]:.3f}"
        )
    wanted = sorted(share[key(fragment)] for entry in demand.splits for fragment in entry.split.fragments)
    say(f"p of {len(wanted)} fragments: {wanted[0]:.3f} to {wanted[-1]:.3f}, median {median(wanted):.3f}")
    say(f"A/A: {min(again):.3f} to {max(again):.3f}")
    made = provenance.collect(0)
    machine = made.machine
    source = (
        f"networks of the same form, random weights, on 1 and {THREADS} threads of {machine.cpu} with {machine.cores} "
        f"cores, micro-batches of {micro_batch}, minimum of runs in turns; A/A of the minima {min(again):.3f} to "
        f"{max(again):.3f}; {made.created[:10]}, commit {made.commit[:12]}"
    )
    result = shared(demand, share, source)
    write_demand(result, path)
    return result


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demand", nargs="?", type=Path, default=DEMAND)
    run(parser.parse_args().demand)


if __name__ == "__main__":
    main()
