"""What the chaos bench serves: a chain and trees of random weights, each with the whole model that it is a split of.

Real ONNX files, small enough that hundreds of tasks run within minutes on two cores. Their costs are stated, not
measured: no time is judged by them.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splitplace import provenance
from splitplace.export.catalog_writer import CatalogWriter
from splitplace.placement.broker.ring import Inputs
from splitplace.records.device import Device, FleetSpec
from splitplace.records.fragment import Fragment, TensorSpec
from splitplace.records.profile import DeviceFingerprint, Latency, MemoryIncrement, Profile
from splitplace.records.split import INPUT, Edge, Merge, Split, Strategy
from splitplace.splitting.artifact import SplitArtifact, digest

Array = NDArray[np.float32]
Piece = tuple[str, str, int, tuple[int, ...]]
"""Fragment, the one it reads (or `input`), its outputs, the classes it predicts."""

WIDTH, CLASSES, LAYERS = 256, 4, 8
GAIN = 1.2
"""Of each layer: without it, twenty layers of tanh answer nearly the same whatever they are asked."""
CHAIN: tuple[Piece, ...] = (
    ("f0", INPUT, WIDTH, ()),
    ("f1", "f0", WIDTH, ()),
    ("f2", "f1", CLASSES, tuple(range(CLASSES))),
)
TREE: tuple[Piece, ...] = (
    ("trunk", INPUT, WIDTH, ()),
    ("inner0", "trunk", WIDTH // 2, ()),
    ("inner1", "trunk", WIDTH // 2, ()),
    ("leaf0", "inner0", 1, (2,)),
    ("leaf1", "inner0", 1, (0,)),
    ("leaf2", "inner1", 1, (3,)),
    ("leaf3", "inner1", 1, (1,)),
)
FOREST: tuple[Piece, ...] = (
    ("trunk0", INPUT, WIDTH // 2, ()),
    ("trunk1", INPUT, WIDTH // 2, ()),
    ("trunk2", INPUT, WIDTH // 2, ()),
    ("leaf0", "trunk0", 1, (2,)),
    ("leaf1", "trunk0", 1, (0,)),
    ("leaf2", "trunk1", 1, (3,)),
    ("leaf3", "trunk2", 1, (1,)),
)
SPLITS: dict[str, tuple[Strategy, str, tuple[Piece, ...]]] = {
    "chain": ("layer", "3", CHAIN),
    "tree": ("semantic", "2x2", TREE),
    "forest": ("semantic", "1x3", FOREST),
}
"""By application: each is offered in one way, so that a client knows which whole its answer is held against."""
SERVED: dict[Inputs, tuple[str, ...]] = {"broadcast": ("chain", "tree"), "ring": ("chain", "tree", "forest")}
"""Applications: a ring is one where several fragments take the input, as where the trunk is replicated."""
MICRO_BATCH, LATENCY_S = 64, 5e-3
BASE_BYTES, FRAGMENT_BYTES, DEVICE_BYTES = 100_000_000, 20_000_000, 500_000_000


def images(seed: Sequence[int], n: int) -> Array:
    """The (n, WIDTH) inputs of a task."""
    return np.random.default_rng(seed).standard_normal((n, WIDTH)).astype(np.float32)


def task_size(rng: np.random.Generator, most: int) -> int:
    """Images of a task, 1 to `most`, log-uniform."""
    return int(np.exp(rng.uniform(0, np.log(most + 1))))


def write(catalog: Path, wholes: Path, seed: int, applications: Sequence[str] = ("chain", "tree")) -> None:
    """A catalog with these splits and their stated costs; beside it, `wholes` with APPLICATION.onnx of each."""
    writer, stamp = CatalogWriter(catalog), provenance.collect(seed)
    wholes.mkdir(parents=True, exist_ok=True)
    kind = DeviceFingerprint(kind="stated", cpu="any", architecture="any", cores=1, onnxruntime="any", threads=1)
    for application in applications:
        artifact, whole = build(application, seed)
        (wholes / f"{application}.onnx").write_bytes(whole)
        writer.write(artifact)
        for fragment in artifact.split.fragments:
            profile = Profile(
                fragment=fragment.name,
                digest=fragment.digest,
                device=kind,
                core_speed=1.0,
                load_s=0.01,
                runtime_base_bytes=BASE_BYTES,
                memory=(MemoryIncrement(micro_batch=MICRO_BATCH, fragment_bytes=FRAGMENT_BYTES),),
                latency=(
                    Latency(batch_size=MICRO_BATCH, median_s=LATENCY_S, p10_s=LATENCY_S, p90_s=LATENCY_S, runs=1),
                ),
                input_bytes_per_sample=4 * WIDTH,
                output_bytes_per_sample=4 * WIDTH,
                provenance=stamp,
            )
            writer.attach(artifact.split.reference, profile)


def fleet(count: int) -> FleetSpec:
    """Equal devices, each with all of a core that it gets and room for everything."""
    device = Device(
        name="device",
        kind="stated",
        count=count,
        cores=1,
        core_speed=1.0,
        memory_bytes=DEVICE_BYTES,
        disk_bytes=10**10,
        disk_bytes_per_s=1e9,
        up_bytes_per_s=1e8,
        down_bytes_per_s=1e8,
        rtt_s=0.0,
        power_w=(1.0,) * 11,
        labels={"cpu_share": "1.0"},
    )
    return FleetSpec(name="chaos", devices=(device,))


def build(application: str, seed: int) -> tuple[SplitArtifact, bytes]:
    """A split with its files, and the same layers in one file."""
    from onnx import NodeProto, TensorProto, helper, numpy_helper

    strategy, variant, pieces = SPLITS[application]
    rng = np.random.default_rng([seed, *application.encode()])
    outputs = {INPUT: WIDTH} | {name: width for name, _, width, _ in pieces}
    tensor = {INPUT: "x"} | {name: f"{name}.out" for name in outputs if name != INPUT}

    def file(
        nodes: list[NodeProto], weights: list[TensorProto], src: str, dst: str, inputs: int, columns: int
    ) -> bytes:
        graph = helper.make_graph(
            nodes,
            application,
            [helper.make_tensor_value_info(src, TensorProto.FLOAT, ["batch", inputs])],
            [helper.make_tensor_value_info(dst, TensorProto.FLOAT, ["batch", columns])],
            weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
        return bytes(model.SerializeToString())

    def layers(name: str, src: str) -> Iterator[tuple[list[NodeProto], TensorProto]]:
        current = tensor[src]
        for i in range(LAYERS):
            rows = outputs[src] if i == 0 else outputs[name]
            last = tensor[name] if i == LAYERS - 1 else f"{name}.{i}"
            weight = GAIN * rng.standard_normal((rows, outputs[name])) / np.sqrt(rows)
            yield (
                [
                    helper.make_node("MatMul", [current, f"{name}.w{i}"], [f"{last}.product"]),
                    helper.make_node("Tanh", [f"{last}.product"], [last]),
                ],
                numpy_helper.from_array(weight.astype(np.float32), f"{name}.w{i}"),
            )
            current = last

    fragments, edges, models = list[Fragment](), list[Edge](), dict[str, bytes]()
    all_nodes, all_weights = list[NodeProto](), list[TensorProto]()
    for name, src, width, classes in pieces:
        made = list(layers(name, src))
        nodes, weights = [node for pair, _ in made for node in pair], [weight for _, weight in made]
        all_nodes += nodes
        all_weights += weights
        models[name] = file(nodes, weights, tensor[src], tensor[name], outputs[src], width)
        parameters = sum(int(np.prod(weight.dims)) for weight in weights)
        fragments.append(
            Fragment(
                name=name,
                inputs=(TensorSpec(name=tensor[src], dtype="float32", shape=("batch", outputs[src])),),
                outputs=(TensorSpec(name=tensor[name], dtype="float32", shape=("batch", width)),),
                classes=classes,
                params=parameters,
                flops_per_sample=2 * parameters,
                weight_bytes=4 * parameters,
                digest=digest(models[name]),
            )
        )
        edges.append(Edge(src=src, dst=name, tensor=tensor[src], bytes_per_sample=4 * outputs[src]))
    sinks = [name for name, *_ in pieces if name not in {src for _, src, *_ in pieces}]
    order = tuple(c for *_, classes in pieces for c in classes)
    split = Split(
        application=application,
        model="tanh",
        strategy=strategy,
        variant=variant,
        fragments=tuple(fragments),
        edges=tuple(edges),
        merge=Merge(kind="identity" if len(sinks) == 1 else "concat", class_order=order),
    )
    all_nodes += [
        helper.make_node("Concat", [tensor[sink] for sink in sinks], ["columns"], axis=1),
        helper.make_node("Gather", ["columns", "by_class"], ["logits"], axis=1),
    ]
    all_weights.append(numpy_helper.from_array(np.argsort(order).astype(np.int64), "by_class"))
    return SplitArtifact(split, models), file(all_nodes, all_weights, "x", "logits", WIDTH, CLASSES)
